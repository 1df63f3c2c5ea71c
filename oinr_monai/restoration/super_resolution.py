r"""Super-resolution of one image with an operator that learns from that image alone.

A stack of thick slices y = A x is sharp within its slices and blurred across them. The operator G
learns on the sharp axes what a slice profile takes away, and is then asked across the slices,

.. math:: \hat x = P_y\big( B y + G[y] \big), \qquad
          G = \arg\min_G E \big\| R v - B A R v - G[A R v] \big\|_1,

with B the cubic B-spline corrected for the profile, R a rotation that turns a sharp axis to where
the thick one was, and P_y the nearest image that would have been seen as y. The image v that the
pairs are made of is the latest estimate itself: the operator sees its whole neighbourhood in three
dimensions, and what it is held against is sharp because the slices are.

References:
    Zhao et al., "SMORE: A Self-Supervised Anti-Aliasing and Super-Resolution Algorithm for MRI
    Using Deep Learning", IEEE Transactions on Medical Imaging 2021 (pairs from sharp axes).
    Chen, Tachella and Davies, "Equivariant Imaging", ICCV 2021 (pairs from turned estimates).
    Shocher, Cohen and Irani, "Zero-Shot Super-Resolution using Deep Internal Learning", CVPR 2018
    (pairs across scales, where there is no thick axis).
"""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn

from oinr_monai.fitting.checkpoint import fingerprint
from oinr_monai.fitting.descent import Descent, Watch
from oinr_monai.fitting.device import chosen_device, gains_from_bfloat16, seeded
from oinr_monai.fitting.handlers import BestWeights, Clock
from oinr_monai.fitting.interrupts import learning
from oinr_monai.grids.checks import check_positive, check_room
from oinr_monai.grids.grid import Grid
from oinr_monai.grids.precision import full_precision
from oinr_monai.images.identity import digest_of_image
from oinr_monai.images.intensity import IntensityScale
from oinr_monai.images.meta import inherit
from oinr_monai.images.metrics import peak_ratio
from oinr_monai.images.scans import checked_scans
from oinr_monai.representation.exact import spline_representation
from oinr_monai.representation.info import Info
from oinr_monai.representation.representation import Representation
from oinr_monai.scanner.profiles import SliceProfile

from .momentum import OrthogonalMomentum
from .pairs import draw_patches, scored
from .slice_operator import SliceOperator
from .views import View, isotropic_view, slice_view

__all__ = ["SuperResolveConfig", "super_resolve"]

# Steps that are taken if no budget is given: about four minutes on one core for 128 x 160 x 32.
STEPS = 4_000

# Channels and blocks of the operator, for each number of dimensions; this and the rest is chosen by
# hand.
OPERATORS = {2: (64, 4), 3: (40, 4)}

# Peak learning rate, the part of the budget in which it rises, and the memory of averaged weights.
RATE, RISE, MEMORY = 2e-3, 0.1, 0.995

# Parts of the budget after which the estimate that the pairs are made of is renewed.
RENEWALS = (0.15, 0.3, 0.5, 0.7)

# The most that an estimate is sharpened by before pairs are made of it.
ROUGHEST = 2.0

# Axes are alike whose spacings differ by less than this factor.
ALIKE = 1.1

# Patches that the averaged weights are scored on, and the times.
HELD_OUT, SCORES = 8, 10


@dataclass(frozen=True)
class SuperResolveConfig:
    """How long to learn, and where.

    Args:
        steps: steps to learn from, each on one patch; 4,000 if neither budget is given.
        seconds: seconds to learn, instead of steps; with both, whichever is spent first. The
            answer itself takes about a tenth more.
        seed: seed of the start, the patches and the rotations.
        device: "auto", "cpu" or "cuda".

    Raises:
        ValueError: if a budget is not positive.

    Example:
        >>> SuperResolveConfig().budget()
        (4000, None)
    """

    steps: int | None = None
    seconds: float | None = None
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        check_positive(self, "steps", "seconds")

    def budget(self) -> tuple[int | None, float | None]:
        """Steps and seconds that may be taken; None is no limit."""
        return (STEPS if self.steps is None and self.seconds is None else self.steps), self.seconds


@full_precision()
def super_resolve(
    image: Tensor | np.ndarray,
    config: SuperResolveConfig | None = None,
    *,
    spacing: float | Sequence[float] | None = None,
    slice_axis: int | None = None,
    slice_thickness: float | None = None,
    profile: SliceProfile | None = None,
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
        checkpoint: file that keeps the state of learning, which goes on from it if it exists.
        progress: show a bar on stderr.

    Returns:
        The fine image as a function. Its grid has the axes and the centre of the stack, and its
        voxels fill the space from the first to the last face of the slices' cells: exactly, where
        the spacing divides it, and else to the nearest whole number of voxels. ``info`` holds
        steps, seconds, the ``data_residual`` (root mean square difference between the image and
        what the scanner would have seen of the answer, in intensities) and the settings.

    Raises:
        ValueError: if the image is empty, constant, not finite or too small, or an argument is out
            of its range.

    Example:
        >>> wave = torch.sin(torch.arange(24.0) / 3)
        >>> image = (wave[:, None, None] + wave[:, None] + wave[2:22].view(5, 4).mean(1))[None]
        >>> thick = Grid((24, 24, 5), torch.diag(torch.tensor([1.0, 1.0, 4.0, 1.0])))
        >>> fine = super_resolve(thick.to_image(image), SuperResolveConfig(steps=3))
        >>> fine.grid.shape, fine.grid.origin.tolist()
        ((24, 24, 20), [0.0, 0.0, -1.5])
    """
    config = config or SuperResolveConfig()
    started = time.monotonic()
    watch = Watch(checkpoint, progress=progress)
    with learning() as interrupts:
        (scan,) = checked_scans([image], None)
        view = _view(scan.grid, slice_axis, slice_thickness, profile, spacing)
        check_room(view.result.shape, len(scan.image))
        descent = _SuperResolution(scan.image, view, config, started)
        result = descent.result(descent.run(watch, interrupts))
    return inherit(result, image)


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


class _SuperResolution(Descent):
    """The descent of an operator towards what the slices of one image lack."""

    title, rise = "super-resolve", RISE

    def __init__(
        self, image: Tensor, view: View, config: SuperResolveConfig, started: float
    ) -> None:
        self.image, self.view, self.config = image, view, config
        self.device = chosen_device(config.device)
        self.scale = IntensityScale.of(image)
        self.coarse = self.scale.standardise(image).to(self.device)
        self.operator = _operator(view, len(image), config.seed).to(self.device)
        self.average = copy.deepcopy(self.operator).requires_grad_(False)
        self.averaging = _Averaging(self.operator, self.average)
        self.reduced = gains_from_bfloat16(self.device)
        clock = Clock(*config.budget(), started=started)
        self.due = list(RENEWALS) if view.renews else []
        optimizer = OrthogonalMomentum(self.operator, RATE)
        best = BestWeights(self.average, self._score, clock, times=SCORES)
        both = nn.ModuleList([self.operator, self.average])
        super().__init__(both, optimizer, clock, config.seed, best)
        self._renew()

    @property
    def identity(self) -> object:
        """The image, the grids and profiles between which the operator goes, and the settings."""
        grids = fingerprint(self.image, self.view.grid.affine, self.view.result.affine)
        return grids, self.view.result.shape, repr(self.view.profiles), self.config

    def draw(self) -> tuple[Tensor, Tensor]:
        """A coarse patch, and what it misses."""
        if self.due and self.clock.fraction >= self.due[0]:
            self.due.pop(0)
            self._renew()
        coarse, missing = next(self.patches)
        return coarse.to(self.device), missing.to(self.device)

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Absolute error of the answer, scored as the view says."""
        coarse, missing = batch
        factor = self.view.factor
        with self._precision():
            answer = self.operator(coarse)
        return (scored(answer.float(), factor) - scored(missing, factor)).abs().mean()

    def between(self) -> list[Any]:
        """The running mean of the weights."""
        return [self.averaging]

    def state(self) -> dict[str, Any]:
        """Also the running mean's steps, and what the pairs in use were made with."""
        pairs = {"averaged": self.averaging.steps, "renewals": len(self.due), **self.renewed}
        return {**super().state(), "pairs": pairs}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Make the pairs anew that were in use."""
        pairs = state["pairs"]
        self.clock.step = pairs["step"]
        self.average.load_state_dict(pairs["weights"])
        self._renew()
        super().restore(state)
        self.averaging.steps = pairs["averaged"]
        del self.due[: len(self.due) - pairs["renewals"]]

    def result(self, interrupted: bool) -> Representation:
        """The fine image."""
        fine = self.view.guess(self.coarse) + self._shrinkage() * self._ensemble()
        fine = self.view.answer(fine, self.coarse).cpu()
        values = self.scale.restore(fine)
        return spline_representation(values, self.view.result, self._info(values, interrupted))

    def _renew(self) -> None:
        """Make the pairs of the latest estimate."""
        weights = copy.deepcopy(self.average.state_dict())
        self.renewed = {"step": self.clock.step, "weights": weights}
        self.generator.manual_seed((1 << 63) - 1 - ((self.seed << 32) + self.clock.step))
        estimate = coarse = self.view.part(self.coarse, self.generator)
        if self.view.renews:
            estimate = self.view.guess(coarse)
            if self.clock.step:
                sharper = estimate + self._roughness() * self._whole(coarse)
                estimate = self.view.keep_data(sharper, coarse)
        pairs = self.view.pairs(estimate, self.generator)
        self.patches = draw_patches(pairs, self.generator, self.view.mirrors, self.view.swaps)
        self.held_out = [next(self.patches) for _ in range(HELD_OUT)]
        # Another estimate is another task: scores before it do not compare.
        self.best.best, self.best.due = -math.inf, self.clock.fraction
        self.best.take()

    def _roughness(self) -> float:
        # A mean of what is possible is smoother than the truth. Pairs should be as rough as the
        # image, so that the operator meets there what it will meet in the image.
        answered, missing = (
            sum(float(each.square().sum()) for each in values)
            for values in zip(*self._answers(), strict=True)
        )
        return min(max((missing / answered) ** 0.5, 1.0), ROUGHEST) if answered > 0 else 1.0

    def _answers(self) -> Iterator[tuple[Tensor, Tensor]]:
        factor = self.view.factor
        for coarse, missing in self.held_out:
            with torch.no_grad(), self._precision():
                answer = self.average(coarse.to(self.device)).float()
            yield scored(answer, factor), scored(missing.to(self.device), factor)

    def _score(self) -> float:
        errors = [float((answer - missing).square().mean()) for answer, missing in self._answers()]
        span = float(self.coarse.max() - self.coarse.min())
        return peak_ratio(sum(errors) / len(errors), span)

    def _shrinkage(self) -> float:
        # How much of its answer to believe, by least squares: none of what would do harm.
        agreement = [(float((a * m).sum()), float((a * a).sum())) for a, m in self._answers()]
        gain, size = (sum(each) for each in zip(*agreement, strict=True))
        return min(max(gain / size, 0.0), 1.0) if size > 0 else 0.0

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.reduced)

    def _whole(self, coarse: Tensor) -> Tensor:
        with self._precision():
            return self.average.whole(coarse)

    def _ensemble(self) -> Tensor:
        # The mean over all mirror images of the image that the scanner sees alike.
        total, mirrors = torch.zeros((), device=self.device), self.view.mirrors
        for turned in product((False, True), repeat=len(mirrors)):
            axes = [d + 1 for d, flip in zip(mirrors, turned, strict=True) if flip]
            total = total + self._whole(self.coarse.flip(axes)).flip(axes)
        return total / 2 ** len(mirrors)

    def _info(self, values: Tensor, interrupted: bool) -> Info:
        residual = self.view.residual(values, self.image)
        return replace(
            self.taken(interrupted),
            settings=asdict(self.config),
            image=digest_of_image([self.image], self.view.grid),
            factor=tuple(self.view.factor),
            profile=next(repr(p) for p in self.view.profiles if p is not None),
            data_residual=math.nan if residual is None else residual,
            psnr_pairs=round(self.best.best, 3),
        )


def _operator(view: View, channels: int, seed: int) -> SliceOperator:
    dims = view.grid.spatial_dims
    width, blocks = OPERATORS[dims]
    with seeded(seed):
        return SliceOperator(dims, channels, view.factor, width, blocks)


@dataclass
class _Averaging:
    """Keeps a running mean of the weights, which wander less than the weights.

    Args:
        network: what is trained.
        average: a copy of it that holds the mean.
        steps: steps taken.
    """

    network: nn.Module
    average: nn.Module
    steps: int = 0

    def attach(self, engine: Engine) -> None:
        """Average after every step of ``engine``."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._update)

    @torch.no_grad()
    def _update(self) -> None:
        self.steps += 1
        kept = min(MEMORY, self.steps / (self.steps + 9))
        for mean, weight in zip(self.average.parameters(), self.network.parameters(), strict=True):
            mean.lerp_(weight, 1 - kept)
