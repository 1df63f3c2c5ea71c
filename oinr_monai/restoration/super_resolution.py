r"""Super-resolution of one image with an operator that learns from that image alone.

A stack of thick slices y = A x is sharp within its slices and blurred across them. The operator G
begins with what other scans taught it (see :mod:`~oinr_monai.restoration.carried_operator`), learns
on the sharp axes what a slice profile takes away, and is then asked across the slices,

.. math:: \hat x = P_y\big( B y + G[y] \big), \qquad
          G = \arg\min_G E \big\| R v - B A R v - G[A R v] \big\|_1,

with B the cubic B-spline corrected for the profile, R a rotation that turns a sharp axis to where
the thick one was, and P_y the nearest image that would have been seen as y; of noisy slices, within
their noise (:mod:`~oinr_monai.restoration.slice_noise`). The image v that the pairs are made of is
the latest estimate itself: the operator sees its whole neighbourhood in three dimensions, and what
it is held against is sharp because the slices are.

References:
    Zhao et al., "SMORE: A Self-Supervised Anti-Aliasing and Super-Resolution Algorithm for MRI
    Using Deep Learning", IEEE Transactions on Medical Imaging 2021 (pairs from sharp axes).
    Chen, Tachella and Davies, "Equivariant Imaging", ICCV 2021 (pairs from turned estimates).
    Shocher, Cohen and Irani, "Zero-Shot Super-Resolution using Deep Internal Learning", CVPR 2018
    (pairs across scales, where there is no thick axis).
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from torch import Tensor

from oinr_monai.fitting.descent import Watch
from oinr_monai.fitting.interrupts import learning
from oinr_monai.grids.checks import check_positive, check_room
from oinr_monai.grids.grid import Grid
from oinr_monai.grids.precision import full_precision
from oinr_monai.images.meta import inherit
from oinr_monai.images.scans import Scan, checked_scans
from oinr_monai.representation.exact import spline_representation
from oinr_monai.representation.info import Info
from oinr_monai.representation.representation import Representation
from oinr_monai.scanner.profiles import SliceProfile

from .carried_operator import CarriedOperator, shipped_operator
from .restored import Restored
from .slice_descent import SliceDescent, carries, trusts
from .slice_errors import SliceErrors
from .slice_noise import AskedNoise, check_asked
from .views import View, isotropic_view, slice_view

__all__ = ["SuperResolveConfig", "super_resolve", "super_resolve_trusted"]

# Steps that are taken if no budget is given, from nothing and from what other scans taught: three
# minutes and half of that on one core for 128 x 160 x 32. Of the latter twice as many were worth
# 0.03 dB more on a head of random contrast, half of them 0.2 less.
STEPS, CARRIED_STEPS = 4_000, 2_000

BUDGETS = ("steps", "seconds")

# Axes are alike whose spacings differ by less than this factor.
ALIKE = 1.1


@dataclass(frozen=True)
class SuperResolveConfig:
    """How long to learn, and where.

    Args:
        steps: steps to learn from, each on one patch; if neither budget is given, 2,000 that begin
            with ``start``, and 4,000 with nothing. With 0, the answer is that of ``start`` as it
            is.
        seconds: seconds to learn, instead of steps; with both, whichever is spent first. The
            answer itself takes about a tenth more.
        seed: seed of the start, the patches and the rotations.
        device: "auto", "cpu" or "cuda".
        start: an operator that learned from other scans, which goes on learning from this one; by
            default the one that the package ships. None learns from this scan alone, as do images
            that are no stack of one channel in three dimensions.
        noise: on the slices, which are kept within it then: a kind, ``GaussianNoise`` or
            ``RicianNoise``, and its size where that is known. "found" looks for it in the slices,
            and leaves them as they are where it is below 1.5 % of their range, or where there are
            fewer than some 6,000 voxels to tell. None keeps the slices exactly, as do images that
            are no stack of one channel in three dimensions.

    Raises:
        ValueError: if a budget is not positive; ``steps`` may be 0 where there is a start; or if
            ``noise`` is of another kind, or told to be smooth.

    Example:
        >>> SuperResolveConfig().budget(carried=True), SuperResolveConfig(seconds=9.0).budget(True)
        ((2000, None), (None, 9.0))
    """

    steps: int | None = None
    seconds: float | None = None
    seed: int = 0
    device: str = "auto"
    start: CarriedOperator | None = field(default_factory=shipped_operator)
    noise: AskedNoise = "found"

    def __post_init__(self) -> None:
        checked = ("seconds",) if self.steps == 0 and self.start is not None else BUDGETS
        check_positive(self, *checked)
        check_asked(self.noise)

    def budget(self, carried: bool) -> tuple[int | None, float | None]:
        """Steps and seconds that may be taken, from a start or from nothing; None is no limit."""
        usual = CARRIED_STEPS if carried else STEPS
        return (usual if self.steps is None and self.seconds is None else self.steps), self.seconds

    def settings(self) -> dict[str, Any]:
        """The arguments as JSON values; of the start, what tells it from others."""
        told = {
            "start": None if self.start is None else repr(self.start),
            "noise": self.noise if self.noise in ("found", None) else repr(self.noise),
        }
        return {**{f.name: getattr(self, f.name) for f in fields(self)}, **told}


@full_precision()
def super_resolve(  # noqa: PLR0913
    image: Tensor | np.ndarray,
    config: SuperResolveConfig | None = None,
    *,
    spacing: float | Sequence[float] | None = None,
    slice_axis: int | None = None,
    slice_thickness: float | None = None,
    profile: SliceProfile | None = None,
    guide: Tensor | np.ndarray | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> Representation:
    """Make an image finer than it was measured: thick slices isotropic, or all axes at once.

    The axis with the largest spacing is taken for the thick one. Where the axes are alike, all of
    them are made finer, and ``spacing`` says how far.

    An interrupt (Ctrl-C) ends learning early with the best weights so far, marked in ``info``.

    Args:
        image: (C, *spatial) with 2 or 3 spatial dimensions; its channels are answered together.
        config: how long to learn.
        spacing: of the answer in mm along all axes, or each; for slices, if None, the smallest
            spacing within them, for the thick axis alone.
        slice_axis: the thick axis; that of the largest spacing if None.
        slice_thickness: of a slab in mm; the slice spacing if None. A thinner one leaves gaps.
        profile: sensitivity across a slice, if not that of a slab.
        guide: another image (1, *spatial) of the same object in the same world, of any contrast and
            on any grid, sharper than the slices across them; what it says is believed as far as it
            helps on pairs of the image's own, for stacks of one channel in 3-D.
        checkpoint: file that keeps the state of learning, which goes on from it if it exists.
        progress: show a bar on stderr.

    Returns:
        The fine image as a function. Its grid has the axes and the centre of the stack, and its
        voxels fill the space from the first to the last face of the slices' cells: exactly, where
        the spacing divides it, and else to the nearest whole number of voxels. ``info`` holds
        steps, seconds, the ``data_residual`` (root mean square difference between the image and
        what the scanner would have seen of the answer, in intensities), the ``noise`` that was
        taken out, if there was any, and the settings.

    Raises:
        ValueError: if the image is empty, constant, not finite or too small, or an argument is out
            of its range.

    Example:
        >>> import torch
        >>> wave = torch.sin(torch.arange(24.0) / 3)
        >>> image = (wave[:, None, None] + wave[:, None] + wave[2:22].view(5, 4).mean(1))[None]
        >>> thick = Grid((24, 24, 5), torch.diag(torch.tensor([1.0, 1.0, 4.0, 1.0])))
        >>> fine = super_resolve(thick.to_image(image), SuperResolveConfig(steps=3))
        >>> fine.grid.shape, fine.grid.origin.tolist()
        ((24, 24, 20), [0.0, 0.0, -1.5])
    """
    config, started = config or SuperResolveConfig(), time.monotonic()
    watch = Watch(checkpoint, progress=progress)
    with learning() as interrupts:
        view, scan = _seen(image, slice_axis, slice_thickness, profile, spacing)
        descent = _descent(scan, view, config, started, guide)
        result = descent.result(descent.run(watch, interrupts))
    return inherit(result, image)


@full_precision()
def super_resolve_trusted(
    image: Tensor | np.ndarray,
    config: SuperResolveConfig | None = None,
    *,
    spacing: float | Sequence[float] | None = None,
    slice_axis: int | None = None,
    slice_thickness: float | None = None,
    profile: SliceProfile | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> Restored:
    """Make thick slices isotropic, as :func:`super_resolve` does, and say how far to trust it.

    The operator that has learned answers slices simulated along the sharp axes of its own answer,
    whose truth is known. A small network learns from what there is to see of a place how large its
    error was, split-conformal scores make intervals of that, and they are made wider by how much
    harder the thick axis is than the sharp ones (see :mod:`~oinr_monai.restoration.slice_gap`).
    The slices are kept exactly, with the noise that they have, which the intervals count.

    Args:
        image: slices (1, *spatial) with three spatial dimensions.
        config: how long to learn.
        spacing: of the answer, as for :func:`super_resolve`.
        slice_axis: the thick axis; that of the largest spacing if None.
        slice_thickness: of a slab in mm; the slice spacing if None.
        profile: sensitivity across a slice, if not that of a slab.
        checkpoint: file that keeps the state of learning.
        progress: show a bar on stderr.

    Returns:
        The answer, and its intervals. ``answer.info["trust"]`` says what they were learned from.

    Raises:
        ValueError: as :func:`super_resolve`, and if the image is no stack of slices with one
            channel in three dimensions.

    Example:
        >>> import torch
        >>> thick = torch.rand(1, 24, 24, 6, generator=torch.Generator().manual_seed(0))
        >>> grid = Grid((24, 24, 6), torch.diag(torch.tensor([1.0, 1.0, 4.0, 1.0])))
        >>> found = super_resolve_trusted(grid.to_image(thick), SuperResolveConfig(steps=0))
        >>> low, high = found.interval(0.9)
        >>> low.shape, bool((low < high).all())
        (torch.Size([1, 24, 24, 24]), True)
    """
    config, started = config or SuperResolveConfig(), time.monotonic()
    watch = Watch(checkpoint, progress=progress)
    with learning() as interrupts:
        view, scan = _seen(image, slice_axis, slice_thickness, profile, spacing)
        if not trusts(view, len(scan.image)):
            raise ValueError(
                "image must be a stack of slices with one channel in 3-D for error bars, "
                f"got {tuple(scan.image.shape)} at {scan.grid.spacing.tolist()} mm"
            )
        if config.noise not in ("found", None):
            raise ValueError(
                f"noise must be None for error bars, which count it as it is, got {config.noise}"
            )
        descent = _descent(scan, view, replace(config, noise=None), started)
        interrupted = descent.run(watch, interrupts)
        added = descent.added()
        errors = SliceErrors(descent, added)
        result = descent.answered(added, interrupted)
    result.info |= {"trust": errors.statement()}
    return Restored(inherit(result, image), errors)


def _seen(
    image: Tensor | np.ndarray,
    axis: int | None,
    thickness: float | None,
    profile: SliceProfile | None,
    spacing: float | Sequence[float] | None,
) -> tuple[View, Scan]:
    (scan,) = checked_scans([image], None)
    return _view(scan.grid, axis, thickness, profile, spacing), scan


def _descent(
    scan: Scan,
    view: View,
    config: SuperResolveConfig,
    started: float,
    guide: Tensor | np.ndarray | None = None,
) -> SliceDescent:
    check_room(view.result.shape, len(scan.image))
    alone = not carries(view, len(scan.image), config)
    if guide is not None and alone:
        raise ValueError("guide must be None for what is no stack of one channel, got an image")
    if config.steps == 0 and alone:
        raise ValueError("steps must be positive for what is no stack of one channel, got 0")
    if config.noise not in ("found", None) and not trusts(view, len(scan.image)):
        raise ValueError(
            f"noise must be None for what is no stack of one channel in 3-D, got {config.noise}"
        )
    read = None if guide is None else _read_guide(guide, view)
    return SliceDescent(scan.image, view, config, started, read)


def _read_guide(guide: Tensor | np.ndarray, view: View) -> Representation:
    try:
        (scan,) = checked_scans([guide], None)
    except ValueError as error:
        raise ValueError(str(error).replace("image", "guide", 1)) from error
    if len(scan.image) != 1 or scan.grid.spatial_dims != 3:
        raise ValueError(f"guide must have shape (1, X, Y, Z), got {tuple(guide.shape)}")
    if not scan.grid.meets(view.result):
        raise ValueError("guide must overlap the image in the world, got one that lies elsewhere")
    return spline_representation(scan.image, scan.grid, Info())


def _view(
    grid: Grid,
    axis: int | None,
    thickness: float | None,
    profile: SliceProfile | None,
    spacing: float | Sequence[float] | None,
) -> View:
    if grid.spatial_dims < 2:
        raise ValueError(f"image must have 2 or 3 spatial dimensions, got {grid.spatial_dims}")
    if axis is not None and not 0 <= axis < grid.spatial_dims:
        raise ValueError(f"slice_axis must be 0 to {grid.spatial_dims - 1}, got {axis}")
    if thickness is not None and profile is not None:
        raise ValueError("slice_thickness must be None where a profile is given, got both")
    alike = float(grid.spacing.max() / grid.spacing.min()) < ALIKE
    if axis is None and alike:
        if thickness is not None or profile is not None:
            raise ValueError("slice_axis must be given for an image with no largest spacing")
        return isotropic_view(grid, spacing)
    return slice_view(grid, axis, thickness, profile, spacing)
