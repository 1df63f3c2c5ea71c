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

__all__ = ["SIREN", "FourierNet", "GaborNet", "KernelNetwork", "MAGNet", "MLPNet", "RFNet"]


class KernelNetwork(nn.Module, ABC):
    """A kernel k(o) with C values, linear in what its hidden units say of the offset o.

    Args:
        spatial_dims: number of spatial dimensions D, 1 to 3.
        out_channels: values C of the kernel at an offset.
        hidden_channels: hidden units.
        hidden_layers: layers of them.

    Raises:
        ValueError: if there are no hidden units or layers.
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


class SIREN(KernelNetwork):
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
        super().__init__(spatial_dims, out_channels, hidden_channels, hidden_layers)
        self.omega_0 = float(omega_0)
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

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments as JSON values, but for the two that a layer decides."""
        return {**super().arguments(), "omega_0": self.omega_0}


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


class RFNet(KernelNetwork):
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
        super().__init__(spatial_dims, out_channels, hidden_channels, hidden_layers)
        if hidden_channels % 2:
            raise ValueError(f"hidden_channels must be even, got {hidden_channels}")
        self.omega_0 = float(omega_0)
        self.frequencies = nn.Linear(spatial_dims, hidden_channels // 2)
        nn.init.normal_(self.frequencies.weight, std=2 * math.pi * self.omega_0)
        nn.init.uniform_(self.frequencies.bias, -math.pi, math.pi)
        self.layers = _gelu_layers((hidden_channels,) * hidden_layers)

    def hidden(self, offsets: Tensor) -> Tensor:
        """Activations (N, hidden_channels) at offsets (N, D)."""
        phases = self.frequencies(offsets)
        return self.layers(torch.cat([phases.cos(), phases.sin()], dim=-1))

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments as JSON values, but for the two that a layer decides."""
        return {**super().arguments(), "omega_0": self.omega_0}


class _MultiplicativeFilters(KernelNetwork):
    r"""Products of filters, :math:`h_{l+1} = g_{l+1}(o) \circ (W_l h_l + b_l)`, from h_0 = g_0(o).

    References:
        Fathony et al., "Multiplicative Filter Networks", ICLR 2021.
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
        self.filters = nn.ModuleList(self._filter(layer) for layer in range(hidden_layers + 1))
        linears = [nn.Linear(hidden_channels, hidden_channels) for _ in range(hidden_layers)]
        self.linears = nn.ModuleList(linears)
        for linear in linears:
            # A sine halves the variance; the bias keeps what earlier filters alone have made.
            nn.init.orthogonal_(linear.weight, gain=math.sqrt(2))
            nn.init.ones_(linear.bias)

    @abstractmethod
    def _filter(self, layer: int) -> nn.Module:
        """A fresh filter g of a layer, from offsets (N, D) to (N, hidden_channels)."""

    def hidden(self, offsets: Tensor) -> Tensor:
        """Activations (N, hidden_channels) at offsets (N, D)."""
        h = self.filters[0](offsets)
        for linear, window in zip(self.linears, self.filters[1:], strict=True):
            h = window(offsets) * linear(h)
        return h

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments as JSON values, but for the two that a layer decides."""
        return {**super().arguments(), "omega_0": self.omega_0}


class FourierNet(_MultiplicativeFilters):
    r"""Multiplicative filter network of sines, :math:`g(o) = \sin(Wo + b)`.

    A sum of sines whose number grows exponentially with the layers.

    References:
        Fathony et al., "Multiplicative Filter Networks", ICLR 2021.

    Args:
        spatial_dims: number of spatial dimensions D, 1 to 3.
        out_channels: values C of the kernel at an offset.
        hidden_channels: hidden units.
        hidden_layers: products after the first filter.
        omega_0: greatest frequency of a filter, in turns from the centre to the border.

    Example:
        >>> FourierNet(spatial_dims=2, out_channels=8)(torch.zeros(9, 2)).shape
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

    def _filter(self, layer: int) -> nn.Module:
        return _Wave(self.spatial_dims, self.hidden_channels, self.omega_0)


class GaborNet(_MultiplicativeFilters):
    r"""Multiplicative filter network of sines under round Gaussian windows.

    .. math:: g(o) = \exp\big(-\tfrac12 \gamma^2 |o - \mu|^2\big) \sin(Wo + b)

    References:
        Fathony et al., "Multiplicative Filter Networks", ICLR 2021.

    Args:
        spatial_dims: number of spatial dimensions D, 1 to 3.
        out_channels: values C of the kernel at an offset.
        hidden_channels: hidden units.
        hidden_layers: products after the first filter.
        omega_0: greatest frequency of a filter of unit width, in turns from centre to border.

    Example:
        >>> GaborNet(spatial_dims=2, out_channels=8)(torch.zeros(9, 2)).shape
        torch.Size([9, 8])
    """

    def __init__(
        self,
        spatial_dims: int,
        out_channels: int,
        hidden_channels: int = 16,
        hidden_layers: int = 1,
        omega_0: float = 0.25,
    ) -> None:
        super().__init__(spatial_dims, out_channels, hidden_channels, hidden_layers, omega_0)

    def _filter(self, layer: int) -> nn.Module:
        wave = _Wave(self.spatial_dims, self.hidden_channels, self.omega_0)
        return _Gabor(wave, widths=1, shape=GABOR_SHAPE / (self.hidden_layers + 1), steerable=False)


class MAGNet(_MultiplicativeFilters):
    r"""Multiplicative filter network of sines under anisotropic Gaussian windows.

    .. math:: g(o) = \exp\big(-\tfrac12 |\gamma \circ R (o - \mu)|^2\big) \sin(Wo + b)

    Each axis has a width of its own; steerable windows also turn, by a learned rotation R. Later
    layers start with wider windows.

    References:
        Romero et al., "FlexConv: Continuous Kernel Convolutions with Differentiable Kernel Sizes",
        ICLR 2022.

    Args:
        spatial_dims: number of spatial dimensions D, 1 to 3.
        out_channels: values C of the kernel at an offset.
        hidden_channels: hidden units.
        hidden_layers: products after the first filter.
        omega_0: greatest frequency of a filter of unit width, in turns from centre to border.
        steerable: whether the windows turn.

    Example:
        >>> MAGNet(spatial_dims=3, out_channels=8, steerable=True)(torch.zeros(27, 3)).shape
        torch.Size([27, 8])
    """

    def __init__(
        self,
        spatial_dims: int,
        out_channels: int,
        hidden_channels: int = 16,
        hidden_layers: int = 1,
        omega_0: float = 0.25,
        steerable: bool = False,
    ) -> None:
        self.steerable = steerable
        super().__init__(spatial_dims, out_channels, hidden_channels, hidden_layers, omega_0)

    def _filter(self, layer: int) -> nn.Module:
        wave = _Wave(self.spatial_dims, self.hidden_channels, self.omega_0)
        return _Gabor(wave, self.spatial_dims, GABOR_SHAPE / (layer + 1), self.steerable)

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments as JSON values, but for the two that a layer decides."""
        return {**super().arguments(), "steerable": self.steerable}


# Shape of the Gamma distribution that windows draw their sharpness from, over the layers.
GABOR_SHAPE = 6.0


class _Wave(nn.Module):
    """Sines of affine maps of the offset, of up to ``omega_0`` turns."""

    def __init__(self, spatial_dims: int, channels: int, omega_0: float) -> None:
        super().__init__()
        self.linear = nn.Linear(spatial_dims, channels)
        bound = 2 * math.pi * omega_0 / spatial_dims
        nn.init.uniform_(self.linear.weight, -bound, bound)
        nn.init.uniform_(self.linear.bias, -math.pi, math.pi)

    def forward(self, offsets: Tensor) -> Tensor:
        return torch.sin(self.linear(offsets))


class _Gabor(nn.Module):
    """A wave under a Gaussian window of ``widths`` widths, 1 for all axes or one for each."""

    def __init__(self, wave: _Wave, widths: int, shape: float, steerable: bool) -> None:
        super().__init__()
        channels, dims = wave.linear.weight.shape
        self.wave = wave
        self.centre = nn.Parameter(torch.empty(channels, dims).uniform_(-1, 1))
        sharpness = torch.distributions.Gamma(shape, 1.0).sample((channels, widths))
        self.sharpness = nn.Parameter(sharpness)
        with torch.no_grad():
            # Sharper windows hold faster waves.
            wave.linear.weight.mul_(self.sharpness)
        angles = torch.empty(channels, dims * (dims - 1) // 2).uniform_(-math.pi, math.pi)
        self.turns = nn.Parameter(angles) if steerable and dims > 1 else None

    def forward(self, offsets: Tensor) -> Tensor:
        away = offsets[:, None] - self.centre
        if self.turns is not None:
            away = torch.einsum("cij,ncj->nci", _rotation(self.turns, away.shape[2]), away)
        return torch.exp(-0.5 * (self.sharpness * away).square().sum(-1)) * self.wave(offsets)


def _rotation(turns: Tensor, dims: int) -> Tensor:
    # The exponential of a skew matrix is a rotation, in any number of dimensions.
    skew = turns.new_zeros(turns.shape[0], dims, dims)
    pairs = torch.triu_indices(dims, dims, offset=1)
    skew[:, pairs[0], pairs[1]], skew[:, pairs[1], pairs[0]] = turns, -turns
    return torch.linalg.matrix_exp(skew)
