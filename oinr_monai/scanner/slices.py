"""Where thick slices lie in a fine grid, and the fine grid that goes with them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from oinr_monai.grids.grid import Grid

__all__ = ["fine_grid", "thick_grid", "thickest_axis"]

# A count of voxels may miss a whole number by this much, which is rounding.
ROUNDING = 1e-6


def thickest_axis(grid: Grid) -> int:
    """The axis with the largest spacing, which thick slices follow; the last of equal ones.

    Example:
        >>> import torch
        >>> thickest_axis(Grid((9, 9, 5), torch.diag(torch.tensor([1.0, 1.0, 4.0, 1.0]))))
        2
    """
    spacing = grid.spacing.tolist()
    return max(range(len(spacing)), key=lambda d: (round(spacing[d], 6), d))


def fine_grid(stack: Grid, axis: int, spacing: float | Sequence[float] | None = None) -> Grid:
    """The grid whose cells fill those of a stack of slices, with the same axes and centre.

    Slice spacing, not thickness, says how far the cells of a stack reach. Where the new spacing
    does not divide them, the number of voxels is rounded, and the centre kept.

    Args:
        stack: grid of the slices.
        axis: the axis from slice to slice.
        spacing: in mm along all axes, or each; if None the smallest spacing within the slices, for
            ``axis`` alone.

    Raises:
        ValueError: if a spacing is not positive.

    Example:
        >>> import torch
        >>> stack = Grid((9, 9, 5), torch.diag(torch.tensor([1.0, 1.0, 4.0, 1.0])))
        >>> fine = fine_grid(stack, axis=2)
        >>> fine.shape, fine.origin.tolist()
        ((9, 9, 20), [0.0, 0.0, -1.5])
    """
    dims, steps = stack.spatial_dims, stack.spacing.tolist()
    if spacing is None:
        wanted = list(steps)
        wanted[axis] = min((h for d, h in enumerate(steps) if d != axis), default=steps[axis])
    else:
        wanted = list(spacing) if isinstance(spacing, Sequence) else [spacing] * dims
    if len(wanted) != dims or not all(0 < h < math.inf for h in wanted):
        raise ValueError(f"spacing must be positive, one number or {dims}, got {spacing}")
    scale = [h / step for h, step in zip(wanted, steps, strict=True)]
    shape = [max(round(n / s), 1) for n, s in zip(stack.shape, scale, strict=True)]
    middles = zip(stack.shape, shape, scale, strict=True)
    start = [(n - 1) / 2 - (m - 1) / 2 * s for n, m, s in middles]
    return stack.scaled(start, shape, scale)


def thick_grid(fine: Grid, axis: int, spacing: float) -> Grid:
    """The grid of slices ``spacing`` mm apart whose cells fill a volume from its first face on.

    Args:
        fine: grid of the volume.
        axis: the axis from slice to slice.
        spacing: from slice to slice, in mm.

    Raises:
        ValueError: if not one slice fits.

    Example:
        >>> import torch
        >>> thick = thick_grid(Grid((9, 9, 20), torch.eye(4)), axis=2, spacing=3.5)
        >>> thick.shape, thick.origin.tolist()
        ((9, 9, 5), [0.0, 0.0, 1.25])
    """
    step = spacing / float(fine.spacing[axis])
    count = int(fine.shape[axis] / step + ROUNDING) if 0 < step < math.inf else 0
    if count < 1:
        reach = fine.shape[axis] * float(fine.spacing[axis])
        raise ValueError(f"spacing must be positive and at most {reach:g} mm, got {spacing}")
    scale, start = [1.0] * fine.spatial_dims, [0.0] * fine.spatial_dims
    scale[axis], start[axis] = step, (step - 1) / 2
    shape = [count if d == axis else n for d, n in enumerate(fine.shape)]
    return fine.scaled(start, shape, scale)
