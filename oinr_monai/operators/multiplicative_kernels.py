"""Kernels by multiplied filters: Fourier, Gabor and anisotropic Gabor networks."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from .kernels import Oscillating

__all__ = ["FourierNet", "GaborNet", "MAGNet"]


class _MultiplicativeFilters(Oscillating):
    r"""Products of filters, :math:`h_{l+1} = g_{l+1}(o) \circ (W_l h_l + b_l)`, from h_0 = g_0(o).

    References:
        Fathony et al., "Multiplicative Filter Networks", ICLR 2021.
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


# Shape of the Gamma distribution that windows draw their sharpness from: that from which Fathony et
# al. draw its square, divided by the number of layers, and Romero et al. itself, by the layer's.
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
        # Unchecked, since a check would read numbers that the meta device does not have.
        gamma = torch.distributions.Gamma(
            torch.full((channels, widths), shape), torch.ones(()), validate_args=False
        )
        self.sharpness = nn.Parameter(gamma.sample())
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
