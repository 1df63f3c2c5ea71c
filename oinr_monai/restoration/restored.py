"""An answer, and how far it may be from the truth."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from monai.data import MetaTensor
from torch import Tensor

from oinr_monai.images.meta import inherit
from oinr_monai.representation.representation import Representation

__all__ = ["LEVEL", "Errors", "Restored"]

# Part of the places whose truth an interval covers, if nothing else is asked for.
LEVEL = 0.9


class Errors(ABC):
    """What is known of the errors of an answer."""

    @abstractmethod
    def half_width(self, level: float) -> Tensor:
        """Half widths (C, *grid.shape) of intervals that cover a part ``level`` of the places."""

    @abstractmethod
    def statement(self) -> dict[str, Any]:
        """What they were learned from, JSON values."""


@dataclass(frozen=True)
class Restored:
    """An answer, and how far it may be from the truth.

    Args:
        answer: the restored image as a function; ``answer.info["trust"]`` says what the intervals
            were learned from.
        errors: of it.
    """

    answer: Representation
    errors: Errors

    def half_width(self, level: float = LEVEL) -> MetaTensor:
        """Half widths (C, *grid.shape) of the intervals, in the image's units, on its own grid.

        Args:
            level: part of the places whose truth lies within them, between 0 and 1.

        Raises:
            ValueError: if ``level`` is not between 0 and 1.
        """
        if not 0 < level < 1:
            raise ValueError(f"level must be between 0 and 1, got {level}")
        width = self.errors.half_width(level)
        return inherit(self.answer.grid.to_image(width), self.answer, values=False)

    def interval(self, level: float = LEVEL) -> tuple[MetaTensor, MetaTensor]:
        """Lower and upper ends (C, *grid.shape) of the intervals.

        Args:
            level: part of the places whose truth lies within them, between 0 and 1.
        """
        middle, width = self.answer.sample(), self.half_width(level).as_tensor()
        ends = (middle.as_tensor().cpu() - width, middle.as_tensor().cpu() + width)
        low, high = (inherit(self.answer.grid.to_image(end), self.answer) for end in ends)
        return low, high
