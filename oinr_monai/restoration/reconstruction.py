r"""Stacks of slices that moved, as one volume: poses of the slices and the volume, by turns.

.. math:: \min_{V, T, b} \sum_s \sum_p \rho\big(y_s(p) - b_s(p) \, (A_s(T_s) V)(p)\big)
          + \lambda \lVert \nabla^2 V \rVert^2

Poses move towards the volume by Gauss-Newton, first those of whole stacks, then of packages of
interleaved slices, then of slices; the volume follows by conjugate gradients through the exact
adjoint. While that is coarse, each stack is compared with the volume of the others, which it has
not blurred itself.

References:
    Gholipour, Estroff and Warfield, "Robust super-resolution volume reconstruction from slice
    acquisitions", IEEE Transactions on Medical Imaging 29(10), 2010.
    Kuklisova-Murgasova et al., "Reconstruction of fetal brain MRI with intensity matching and
    complete outlier removal", Medical Image Analysis 16(8), 2012.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from oinr_monai.grids.checks import check_one_of, check_positive
from oinr_monai.grids.grid import Grid
from oinr_monai.grids.precision import full_precision
from oinr_monai.images.meta import inherit
from oinr_monai.images.scans import checked_scans
from oinr_monai.motion.affine import turn_of
from oinr_monai.representation.exact import spline_representation
from oinr_monai.representation.info import Info
from oinr_monai.representation.representation import Representation
from oinr_monai.scanner.profiles import Boxcar, SliceProfile
from oinr_monai.scanner.slices import fine_grid, thickest_axis

from .drawn_errors import DrawnErrors
from .moving_slices import samples_of
from .restored import Errors, Restored
from .slice_stage import LAST_STEPS, SliceStage, settled

__all__ = ["ReconstructConfig", "Reconstruction", "SlicePose", "reconstruct"]

# Weight of smoothness. Chosen with true poses on stacks of a T1 at two resolutions and of a map of
# labels, none of which a table scores: 0.003 or 0.01 was best or within 0.02 dB of it.
WEIGHT = 0.005

# How many slices follow one another in a package. Most scanners take every other one first.
PACKAGES = 2

# Rounds with poses of stacks, of packages and of slices on half the resolution, and of slices on
# the whole, and Gauss-Newton steps in each. On stacks that no table scores, 3, 2, 6 and 2 rounds
# took three quarters of the time and left a tenth to a half more error of the poses.
ROUNDS, POSE_STEPS = (3, 3, 10, 4), 4

# Smoothing of the volume that poses of stacks move towards, in mm.
BLUR = 2.0

# A voxel is known where slices saw this part of it.
KNOWN = 0.05

# Room around the first mask, in mm.
MARGIN = 6.0

# Weight below which a slice is told to be an outlier.
OUTLIER = 0.5

MOTIONS = ("slices", "stacks", "still")


@dataclass(frozen=True)
class ReconstructConfig:
    """How to reconstruct.

    Args:
        motion: "slices" moves stacks, packages and slices; "stacks" moves stacks alone; "still"
            takes the slices where they are.
        spacing: of the volume in mm; the finest of the stacks if None.
        weight: of smoothness.
        seconds: after which no other round begins; None for all of them.

    Raises:
        ValueError: if the motion is another, or a number is not positive.

    Example:
        >>> ReconstructConfig(spacing=1.0).motion
        'slices'
    """

    motion: Literal["slices", "stacks", "still"] = "slices"
    spacing: float | None = None
    weight: float = WEIGHT
    seconds: float | None = None

    def __post_init__(self) -> None:
        check_one_of("motion", self.motion, MOTIONS)
        check_positive(self, "spacing", "weight", "seconds")


@dataclass(frozen=True, eq=False)
class SlicePose:
    """Where a slice lies in the volume.

    Args:
        stack: number of the stack.
        slice: number of the slice in it.
        matrix: rigid motion (4, 4) from where the stack says it lies, in world mm.
        weight: how much it counted, near 0 for one that fits nothing.
    """

    stack: int
    slice: int
    matrix: Tensor
    weight: float

    @property
    def turn(self) -> Tensor:
        """The axis of the rotation times its angle in radians (3,)."""
        return turn_of(self.matrix[:3, :3])

    @property
    def outlier(self) -> bool:
        """Whether it counted less than half."""
        return self.weight < OUTLIER


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """A volume, and how the slices lie in it.

    Args:
        volume: as a function; ``sample()`` gives it on its grid.
        poses: one for each slice that has voxels that count.
        noise: standard deviation of what the slices leave, in the images' unit.
        errors: of the volume, where they were asked for.
    """

    volume: Representation
    poses: tuple[SlicePose, ...]
    noise: float
    errors: Errors | None = None

    @property
    def trusted(self) -> Restored:
        """The volume, and how far to trust it, given the poses.

        Raises:
            ValueError: if errors were not asked for.
        """
        if self.errors is None:
            raise ValueError("errors must be asked for, by reconstruct(errors=True), got none")
        return Restored(self.volume, self.errors)


@full_precision()
@torch.no_grad()
def reconstruct(
    stacks: Sequence[Tensor | np.ndarray],
    config: ReconstructConfig | None = None,
    *,
    masks: Sequence[Tensor | np.ndarray] | None = None,
    profiles: Sequence[SliceProfile] | None = None,
    poses: Sequence[Sequence[Tensor]] | None = None,
    errors: bool = False,
) -> Reconstruction:
    """Reconstruct one volume of stacks of thick slices, between which the object moved.

    Args:
        stacks: images (1, *spatial) in three dimensions with their affines; usually three that
            cross. Slices follow the axis with the largest spacing.
        config: how.
        masks: for each the voxels that count (*spatial), as those of a brain that moves in what
            does not; all if None.
        profiles: for each the sensitivity across a slice; boxes as thick as the spacing if None.
        poses: for each a matrix (4, 4) for each slice to begin with, as :class:`SlicePose` has it.
        errors: whether to find out how far to trust the volume, of two stacks or more, as
            :func:`fuse_trusted` does: with the slices where they were found to lie.

    Returns:
        The volume on a grid along the axes of the first stack, isotropic, and the poses. The
        volume's ``info`` holds the noise, the standard deviation of what the slices leave.

    Raises:
        ValueError: if there are no stacks, one is unfit or nowhere near the first, or a mask holds
            nothing.

    Example:
        >>> from monai.data import MetaTensor
        >>> spacing = torch.tensor([1.0, 1.0, 3.0, 1.0])
        >>> values, turned = torch.rand(1, 12, 12, 4), torch.diag(spacing[[0, 2, 1, 3]])
        >>> axial = MetaTensor(values, affine=torch.diag(spacing))
        >>> coronal = MetaTensor(values.transpose(2, 3), affine=turned)
        >>> found = reconstruct([axial, coronal], ReconstructConfig("still"))
        >>> found.volume.grid.shape, len(found.poses)
        ((12, 12, 12), 8)
    """
    started = time.monotonic()
    config = config or ReconstructConfig()
    views = _views(stacks, masks, profiles)
    grid = _volume_grid(views, config.spacing)
    _check_overlap(views, grid)
    if errors and len(stacks) < 2:
        raise ValueError(f"stacks must be two or more for error bars, got {len(stacks)}")
    task = _Reconstruction(views, grid, config, started)
    if poses is not None:
        task.begin([each for stack in poses for each in stack])
    if config.motion != "still":
        task.align()
    volume = task.volume()
    info = Info(
        stacks=len(stacks),
        weight=config.weight,
        data_residual=task.noise,
        seconds=round(time.monotonic() - started, 3),
    )
    found = inherit(spline_representation(volume[None], grid, info), stacks[0])
    drawn = task.errors() if errors else None
    if drawn is not None:
        found.info |= {"trust": drawn.statement()}
    return Reconstruction(found, task.told(), task.noise, drawn)


@dataclass(frozen=True, eq=False)
class _View:
    image: Tensor  # (*shape)
    grid: Grid
    mask: Tensor
    axis: int
    profile: SliceProfile

    def halved(self) -> _View:
        """The same slices at half the resolution."""
        scale = [1.0 if d == self.axis else 2.0 for d in range(3)]
        size = [int(s) for s in scale]
        mask = self.mask.float()
        sums, counts = (_pooled(each, size) for each in (self.image * mask, mask))
        grid = self.grid.scaled([(s - 1) / 2 for s in scale], sums.shape, scale)
        return _View(sums / counts.clamp_min(1e-6), grid, counts > 0.5, self.axis, self.profile)


def _pooled(image: Tensor, size: list[int]) -> Tensor:
    return F.avg_pool3d(image[None, None], size)[0, 0]


def _views(
    stacks: Sequence[Tensor | np.ndarray],
    masks: Sequence[Tensor | np.ndarray] | None,
    profiles: Sequence[SliceProfile] | None,
) -> list[_View]:
    if not stacks:
        raise ValueError("stacks must hold at least one, got none")
    for name, given in (("masks", masks), ("profiles", profiles)):
        if given is not None and len(given) != len(stacks):
            raise ValueError(f"{name} must be one for each stack, got {len(given)}")
    found = []
    for i, stack in enumerate(stacks):
        scan = checked_scans([stack], None if masks is None else masks[i])[0]
        if scan.grid.spatial_dims != 3 or len(scan.image) != 1:
            raise ValueError(f"stacks must be (1, X, Y, Z), got {tuple(scan.image.shape)}")
        axis = thickest_axis(scan.grid)
        profile = Boxcar(float(scan.grid.spacing[axis])) if profiles is None else profiles[i]
        whole = torch.ones(scan.grid.shape, dtype=torch.bool)
        mask = whole if scan.mask is None else scan.mask
        found.append(_View(scan.image[0].float(), scan.grid, mask, axis, profile))
    return found


def _volume_grid(views: Sequence[_View], spacing: float | None) -> Grid:
    """Along the axes of the first stack, over what its mask holds and a little more."""
    first = views[0]
    finest = spacing or min(float(view.grid.spacing.min()) for view in views)
    at = first.mask.nonzero()
    room = [MARGIN / h for h in first.grid.spacing.tolist()]
    low = [max(int(a - r), 0) for a, r in zip(at.amin(dim=0).tolist(), room, strict=True)]
    ends = zip(at.amax(dim=0).tolist(), room, first.grid.shape, strict=True)
    return fine_grid(first.grid.crop(low, [min(int(b + r) + 1, n) for b, r, n in ends]), 0, finest)


def _check_overlap(views: Sequence[_View], grid: Grid) -> None:
    last = torch.tensor(grid.shape, dtype=torch.float64) - 1
    for i, view in enumerate(views):
        voxels = grid.to_voxel(view.grid.to_world(view.mask.nonzero().double()))
        if not ((voxels >= 0) & (voxels <= last)).all(dim=1).any():
            raise ValueError(
                f"stacks must lie where the first does, got stack {i} beside it; check its affine"
            )


class _Reconstruction:
    def __init__(
        self, views: Sequence[_View], grid: Grid, config: ReconstructConfig, started: float
    ) -> None:
        self.views, self.grid, self.config, self.started = views, grid, config, started
        centre = grid.to_world((torch.tensor(grid.shape, dtype=torch.float64) - 1) / 2)
        values = torch.cat([view.image[view.mask] for view in views])
        self.least, self.scale = float(values.min()), float(values.std().clamp_min(1e-12))
        self.fine = self._stage(views, grid, centre)
        self.poses = torch.eye(4, dtype=torch.float64).repeat(self.fine.samples.count, 1, 1)
        self.slice_weights = torch.ones(self.fine.samples.count)
        self.noise = 0.0

    def _stage(self, views: Sequence[_View], grid: Grid, centre: Tensor) -> SliceStage:
        step = float(grid.spacing.min())
        samples = samples_of(
            [view.image / self.scale for view in views],
            [view.grid for view in views],
            [view.mask for view in views],
            [view.axis for view in views],
            [view.profile for view in views],
            step,
            centre,
        )
        return SliceStage(samples, grid, self.config.weight)

    def begin(self, matrices: Sequence[Tensor]) -> None:
        """Begin with poses between world places."""
        if len(matrices) != len(self.poses):
            raise ValueError(
                f"poses must be one for each of {len(self.poses)} slices, got {len(matrices)}"
            )
        away = torch.linalg.inv(self._about)
        self.poses = away @ torch.stack([each.double() for each in matrices]) @ self._about

    @property
    def _about(self) -> Tensor:
        # From the frame of the poses to the world.
        shift = torch.eye(4, dtype=torch.float64)
        shift[:3, 3] = self.fine.samples.centre
        return shift

    def align(self) -> None:
        """Find the poses."""
        samples = self.fine.samples
        half = fine_grid(self.grid, 0, 2 * float(self.grid.spacing.min()))
        coarse = self._stage([view.halved() for view in self.views], half, samples.centre)
        packages = samples.stack_of * PACKAGES + samples.number_of % PACKAGES
        every = torch.arange(samples.count)
        plan = [
            (coarse, samples.stack_of, BLUR),
            (coarse, packages, BLUR / 2),
            (coarse, every, 0.0),
            (self.fine, every, 0.0),
        ]
        kinds = 1 if self.config.motion == "stacks" else len(plan)
        for rounds, (stage, groups, blur) in zip(ROUNDS[:kinds], plan[:kinds], strict=True):
            for _ in range(rounds):
                if self._late():
                    return
                self._round(stage, groups, blur, apart=stage is coarse)

    def _late(self) -> bool:
        budget = self.config.seconds
        return budget is not None and time.monotonic() - self.started > budget

    def _round(self, stage: SliceStage, groups: Tensor, blur: float, apart: bool) -> None:
        """Volumes as the poses are now, and then poses towards these."""
        samples = stage.samples
        stage.follow(self.poses)
        self.noise = stage.noise * self.scale
        count = int(samples.stack_of.max()) + 1
        if apart and count > 1:
            poses = self.poses
            for stack in range(count):
                volume = stage.without(stack)
                found = stage.refined(volume, self.poses, groups, blur, POSE_STEPS)
                own = samples.stack_of == stack
                poses = torch.where(own[:, None, None], found, poses)
            self.poses = poses
        else:
            self.poses = stage.refined(stage.volume, self.poses, groups, blur, POSE_STEPS)
        self.poses = settled(samples, self.poses)

    def volume(self) -> Tensor:
        """The volume (*shape) in the intensities of the stacks."""
        stage = self.fine
        stage.follow(self.poses)
        stage.follow(self.poses, LAST_STEPS)
        self.noise = stage.noise * self.scale
        self.slice_weights = stage.slice_weights
        known = stage.seen.adjoint(torch.ones_like(stage.samples.values)) > KNOWN
        return torch.where(known, stage.volume * self.scale, torch.tensor(self.least))

    def errors(self) -> Errors:
        """Of the volume, as its slices lie now."""
        stage, generator = self.fine, torch.Generator().manual_seed(0)
        calm = stage.curvature.calm(stage.volume[None])
        noise = stage.likely_noise(calm)
        scores = stage.scores(noise, generator)
        said = {
            "learned_from": "each stack, predicted from the others",
            "noise": noise * self.scale,
        }
        return DrawnErrors(lambda g: self.scale * stage.drawn(calm, noise, g), scores, said, 0)

    def told(self) -> tuple[SlicePose, ...]:
        """The poses of the slices that have voxels that count."""
        samples = self.fine.samples
        matrices = self._about @ self.poses @ torch.linalg.inv(self._about)
        count = samples.summed(torch.ones_like(samples.values))
        return tuple(
            SlicePose(
                int(samples.stack_of[i]),
                int(samples.number_of[i]),
                matrices[i],
                float(self.slice_weights[i]),
            )
            for i in range(samples.count)
            if count[i] > 0
        )
