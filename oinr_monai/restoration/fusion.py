r"""Several stacks of thick slices, each with its own place and profile, as one volume.

Each stack y_s is explained by its own forward model A_s, and what none of them tells is smooth:

.. math:: x = \arg\min \sum_s \lVert A_s x - y_s \rVert^2 + \lambda \lVert \nabla^2 x \rVert^2

by conjugate gradients. Voxels held out of the stacks choose the weight.

References:
    Gholipour, Estroff and Warfield, "Robust super-resolution volume reconstruction from slice
    acquisitions", IEEE Transactions on Medical Imaging 29(10), 2010.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import product

import numpy as np
import torch
from torch import Tensor

from oinr_monai.grids.checks import check_room
from oinr_monai.grids.grid import Grid
from oinr_monai.grids.precision import full_precision
from oinr_monai.images.arrays import plain_tensor
from oinr_monai.images.identity import digest_of_image
from oinr_monai.images.meta import inherit
from oinr_monai.images.scans import checked_scans
from oinr_monai.representation.exact import spline_representation
from oinr_monai.representation.info import Info
from oinr_monai.representation.representation import Representation
from oinr_monai.scanner.forward_model import Composition, conjugate_gradients
from oinr_monai.scanner.profiles import Boxcar, SliceProfile
from oinr_monai.scanner.resampling import Resampling, share_axes
from oinr_monai.scanner.slices import SliceStack, fine_grid, thickest_axis

__all__ = ["fuse"]

# Weights of smoothness to choose from, the smoothest first, about three apart; range and step are
# chosen by hand, as is what follows.
WEIGHTS = (0.1, 0.03, 0.01, 0.003, 0.001, 3e-4)

# Part of the voxels that is held out while the weight is chosen.
HELD_OUT = 0.05

# Side of the block on which the weight is chosen, in voxels.
BLOCK = 64

# A slice counts where this part of it lies within the volume.
COVERED = 0.99

# Voxels of a stack around the volume that splines and profiles may need.
MARGIN = 3

# Iterations of a solution, and where it ends: the residual over the data's own, while the weight is
# chosen and at last.
STEPS, ROUGHLY, EXACTLY = 60, 1e-3, 1e-4


@full_precision()
def fuse(
    images: Sequence[Tensor | np.ndarray],
    *,
    axes: Sequence[int] | None = None,
    profiles: Sequence[SliceProfile] | None = None,
    grid: Grid | None = None,
    start: Representation | None = None,
) -> Representation:
    """Fuse stacks of thick slices of one object into one representation.

    The stacks may lie in any direction; their affines say where. Intensities must agree, and the
    object must not have moved between them. Voxels of a stack beyond the volume are left out.

    Args:
        images: the stacks, each (C, *spatial) with its affine; usually three that cross.
        axes: for each the axis from slice to slice; that of the largest spacing if None.
        profiles: for each the sensitivity across a slice; boxes as thick as the spacing if None.
        grid: grid of the volume; if None that of the first stack, as fine across the slices as the
            finest spacing of all.
        start: a first guess, such as one stack super-resolved. Smoothness is then asked of what is
            added to it, so that its detail stays where the slices do not tell otherwise.

    Returns:
        The volume as the spline through its voxels; ``sample()`` gives it on its grid. Its ``info``
        holds the weight of smoothness, ``held_out``: the root mean square error at held-out voxels
        that chose it, and the seconds.

    Raises:
        ValueError: if there are no images, or not one axis and profile for each, or their channels
            differ, or one of them is not finite, constant or does not reach the volume.

    Example:
        >>> from monai.data import MetaTensor
        >>> axial, coronal = torch.rand(1, 8, 8, 2), torch.rand(1, 8, 2, 8)
        >>> spacing = torch.tensor([1.0, 1.0, 4.0, 1.0])
        >>> images = [MetaTensor(axial, affine=torch.diag(spacing)),
        ...           MetaTensor(coronal, affine=torch.diag(spacing[[0, 2, 1, 3]]))]
        >>> fuse(images).grid.shape
        (8, 8, 8)
    """
    started = time.monotonic()
    grids = [Grid.from_image(image) for image in images]
    _check(images, grids, axes, profiles)
    axes = [thickest_axis(each) for each in grids] if axes is None else axes
    spacings = [float(each.spacing[axis]) for each, axis in zip(grids, axes, strict=True)]
    profiles = [Boxcar(spacing) for spacing in spacings] if profiles is None else profiles
    grid = grid or _finest(grids, axes)
    check_room(grid.shape, len(images[0]))
    stacks = list(zip(images, grids, axes, profiles, strict=True))
    task = _Fusion([_View(*stack, grid) for stack in stacks], grid, start)
    if not task.reached:
        raise ValueError("images must all reach the volume, got one that lies outside it")
    block = _Fusion([_View(*stack, _block(grid)) for stack in stacks], _block(grid), start)
    weight, error = (block if block.reached else task).best_weight()
    volume = task.solve(weight)
    pairs = zip(images, grids, strict=True)
    info = Info(
        image="+".join(digest_of_image([plain_tensor(i)], each) for i, each in pairs),
        stacks=len(images),
        weight=weight,
        held_out=error,
        seconds=round(time.monotonic() - started, 3),
    )
    return inherit(spline_representation(volume, grid, info), images[0])


def _check(
    images: Sequence[Tensor | np.ndarray],
    grids: Sequence[Grid],
    axes: Sequence[int] | None,
    profiles: Sequence[SliceProfile] | None,
) -> None:
    if not images:
        raise ValueError("images must hold at least one stack, got none")
    channels = sorted({len(image) for image in images})
    dims = sorted({grid.spatial_dims for grid in grids})
    if len(channels) > 1 or len(dims) > 1:
        raise ValueError(f"images must agree in channels and dimensions, got {channels} and {dims}")
    for name, given in (("axes", axes), ("profiles", profiles)):
        if given is not None and len(given) != len(images):
            raise ValueError(f"{name} must be one for each image, got {len(given)}")


def _finest(grids: Sequence[Grid], axes: Sequence[int]) -> Grid:
    finest = min(float(grid.spacing.min()) for grid in grids)
    spacing = grids[0].spacing.tolist()
    spacing[axes[0]] = finest
    return fine_grid(grids[0], axes[0], spacing)


def _block(grid: Grid) -> Grid:
    """The middle of the volume, which shows what weight is best and takes less time."""
    start = [max(size - BLOCK, 0) // 2 for size in grid.shape]
    return grid.crop(start, [a + min(n, BLOCK) for a, n in zip(start, grid.shape, strict=True)])


class _View:
    """One stack: its samples, its forward model, and which of its voxels the volume covers."""

    def __init__(
        self,
        image: Tensor | np.ndarray,
        stack: Grid,
        axis: int,
        profile: SliceProfile,
        grid: Grid,
    ) -> None:
        plain = checked_scans([image], None)[0].image
        start, stop = _box(stack, grid)
        plain = plain[(slice(None), *(slice(i, j) for i, j in zip(start, stop, strict=True)))]
        self.samples = plain
        stack = stack.crop(start, stop)
        spacing = stack.spacing.tolist()
        spacing[axis] = min(float(grid.spacing.min()), spacing[axis])
        fine = fine_grid(stack, axis, spacing)
        slices = SliceStack(fine, stack, axis, profile)
        self.model = Composition(_resampling(grid, fine), slices)
        covered = slices.forward(_within(fine, grid)[None].to(self.samples))
        self.counts = covered > COVERED
        self.stack = stack

    def interpolated(self, samples: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
        """The spline of the samples on ``grid``, and where it has data."""
        within = _within(grid, self.stack)[None].to(samples)
        return _resampling(self.stack, grid).forward(samples) * within, within


def _box(stack: Grid, grid: Grid) -> tuple[list[int], list[int]]:
    """First and last (exclusive) voxels of a stack that a volume may need, one at least."""
    ends = [(-0.5, size - 0.5) for size in grid.shape]
    corners = torch.tensor(list(product(*ends)), dtype=torch.float64)
    voxels = stack.to_voxel(grid.to_world(corners))
    low, high = voxels.amin(dim=0).floor().tolist(), voxels.amax(dim=0).ceil().tolist()
    start = [min(max(int(a) - MARGIN, 0), n - 1) for a, n in zip(low, stack.shape, strict=True)]
    sizes = zip(high, start, stack.shape, strict=True)
    return start, [min(max(int(b) + MARGIN + 1, a + 1), n) for b, a, n in sizes]


def _resampling(source: Grid, target: Grid) -> Resampling:
    # Point by point, cubic takes 8 times as long as linear.
    return Resampling(source, target, 3 if share_axes(source, target) else 1)


def _within(grid: Grid, other: Grid) -> Tensor:
    """Which voxel centres of a grid lie within the cells of another, (*grid.shape)."""
    voxels = other.to_voxel(grid.points())
    sizes = torch.tensor([float(size) for size in other.shape], dtype=torch.float64)
    return ((voxels > -0.5 - 1e-6) & (voxels < sizes - 0.5 + 1e-6)).all(dim=-1)


class _Fusion:
    """Least squares of all views. What is sought is what to add to ``base``."""

    def __init__(self, views: Sequence[_View], grid: Grid, start: Representation | None) -> None:
        self.views, self.grid = views, grid
        self.curvature = Curvature(grid)
        first = views[0].samples
        # Models keep constants, so that a mean can be set aside; the solver then sees contrast.
        self.base = first.new_full((len(first), *grid.shape), float(first.double().mean()))
        if start is not None:
            self.base = start.sample(grid).as_tensor().to(first)
        self.wanted = [v.samples - v.model.forward(self.base) for v in views]
        self.guess = torch.zeros_like(self.base) if start is not None else self._mean_spline()

    @property
    def reached(self) -> bool:
        """Whether every stack has voxels within the volume."""
        return all(bool(view.counts.any()) for view in self.views)

    def best_weight(self) -> tuple[float, float]:
        """The weight with the smallest error at held-out voxels, and that error."""
        generator = torch.Generator().manual_seed(0)
        kept = [
            v.counts & (torch.rand(v.counts.shape, generator=generator) > HELD_OUT).to(v.counts)
            for v in self.views
        ]
        found, guess = [], self.guess
        for weight in WEIGHTS:
            guess = self._solution(weight, kept, guess, ROUGHLY)
            found.append((self._error(guess, kept), weight))
            if found[-1][0] > 1.02 * min(found)[0]:
                break
        error, weight = min(found)
        return weight, error

    def solve(self, weight: float) -> Tensor:
        """The volume (C, *grid.shape)."""
        counts = [v.counts for v in self.views]
        return self.base + self._solution(weight, counts, self.guess, EXACTLY)

    def _solution(
        self, weight: float, counts: Sequence[Tensor], guess: Tensor, tolerance: float
    ) -> Tensor:
        each = list(zip(self.views, counts, self.wanted, strict=True))

        def normal(x: Tensor) -> Tensor:
            seen = sum(v.model.adjoint(v.model.forward(x) * c) for v, c, _ in each)
            return seen + weight * self.curvature(self.curvature(x))

        wanted = sum((v.model.adjoint(y * c) for v, c, y in each), torch.zeros_like(guess))
        return conjugate_gradients(normal, wanted, guess, STEPS, tolerance)

    def _error(self, x: Tensor, kept: Sequence[Tensor]) -> float:
        squares, count = 0.0, 0
        for view, wanted, keep in zip(self.views, self.wanted, kept, strict=True):
            held_out = view.counts & ~keep
            wrong = (view.model.forward(x) - wanted) * held_out
            squares += float(wrong.double().square().sum())
            count += int(held_out.sum()) * len(wanted)
        return (squares / max(count, 1)) ** 0.5

    def _mean_spline(self) -> Tensor:
        pairs = [v.interpolated(y, self.grid) for v, y in zip(self.views, self.wanted, strict=True)]
        total, count = (torch.stack(each).sum(dim=0) for each in zip(*pairs, strict=True))
        return total / count.clamp_min(1)


class Curvature:
    """Minus the Laplacian, in units of the finest spacing, with no flow across the borders."""

    def __init__(self, grid: Grid) -> None:
        self.scales = (grid.spacing.min() / grid.spacing).square().tolist()

    def __call__(self, x: Tensor) -> Tensor:
        total = torch.zeros_like(x)
        for axis, scale in enumerate(self.scales, start=1):
            size = x.shape[axis] - 1
            step = scale * x.diff(dim=axis)
            total.narrow(axis, 0, size).sub_(step)
            total.narrow(axis, 1, size).add_(step)
        return total
