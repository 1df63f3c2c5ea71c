"""Calderon-Zygmund operators in the non-standard wavelet form."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .non_standard_form import BAND, CONVOLUTIONS, NonStandardForm, activation, as_json, mixing
from .operator import LatticeOperator
from .wavelets import check_levels, min_size

__all__ = ["CZOINR"]


class CZOINR(LatticeOperator):
    r"""Calderon-Zygmund O-INR in one, two or three dimensions, with wavelets along every axis.

    .. math:: h = \sigma(W f + b), \qquad F = P \sigma(M K h + c) + q

    where K is a :class:`NonStandardForm`. Its maps are periodic convolutions of width 3 across the
    2^D subbands of each channel, a matrix that mixes the channels, :math:`\sigma`, and both again.
    They hold at any place, so that lattices of any size pass; the cost is linear in the samples.

    An answer depends on the whole lattice, which the wavelets continue periodically. The start is
    that of :class:`~oinr_monai.ConvOINR`, on subbands scaled so that a constant keeps its
    value on every level. Tracing and ``torch.export`` fix the size of the lattice, because an odd
    axis takes another path; TorchScript cannot compile the wavelets.

    References:
        Pal et al., "Implicit Representations via Operator Learning", ICML 2024.

    Args:
        spatial_dims: number of spatial dimensions D, 1 to 3.
        in_channels: channels E of the input function.
        out_channels: channels C of the signal.
        channels: channels of K.
        levels: levels of the wavelet transform.
        wave: name of a discrete wavelet of PyWavelets.
        act: activation, as MONAI names it.

    Raises:
        ValueError: if ``spatial_dims`` is not 1 to 3, ``levels`` below 1, or the wavelet unknown.

    Example:
        >>> operator = CZOINR(spatial_dims=3, in_channels=12, out_channels=1, channels=4, levels=2)
        >>> operator(torch.zeros(1, 12, 16, 17, 18)).shape
        torch.Size([1, 1, 16, 17, 18])
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        channels: int = 16,
        levels: int = 4,
        wave: str = "db2",
        act: str | tuple[str, dict[str, Any]] = ("sine", {"omega_0": 30.0}),
    ) -> None:
        super().__init__()
        if spatial_dims not in (1, 2, 3):
            raise ValueError(f"spatial_dims must be 1, 2 or 3, got {spatial_dims}")
        self.min_size = min_size(levels, wave)
        self.spatial_dims, self.in_channels, self.out_channels = (
            spatial_dims,
            in_channels,
            out_channels,
        )
        self.channels, self.levels, self.wave, self.act = channels, levels, wave, act
        self.lift = mixing(spatial_dims, in_channels, channels)
        self.sigma = activation(act)
        bands = [_SharedBands(spatial_dims, channels, j, act) for j in range(1, levels + 1)]
        coarsest = _SharedBands(spatial_dims, channels, levels, act, subbands=1)
        self.operator = NonStandardForm(wave, bands, coarsest)
        self.mix = mixing(spatial_dims, channels, channels)
        self.project = mixing(spatial_dims, channels, out_channels)
        self._start()

    def _start(self) -> None:
        omega = _frequency(self.sigma)
        _draw(self.lift, 1 / self.in_channels, math.pi / omega)
        _draw(self.mix, math.sqrt(6 / self.channels) / omega, math.pi / omega)
        _draw(self.project, 0.1 * math.sqrt(6 / self.channels), phase=0.0)

    def hidden(self, field: Tensor) -> Tensor:
        """Map a field (B, E, *spatial) to the last activations (B, channels, *spatial).

        Raises:
            ValueError: if an axis is shorter than ``min_size``.
        """
        self.check_lattice(field.shape[2:])
        return self.sigma(self.mix(self.operator(self.sigma(self.lift(field)))))

    def check_lattice(self, shape: Sequence[int]) -> None:
        """Raise ValueError if an axis is shorter than ``min_size``, or there are too many."""
        super().check_lattice(shape)
        check_levels(self.levels, shape, self.wave)

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments as JSON values, from which the operator is built again."""
        return {
            "spatial_dims": self.spatial_dims,
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            "channels": self.channels,
            "levels": self.levels,
            "wave": self.wave,
            "act": as_json(self.act),
        }


class _SharedBands(nn.Module):
    # Convolutions within each channel, a matrix across the channels, and both again.
    def __init__(
        self,
        spatial_dims: int,
        channels: int,
        level: int,
        act: str | tuple[str, dict[str, Any]],
        subbands: int | None = None,
    ) -> None:
        super().__init__()
        # An approximation grows by sqrt(2) per axis and level, and the synthesis undoes it.
        self.scale = 2 ** (level * spatial_dims / 2)
        width = channels * (subbands or 2**spatial_dims)
        self.bands = nn.ModuleList(_band(spatial_dims, width, channels) for _ in range(2))
        self.mixes = nn.ModuleList(mixing(spatial_dims, width, width) for _ in range(2))
        self.sigma = activation(act)
        omega, bound = _frequency(self.sigma), math.sqrt(6 / width)
        _draw(self.mixes[0], bound / omega, math.pi / omega)
        _draw(self.mixes[1], 0.1 * bound, phase=0.0)

    def forward(self, u: Tensor) -> Tensor:
        h = self.sigma(self.mixes[0](self.bands[0](u / self.scale)))
        return self.scale * self.mixes[1](self.bands[1](h))


def _band(spatial_dims: int, width: int, groups: int) -> nn.Module:
    # Periodic as the wavelets; the start keeps the variance.
    band = CONVOLUTIONS[spatial_dims](
        width, width, BAND, padding=1, padding_mode="circular", groups=groups, bias=False
    )
    bound = math.sqrt(3 / band.weight[0].numel())
    nn.init.uniform_(band.weight, -bound, bound)
    return band


def _frequency(act: nn.Module) -> float:
    return float(getattr(act, "omega_0", 1.0))


@torch.no_grad()
def _draw(layer: nn.Module, bound: float, phase: float) -> None:
    weight, bias = layer.parameters()
    weight.uniform_(-bound, bound)
    bias.uniform_(-phase, phase)
