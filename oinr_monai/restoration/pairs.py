"""Pairs to learn super-resolution from, made of the one image: its sharp axes seen as thick slices.

An estimate of the fine image is degraded along a sharp axis as the scanner degraded the thick one,
and what was lost is what the operator has to find. The estimate needs to be good only across that
axis: along it, it is the image itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from oinr_monai.grids.grid import Grid
from oinr_monai.scanner.forward_model import along_axes
from oinr_monai.scanner.profiles import SliceProfile
from oinr_monai.scanner.resampling import Resampling
from oinr_monai.scanner.slices import SliceStack, thick_grid

__all__ = ["AxisModel", "Pair", "draw_patches", "resample_axis", "rotated", "scored"]

# Coarse voxels that a patch may hold, and the longest side of one; these three are chosen by hand.
PATCH_PLACES, PATCH_SIDE = 8_000, 20

# Fine voxels at the border of a patch that are not scored: beyond it, the operator saw zeros.
MARGIN = 3

# Draws of a place until one is taken, however little there is to learn at it.
PATIENCE = 8


@dataclass(frozen=True)
class AxisModel:
    """How fine values along one axis were seen as coarse ones, and a first guess of the way back.

    Args:
        coarse: matrix from fine to coarse values (m, n).
        guess: matrix from coarse to fine values (n, m): the cubic B-spline through the coarse
            values, corrected so that it would be seen as them.
        back: matrix (n, m) of the smallest fine values that are seen as given coarse ones.
    """

    coarse: Tensor
    guess: Tensor
    back: Tensor

    @classmethod
    def of(cls, count: int, spacing: float, factor: int, profile: SliceProfile) -> AxisModel:
        """The model of ``count`` coarse voxels, ``spacing`` mm apart, of ``factor`` fine ones each.

        Example:
            >>> from oinr_monai.scanner.profiles import Boxcar
            >>> model = AxisModel.of(count=5, spacing=3.0, factor=3, profile=Boxcar(3.0))
            >>> torch.allclose(model.coarse @ model.guess, torch.eye(5).double(), atol=1e-9)
            True
        """
        step = torch.diag(torch.tensor([spacing / factor, 1.0, 1.0, 1.0], dtype=torch.float64))
        fine = Grid((count * factor,), step)
        thick = thick_grid(fine, 0, spacing)
        stack = SliceStack(fine, thick, 0, profile)
        each = torch.eye(count, dtype=torch.float64)
        spline = Resampling(thick, fine).forward(each)
        seen = stack.forward(torch.eye(fine.shape[0], dtype=torch.float64)).T
        nothing = each.new_zeros(count, fine.shape[0])
        return cls(seen, stack.project(spline, each).T, stack.project(nothing, each).T)


@dataclass(frozen=True)
class Pair:
    """A coarse image and what its first guess misses.

    Args:
        coarse: (C, *coarse).
        missing: fine image less the guess from the coarse one (C, *fine).
        factor: fine voxels in a coarse one along each axis.
    """

    coarse: Tensor
    missing: Tensor
    factor: tuple[int, ...]

    @classmethod
    def of(cls, fine: Tensor, models: Sequence[AxisModel | None], factor: Sequence[int]) -> Pair:
        """The pair of a fine image (C, *fine); axes without a model stay as they are."""
        coarse = along_axes(fine, [None if m is None else m.coarse for m in models])
        guess = along_axes(coarse, [None if m is None else m.guess for m in models])
        return cls(coarse, fine - guess, tuple(factor))

    def patch(self, corner: Sequence[int], size: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The part of both that begins at a coarse voxel, (C, *size) and (C, *size * factor)."""
        box = list(zip(corner, size, self.factor, strict=True))
        near = tuple(slice(i, i + n) for i, n, _ in box)
        fine = tuple(slice(i * f, (i + n) * f) for i, n, f in box)
        return self.coarse[(slice(None), *near)], self.missing[(slice(None), *fine)]

    def worth(self, corner: Sequence[int], size: Sequence[int]) -> float:
        """Mean of what is missing in the patch that begins at a coarse voxel, without its sign."""
        ends = [(i, i + n) for i, n in zip(corner, size, strict=True)]
        total = 0.0
        for which in product((0, 1), repeat=len(ends)):
            at = tuple(end[i] for end, i in zip(ends, which, strict=True))
            total += (-1) ** (len(ends) - sum(which)) * float(self._sums[at])
        return total / (len(self.missing) * math.prod(size) * math.prod(self.factor))

    @cached_property
    def _sums(self) -> NDArray[np.float64]:
        """Sums of what is missing before each coarse voxel, on the host: steps wait for none."""
        sums = self.missing.abs().double().sum(dim=0)
        for axis, factor in enumerate(self.factor):
            sums = sums.unflatten(axis, (-1, factor)).sum(dim=axis + 1)
        found = np.pad(sums.cpu().numpy(), [(1, 0)] * sums.ndim)
        for axis in range(found.ndim):
            found = found.cumsum(axis=axis)
        return found


def draw_patches(
    pairs: Sequence[Pair],
    generator: torch.Generator,
    mirrors: Sequence[int],
    swaps: Sequence[tuple[int, int]],
    side: int | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Random patches without end, mirrored at random; where more is missing, more are drawn.

    Args:
        pairs: to draw from.
        generator: source of randomness.
        mirrors: spatial axes that are mirrored at random.
        swaps: spatial axes that are alike, exchanged at random.
        side: coarse voxels along each side of a patch; by default what there is memory for.

    Returns:
        Coarse values (1, C, *coarse) and missing ones (1, C, *fine), without end.
    """
    typical = sum(torch.stack([pair.missing.abs().mean() for pair in pairs]).tolist()) / len(pairs)
    while True:
        pair = pairs[int(torch.randint(len(pairs), (), generator=generator))]
        coarse, missing = _worthwhile(pair, typical, generator, side)
        chosen = (torch.rand(len(mirrors) + len(swaps), generator=generator) < 0.5).tolist()
        flips = [d + 1 for d, turned in zip(mirrors, chosen, strict=False) if turned]
        coarse, missing = coarse.flip(flips), missing.flip(flips)
        for (one, other), turned in zip(swaps, chosen[len(mirrors) :], strict=True):
            if turned:
                coarse = coarse.transpose(one + 1, other + 1)
                missing = missing.transpose(one + 1, other + 1)
        yield coarse[None], missing[None]


def _worthwhile(
    pair: Pair, typical: float, generator: torch.Generator, side: int | None
) -> tuple[Tensor, Tensor]:
    shape = pair.coarse.shape[1:]
    side = side or (PATCH_SIDE if len(shape) == 3 else round(PATCH_PLACES**0.5))
    size = [min(side, n) for n in shape]
    for _ in range(PATIENCE):
        corner = [
            int(torch.randint(n - w + 1, (), generator=generator))
            for n, w in zip(shape, size, strict=True)
        ]
        worth = pair.worth(corner, size)
        if worth >= typical * float(torch.rand((), generator=generator)):
            break
    return pair.patch(corner, size)


def scored(values: Tensor, factor: Sequence[int]) -> Tensor:
    """The inner part of fine values (B, C, *fine), away from the borders of their patch."""
    window = []
    for n, f in zip(values.shape[2:], factor, strict=True):
        edge = min(MARGIN if f == 1 else f, (n // f - 1) // 2 * f)
        window.append(slice(edge, n - edge))
    return values[(slice(None), slice(None), *window)]


def resample_axis(values: Tensor, axis: int, before: float, after: float) -> Tensor:
    """Values (C, *spatial) along one spatial axis at another spacing in mm, by cubic B-splines."""
    if math.isclose(before, after, rel_tol=1e-3):
        return values
    step = torch.diag(torch.tensor([before, 1.0, 1.0, 1.0], dtype=torch.float64))
    source = Grid((values.shape[axis + 1],), step)
    matrix = Resampling(source, source.with_spacing(after)).matrices[0]
    matrices: list[Tensor | None] = [None] * (values.ndim - 1)
    matrices[axis] = matrix
    return along_axes(values, matrices)


def rotated(values: Tensor, angle: float) -> Tensor:
    """Values (C, X, Y, Z) turned by an angle within the planes of the first two axes."""
    channels, size = values.shape[0], values.shape[1:3]
    cos, sin = math.cos(angle), math.sin(angle)
    ratio = size[0] / size[1]
    turn = torch.tensor([[[cos, -sin * ratio, 0.0], [sin / ratio, cos, 0.0]]])
    planes = values.permute(0, 3, 1, 2).flatten(0, 1)[None]
    places = F.affine_grid(turn, [1, 1, *size], align_corners=False).to(values)
    looked = F.grid_sample(planes, places, "bicubic", "border", align_corners=False)[0]
    return looked.unflatten(0, (channels, -1)).permute(0, 2, 3, 1)
