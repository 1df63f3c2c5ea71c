r"""Learn an operator of super-resolution from several scans, to carry over to others.

.. math:: G = \arg\min_G E \| v - B y - G[y; t] \|_1

where v is a part of a scan, seen as slices y = A v that t tells of, and B the corrected
spline (see :mod:`~oinr_monai.restoration.super_resolution`).
"""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from oinr_monai.fitting.checkpoint import fingerprint
from oinr_monai.fitting.descent import Descent, Watch
from oinr_monai.fitting.device import chosen_device, gains_from_bfloat16, seeded
from oinr_monai.fitting.handlers import BestWeights, Clock
from oinr_monai.fitting.interrupts import learning
from oinr_monai.grids.checks import check_positive
from oinr_monai.grids.precision import full_precision
from oinr_monai.images.metrics import peak_ratio
from oinr_monai.images.scans import checked_scans

from .averaging import Averaging
from .carried_operator import CarriedOperator
from .momentum import OrthogonalMomentum
from .pairs import scored
from .scan_tasks import ScanTasks, Source, Task

__all__ = ["LearnSuperResolutionConfig", "learn_super_resolution"]

# Steps that are taken if no budget is given.
STEPS = 20_000

# Peak learning rate, the part of the budget in which it rises, and the memory of averaged weights;
# these and what follows are chosen by hand.
RATE, RISE, MEMORY = 2e-3, 0.02, 0.999

# Tasks that steps draw from by turns, and the steps after which one of them is replaced.
POOL, RENEWED = 24, 8

# Patches that are kept aside, one a task, and how often weights are scored on them.
HELD_OUT, SCORES = 64, 10

# Width and number of the operator's blocks.
WIDTH, BLOCKS = 48, 4


@dataclass(frozen=True)
class LearnSuperResolutionConfig:
    """How long to learn from several scans, and where.

    Args:
        steps: steps, each on one patch of a scan; 20,000 if neither budget is given.
        seconds: seconds instead of steps; with both, whichever is spent first.
        seed: seed of the start and of the tasks.
        device: "auto", "cpu" or "cuda".

    Raises:
        ValueError: if a budget is not positive.

    Example:
        >>> LearnSuperResolutionConfig(steps=500).seed
        0
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
def learn_super_resolution(
    scans: Sequence[Tensor | np.ndarray],
    config: LearnSuperResolutionConfig | None = None,
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> CarriedOperator:
    """Learn what thick slices take away from several scans, for others.

    Each scan's sharp axes, those of its smallest spacing, are seen as thick slices of random
    spacing (2 to 6 times as large), profile and noise, mirrored, turned and with their contrast
    bent; the operator is told which. An interrupt (Ctrl-C) ends learning early with the best
    weights so far.

    Args:
        scans: (C, *spatial) with 3 spatial dimensions each, of which the first channel counts;
            one that is listed several times is drawn as often.
        config: how long to learn.
        checkpoint: file that keeps the state of learning, which goes on from it if it exists.
        progress: show a bar on stderr.

    Returns:
        The operator, for :class:`~oinr_monai.SuperResolveConfig` as ``start``; save it with
        ``save``.

    Raises:
        ValueError: if there are no scans, or one is not of 3 dimensions, constant or not finite.

    Example:
        >>> scans = [torch.rand(1, 26, 26, 26, generator=torch.Generator().manual_seed(0))]
        >>> operator = learn_super_resolution(scans, LearnSuperResolutionConfig(steps=2))
        >>> operator.width
        48
    """
    config = config or LearnSuperResolutionConfig()
    started = time.monotonic()
    watch = Watch(checkpoint, progress=progress)
    with learning() as interrupts:
        descent = _Learning(_sources(scans), config, started)
        descent.run(watch, interrupts)
    return descent.average.cpu()


def _sources(scans: Sequence[Tensor | np.ndarray]) -> list[Source]:
    if not scans:
        raise ValueError("scans must be one or more, got none")
    known: dict[int, Source] = {}
    for image in scans:
        if id(image) not in known:
            (scan,) = checked_scans([image], None)
            if scan.grid.spatial_dims != 3:
                raise ValueError(f"scans must have 3 spatial dimensions, got {image.ndim - 1}")
            known[id(image)] = Source.of(scan.image, scan.grid)
    return [known[id(image)] for image in scans]


class _Learning(Descent):
    """The descent of an operator towards what many kinds of slices lack."""

    title, rise = "learn-super-resolution", RISE

    def __init__(
        self, sources: Sequence[Source], config: LearnSuperResolutionConfig, started: float
    ) -> None:
        self.sources, self.config = sources, config
        self.device = chosen_device(config.device)
        with seeded(config.seed):
            self.operator = CarriedOperator(WIDTH, BLOCKS).to(self.device)
        self.average = copy.deepcopy(self.operator).requires_grad_(False)
        self.averaging = Averaging(self.operator, self.average, MEMORY)
        self.reduced = gains_from_bfloat16(self.device)
        self.tasks, self.pool = ScanTasks(sources, config.seed), dict[int, Task]()
        clock = Clock(*config.budget(), started=started)
        best = BestWeights(self.average, self._score, clock, times=SCORES)
        both = nn.ModuleList([self.operator, self.average])
        super().__init__(both, OrthogonalMomentum(self.operator, RATE), clock, config.seed, best)
        self.held_out = [self._kept(i) for i in range(HELD_OUT)]
        self.best.take()

    @property
    def identity(self) -> object:
        """The scans and the settings."""
        return [fingerprint(each.values) for each in self.sources], self.config

    def draw(self) -> tuple[Task, tuple[Tensor, Tensor]]:
        """A task, and a patch of it."""
        first = HELD_OUT + self.clock.step // RENEWED
        number = first + int(torch.randint(POOL, (), generator=self.generator))
        if number not in self.pool:
            self.pool = {n: task for n, task in self.pool.items() if n >= first}
            self.pool[number] = self.tasks.task(number)
        task = self.pool[number]
        return task, next(task.patches(self.generator))

    def loss(self, batch: tuple[Task, tuple[Tensor, Tensor]]) -> Tensor:
        """Absolute error of the answer."""
        task, patch = batch
        answer, missing = self._answer(self.operator, task, patch)
        return (answer - missing).abs().mean()

    def between(self) -> list[Any]:
        """The running mean of the weights."""
        return [self.averaging]

    def state(self) -> dict[str, Any]:
        """Also the running mean's steps."""
        return {**super().state(), "averaged": self.averaging.steps}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where the descent was that ``state`` is of."""
        super().restore(state)
        self.averaging.steps = state["averaged"]

    def _kept(self, number: int) -> tuple[Task, tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(number)
        task = self.tasks.task(number)
        patch = next(task.patches(generator))
        return task, (patch[0].clone(), patch[1].clone())

    def _answer(
        self, operator: CarriedOperator, task: Task, patch: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        coarse, missing = (each.to(self.device) for each in patch)
        factor = task.pair.factor
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.reduced):
            answer = operator(coarse, factor[-1], task.told)
        return scored(answer.float(), factor), scored(missing, factor)

    @torch.no_grad()
    def _score(self) -> float:
        # Decibels ahead of the corrected spline, over the patches kept aside.
        missed, left = 0.0, 0.0
        for task, patch in self.held_out:
            answer, missing = self._answer(self.average, task, patch)
            missed += float(missing.square().mean())
            left += float((answer - missing).square().mean())
        return peak_ratio(left, missed**0.5)
