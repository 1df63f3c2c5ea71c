r"""Kernel networks: convolution kernels as functions of the offset, for continuous convolutions.

Each maps offsets :math:`o \in [-1, 1]^D`, in parts of the kernel's support, to C values, and may be
asked anywhere, so that the same kernel serves every spacing. None of them normalises over the
offsets it is asked at: its answer at one would then depend on the others, and so on the spacing.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["SIREN", "KernelNetwork", "MLPNet", "Oscillating", "RFNet"]

MOST_LAYERS = 256


class KernelNetwork(nn.Module, ABC):
    """A kernel k(o) with C values, linear in what its hidden units say of the offset o.

    Args:
        spatial_dims: number of spatial dimensions D, 1 to 3.
        out_channels: values C of the kernel at an offset.
        hidden_channels: hidden units.
        hidden_layers: layers of them.

    Raises:
        ValueError: if there are no hidden units or layers, or more than 256 layers.
    """

    def __init__(
        self, spatial_dims: int, out_channels: int, hidden_channels: int, hidden_layers: int
    ) -> None:
        super().__init__()
        for name, number in (
            ("hidden_channels", hidden_channels),
            ("hidden_layers", hidden_layers),
        ):
            if number < 1:
                raise ValueError(f"{name} must be 1 or more, got {number}")
        if hidden_layers > MOST_LAYERS:
            raise ValueError(f"hidden_layers must be at most {MOST_LAYERS}, got {hidden_layers}")
        self.spatial_dims = spatial_dims
        self.hidden_channels, self.hidden_layers = hidden_channels, hidden_layers
        self.output = nn.Linear(hidden_channels, out_channels)
        nn.init.kaiming_uniform_(self.output.weight, nonlinearity="linear")
        nn.init.zeros_(self.output.bias)

    @abstractmethod
    def hidden(self, offsets: Tensor) -> Tensor:
        """Activations (N, hidden_channels) at offsets (N, D)."""

    def forward(self, offsets: Tensor) -> Tensor:
        """Kernel (N, C) at offsets (N, D), in parts of the support."""
        return self.output(self.hidden(offsets))

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments as JSON values, but for the two that a layer decides."""
        return {"hidden_channels": self.hidden_channels, "hidden_layers": self.hidden_layers}

    def extra_repr(self) -> str:
        """Constructor arguments, for ``print``."""
        return ", ".join(f"{name}={value}" for name, value in self.arguments().items())


class Oscillating(KernelNetwork, ABC):
    """A kernel network whose hidden units oscillate as fast as it is told.

    Args:
        spatial_dims: number of spatial dimensions D, 1 to 3.
        out_channels: values C of the kernel at an offset.
        hidden_channels: hidden units.
        hidden_layers: layers of them.
        omega_0: how fast: the higher, the rougher a kernel starts.
    """

    def __init__(
        self,
        spatial_dims: int,
        out_channels: int,
        hidden_channels: int,
        hidden_layers: int,
        omega_0: float,
    ) -> None:
        super().__init__(spatial_dims, out_channels, hidden_channels, hidden_layers)
        self.omega_0 = float(omega_0)

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments as JSON values, but for the two that a layer decides."""
        return {**super().arguments(), "omega_0": self.omega_0}


class SIREN(Oscillating):
    r"""Sines of affine maps, :math:`h_{l+1} = \sin(\omega_0 (W_l h_l + b_l))`, from h_0 = o.

    References:
        Romero et al., "CKConv: Continuous Kernel Convolution For Sequential Data", ICLR 2022.
        Sitzmann et al., "Implicit Neural Representations with Periodic Activation Functions",
        NeurIPS 2020 (the start).

    Args:
        spatial_dims: number of spatial dimensions D, 1 to 3.
        out_channels: values C of the kernel at an offset.
        hidden_channels: hidden units.
        hidden_layers: layers of them.
        omega_0: frequency of the sines: the higher, the rougher a kernel starts.

    Example:
        >>> SIREN(spatial_dims=3, out_channels=8)(torch.zeros(27, 3)).shape
        torch.Size([27, 8])
    """

    def __init__(
        self,
        spatial_dims: int,
        out_channels: int,
        hidden_channels: int = 8,
        hidden_layers: int = 1,
        omega_0: float = 10.0,
    ) -> None:
        super().__init__(spatial_dims, out_channels, hidden_channels, hidden_layers, omega_0)
        widths = (spatial_dims, *[hidden_channels] * hidden_layers)
        layers = [nn.Linear(a, b) for a, b in pairwise(widths)]
        self.layers = nn.ModuleList(layers)
        for i, layer in enumerate(layers):
            fan_in = layer.in_features
            bound = math.sqrt(6 / fan_in) / self.omega_0 if i else 1 / fan_in
            nn.init.uniform_(layer.weight, -bound, bound)
            # Phases over a whole turn: sines alone would make every kernel odd.
            nn.init.uniform_(layer.bias, -math.pi / self.omega_0, math.pi / self.omega_0)

    def hidden(self, offsets: Tensor) -> Tensor:
        """Activations (N, hidden_channels) at offsets (N, D)."""
        for layer in self.layers:
            offsets = torch.sin(self.omega_0 * layer(offsets))
        return offsets


class MLPNet(KernelNetwork):
    """Affine maps, each normalised over its units and passed through a GELU.

    Smooth: it starts with little detail and learns it slowly.

    References:
        Romero et al., "CKConv: Continuous Kernel Convolution For Sequential Data", ICLR 2022.

    Args:
        spatial_dims: number of spatial dimensions D, 1 to 3.
        out_channels: values C of the kernel at an offset.
        hidden_channels: hidden units.
        hidden_layers: layers of them.

    Example:
        >>> MLPNet(spatial_dims=2, out_channels=8)(torch.zeros(9, 2)).shape
        torch.Size([9, 8])
    """

    def __init__(
        self,
        spatial_dims: int,
        out_channels: int,
        hidden_channels: int = 16,
        hidden_layers: int = 2,
    ) -> None:
        super().__init__(spatial_dims, out_channels, hidden_channels, hidden_layers)
        self.layers = _gelu_layers((spatial_dims, *[hidden_channels] * hidden_layers))

    def hidden(self, offsets: Tensor) -> Tensor:
        """Activations (N, hidden_channels) at offsets (N, D)."""
        return self.layers(offsets)


def _gelu_layers(widths: tuple[int, ...]) -> nn.Sequential:
    blocks = (
        nn.Sequential(nn.Linear(a, b), nn.LayerNorm(b), nn.GELU()) for a, b in pairwise(widths)
    )
    return nn.Sequential(*blocks)


class RFNet(Oscillating):
    r"""An MLP on random Fourier features, :math:`h_1 = (\cos(Wo + b), \sin(Wo + b))`.

    References:
        Tancik et al., "Fourier Features Let Networks Learn High Frequency Functions in Low
        Dimensional Domains", NeurIPS 2020.

    Args:
        spatial_dims: number of spatial dimensions D, 1 to 3.
        out_channels: values C of the kernel at an offset.
        hidden_channels: hidden units, an even number.
        hidden_layers: layers of them, the Fourier features included.
        omega_0: standard deviation of the frequencies W, in turns from the centre to the border.

    Raises:
        ValueError: if ``hidden_channels`` is odd.

    Example:
        >>> RFNet(spatial_dims=2, out_channels=8)(torch.zeros(9, 2)).shape
        torch.Size([9, 8])
    """

    def __init__(
        self,
        spatial_dims: int,
        out_channels: int,
        hidden_channels: int = 16,
        hidden_layers: int = 1,
        omega_0: float = 0.5,
    ) -> None:
        super().__init__(spatial_dims, out_channels, hidden_channels, hidden_layers, omega_0)
        if hidden_channels % 2:
            raise ValueError(f"hidden_channels must be even, got {hidden_channels}")
        self.frequencies = nn.Linear(spatial_dims, hidden_channels // 2)
        nn.init.normal_(self.frequencies.weight, std=2 * math.pi * self.omega_0)
        nn.init.uniform_(self.frequencies.bias, -math.pi, math.pi)
        self.layers = _gelu_layers((hidden_channels,) * hidden_layers)

    def hidden(self, offsets: Tensor) -> Tensor:
        """Activations (N, hidden_channels) at offsets (N, D)."""
        phases = self.frequencies(offsets)
        return self.layers(torch.cat([phases.cos(), phases.sin()], dim=-1))
