"""Knots over an image: between velocities at knots and at the places of a level, both ways."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from oinr_monai.grids.grid import Grid
from oinr_monai.scanner.forward_model import along_axes

from .separable import gram_matrices, spline_rows
from .vector_spline import VectorSpline

__all__ = ["Mesh", "mesh_over"]

# How often a second derivative along two axes is counted in the bending energy.
PAIRS = {True: 1.0, False: 2.0}


@dataclass(frozen=True, eq=False)
class Mesh:
    """Knots along the axes of an image, and the places of a level among them.

    Args:
        knots: where the knots lie.
        places: the places of the level, along the same axes.
    """

    knots: Grid
    places: Grid

    @property
    def dims(self) -> int:
        """Number of spatial dimensions D."""
        return self.knots.spatial_dims

    @cached_property
    def rows(self) -> list[Tensor]:
        """Matrices (places, knots) of the splines, one for each axis."""
        axes = self.places.axes_in(self.knots)
        if axes is None:
            raise ValueError("places must lie along the axes of knots, got rotated ones")
        return [spline_rows(x, n) for x, n in zip(axes, self.knots.shape, strict=True)]

    @cached_property
    def columns(self) -> list[Tensor]:
        """Their transposes."""
        return [rows.T.contiguous() for rows in self.rows]

    @cached_property
    def squares(self) -> list[Tensor]:
        """The transposes of their squared entries."""
        return [columns**2 for columns in self.columns]

    @cached_property
    def grams(self) -> list[list[Tensor]]:
        """Gram matrices of the splines and of their derivatives, for each axis."""
        pairs = zip(self.knots.shape, self.knots.spacing.tolist(), strict=True)
        return [gram_matrices(n, h) for n, h in pairs]

    @cached_property
    def volume(self) -> float:
        """Of the domain of the splines, in mm to the power D."""
        pairs = zip(self.knots.shape, self.knots.spacing.tolist(), strict=True)
        return math.prod((n - 3) * h for n, h in pairs)

    def dense(self, coefficients: Tensor) -> Tensor:
        """Vectors (D, *places) of the spline with coefficients (D, *knots)."""
        return along_axes(coefficients, self.rows)

    def adjoint(self, forces: Tensor) -> Tensor:
        """Forces (D, *places) on the coefficients (D, *knots): the transpose of :meth:`dense`."""
        return along_axes(forces, self.columns)

    def spread(self, weights: Tensor) -> Tensor:
        """Weights (..., *places) summed over each knot with its squared splines (..., *knots)."""
        return along_axes(weights, self.squares)

    def bent(self, coefficients: Tensor) -> Tensor:
        r"""Half the derivative of the bending energy by the coefficients.

        .. math:: \frac{1}{|\Omega|} \int_\Omega \sum_{ijk} (\partial_i \partial_j v_k)^2 \, dx
        """
        total = torch.zeros_like(coefficients)
        for i in range(self.dims):
            for j in range(i, self.dims):
                orders = [(d == i) + (d == j) for d in range(self.dims)]
                grams = [gram[n] for gram, n in zip(self.grams, orders, strict=True)]
                total += PAIRS[i == j] * along_axes(coefficients, grams)
        return total / self.volume

    @cached_property
    def stiffness(self) -> Tensor:
        """The diagonal (*knots) of :meth:`bent`."""
        total = torch.zeros(self.knots.shape)
        for i in range(self.dims):
            for j in range(i, self.dims):
                orders = [(d == i) + (d == j) for d in range(self.dims)]
                each = torch.ones(())
                for gram, n in zip(self.grams, orders, strict=True):
                    each = each[..., None] * gram[n].diagonal()
                total += PAIRS[i == j] * each
        return total / self.volume

    def spline(self, coefficients: Tensor) -> VectorSpline:
        """The vectors, given along the axes of the knots, as a spline in the world."""
        turned = torch.einsum("ij,j...->i...", self.knots.directions, coefficients.double())
        return VectorSpline(turned, self.knots)

    def refined(self, coefficients: Tensor) -> tuple[Mesh, Tensor]:
        """Knots at half the distance, and the same function on them."""
        finer = VectorSpline(coefficients, self.knots).refined()
        return Mesh(finer.grid, self.places), finer.coefficients.float()


def mesh_over(grid: Grid, spacing: float, places: Grid) -> Mesh:
    """Knots at most ``spacing`` mm apart over a grid, about its centre, along its axes.

    Example:
        >>> mesh_over(Grid((10, 4), torch.eye(4)), 3.0, Grid((10, 4), torch.eye(4))).knots.shape
        (6, 4)
    """
    cells = [max(math.ceil(e / spacing - 1e-6), 1) for e in grid.extent.tolist()]
    scale = [spacing / h for h in grid.spacing.tolist()]
    start = [(n - 1 - c * k) / 2 - k for n, c, k in zip(grid.shape, cells, scale, strict=True)]
    return Mesh(grid.scaled(start, [c + 3 for c in cells], scale), places)
