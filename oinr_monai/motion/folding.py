"""Whether a motion folds: bounds of its Jacobian's determinant between the knots, and counts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from oinr_monai.grids.grid import Grid

from .motion import Motion
from .vector_spline import VectorSpline

__all__ = ["MotionQuality", "displacement_bounds", "quality_of"]

# Halvings of the knots until the bound is taken as it is: each leaves half, or less, of what it
# misses by. Chosen by hand, as is how many cells may come of it.
HALVINGS, MOST_CELLS = 3, 1 << 22

# Voxels at which going there and back is tried, and at which a determinant is looked at where a
# bound says that none folds. Chosen by hand.
PLACES, LOOKED = 4096, 1 << 15


def displacement_bounds(spline: VectorSpline) -> tuple[float, float]:
    r"""Bounds of :math:`\det (I + \nabla u)` over all places, for a spline u.

    In each cell the Jacobian is :math:`C + R` with the middle C of its bounds and
    :math:`|R_{ij}| \le r_{ij}`. Then :math:`\det (C + R) = \det C \, \det (I + C^{-1} R)`, and by
    Ostrowski the last lies between the products over rows of 1 minus, and plus, the row's sum of
    :math:`|C^{-1}| r`, where those are below 1. Cells get smaller until no bound is below 0.

    References:
        Ostrowski, "Sur la determination des bornes inferieures pour une classe des determinants",
        Bulletin des Sciences Mathematiques 61, 1937.

    Example:
        >>> knots = Grid((6, 6), torch.eye(4))
        >>> slide = torch.stack(torch.meshgrid(*[torch.arange(6.0)] * 2, indexing="ij")) * 0.5
        >>> [round(bound, 6) for bound in displacement_bounds(VectorSpline(slide, knots))]
        [1.0, 2.25]
    """
    low, high = _bounds(spline)
    for _ in range(HALVINGS):
        if low > 0 or 8 * spline.coefficients[0].numel() > MOST_CELLS:
            break
        spline = spline.refined()
        finer = _bounds(spline)
        low, high = max(low, finer[0]), min(high, finer[1])
    return low, high


def _bounds(spline: VectorSpline) -> tuple[float, float]:
    low, high = (each.flatten(2).permute(2, 0, 1) for each in spline.slope_bounds())
    middle = torch.eye(low.shape[-1], dtype=low.dtype) + (low + high) / 2
    radius = (high - low) / 2
    determinant = torch.linalg.det(middle)
    safe = determinant.abs() > 1e-6
    inverse = torch.linalg.inv(
        torch.where(safe[:, None, None], middle, torch.eye(low.shape[-1]).to(low))
    )
    sums = (inverse.abs() @ radius).sum(dim=-1)
    safe &= (sums < 1).all(dim=-1) & (determinant > 0)
    # Hadamard: no determinant is larger than the product of the rows' lengths.
    largest = (middle.abs() + radius).norm(dim=-1).prod(dim=-1)
    least = torch.where(safe, determinant * (1 - sums).prod(dim=-1), -largest)
    most = torch.where(safe, determinant * (1 + sums).prod(dim=-1), largest)
    return float(least.min()), float(torch.minimum(most, largest).max())


@dataclass(frozen=True)
class MotionQuality:
    """What tells whether a motion can be trusted.

    Args:
        folds: voxels at which the determinant of the Jacobian is not positive.
        min_jacobian: the least determinant at a voxel; of some 32,768 of them where
            ``least_anywhere`` says that none folds.
        least_anywhere: what no determinant is below, at the voxels and between them.
        inverse_consistency_mm: the largest distance from where a voxel was, after going there and
            back.
    """

    folds: int
    min_jacobian: float
    least_anywhere: float
    inverse_consistency_mm: float


def quality_of(motion: Motion, grid: Grid) -> MotionQuality:
    """Measure a motion at the voxel centres of a grid.

    Example:
        >>> from oinr_monai.motion.affine import AffineMotion
        >>> quality_of(AffineMotion.identity(2), Grid((4, 4), torch.eye(4)))
        MotionQuality(folds=0, min_jacobian=1.0, least_anywhere=1.0, inverse_consistency_mm=0.0)
    """
    least = motion.determinant_bounds()[0]
    looked = grid.points().flatten(0, -2) if least <= 0 else _some(grid, LOOKED)
    determinants = torch.linalg.det(motion.jacobian_at(looked))
    points = _some(grid, PLACES)
    back = motion.inverse().at(motion.at(points))
    return MotionQuality(
        int((determinants <= 0).sum()),
        float(determinants.min()),
        least,
        float((back - points).norm(dim=1).max()),
    )


def _some(grid: Grid, count: int) -> Tensor:
    # Every n-th voxel, and so the same ones each time.
    points = grid.points().flatten(0, -2)
    return points[:: max(len(points) // count, 1)]
