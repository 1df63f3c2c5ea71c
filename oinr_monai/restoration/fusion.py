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

import numpy as np
import torch
from torch import Tensor

from oinr_monai.grids.checks import check_room
from oinr_monai.grids.grid import Grid
from oinr_monai.grids.precision import full_precision
from oinr_monai.images.arrays import plain_tensor
from oinr_monai.images.identity import digest_of_image
from oinr_monai.images.meta import inherit
from oinr_monai.representation.exact import spline_representation
from oinr_monai.representation.info import Info
from oinr_monai.representation.representation import Representation
from oinr_monai.scanner.profiles import Boxcar, SliceProfile
from oinr_monai.scanner.slices import fine_grid, thickest_axis

from .drawn_errors import DrawnErrors
from .fused_stacks import Fusion, View, middle
from .restored import Restored

__all__ = ["fuse", "fuse_trusted"]


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
    task, block = _tasks(images, axes, profiles, grid, start)
    weight, error = block.best_weight()
    return _fused(images, task, weight, error, started)


@full_precision()
def fuse_trusted(
    images: Sequence[Tensor | np.ndarray],
    *,
    axes: Sequence[int] | None = None,
    profiles: Sequence[SliceProfile] | None = None,
    grid: Grid | None = None,
    start: Representation | None = None,
    seed: int = 0,
) -> Restored:
    r"""Fuse stacks of thick slices, as :func:`fuse` does, and say how far to trust the volume.

    Volumes are taken for Gaussian, as rough around each place as the answer is there, and errors
    are drawn as likely as they are then (perturb and MAP): with n and w white and of the size of
    the noise, and R the local roughness over the usual,

    .. math:: \Big(\sum_s A_s^\top A_s + \lambda L R^{-2} L\Big) e
              = \sum_s A_s^\top n_s + \sqrt{\lambda} \, L R^{-1} w .

    Each stack is then predicted from the others, in the middle of the volume, and all is made as
    much wider or narrower as those predictions were off (split-conformal).

    Args:
        images: the stacks, two at least, as for :func:`fuse`.
        axes: as for :func:`fuse`.
        profiles: as for :func:`fuse`.
        grid: as for :func:`fuse`.
        start: as for :func:`fuse`.
        seed: of what is drawn to find the widths.

    Returns:
        The volume, and its intervals. ``answer.info["trust"]`` says what they were learned from.

    Raises:
        ValueError: as :func:`fuse`, and if there are fewer than two stacks.

    References:
        Papandreou and Yuille, "Gaussian sampling by local perturbations", NeurIPS 2010.

    Example:
        >>> from monai.data import MetaTensor
        >>> spacing = torch.tensor([1.0, 1.0, 4.0, 1.0])
        >>> images = [MetaTensor(torch.rand(1, 8, 8, 2), affine=torch.diag(spacing)),
        ...           MetaTensor(torch.rand(1, 8, 2, 8), affine=torch.diag(spacing[[0, 2, 1, 3]]))]
        >>> fuse_trusted(images).half_width().shape
        torch.Size([1, 8, 8, 8])
    """
    if len(images) < 2:
        raise ValueError(f"images must be two stacks or more for error bars, got {len(images)}")
    started = time.monotonic()
    task, block = _tasks(images, axes, profiles, grid, start)
    weight, error = block.best_weight()
    answer = _fused(images, task, weight, error, started)
    volume = answer.sample().as_tensor()
    calm = task.curvature.calm(volume - task.base)
    noise = task.noise(weight, calm, volume)
    errors = DrawnErrors(
        lambda generator: task.drawn(weight, calm, noise, generator),
        block.scores(weight, noise, torch.Generator().manual_seed(seed)),
        {"learned_from": "each stack, predicted from the others", "noise": noise},
        seed,
    )
    answer.info |= {"trust": errors.statement()}
    return Restored(answer, errors)


def _tasks(
    images: Sequence[Tensor | np.ndarray],
    axes: Sequence[int] | None,
    profiles: Sequence[SliceProfile] | None,
    grid: Grid | None,
    start: Representation | None,
) -> tuple[Fusion, Fusion]:
    """The whole, and its middle, which shows what weight is best and takes less time."""
    grids = [Grid.from_image(image) for image in images]
    _check(images, grids, axes, profiles)
    axes = [thickest_axis(each) for each in grids] if axes is None else axes
    spacings = [float(each.spacing[axis]) for each, axis in zip(grids, axes, strict=True)]
    profiles = [Boxcar(spacing) for spacing in spacings] if profiles is None else profiles
    grid = grid or _finest(grids, axes)
    check_room(grid.shape, len(images[0]))
    stacks = list(zip(images, grids, axes, profiles, strict=True))
    task = Fusion([View(*stack, grid) for stack in stacks], grid, start)
    if not task.reached:
        raise ValueError("images must all reach the volume, got one that lies outside it")
    block = Fusion([View(*stack, middle(grid)) for stack in stacks], middle(grid), start)
    return task, block if block.reached else task


def _fused(
    images: Sequence[Tensor | np.ndarray],
    task: Fusion,
    weight: float,
    error: float,
    started: float,
) -> Representation:
    pairs = [(plain_tensor(image), Grid.from_image(image)) for image in images]
    volume = task.solve(weight)
    info = Info(
        image="+".join(digest_of_image([image], grid) for image, grid in pairs),
        stacks=len(images),
        weight=weight,
        held_out=error,
        seconds=round(time.monotonic() - started, 3),
    )
    return inherit(spline_representation(volume, task.grid, info), images[0])


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
