"""Vectors at the knots of a grid, a cubic spline between them, and bounds of its slope."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from oinr_monai.grids.checks import check_shape
from oinr_monai.grids.grid import Grid
from oinr_monai.grids.positions import Lattice, Positions, Scatter
from oinr_monai.grids.splines import interpolating_coefficients, jet

__all__ = ["VectorSpline"]


@dataclass(frozen=True, eq=False)
class VectorSpline:
    r"""A vector at each place, in world mm: :math:`u(x) = \sum_k c_k \beta^3(A^{-1} x - k)`.

    Its domain are the places that have all their knots, from the second to the last but one along
    each axis; farther out it goes on with its value there.

    Args:
        coefficients: one vector in world mm for each knot, (D, *grid.shape).
        grid: where the knots lie; four along each axis at least.

    Raises:
        ValueError: if the shapes disagree, a number is not finite or there are too few knots.
    """

    coefficients: Tensor
    grid: Grid

    def __post_init__(self) -> None:
        values = torch.as_tensor(self.coefficients).detach().cpu().double().contiguous()
        check_shape("coefficients", values, (self.grid.spatial_dims, *self.grid.shape))
        if min(self.grid.shape) < 4:
            raise ValueError(f"grid must have 4 knots along each axis, got {self.grid.shape}")
        if not bool(torch.isfinite(values).all()):
            raise ValueError("coefficients must be finite, got NaN or infinite numbers")
        object.__setattr__(self, "coefficients", values)

    @classmethod
    def through(cls, vectors: Tensor, grid: Grid) -> VectorSpline:
        """The spline through vectors (D, *grid.shape) in mm at the voxel centres of a grid."""
        return cls(interpolating_coefficients(vectors.double(), halo=1), grid.pad(1))

    def at(self, points: Tensor) -> Tensor:
        """Vectors (N, D) at world points (N, D)."""
        return self._jet(self._scatter(points), 0)[0].T

    def jet_at(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors (N, D) at world points (N, D), and their derivatives by the place (N, D, D)."""
        found = self._jet(self._scatter(points), 1)
        return found[0].T, self._in_the_world(found[1:].movedim(-1, 0).transpose(1, 2))

    def on(self, grid: Grid) -> Tensor:
        """Vectors (*grid.shape, D) at the voxel centres of a grid."""
        found = self._jet(self._places(grid), 0)[0]
        return found.flatten(1).T.reshape(*grid.shape, -1)

    def slope_on(self, grid: Grid) -> Tensor:
        """Derivatives (*grid.shape, D, D) of the vectors by the place."""
        found = self._jet(self._places(grid), 1)[1:]
        slopes = found.flatten(2).permute(2, 1, 0)
        return self._in_the_world(slopes).reshape(*grid.shape, *slopes.shape[1:])

    def _places(self, grid: Grid) -> Positions:
        axes = grid.axes_in(self.grid)
        return self._scatter(grid.points().flatten(0, -2)) if axes is None else Lattice(axes)

    def _scatter(self, points: Tensor) -> Scatter:
        return Scatter(tuple(self.grid.to_voxel(points).T.contiguous()))

    def _jet(self, places: Positions, order: int) -> Tensor:
        return jet(self.coefficients, places, order)

    def _in_the_world(self, slopes: Tensor) -> Tensor:
        # From derivatives by the knot's index (..., D, D) to those per mm.
        return slopes @ torch.linalg.inv(self.grid.matrix)

    def scaled(self, factor: float) -> VectorSpline:
        """The vectors times a factor."""
        return VectorSpline(self.coefficients * factor, self.grid)

    def refined(self) -> VectorSpline:
        r"""The same function with knots at half the distance, exactly.

        By the two-scale relation, :math:`8 \beta(x) = \sum_k \binom{4}{k} \beta(2 x + 2 - k)`.
        """
        values = self.coefficients
        for axis in range(1, values.ndim):
            values = _halved(values, axis)
        dims = self.grid.spatial_dims
        grid = self.grid.scaled([0.5] * dims, values.shape[1:], [0.5] * dims)
        return VectorSpline(values, grid)

    def slope_bounds(self) -> tuple[Tensor, Tensor]:
        r"""Least and greatest value of each derivative in each cell between knots, (D, D, *cells).

        The derivative along an axis is :math:`\sum_k (c_{k+1} - c_k) \beta^2(\cdot)`, weights that
        are not negative and add up to one: it lies between the least and the greatest difference
        near by. Of the components along the axes of the grid, per knot, which have the same
        determinants and traces as those of the world.
        """
        along = torch.einsum("ij,j...->i...", torch.linalg.inv(self.grid.matrix), self.coefficients)
        lows, highs = [], []
        for axis in range(1, along.ndim):
            steps = along.diff(dim=axis)
            low, high = steps, steps
            for other in range(1, along.ndim):
                size = 3 if other == axis else 4
                low = low.unfold(other, size, 1).amin(dim=-1)
                high = high.unfold(other, size, 1).amax(dim=-1)
            lows.append(_with_zero_at_ends(low, axis, torch.minimum))
            highs.append(_with_zero_at_ends(high, axis, torch.maximum))
        return torch.stack(lows, dim=1), torch.stack(highs, dim=1)

    @cached_property
    def steepness(self) -> float:
        """A bound of how much farther apart two vectors are than their places, |du| <= L |dx|."""
        low, high = self.refined().slope_bounds()
        spacing = self.grid.spacing / 2
        sizes = torch.maximum(low.abs(), high.abs())
        sizes = torch.einsum("i,ij...,j->ij...", spacing, sizes, 1 / spacing)
        rows, columns = sizes.sum(dim=1).amax(dim=0), sizes.sum(dim=0).amax(dim=0)
        return float((rows * columns).sqrt().max())


def _halved(values: Tensor, axis: int) -> Tensor:
    n = values.shape[axis]
    first, second = values.narrow(axis, 0, n - 1), values.narrow(axis, 1, n - 1)
    between = (first + second) / 2
    a, b, c = (values.narrow(axis, i, n - 2) for i in range(3))
    pairs = torch.stack([between.narrow(axis, 0, n - 2), (a + 6 * b + c) / 8], dim=axis + 1)
    return torch.cat([pairs.flatten(axis, axis + 1), between.narrow(axis, n - 2, 1)], dim=axis)


def _with_zero_at_ends(
    bound: Tensor, axis: int, least: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    # Beyond its domain the spline has no slope across the border.
    found = bound.clone()
    for end in (0, bound.shape[axis] - 1):
        here = found.narrow(axis, end, 1)
        here.copy_(least(here, torch.zeros_like(here)))
    return found
