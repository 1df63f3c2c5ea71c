"""The Calderon-Zygmund operator as published: wavelet bands mixed densely."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .non_standard_form import BAND, NonStandardForm, activation, as_json, mixing
from .operator import LatticeOperator
from .wavelets import check_levels

__all__ = ["DenseMaps", "FlatCZOINR", "UnsharedBands"]

# Layers of every map, as published.
_PUBLISHED_LAYERS = 4


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
        >>> operator = FlatCZOINR((16, 16), in_channels=5, out_channels=1, channels=2, levels=4)
        >>> operator(torch.zeros(1, 5, 16, 16)).shape
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
        self.sigma = activation(act)
        bands = [_stack(act, channels, partial(UnsharedBands, pieces)) for _ in range(levels)]
        dense = _stack(act, channels, partial(DenseMaps, coarsest))
        self.operator = NonStandardForm(wave, bands, dense)
        self.project = mixing(len(shape), channels, out_channels, bias=False)

    def hidden(self, field: Tensor) -> Tensor:
        """Map a field (B, E, *shape) to the last activations (B, channels, *shape).

        Raises:
            ValueError: if the field has another shape.
        """
        self.check_lattice(field.shape[2:])
        h = self.sigma(self.lift(field.flatten(2).mT)).mT
        g = self.operator(h).unflatten(1, (self.channels, self.channels)).sum(1)
        return g.unflatten(2, self.shape)

    def check_lattice(self, shape: Sequence[int]) -> None:
        """Raise ValueError if the shape is another than the operator was built for."""
        if tuple(shape) != self.shape:
            raise ValueError(
                f"field must have shape {self.shape}, got {tuple(shape)}; "
                "build an operator for each shape"
            )

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments as JSON values, from which the operator is built again."""
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


def _stack(
    act: str | tuple[str, dict[str, Any]],
    channels: int,
    layer: Callable[[int, int], nn.Module],
) -> nn.Sequential:
    # The first layer makes the K operators of each of K channels; the others keep them apart.
    layers = [layer(channels, channels)]
    layers += [layer(channels**2, 1) for _ in range(_PUBLISHED_LAYERS - 1)]
    return nn.Sequential(*(m for each in layers for m in (each, activation(act))))
