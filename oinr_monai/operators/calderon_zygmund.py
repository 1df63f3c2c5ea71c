"""Calderon-Zygmund operators in the non-standard wavelet form, as networks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from monai.networks.layers.factories import Conv
from monai.networks.layers.utils import get_act_layer
from torch import Tensor, nn

from .conv import LatticeOperator
from .wavelets import analyse, check_levels, min_size, synthesise

__all__ = ["CZOINR", "DenseMaps", "FlatCZOINR", "NonStandardForm", "UnsharedBands"]

BAND = 3
_PUBLISHED_LAYERS = 4


class NonStandardForm(nn.Module):
    r"""The non-standard form of an operator: a banded map per level, a dense one at the coarsest.

    With :math:`(d_j, s_j)` the details and the approximation of level j, and :math:`s_0 = u`,

    .. math:: (\hat d_j, \hat s_j) = B_j(d_j, s_j), \qquad
              v_J = T(s_J), \qquad v_{j-1} = W^{-1}(\hat d_j, \hat s_j + v_j), \qquad Ku = v_0.

    For a linear Calderon-Zygmund operator the blocks of :math:`B_j` decay away from their diagonal
    like a power that grows with the vanishing moments of the wavelet, so that a band of fixed
    width, at a cost linear in the samples, keeps any wanted precision. Odd axes are cropped on the
    way up.

    References:
        Beylkin, Coifman and Rokhlin, "Fast Wavelet Transforms and Numerical Algorithms I",
        Communications on Pure and Applied Mathematics 1991.

    Args:
        wave: name of a discrete wavelet of PyWavelets.
        bands: a map of (B, C 2^D, *half) to (B, C' 2^D, *half) per level, finest first; the
            subbands of a channel lie side by side, its approximation first.
        coarsest: a map of the last approximation, (B, C, *coarsest) to (B, C', *coarsest).

    Example:
        >>> form = NonStandardForm("haar", [nn.Conv1d(2, 2, 3, padding=1)], nn.Identity())
        >>> form(torch.zeros(1, 1, 7)).shape
        torch.Size([1, 1, 7])
    """

    def __init__(self, wave: str, bands: Iterable[nn.Module], coarsest: nn.Module) -> None:
        super().__init__()
        self.wave = wave
        self.bands = nn.ModuleList(bands)
        self.coarsest = coarsest

    def forward(self, u: Tensor) -> Tensor:
        """Map (B, C, *spatial) to (B, C', *spatial)."""
        shapes, outputs = [], []
        for band in self.bands:
            shapes.append(u.shape[2:])
            subbands = analyse(u, self.wave, len(shapes[-1]))
            outputs.append(band(subbands.flatten(1, 2)).unflatten(1, (-1, subbands.shape[2])))
            u = subbands[:, :, 0]
        v = self.coarsest(u)
        for shape, output in zip(reversed(shapes), reversed(outputs), strict=True):
            approximation = output[:, :, :1] + v.unsqueeze(2)
            v = synthesise(torch.cat([approximation, output[:, :, 1:]], 2), self.wave, shape)
        return v

    def extra_repr(self) -> str:
        """Wavelet, for ``print``."""
        return f"wave={self.wave}"


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
        >>> network = CZOINR(spatial_dims=3, in_channels=12, out_channels=1, channels=4, levels=2)
        >>> network(torch.zeros(1, 12, 16, 17, 18)).shape
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
        self.sigma = get_act_layer(act)
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
        check_levels(self.levels, field.shape[2:], self.wave)
        return self.sigma(self.mix(self.operator(self.sigma(self.lift(field)))))

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments as JSON values, from which the network is built again."""
        return {
            "spatial_dims": self.spatial_dims,
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            "channels": self.channels,
            "levels": self.levels,
            "wave": self.wave,
            "act": as_json(self.act),
        }


class FlatCZOINR(LatticeOperator):
    r"""The published Calderon-Zygmund O-INR: every lattice is one long sequence.

    The field is flattened, so that neighbours along all axes but the last are far apart. Each of
    K latent channels passes K operators of its own in non-standard form, without sharing,

    .. math:: h = \sigma(W f), \qquad F = P g, \qquad g_d = \sum_k T_{dk} h_k

    whose maps are four layers, each followed by :math:`\sigma`: bands of width 3 on details and
    approximation, their weights constant in each of ``pieces`` stretches of the signal, and dense
    matrices at the coarsest level. Start, zero padding of the bands and sizes are those published.

    It serves the one shape it was built for, in tracing and ``torch.export`` as well; TorchScript
    cannot compile the wavelets. Odd lengths are cropped at their end, not at their beginning as the
    published code does.

    References:
        Pal et al., "Implicit Representations via Operator Learning", ICML 2024; its operator is
        that of Pal et al., "Controlled Differential Equations on Long Sequences via Non-standard
        Wavelets", ICML 2023.

    Args:
        shape: size of the lattice along each of its D axes.
        in_channels: channels E of the input function.
        out_channels: channels C of the signal.
        channels: latent channels K.
        levels: levels of the wavelet transform.
        wave: name of a discrete wavelet of PyWavelets.
        pieces: stretches of the signal with weights of their own.
        act: activation, as MONAI names it.

    Raises:
        ValueError: if the lattice is too small for ``levels`` or ``pieces``, or the wavelet
            unknown.

    Example:
        >>> network = FlatCZOINR((16, 16), in_channels=5, out_channels=1, channels=2, levels=4)
        >>> network(torch.zeros(1, 5, 16, 16)).shape
        torch.Size([1, 1, 16, 16])
    """

    def __init__(
        self,
        shape: Sequence[int],
        in_channels: int,
        out_channels: int,
        channels: int = 20,
        levels: int = 10,
        wave: str = "db2",
        pieces: int = 6,
        act: str | tuple[str, dict[str, Any]] = "relu",
    ) -> None:
        super().__init__()
        length = math.prod(shape)
        check_levels(levels, (length,), wave)
        coarsest = -(-length // 2**levels)
        if not 1 <= pieces <= coarsest:
            raise ValueError(
                f"pieces must be 1 to {coarsest}, the coarsest length, got {pieces}; "
                "use fewer pieces or levels"
            )
        self.shape, self.spatial_dims = tuple(shape), len(shape)
        self.in_channels, self.out_channels, self.channels = in_channels, out_channels, channels
        self.levels, self.wave, self.pieces, self.act = levels, wave, pieces, act
        self.lift = nn.Linear(in_channels, channels, bias=False)
        self.sigma = get_act_layer(act)
        bands = [_stack(act, channels, partial(UnsharedBands, pieces)) for _ in range(levels)]
        dense = _stack(act, channels, partial(DenseMaps, coarsest))
        self.operator = NonStandardForm(wave, bands, dense)
        self.project = mixing(len(shape), channels, out_channels, bias=False)

    def hidden(self, field: Tensor) -> Tensor:
        """Map a field (B, E, *shape) to the last activations (B, channels, *shape).

        Raises:
            ValueError: if the field has another shape.
        """
        if field.shape[2:] != self.shape:
            raise ValueError(
                f"field must have shape {self.shape}, got {tuple(field.shape[2:])}; "
                "build a network for each shape"
            )
        h = self.sigma(self.lift(field.flatten(2).mT)).mT
        g = self.operator(h).unflatten(1, (self.channels, self.channels)).sum(1)
        return g.unflatten(2, self.shape)

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments as JSON values, from which the network is built again."""
        return {
            "shape": list(self.shape),
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            "channels": self.channels,
            "levels": self.levels,
            "wave": self.wave,
            "pieces": self.pieces,
            "act": as_json(self.act),
        }


class UnsharedBands(nn.Module):
    r"""Bands of width 3 whose weights are constant in each of P stretches of the signal.

    .. math:: y_{o,i} = b_{p,o} + \sum_{c,t} w_{p,o,c,t} u_{c,i+t-1}, \qquad
              p = \min(\lfloor i / \lfloor n / P \rfloor \rfloor, P - 1)

    One grouped convolution does all stretches, overlapping by the width; no weight is repeated.

    Args:
        pieces: number of stretches P, at most n.
        groups: channels k, of two subbands each, that do not mix.
        copies: maps that each of them passes; copy d of channel k comes out at k copies + d.

    Example:
        >>> UnsharedBands(pieces=3, groups=2, copies=5)(torch.zeros(1, 4, 11)).shape
        torch.Size([1, 20, 11])
    """

    def __init__(self, pieces: int, groups: int, copies: int) -> None:
        super().__init__()
        self.pieces, self.groups = pieces, groups
        outputs = 2 * groups * copies
        self.weight = nn.Parameter(torch.empty(pieces, outputs, 2, BAND))
        self.bias = nn.Parameter(0.02 * torch.randn(pieces, outputs))
        # The published fan-out, which counts the copies and the pieces.
        fan_out = outputs * 2 * pieces * BAND / math.isqrt(groups * copies)
        nn.init.normal_(self.weight, std=math.sqrt(2 / fan_out))

    def forward(self, u: Tensor) -> Tensor:
        """Map (B, 2 groups, n) to (B, 2 groups copies, n)."""
        # Tracing has no divmod.
        step, rest = u.shape[-1] // self.pieces, u.shape[-1] % self.pieces
        windows = F.pad(u, (1, 1)).unfold(-1, step + rest + 2, step)
        windows = windows.transpose(1, 2).flatten(1, 2)
        weight, groups = self.weight.flatten(0, 1), self.pieces * self.groups
        parts = F.conv1d(windows, weight, self.bias.flatten(), groups=groups)
        parts = parts.unflatten(1, (self.pieces, -1))
        # All stretches are computed as long as the last, which has the remainder.
        return torch.cat([parts[:, :-1, :, :step].transpose(1, 2).flatten(2), parts[:, -1]], 2)

    def extra_repr(self) -> str:
        """Pieces and channels, for ``print``."""
        return f"pieces={self.pieces}, groups={self.groups}, outputs={self.weight.shape[1]}"


class DenseMaps(nn.Module):
    """A dense matrix for each channel, in place of the bands at the coarsest level.

    Args:
        size: samples n of the coarsest level.
        groups: channels, which do not mix.
        copies: maps that each of them passes; copy d of channel k comes out at k copies + d.

    Example:
        >>> DenseMaps(size=7, groups=2, copies=5)(torch.zeros(1, 2, 7)).shape
        torch.Size([1, 10, 7])
    """

    def __init__(self, size: int, groups: int, copies: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(groups, copies, size, size))
        fan_out = math.isqrt(groups * copies) * size**2
        nn.init.normal_(self.weight, std=math.sqrt(2 / fan_out))

    def forward(self, u: Tensor) -> Tensor:
        """Map (B, groups, n) to (B, groups copies, n)."""
        return torch.einsum("gcij,bgj->bgci", self.weight, u).flatten(1, 2)


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
        self.sigma = get_act_layer(act)
        omega, bound = _frequency(self.sigma), math.sqrt(6 / width)
        _draw(self.mixes[0], bound / omega, math.pi / omega)
        _draw(self.mixes[1], 0.1 * bound, phase=0.0)

    def forward(self, u: Tensor) -> Tensor:
        h = self.sigma(self.mixes[0](self.bands[0](u / self.scale)))
        return self.scale * self.mixes[1](self.bands[1](h))


def _band(spatial_dims: int, width: int, groups: int) -> nn.Module:
    # Periodic as the wavelets; the start keeps the variance.
    band = Conv[Conv.CONV, spatial_dims](
        width, width, BAND, padding=1, padding_mode="circular", groups=groups, bias=False
    )
    bound = math.sqrt(3 / band.weight[0].numel())
    nn.init.uniform_(band.weight, -bound, bound)
    return band


def mixing(spatial_dims: int, before: int, after: int, bias: bool = True) -> nn.Module:
    return Conv[Conv.CONV, spatial_dims](before, after, 1, bias=bias)


def _stack(
    act: str | tuple[str, dict[str, Any]],
    channels: int,
    layer: Callable[[int, int], nn.Module],
) -> nn.Sequential:
    # The first layer makes the K operators of each of K channels; the others keep them apart.
    layers = [layer(channels, channels)]
    layers += [layer(channels**2, 1) for _ in range(_PUBLISHED_LAYERS - 1)]
    return nn.Sequential(*(m for each in layers for m in (each, get_act_layer(act))))


def _frequency(act: nn.Module) -> float:
    return float(getattr(act, "omega_0", 1.0))


@torch.no_grad()
def _draw(layer: nn.Module, bound: float, phase: float) -> None:
    weight, bias = layer.parameters()
    weight.uniform_(-bound, bound)
    bias.uniform_(-phase, phase)


def as_json(act: str | tuple[str, dict[str, Any]]) -> str | list[Any]:
    return act if isinstance(act, str) else list(act)
