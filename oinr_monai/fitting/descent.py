"""The descent: steps of an optimizer until a budget is spent, whatever is learned.

Every descent of the package is a :class:`Descent`: its subclass says what a step sees and what it
costs; the loop, its clock, its schedule, the best weights on the way, interrupts, checkpoints and
what people watch are here.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn

from oinr_monai.grids.positions import Positions
from oinr_monai.grids.precision import precision
from oinr_monai.representation.info import Info
from oinr_monai.representation.lattice_field import LatticeField
from oinr_monai.representation.operator_field import OperatorField

from .checkpoint import read_checkpoint
from .device import fuses, rests
from .handlers import Checkpoint, Clock, OneCycle, ProgressBar, Scores, TensorBoard
from .interrupts import Interrupts

__all__ = ["Descent", "Watch", "adam", "answer", "weighted_mse"]


@dataclass(frozen=True)
class Watch:
    """How a descent is kept and watched.

    Args:
        checkpoint: file to save its state to every 15 seconds, and at its end.
        resume: go on from ``checkpoint`` if it exists.
        log_dir: directory for TensorBoard.
        progress: show a bar on stderr.

    Raises:
        ValueError: if the folder of ``checkpoint`` does not exist.
    """

    checkpoint: str | os.PathLike[str] | None = None
    resume: bool = True
    log_dir: str | os.PathLike[str] | None = None
    progress: bool = False

    def __post_init__(self) -> None:
        if self.checkpoint is not None and not Path(self.checkpoint).parent.is_dir():
            raise ValueError(
                f"checkpoint must be in an existing folder, got {self.checkpoint}; create it first"
            )


class Descent(ABC):
    """Steps of an optimizer until the clock's budget is spent, the best weights on the way kept.

    Each step draws from a seed of its own, so that a resumed descent sees what it missed.

    Args:
        network: what is trained.
        optimizer: each of its groups carries its highest rate as ``peak``.
        clock: the budget.
        seed: seed of what the steps see.
        best: keeps the weights that are the answer.
    """

    title, rise, clip = "fit", 0.05, float("inf")

    def __init__(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        clock: Clock,
        seed: int,
        best: Scores,
    ) -> None:
        self.network, self.optimizer, self.clock = network, optimizer, clock
        self.seed, self.best = seed, best
        self.generator = torch.Generator()
        self.device = next(network.parameters()).device
        self.cost: Callable[[Any], Tensor] = self.loss

    @property
    @abstractmethod
    def identity(self) -> object:
        """What tells this descent from another, for a checkpoint; its ``repr`` is kept."""

    @abstractmethod
    def draw(self) -> Any:  # noqa: ANN401
        """What the next step sees, drawn with ``self.generator`` on the host."""

    @property
    def ahead(self) -> int:
        """Steps that are drawn at once."""
        return 1

    def sent(self, drawn: Sequence[Any]) -> Iterable[Any]:
        """What steps see, on the device; of what was drawn for them."""
        return drawn

    @abstractmethod
    def loss(self, batch: Any) -> Tensor:  # noqa: ANN401
        """What a step costs on what it sees."""

    def between(self) -> list[Any]:
        """Ignite handlers that come after a step and before its score."""
        return []

    def threads(self) -> AbstractContextManager[None]:
        """The threads that steps of this kind are fastest with."""
        return nullcontext()

    def picture(self) -> Tensor | None:
        """The result so far (H, W) in 0 to 1, for TensorBoard; None if it cannot be seen."""
        return None

    def state(self) -> dict[str, Any]:
        """All that the descent needs to go on where it was."""
        return {
            "of": repr(self.identity),
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.clock.step,
            "elapsed": self.clock.elapsed,
            "best": self.best.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where the descent was that ``state`` is of."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.clock.step, self.clock.spent = state["step"], state["elapsed"]
        self.best.restore(state["best"])

    def taken(self, interrupted: bool) -> Info:
        """What it took, for the ``info`` of the answer."""
        return Info(
            steps=self.clock.step,
            seconds=round(self.clock.elapsed, 3),
            interrupted=interrupted,
            device=str(self.device),
        )

    def step(self, batch: Any) -> Tensor:  # noqa: ANN401
        """Take a step, and tell what it cost."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.cost(batch)
        loss.backward()
        if self.clip < float("inf"):
            groups = self.optimizer.param_groups
            nn.utils.clip_grad_norm_([p for group in groups for p in group["params"]], self.clip)
        self.optimizer.step()
        return loss.detach()

    def run(self, watch: Watch, interrupts: Interrupts) -> bool:
        """Take the steps, and leave the network with its best weights.

        Args:
            watch: how it is kept and watched.
            interrupts: ends it early.

        Returns:
            Whether an interrupt came before the budget was spent.

        Raises:
            ValueError: if no weights had a finite score, or the checkpoint is of something else.
            KeyboardInterrupt: if an interrupt came before the first step.
        """
        if interrupts.asked:
            raise KeyboardInterrupt
        path = None if watch.checkpoint is None else Path(watch.checkpoint)
        checkpoint = None if path is None else Checkpoint(path, self.state)
        if path is not None and watch.resume and path.is_file():
            self.restore(read_checkpoint(path, self.state(), self.optimizer))
        interrupted = self._descend(watch, checkpoint, interrupts)
        interrupts.heeded = True
        if checkpoint is not None:
            checkpoint.save()
        self._take_best(interrupted)
        return interrupted

    def _descend(self, watch: Watch, checkpoint: Checkpoint | None, interrupts: Interrupts) -> bool:
        if self.clock.fraction >= 1:
            return False
        engine = Engine(lambda engine, batch: self.step(batch))
        engine.logger.setLevel("CRITICAL")
        handlers = [*self._handlers(watch), *([] if checkpoint is None else [checkpoint])]
        for handler in handlers:
            handler.attach(engine)
        engine.add_event_handler(Events.ITERATION_COMPLETED, _heed, interrupts)
        steps = 1 << 40 if self.clock.steps is None else self.clock.steps
        try:
            with self.threads():
                engine.run(self.batches(), max_epochs=1, epoch_length=steps - self.clock.step)
        except KeyboardInterrupt:
            return True
        finally:
            for handler in handlers:
                if isinstance(handler, TensorBoard | ProgressBar):
                    handler.close()
        return interrupts.asked and self.clock.fraction < 1

    def _handlers(self, watch: Watch) -> list[Any]:
        cycle = OneCycle(self.optimizer, self.clock, self.rise)
        handlers: list[Any] = [self.clock, cycle, *self.between(), self.best]
        every = rests(self.device)
        if watch.log_dir is not None:
            where = Path(watch.log_dir)
            handlers.append(
                TensorBoard(where, self.clock, self.best, self.optimizer, self.picture, every=every)
            )
        if watch.progress:
            handlers.append(ProgressBar(self.clock, self.best, self.title, max(every, 10)))
        return handlers

    def batches(self) -> Iterator[Any]:
        """What steps see from here on, without end."""
        while True:
            step = self.clock.step
            yield from self.sent([self._drawn(step + i) for i in range(self.ahead)])

    def _drawn(self, step: int) -> Any:  # noqa: ANN401
        self.generator.manual_seed(((self.seed << 32) + step) % (1 << 63))
        return self.draw()

    def _take_best(self, interrupted: bool) -> None:
        if not self.best.found or (self.clock.step and not interrupted):
            self.best.take()
        if not self.best.found:
            raise ValueError(
                f"the {self.title} must reach a finite score, got {float(self.best.last)} after "
                f"{self.clock.step} steps; lower the learning rate or look at the image's values"
            )
        self.best.network.load_state_dict(self.best.weights)


def _heed(engine: Engine, interrupts: Interrupts) -> None:
    if interrupts.asked:
        engine.terminate()


def adam(field: OperatorField, rate: float, weights: Mapping[str, Tensor]) -> torch.optim.Optimizer:
    """The optimizer of ``field``, each group with the highest rate that suits its part.

    Args:
        field: tells the parts and their leverage.
        rate: peak rate of the effective weights.
        weights: what is trained in place of each of the field's parameters, by its name.
    """
    trained = {id(p): weights[name] for name, p in field.named_parameters()}
    groups: list[dict[str, Any]] = [
        {"params": [trained[id(p)] for p in parameters], "peak": rate / leverage}
        for parameters, leverage in field.network.leverages()
    ]
    device = next(field.parameters()).device
    learned = [trained[id(p)] for p in field.encoding.parameters() if p.requires_grad]
    groups += [{"params": learned, "peak": 2 * rate}] if learned else []
    return torch.optim.Adam(groups, lr=rate, betas=(0.9, 0.99), fused=fuses(device))


def answer(
    network: nn.Module, places: Positions | None, reduced: bool = False, **options: Any
) -> Tensor:
    """Signal (C, *places.shape); on the whole lattice where there are no places.

    Args:
        network: a field, or a stack of them.
        places: where.
        reduced: run the operator in bfloat16.
        options: further arguments of the network.
    """
    with precision(next(network.parameters()).device, reduced):
        if isinstance(network, LatticeField) and places is None:
            return network.on_lattice().float()
        signal: Tensor = network(places, **options)[0]
        return signal.float() if reduced else signal


def weighted_mse(signal: Tensor, label: tuple[Tensor, Tensor | None]) -> Tensor:
    """Mean squared error of (C, *shape) against a target, weighted where the label has weights."""
    target, weight = label
    error = (signal - target) ** 2
    if weight is None:
        return error.mean()
    return (error * weight).sum() / (weight.sum().clamp_min(1) * len(target))
