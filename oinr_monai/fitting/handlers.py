"""Ignite handlers of a fit: its clock, rate, best weights, checkpoints, and what people watch."""

from __future__ import annotations

import copy
import math
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from ignite.engine import Engine, Events
from torch import Tensor

from .checkpoint import write_checkpoint
from .notes import CheckpointNote

__all__ = [
    "BestOfEach",
    "BestWeights",
    "Checkpoint",
    "Clock",
    "LastWeights",
    "OneCycle",
    "ProgressBar",
    "Scores",
    "TensorBoard",
]


@dataclass
class Clock:
    """How far a fit has come, against a budget of steps, of seconds, or both; ends it when spent.

    Args:
        steps: steps to take, or None for no limit.
        seconds: wall-clock seconds to take, those of interrupted runs included, or None.
        started: reading of ``time.monotonic`` when the fit began.
        step: steps taken so far.
        spent: seconds taken by earlier runs of the same fit.
    """

    steps: int | None
    seconds: float | None
    started: float = field(default_factory=time.monotonic)
    step: int = 0
    spent: float = 0.0

    @property
    def elapsed(self) -> float:
        """Seconds taken so far."""
        return self.spent + time.monotonic() - self.started

    @property
    def fraction(self) -> float:
        """Part of the budget that is used, 0 to 1."""
        by_steps = 0.0 if self.steps is None else self.step / self.steps if self.steps else 1.0
        by_seconds = self.elapsed / self.seconds if self.seconds else 0.0
        return min(max(by_steps, by_seconds), 1.0)

    def attach(self, engine: Engine) -> None:
        """Count the steps of ``engine`` and stop it at the end of the budget."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._tick)

    def _tick(self, engine: Engine) -> None:
        self.step += 1
        if self.fraction >= 1:
            engine.terminate()


@dataclass
class OneCycle:
    """One-cycle rate over the budget: a linear rise, then a half cosine down to nothing.

    References:
        Smith and Topin, "Super-Convergence", 2018.

    Args:
        optimizer: its groups carry their highest rate as ``peak``.
        clock: the budget.
        rise: part of the budget in which the rate rises.
    """

    optimizer: torch.optim.Optimizer
    clock: Clock
    rise: float = 0.05

    def attach(self, engine: Engine) -> None:
        """Set the rates before every step of ``engine``."""
        engine.add_event_handler(Events.ITERATION_STARTED, self._set)

    def _set(self, engine: Engine) -> None:
        done = self.clock.fraction
        if done < self.rise:
            factor = max(done / self.rise, 0.02)
        else:
            factor = 0.5 * (1 + math.cos(math.pi * (done - self.rise) / (1 - self.rise)))
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * factor


def _loss_and_score(engine: Engine, scores: Scores) -> tuple[float, float]:
    # Read together: each look at a device waits for it.
    loss = cast("Tensor", engine.state.output).double()
    score = torch.as_tensor(scores.last, dtype=torch.float64, device=loss.device)
    return tuple(torch.stack([loss, score]).tolist())


# A score costs about as much as a step: in short fits there are fewer of them. Chosen by hand.
STEPS_A_SCORE = 10


@dataclass
class Scores(ABC):
    """Scores weights now and then over the budget, and keeps some of them.

    Args:
        network: the module whose weights are kept.
        score: what they are worth.
        clock: the budget.
        times: scores to take over the whole budget.
        last: score taken last.
        weights: weights that are kept.
        due: part of the budget after which the next score is taken.
        best: score of the weights that are kept.
    """

    network: torch.nn.Module
    score: Callable[[], Any]
    clock: Clock
    times: int = 20
    last: Tensor | float = math.nan
    weights: dict[str, Tensor] = field(default_factory=dict)
    due: float = 0.0
    best: Any = -math.inf

    def attach(self, engine: Engine) -> None:
        """Take scores after steps of ``engine``."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._maybe)

    def _maybe(self, engine: Engine) -> None:
        if self.clock.fraction >= self.due:
            wait = max(1 / self.times, STEPS_A_SCORE / (self.clock.steps or math.inf))
            self.due = min(self.clock.fraction + wait, 1.0)
            self.take()

    @property
    def found(self) -> bool:
        """Whether there are weights to keep."""
        return bool(self.weights)

    @abstractmethod
    def take(self) -> None:
        """Score the weights as they are, and keep them if they are the best so far."""

    def state(self) -> dict[str, Any]:
        """What it needs to go on: the best score and its weights, and when the next is due."""
        return {"score": self.best, "weights": self.weights, "due": self.due}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a :meth:`state`."""
        self.best, self.weights, self.due = state["score"], dict(state["weights"]), state["due"]


@dataclass
class BestWeights(Scores):
    """Keeps the weights with the best score, which it takes now and then over the budget.

    Args:
        network: the module whose weights are kept.
        score: higher is better; here the PSNR at held-out places.
        clock: the budget.
        times: scores to take over the whole budget.
        last: score taken last.
        weights: weights of the best score.
        due: part of the budget after which the next score is taken.
        best: best score so far.
    """

    best: Tensor | float = -math.inf

    @property
    def found(self) -> bool:
        """Whether a score was finite."""
        return float(self.best) > -math.inf

    def take(self) -> None:
        """Score the weights as they are, and keep them if they are the best so far."""
        self.last = self.score()
        if not isinstance(self.last, Tensor):
            self._keep(better=self.last > float(self.best))
        elif self.last.device.type == "cpu":
            self._keep(better=bool(self.last > self.best))
        else:
            self._choose(self.last)

    def _keep(self, *, better: bool) -> None:
        if better:
            self.best = self.last
            self.weights = copy.deepcopy(self.network.state_dict())

    def _choose(self, score: Tensor) -> None:
        # Where the device knows which weights are better, without a look from the host.
        better = score > self.best
        self.best = torch.where(better, score, self.best)
        for name, value in self.network.state_dict().items():
            self.weights[name] = torch.where(better, value, self.weights.get(name, value))

    def state(self) -> dict[str, Any]:
        """Its best score as a number."""
        return {**super().state(), "score": float(self.best)}


@dataclass
class BestOfEach(Scores):
    """The same for a stack of B networks in one module, each of which has a score of its own.

    Args:
        network: the module; the first axis of each of its weights counts the networks.
        score: scores (B,), higher is better.
        clock: the budget.
        times: scores to take over the whole budget.
        last: mean of the scores taken last.
        weights: each network's weights of its best score.
        due: part of the budget after which the next score is taken.
        best: best scores so far (B,).
    """

    best: Tensor = field(default_factory=lambda: torch.tensor(-math.inf))

    def take(self) -> None:
        """Score the weights as they are, and keep those that are their network's best so far."""
        scores: Tensor = self.score()
        self.last, better = scores.mean(), scores > self.best
        self.best = torch.where(better, scores, self.best)
        for name, value in self.network.state_dict().items():
            kept = self.weights.get(name, value)
            chosen = better.to(value.device).view(-1, *[1] * (value.ndim - 1))
            self.weights[name] = torch.where(chosen, value, kept)


@dataclass
class LastWeights(Scores):
    """Keeps the last weights, whatever they score."""

    def take(self) -> None:
        """Score the weights as they are, and keep them."""
        self.last, self.weights = self.score(), copy.deepcopy(self.network.state_dict())


@dataclass
class Checkpoint:
    """Saves all that a fit needs to go on where it was.

    Where that cannot be written, as on a full disk, it is said once, by a :class:`CheckpointNote`,
    and the fit goes on.

    Args:
        path: file to write, replaced as a whole.
        state: returns the tensors and numbers to save.
        every: seconds between two saves.
        told: whether it was said that a save failed.
    """

    path: Path
    state: Callable[[], dict[str, Any]]
    every: float = 15.0
    told: bool = False
    _last: float = field(default_factory=time.monotonic)

    def attach(self, engine: Engine) -> None:
        """Save after steps of ``engine``."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._maybe)

    def _maybe(self, engine: Engine) -> None:
        if time.monotonic() - self._last >= self.every:
            self.save()
            self._last = time.monotonic()

    def save(self) -> None:
        """Write the checkpoint now, if that can be done."""
        try:
            write_checkpoint(self.path, self.state())
        except OSError as error:
            if not self.told:
                note = f"{error}; going on without a checkpoint"
                warnings.warn(CheckpointNote(note), stacklevel=2)
            self.told = True


@dataclass
class TensorBoard:
    """Writes loss, score and rate as scalars, and the middle slice as an image, for TensorBoard.

    Args:
        directory: where the event files go.
        clock: the budget.
        best: where the score comes from.
        optimizer: where the rate comes from.
        picture: returns the result so far as (H, W) in 0 to 1, or None.
        times: points to write over the whole budget.
        every: the fewest steps between two of them.
    """

    directory: Path
    clock: Clock
    best: Scores
    optimizer: torch.optim.Optimizer
    picture: Callable[[], Tensor | None]
    times: int = 50
    every: int = 1
    _written: int = -(1 << 40)
    _due: float = 0.0
    _imaged: float = -math.inf

    def attach(self, engine: Engine) -> None:
        """Open the event file when ``engine`` starts, and write after its steps."""
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(self.directory))
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._maybe)
        engine.add_event_handler(Events.COMPLETED, lambda _: self.close())

    def _maybe(self, engine: Engine) -> None:
        step = self.clock.step
        if self.clock.fraction < self._due or step < self._written + self.every:
            return
        self._due, self._written = min(self.clock.fraction + 1 / self.times, 1.0), step
        loss, score = _loss_and_score(engine, self.best)
        self.writer.add_scalar("loss", loss, step)
        self.writer.add_scalar("psnr_between", score, step)
        self.writer.add_scalar("rate", self.optimizer.param_groups[0]["lr"], step)
        if self.clock.fraction - self._imaged >= 0.2 or self.clock.fraction >= 1:
            self._imaged = self.clock.fraction
            self._write_picture(step)

    def _write_picture(self, step: int) -> None:
        picture = self.picture()
        if picture is not None:
            self.writer.add_image("middle_slice", picture, step, dataformats="HW")

    def close(self) -> None:
        """Write what is left."""
        self.writer.close()


@dataclass
class ProgressBar:
    """A bar on stderr with loss, score and the time left.

    Args:
        clock: the budget.
        best: where the score comes from.
        title: what it says before the bar.
        every: steps after which it is drawn anew.
    """

    clock: Clock
    best: Scores
    title: str = "fit"
    every: int = 10

    def attach(self, engine: Engine) -> None:
        """Show the bar while ``engine`` runs."""
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn(
                "{task.percentage:>3.0f}% loss {task.fields[loss]} score {task.fields[score]}"
            ),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._task = self._bar.add_task(self.title, total=1.0, loss="-", score="-")
        engine.add_event_handler(Events.STARTED, lambda _: self._bar.start())
        engine.add_event_handler(Events.ITERATION_COMPLETED(every=self.every), self._show)
        engine.add_event_handler(Events.COMPLETED, lambda _: self.close())

    def _show(self, engine: Engine) -> None:
        loss, score = _loss_and_score(engine, self.best)
        shown = f"{loss:.2e}", f"{score:.2f}"
        done = self.clock.fraction
        self._bar.update(self._task, completed=done, loss=shown[0], score=shown[1])

    def close(self) -> None:
        """Take the bar down, at the place where it is."""
        self._bar.update(self._task, completed=self.clock.fraction)
        self._bar.stop()
