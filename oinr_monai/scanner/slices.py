"""Where thick slices lie in a fine grid, and the fine grid that goes with them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from oinr_monai.grids.checks import per_axis
from oinr_monai.grids.grid import Grid

from .forward_model import Separable
from .profiles import SliceProfile, profile_weights

__all__ = ["SliceStack", "fine_grid", "thick_grid", "thickest_axis"]

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
        wanted = per_axis("spacing", spacing, dims)
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


class SliceStack(Separable):
    """Thick slices along one axis of a volume with the same axes and in-plane voxels.

    Slices may leave gaps or overlap: the profile says how thick they are, the target where they
    lie. Weights beyond the ends of the source go to the voxels inside, so that a constant stays
    one. On sheared grids the average runs along the axis, and thickness counts along the normal.

    Args:
        source: grid of the volume.
        target: grid of the stack; its voxels differ from those of the source along ``axis`` alone.
        axis: the axis from slice to slice.
        profile: sensitivity across a slice, in mm along its normal, towards the next slice.

    Raises:
        ValueError: if the grids differ otherwise, or a slice sees nothing of the source.

    Example:
        >>> import torch
        >>> from oinr_monai.scanner.profiles import Boxcar
        >>> from oinr_monai.scanner.slices import thick_grid
        >>> fine = Grid((4, 4, 6), torch.eye(4))
        >>> stack = SliceStack(fine, thick_grid(fine, axis=2, spacing=3.0), 2, Boxcar(3.0))
        >>> stack.forward(torch.arange(6.0).expand(1, 4, 4, 6))[0, 0, 0].tolist()
        [1.0, 4.0]
    """

    def __init__(self, source: Grid, target: Grid, axis: int, profile: SliceProfile) -> None:
        places = _shared_axes(source, target, axis)
        towards = torch.linalg.solve(source.matrix, target.matrix)[axis, axis].sign()
        spacing = float(source.plane_spacing[axis] * towards)
        matrices: list[Tensor | None] = [None] * source.spatial_dims
        matrices[axis] = profile_weights(profile, places, source.shape[axis], spacing)
        super().__init__(source, target, matrices)
        self.axis, self.profile = axis, profile


def _shared_axes(source: Grid, target: Grid, axis: int) -> Tensor:
    if not 0 <= axis < source.spatial_dims:
        raise ValueError(f"axis must be 0 to {source.spatial_dims - 1}, got {axis}")
    places = target.axes_in(source)
    if places is None:
        raise ValueError("target must share the axes of source; resample the volume onto them")
    for d, (at, size) in enumerate(zip(places, source.shape, strict=True)):
        if d != axis and not torch.equal(at, torch.arange(size, dtype=torch.float64)):
            raise ValueError(
                f"target must have the voxels of source along axis {d}, got {len(at)} at others"
            )
    return places[axis]
