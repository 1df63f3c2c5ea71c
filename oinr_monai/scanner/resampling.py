"""Resampling between any two grids as a linear operator with its exact adjoint."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from oinr_monai.grids.checks import check_one_of
from oinr_monai.grids.grid import Grid
from oinr_monai.grids.positions import Scatter
from oinr_monai.grids.splines import bspline_weights, evaluate

from .forward_model import ForwardModel, along_axes

__all__ = ["Resampling", "share_axes"]

# Knots beyond each border that a cubic spline needs at its outermost places.
HALO = 2


class Resampling(ForwardModel):
    """Values of an image at the voxel centres of another grid, by linear or cubic interpolation.

    Cubic is the B-spline through all samples, mirrored at the outermost of them. Places outside
    the source take the value of the nearest place of its border, so that constants stay constant.
    Where the two grids share their axes, in any order, each axis has one matrix; between oblique
    grids, points are looked up one by one, and linear is by far the faster.

    Args:
        source: grid to sample from.
        target: where to sample.
        order: 1 linear, 3 cubic; the error falls with the power ``order + 1`` of the spacing.

    Raises:
        ValueError: if the grids differ in their number of dimensions, or the order is another.

    Example:
        >>> source = Grid((8, 8), torch.eye(4))
        >>> finer = Resampling(source, source.refine(2))
        >>> finer.forward(torch.arange(8.0).expand(1, 8, 8)).shape
        torch.Size([1, 15, 15])
    """

    def __init__(self, source: Grid, target: Grid, order: Literal[1, 3] = 3) -> None:
        super().__init__(source, target)
        check_one_of("order", order, (1, 3))
        self.order = order
        knots = [_knots(size, order) for size in source.shape]
        self.knots = tuple(len(each) for each in knots)
        self.axes: tuple[int, ...] | None = None
        self.matrices = [_unless_identity(each) for each in knots]
        if (matched := _matched(source, target)) is not None:
            self.axes, places = matched
            taps = [_taps(p, m, order) for p, m in zip(places, knots, strict=True)]
            self.matrices = [_unless_identity(each) for each in taps]
            return
        # Rounding aside, the places are fixed: looked up once for all images.
        points = source.to_voxel(target.points()).flatten(0, -2)
        limits = torch.tensor([size - 1.0 for size in source.shape], dtype=torch.float64)
        points = points.clamp(torch.zeros_like(limits), limits)
        self.points = points + HALO if order == 3 else 2 * points / limits.clamp_min(1) - 1

    def _forward(self, x: Tensor) -> Tensor:
        spread = along_axes(x, self.matrices)
        if self.axes is None:
            return self._looked_up(spread)
        return spread.permute(0, *(1 + d for d in self.axes))

    def _adjoint(self, y: Tensor) -> Tensor:
        transposed = [None if m is None else m.T for m in self.matrices]
        if self.axes is not None:
            inverse = [self.axes.index(d) for d in range(len(self.axes))]
            return along_axes(y.permute(0, *(1 + d for d in inverse)), transposed)
        # Looking up is linear in the knots: its adjoint is its derivative, at any knots.
        with torch.inference_mode(False), torch.enable_grad():
            knots = y.new_zeros(len(y), *self.knots, requires_grad=True)
            (spread,) = torch.autograd.grad(
                self._looked_up(knots), knots, y.clone(), create_graph=y.requires_grad
            )
        return along_axes(spread, transposed)

    def _looked_up(self, knots: Tensor) -> Tensor:
        if self.order == 3:
            places = Scatter(tuple(self.points.to(knots.device).T))
            values = evaluate(knots, places)
            return values.reshape(len(knots), *self.target.shape)
        # grid_sample counts places from -1 to 1, and axes from the last.
        lookup = self.points.flip(-1).reshape(1, *self.target.shape, -1).to(knots)
        return F.grid_sample(knots[None], lookup, padding_mode="border", align_corners=True)[0]


def share_axes(one: Grid, other: Grid) -> bool:
    """Whether the axes of two grids run along each other, in any order and direction.

    Example:
        >>> flipped = torch.diag(torch.tensor([-2.0, 2.0, 2.0, 1.0]))
        >>> share_axes(Grid((4, 4, 4), torch.eye(4)), Grid((9, 9, 9), flipped))
        True
    """
    return _matched(one, other) is not None


def _matched(source: Grid, target: Grid) -> tuple[tuple[int, ...], list[Tensor]] | None:
    """For each axis of the target that of the source along it, and places along the latter's.

    None where the two are oblique to each other.
    """
    for axes in permutations(range(source.spatial_dims)):
        places = target.axes_in(_reordered(source, axes))
        if places is not None:
            return axes, [places[axes.index(d)] for d in range(len(axes))]
    return None


def _reordered(grid: Grid, axes: Sequence[int]) -> Grid:
    affine = grid.affine.clone()
    affine[:, : len(axes)] = grid.affine[:, list(axes)]
    return Grid(tuple(grid.shape[d] for d in axes), affine)


def _unless_identity(matrix: Tensor) -> Tensor | None:
    size, same = len(matrix), matrix.shape[0] == matrix.shape[1]
    eye = torch.eye(size, dtype=matrix.dtype)
    return None if same and torch.allclose(matrix, eye, rtol=0, atol=1e-12) else matrix


def _knots(size: int, order: int) -> Tensor:
    """What makes knots of samples: for order 3 the inverse of sampling, mirrored at both ends."""
    eye = torch.eye(size, dtype=torch.float64)
    if order == 1:
        return eye
    index = torch.arange(-HALO, size + HALO).abs() % max(2 * size - 2, 1)
    mirrored = torch.minimum(index, (2 * size - 2 - index).abs())
    extended = eye[mirrored]
    sampled = (extended[1:-3] + 4 * extended[2:-2] + extended[3:-1]) / 6
    return extended @ torch.linalg.inv(sampled)


def _taps(places: Tensor, knots: Tensor, order: int) -> Tensor:
    """The matrix (places, samples) of interpolation along one axis."""
    samples = knots.shape[1]
    x = places.clamp(0, samples - 1)
    cell = x.floor().clamp(0, max(samples - 2, 0))
    t = x - cell
    first, weights = cell.long(), torch.stack([1 - t, t], dim=-1)
    if order == 3:
        first, weights = first + HALO - 1, bspline_weights(t)
    index = (first[:, None] + torch.arange(weights.shape[1])).clamp_max(len(knots) - 1)
    taps = torch.zeros(len(x), len(knots), dtype=torch.float64).scatter_add(1, index, weights)
    return taps @ knots
