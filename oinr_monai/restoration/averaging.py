"""A running mean of weights, which wander less than the weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from ignite.engine import Engine, Events
from torch import nn

__all__ = ["Averaging"]


@dataclass
class Averaging:
    """Keeps a running mean of the weights.

    Args:
        network: what is trained.
        average: a copy of it that holds the mean.
        memory: of the mean, the part that is kept in each step.
        steps: steps taken.
    """

    network: nn.Module
    average: nn.Module
    memory: float
    steps: int = 0

    def attach(self, engine: Engine) -> None:
        """Average after every step of ``engine``."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._update)

    @torch.no_grad()
    def _update(self) -> None:
        self.steps += 1
        kept = min(self.memory, self.steps / (self.steps + 9))
        for mean, weight in zip(self.average.parameters(), self.network.parameters(), strict=True):
            mean.lerp_(weight, 1 - kept)
