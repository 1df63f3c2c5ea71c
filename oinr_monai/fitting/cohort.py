"""Fit many images of one shape at once: their weights stacked, their steps taken together."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from oinr_monai.grids.device import chosen_device
from oinr_monai.grids.grid import Grid
from oinr_monai.grids.positions import Positions
from oinr_monai.grids.precision import full_precision
from oinr_monai.images.meta import inherit
from oinr_monai.images.metrics import peak_ratio
from oinr_monai.images.scans import Scan
from oinr_monai.images.stack import scans_alike
from oinr_monai.representation.continuous_field import ContinuousField
from oinr_monai.representation.lineage import digest
from oinr_monai.representation.neural_field import NeuralField, few_threads
from oinr_monai.representation.representation import Representation

from .closed_form import closed_form
from .closed_start import begin_closed
from .descent import Descent, Watch, adam, answer, weighted_mse
from .device import compiled, rests
from .handlers import BestOfEach, Clock
from .interrupts import learning
from .objective import ImageObjective
from .presets import EXACT, FitConfig, begins_closed, budget, places_of, rate_of
from .samplers import Batch, Look
from .start import begin

__all__ = ["fit_many"]

# Numbers that training keeps for each activation: the sine, its argument, their gradients, and
# what the products in between copy.
PER_ACTIVATION = 6

# Numbers that training keeps for each weight: itself, its gradient, two moments, the best so far.
PER_WEIGHT = 5


@full_precision()
def fit_many(
    images: Sequence[Tensor | np.ndarray],
    config: FitConfig | None = None,
    *,
    start: Representation | None = None,
    memory: float = 32.0,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> list[Representation]:
    """Fit many images of one shape and spacing, each by a function of its own, all at once.

    The result is that of :func:`~oinr_monai.fit` on one image after the other, to rounding: every
    image has its own intensity scale, its own weights and its own best ones. They share the places
    that a step looks at, and the step itself: on small images, where a step is mostly overhead,
    this is many times faster. It works in full precision, which costs nothing here, where ``fit``
    takes bfloat16 on machines that gain from it: there the two differ by that rounding.

    An interrupt (Ctrl-C) ends it early with the best so far of the images in work, marked in their
    ``info``; those that come after them are missing from the result.

    Args:
        images: (C, *spatial) each, of one shape and one spacing; their affines may differ.
        config: how to fit, preset "balanced" if None. ``seconds`` is the time that one image
            may take.
        start: another fit to begin each of them with, as :func:`~oinr_monai.fit` takes it.
        memory: MiB that the training may hold, about, which sets how many images go at once; one
            does in any case. More than fits the processor's cache is no faster on a CPU.
        checkpoint: folder that keeps the states of the fits, which go on from them if it has some.
        progress: show a bar on stderr.

    Returns:
        The representations, in the order of the images; ``info`` as :func:`~oinr_monai.fit` fills
        it, ``seconds`` being the image's share.

    Raises:
        ValueError: if the images differ in shape or spacing, one is not fit for :func:`fit`, or
            the operator answers whole lattices only, or the start is of another kind than the
            settings make.

    Example:
        >>> waves = [torch.sin(k * torch.linspace(0, 1, 12)).expand(1, 12, 12) for k in (3, 5)]
        >>> [rep.grid.shape for rep in fit_many(waves, FitConfig(preset="fast", steps=5))]
        [(12, 12), (12, 12)]
    """
    config = config or FitConfig("balanced")
    if not memory > 0:
        raise ValueError(f"memory must be positive, got {memory}")
    if config.preset == EXACT:
        return _one_by_one(images, config, start)
    found: list[Representation] = []
    with learning() as interrupts:
        scans = scans_alike(images)
        count = _at_once(scans[0], config, start, memory) if scans else 1
        for first in range(0, len(scans), count):
            last = min(first + count, len(scans))
            title = f"fit {first + 1}-{last} of {len(scans)}"
            batch = _BatchFit(scans[first:last], config, start, title)
            kept = None if checkpoint is None else Path(checkpoint) / f"{first + 1}-{last}.pt"
            found += batch.results(batch.run(Watch(kept, progress=progress), interrupts))
            if found[-1].info.interrupted or interrupts.asked:
                break
    return [inherit(each, image) for each, image in zip(found, images, strict=False)]


def _one_by_one(
    images: Sequence[Tensor | np.ndarray], config: FitConfig, start: Representation | None
) -> list[Representation]:
    # Where nothing is trained, nothing is gained by going together.
    if start is not None:
        raise ValueError('start must be None for preset "exact", which trains nothing, got one')
    scans_alike(images)
    return [inherit(closed_form(image, config), image) for image in images]


def _at_once(scan: Scan, config: FitConfig, start: Representation | None, memory: float) -> int:
    # Images whose training fits into so many MiB.
    field = _field(scan, config, start)
    widths = field.network.in_channels + sum(field.hidden_channels) + field.network.out_channels
    weights = sum(p.numel() for p in field.parameters())
    numbers = PER_ACTIVATION * widths * places_of(scan.grid, config) + PER_WEIGHT * weights
    return max(int(memory * 2**20 / (4 * numbers)), 1)


def _field(scan: Scan, config: FitConfig, start: Representation | None) -> NeuralField:
    field = begin(scan.grid, len(scan.image), config, start)
    if not isinstance(field, NeuralField):
        raise ValueError(
            f"network must be a local operator to be fitted to many images at once, got "
            f"{type(field.network).__name__}; fit one after the other"
        )
    return field


class _BatchFit(Descent):
    """Images that are fitted together, as one image that has the channels of all of them."""

    def __init__(
        self, scans: Sequence[Scan], config: FitConfig, start: Representation | None, title: str
    ) -> None:
        self.start = None if start is None else digest(start)
        self.scans, self.config, self.count, self.title = scans, config, len(scans), title
        first = scans[0]
        self.device = chosen_device(config.device)
        together = Scan(torch.cat([scan.image for scan in scans]), first.grid, None, first.origin)
        self.objective = ImageObjective([together], config)
        steps, seconds = budget(first.grid, config)
        clock = Clock(steps, None if seconds is None else seconds * self.count)
        self.field = _field(first, config, start).to(self.device)
        self.stack = _Stack(self.field, self.count)
        closed = start is None and begins_closed(first.grid, len(first.image), config)
        if closed:
            self._begin_closed(first.grid)
        rate = rate_of(first.grid, len(first.image), config)
        optimizer = adam(self.field, rate, self.stack.by_name())
        best = BestOfEach(self.stack, self._held_out_psnr(), clock)
        super().__init__(self.stack, optimizer, clock, config.seed, best)
        self.cost = compiled(self.loss, self.device) if config.compiled else self.loss
        (self.sampler,) = self.objective.samplers(self.field, self.generator)
        if closed or start is not None:
            best.take()

    def _begin_closed(self, grid: Grid) -> None:
        # Each at the closed form of its own image.
        channels = self.field.network.out_channels
        for i, span in enumerate(self._spans().tolist()):
            own = slice(i * channels, (i + 1) * channels)
            field = copy.deepcopy(self.field)
            begin_closed(field, partial(self._truth, own), grid, span)
            self.stack.put(i, field)

    def _truth(self, channels: slice, places: Positions) -> Tensor:
        return self.objective.truth(places)[channels]

    @property
    def identity(self) -> object:
        """The images, the settings, the field, and what it started from."""
        return self.objective.digest, self.config.settings(), repr(self.field), self.start

    @property
    def ahead(self) -> int:
        """Many on a device, to which they go together."""
        return rests(self.device)

    def draw(self) -> Look:
        """Places, the same for all images."""
        return self.sampler, self.sampler.axes()

    def sent(self, drawn: Sequence[Look]) -> Iterator[Batch]:
        """The places, and what is there."""
        return self.objective.looked_at(drawn, self.device)

    def loss(self, batch: Batch) -> Tensor:
        """The sum over the images: each then has the gradient that it would have alone."""
        # Reduced precision gains nothing in a stack of narrow operators, and limits its quality.
        places, label, options = batch
        return self.count * weighted_mse(answer(self.stack, places, **options), label)

    def threads(self) -> AbstractContextManager[None]:
        """Few where the operator is narrow."""
        return few_threads(self.field)

    def results(self, interrupted: bool) -> list[Representation]:
        """Each image's field as it is now, with its scores."""
        seconds = round(self.clock.elapsed / self.count, 6)
        taken = replace(self.taken(interrupted), seconds=seconds, start=self.start)
        return [
            ImageObjective([scan], self.config).result(self.stack.member(i), taken)
            for i, scan in enumerate(self.scans)
        ]

    def _held_out_psnr(self) -> Callable[[], Tensor]:
        ((places, label, options),) = self.objective.held_out(self.field, self.device)
        spans = self._spans().to(self.device)

        def score() -> Tensor:
            with torch.no_grad():
                error = (answer(self.stack, places, **options) - label[0]).square()
                errors = error.unflatten(0, (self.count, -1)).flatten(1).mean(1)
            return peak_ratio(errors, spans)

        return score

    def _spans(self) -> Tensor:
        # Range of each standardised image.
        truth = self.objective.scale.standardise(self.objective.first.image)
        z = truth.unflatten(0, (self.count, -1)).flatten(1)
        return z.amax(1) - z.amin(1)


class _Stack(nn.Module):
    """B fields of one kind in one module: each weight of theirs is one tensor (B, ...)."""

    def __init__(self, field: ContinuousField, count: int) -> None:
        super().__init__()
        self._field = (field,)  # a tuple, lest its own weights count among the stacked ones
        self._names = [name for name, _ in field.named_parameters()]
        self.stacked = nn.ParameterList(
            nn.Parameter(p.detach().expand(count, *p.shape).clone(), p.requires_grad)
            for p in field.parameters()
        )

    def by_name(self) -> dict[str, Tensor]:
        """The stacked weights, by the name that a single field has for them."""
        return dict(zip(self._names, self.stacked, strict=True))

    def forward(self, positions: Positions, **options: Any) -> Tensor:
        """Signals (1, B C, *positions.shape) of all fields, one after the other."""

        def one(weights: dict[str, Tensor]) -> Tensor:
            signal: Tensor = torch.func.functional_call(
                self._field[0], weights, (positions,), options
            )
            return signal[0]

        return torch.vmap(one)(self.by_name()).flatten(0, 1)[None]

    @torch.no_grad()
    def put(self, i: int, field: ContinuousField) -> None:
        """Give field i the weights of another."""
        for stacked, own in zip(self.stacked, field.parameters(), strict=True):
            stacked[i].copy_(own)

    def member(self, i: int) -> ContinuousField:
        """Field i, with weights of its own."""
        field = copy.deepcopy(self._field[0])
        field.load_state_dict({name: p[i].clone() for name, p in self.by_name().items()})
        return field
