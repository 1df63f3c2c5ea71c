"""Fit a continuous representation to an image."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from oinr_monai.grids.device import chosen_device
from oinr_monai.grids.grid import Grid
from oinr_monai.grids.positions import Lattice
from oinr_monai.grids.precision import full_precision
from oinr_monai.images.meta import inherit
from oinr_monai.images.metrics import peak_ratio
from oinr_monai.images.scans import checked_scans
from oinr_monai.images.stored import StoredImage
from oinr_monai.representation.lineage import digest
from oinr_monai.representation.neural_field import NeuralField, few_threads
from oinr_monai.representation.representation import Representation

from .closed_form import closed_form
from .closed_start import begin_closed
from .descent import Descent, Watch, adam, answer, weighted_mse
from .device import compiled, gains_from_bfloat16, rests
from .handlers import BestWeights, Clock
from .interrupts import learning
from .objective import ImageObjective, Objective
from .presets import EXACT, FitConfig, begins_closed, budget, rate_of
from .samplers import Batch, Look
from .start import begin
from .stored_objective import StoredObjective

__all__ = ["ImageFit", "fit"]

Image = Tensor | np.ndarray

# Channels of a layer from which on bfloat16 makes steps shorter (docs/measured/performance.md);
# narrower ones it makes no faster, and up to 0.35 dB worse (docs/measured/precision.md).
WIDE = 32


@full_precision()
def fit(
    image: Image | Sequence[Image] | StoredImage,
    config: FitConfig | None = None,
    *,
    start: Representation | None = None,
    mask: Tensor | np.ndarray | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    log_dir: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> Representation:
    """An image as a continuous function.

    By default nothing is trained: the function is the B-spline through all samples, exact at them,
    and known at once (preset "exact"). An image on disk stays there, and is read where it is asked.

    The other presets fit an operator, and the input function it reads. Every step looks at fresh
    random places between the samples, where the truth is the cubic B-spline through them; so the
    result is as good between samples as on them. An interrupt (Ctrl-C) ends the fit early and
    returns the best representation so far, marked in its ``info``. Of a volume such a fit begins at
    the least-squares spline of its own knots, and is never worse than it.

    Several images of one object, at several resolutions or from several stacks, are fitted by one
    function; the nodes of a :class:`~oinr_monai.CKConvOINR` then lie at each image's own spacing.

    Args:
        image: (C, *spatial) with 1 to 3 spatial dimensions, its affine that of a MetaTensor or
            else unit spacing; or several of them, along the same axes, the finest first: its grid,
            its intensity scale and its scores are those of the representation. A
            :class:`~oinr_monai.StoredImage` stays on disk, and is read block by block.
        config: how to fit; if None, in closed form, or with preset "balanced" where there are
            several images or a start.
        start: another fit to begin with, of the same kind, instead of the preset's own start; see
            :func:`~oinr_monai.fitting.start.begin` for what is carried over. The result is never
            worse than it at the places that choose the best weights.
        mask: voxels that count, (*spatial) or (1, *spatial); all if None. For one image in memory.
        checkpoint: file to save the state of the fit to every 15 seconds.
        resume: go on from ``checkpoint`` if it exists.
        log_dir: directory for TensorBoard.
        progress: show a bar on stderr.

    Returns:
        The representation; its ``info`` holds steps, seconds, psnr_grid, psnr_between, parameters,
        device and the settings, and which start it had. In closed form the scores are rounding,
        measured in a few boxes, and missing where there is none.

    Raises:
        ValueError: if the image is empty, constant, not finite or of the wrong shape, the start
            is of another kind than the settings make, or preset "exact" is given several images or
            a start.

    Example:
        >>> wave = torch.sin(torch.linspace(0, 6, 16))[None, :, None].expand(1, 16, 16)
        >>> representation = fit(wave)
        >>> representation.sample(representation.grid.refine(2)).shape
        torch.Size([1, 31, 31])
        >>> fit(wave, FitConfig(preset="fast", steps=20)).parameters < representation.parameters
        False
    """
    images: list[Any] = list(image) if isinstance(image, list | tuple) else [image]
    trains = start is not None or len(images) > 1
    config = config or FitConfig("balanced" if trains else None)
    if config.preset == EXACT and trains:
        raise ValueError(
            "preset must train something for several images or another start, got "
            '"exact"; take "fast", "balanced" or "best"'
        )
    if config.preset == EXACT and images:
        return inherit(closed_form(images[0], config, mask), images[0])
    started = time.monotonic()
    watch = Watch(checkpoint, resume, log_dir, progress)
    with learning() as interrupts:
        objective = _objective_of(images, config, mask)
        descent = ImageFit(objective, start, started)
        result = descent.result(descent.run(watch, interrupts))
    return inherit(result, images[0])


def _objective_of(
    images: Sequence[Any], config: FitConfig, mask: Tensor | np.ndarray | None
) -> Objective:
    if len(images) == 1 and isinstance(images[0], StoredImage):
        if mask is not None:
            raise ValueError("mask must be None for an image on disk, got one")
        return StoredObjective(images[0], config)
    return ImageObjective(checked_scans(images, mask), config)


class ImageFit(Descent):
    """The descent of one field towards an image, or towards several of one object.

    Args:
        objective: the image, and how to fit.
        start: another fit to begin with, or None.
        started: reading of ``time.monotonic`` when the fit began.
    """

    def __init__(self, objective: Objective, start: Representation | None, started: float) -> None:
        config = objective.config
        self.objective, self.start = objective, None if start is None else digest(start)
        self.device = chosen_device(config.device)
        grid, channels = objective.grid, objective.channels
        field = begin(grid, channels, config, start)
        closed = start is None and begins_closed(grid, channels, config)
        if closed:
            begin_closed(cast("NeuralField", field), objective.truth, grid, objective.span)
        self.field = field.to(self.device)
        objective.check(self.field)
        local = self.field if isinstance(self.field, NeuralField) else None
        wide = local is not None and max(local.hidden_channels, default=0) >= WIDE
        self.reduced = wide and gains_from_bfloat16(self.device)
        rate = rate_of(grid, channels, config)
        optimizer = adam(self.field, rate, dict(self.field.named_parameters()))
        clock = Clock(*budget(objective.grid, config), started=started)
        best = BestWeights(self.field, self._held_out_psnr(), clock)
        super().__init__(self.field, optimizer, clock, config.seed, best)
        self.cost = compiled(self.loss, self.device) if config.compiled else self.loss
        self.samplers = objective.samplers(self.field, self.generator)
        if closed or start is not None:
            best.take()

    @property
    def identity(self) -> object:
        """The image, the settings, the field, and what it started from."""
        settings = self.objective.config.settings()
        return self.objective.digest, settings, repr(self.field), self.start

    @property
    def ahead(self) -> int:
        """Many on a device, to which they go together."""
        return rests(self.device)

    def draw(self) -> Look:
        """Places; in a step at one of the images."""
        chosen = 0
        if len(self.samplers) > 1:
            chosen = int(torch.randint(len(self.samplers), (), generator=self.generator))
        return self.samplers[chosen], self.samplers[chosen].axes()

    def sent(self, drawn: Sequence[Look]) -> Iterator[Batch]:
        """The places, and what is there."""
        return self.objective.looked_at(drawn, self.device)

    def loss(self, batch: Batch) -> Tensor:
        """Squared error at the places."""
        places, label, options = batch
        return weighted_mse(answer(self.field, places, self.reduced, **options), label)

    def threads(self) -> AbstractContextManager[None]:
        """Few where the operator is narrow."""
        return few_threads(self.field)

    def picture(self) -> Tensor:
        """The middle slice."""
        with torch.no_grad():
            return _shown(self.field(_middle(self.objective.grid, self.device))[0, 0])

    def result(self, interrupted: bool) -> Representation:
        """The field as it is now, with its scores."""
        taken = replace(self.taken(interrupted), start=self.start)
        return self.objective.result(self.field, taken)

    def _held_out_psnr(self) -> Callable[[], Tensor]:
        held_out = self.objective.held_out(self.field, self.device)
        span = torch.tensor(self.objective.span, dtype=torch.float64)

        def score() -> Tensor:
            with torch.no_grad():
                errors = [
                    weighted_mse(answer(self.field, places, **options), label).double()
                    for places, label, options in held_out
                ]
            return peak_ratio(torch.stack(errors).sum() / len(errors), span)

        return score


def _middle(grid: Grid, device: torch.device) -> Lattice:
    axes = [
        torch.arange(n, dtype=torch.float64) * h
        for n, h in zip(grid.shape, grid.spacing.tolist(), strict=True)
    ]
    if len(axes) == 3:
        axes[2] = axes[2][len(axes[2]) // 2 :][:1]
    return Lattice(tuple(x.to(device) for x in axes))


def _shown(image: Tensor) -> Tensor:
    # (H, W) in 0 to 1, as people look at it.
    image = image.reshape(len(image), -1)
    low, high = image.min(), image.max()
    return ((image - low) / (high - low).clamp_min(1e-12)).T.flip(0).cpu()
