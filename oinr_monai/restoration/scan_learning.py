"""Learning an operator from several scans, to carry over to others."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from oinr_monai.fitting.checkpoint import fingerprint
from oinr_monai.fitting.descent import Descent
from oinr_monai.fitting.device import gains_from_bfloat16
from oinr_monai.fitting.handlers import BestWeights, Clock
from oinr_monai.grids.checks import check_positive
from oinr_monai.grids.device import chosen_device
from oinr_monai.grids.precision import precision
from oinr_monai.images.metrics import peak_ratio
from oinr_monai.images.scans import checked_scans

from .averaging import Averaging
from .carried_denoiser import CarriedDenoiser
from .carried_operator import CarriedOperator
from .momentum import OrthogonalMomentum
from .scan_parts import ScanParts, Source, Task, TaskPool

__all__ = ["LearningConfig", "ScanLearning", "checked_sources"]

_Operator = TypeVar("_Operator", bound=CarriedOperator | CarriedDenoiser)

# Steps that are taken if no budget is given.
STEPS = 20_000

# Peak learning rate, the part of the budget in which it rises, and the memory of averaged weights;
# these and what follows are chosen by hand.
RATE, RISE, MEMORY = 2e-3, 0.02, 0.999

# Patches that are kept aside, one a task, and how often weights are scored on them.
HELD_OUT, SCORES = 64, 10


@dataclass(frozen=True)
class LearningConfig:
    """How long to learn from several scans, and where.

    Args:
        steps: steps, each on one patch of a scan; 20,000 if neither budget is given.
        seconds: seconds instead of steps; with both, whichever is spent first.
        seed: seed of the start and of the tasks.
        device: "auto", "cpu" or "cuda".

    Raises:
        ValueError: if a budget is not positive.

    Example:
        >>> LearningConfig(steps=500).seed
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


def checked_sources(scans: Sequence[Tensor | np.ndarray]) -> list[Source]:
    """Scans (C, *spatial) as what tasks are made of; one that is listed twice is looked at once.

    Raises:
        ValueError: if there are no scans, or one is not of 3 dimensions, constant or not finite.
    """
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


class ScanLearning(Descent, Generic[_Operator]):
    """The descent of an operator towards what scans of many kinds lack.

    Args:
        operator: what learns.
        parts: makes the tasks.
        config: how long to learn, and where.
        started: reading of ``time.monotonic`` when it began.
    """

    rise = RISE

    def __init__(
        self,
        operator: _Operator,
        parts: ScanParts,
        config: LearningConfig,
        started: float,
    ) -> None:
        self.parts, self.config = parts, config
        self.device = chosen_device(config.device)
        operator.to(self.device)
        self.operator, self.average = operator, copy.deepcopy(operator)
        self.average.requires_grad_(False)
        self.averaging = Averaging(self.operator, self.average, MEMORY)
        self.reduced = gains_from_bfloat16(self.device)
        self.pool = TaskPool(parts, HELD_OUT)
        clock = Clock(*config.budget(), started=started)
        best = BestWeights(self.average, self._score, clock, times=SCORES)
        both = nn.ModuleList([self.operator, self.average])
        super().__init__(both, OrthogonalMomentum(self.operator, RATE), clock, config.seed, best)
        self.held_out = [self._kept(i) for i in range(HELD_OUT)]
        self.best.take()

    @abstractmethod
    def answer(
        self,
        operator: nn.Module,
        task: Any,  # noqa: ANN401
        patch: tuple[Tensor, Tensor],
    ) -> tuple[Tensor, Tensor]:
        """What an operator answers on a patch of a task, and what it should."""

    @property
    def identity(self) -> object:
        """The scans and the settings."""
        return [fingerprint(each.values) for each in self.parts.sources], self.config

    def draw(self) -> tuple[Task, tuple[Tensor, Tensor]]:
        """A task, and a patch of it."""
        task = self.pool.draw(self.clock.step, self.generator)
        return task, next(task.patches(self.generator))

    def loss(self, batch: tuple[Task, tuple[Tensor, Tensor]]) -> Tensor:
        """Absolute error of the answer."""
        answer, missing = self._answered(self.operator, *batch)
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
        task = self.parts.task(number)
        patch = next(task.patches(generator))
        return task, (patch[0].clone(), patch[1].clone())

    def _answered(
        self, operator: nn.Module, task: Task, patch: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        seen, missing = (each.to(self.device) for each in patch)
        with precision(self.device, self.reduced):
            return self.answer(operator, task, (seen, missing))

    @torch.no_grad()
    def _score(self) -> float:
        # Decibels ahead of no answer, over the patches kept aside.
        missed, left = 0.0, 0.0
        for task, patch in self.held_out:
            answer, missing = self._answered(self.average, task, patch)
            missed += float(missing.square().mean())
            left += float((answer - missing).square().mean())
        return peak_ratio(left, missed**0.5)
