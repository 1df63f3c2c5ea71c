"""Random parts of scans, mirrored and with other contrasts, which tasks are made of."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from oinr_monai.grids.grid import Grid
from oinr_monai.images.intensity import IntensityScale

from .pairs import resample_axis

__all__ = ["ScanParts", "Source", "Task", "TaskPool"]

# All that follows is chosen by hand. Axes within the slices are sharp up to this factor of the
# smallest spacing.
SHARP = 1.25

# Fine voxels of a part of a scan along its last axis, and along the others.
LONG, WIDE = 112, 56

# The part of the tasks whose contrast is bent, and turned; the exponents; gains and moves of all.
BENT, TURNED, EXPONENTS, GAINS, MOVES = 0.5, 0.25, (0.6, 1.7), (0.7, 1.4), 0.5

# Tasks that steps draw from by turns, and the steps after which one of them is replaced.
POOL, RENEWED = 24, 8

# Parts of a scan that are drawn until one holds anything; the least that its variance has of that
# of the scan.
PATIENCE, LEAST = 16, 0.25


@dataclass(frozen=True)
class Source:
    """A scan that tasks are made of.

    Args:
        values: standardised (1, *shape), all axes as fine as the finest.
        sharp: axes that were sharp.
    """

    values: Tensor
    sharp: tuple[int, ...]

    @classmethod
    def of(cls, image: Tensor, grid: Grid) -> Source:
        """The first channel of an image (C, *shape) on its grid."""
        spacing = grid.spacing.tolist()
        finest = min(spacing)
        sharp = tuple(d for d, h in enumerate(spacing) if h < SHARP * finest)
        values = image[:1]
        for axis, h in enumerate(spacing):
            if axis not in sharp:
                values = resample_axis(values, axis, h, finest)
        return cls(IntensityScale.of(values).standardise(values), sharp)


class Task(Protocol):
    """What an operator learns from."""

    def patches(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """What the operator sees, and what it has to find, without end."""


class ScanParts(ABC):
    """Random tasks made of several scans.

    Args:
        sources: the scans.
        seed: of all tasks.
    """

    def __init__(self, sources: Sequence[Source], seed: int) -> None:
        self.sources, self.seed, self.generator = sources, seed, torch.Generator()

    @abstractmethod
    def drawn(self) -> Task:
        """A task, drawn with ``self.generator``."""

    def task(self, number: int) -> Task:
        """The task of a number, the same each time."""
        self.generator.manual_seed(((self.seed << 32) + number) % (1 << 63))
        return self.drawn()

    def part(self) -> Tensor:
        """A part of a scan (1, x, y, z) with z along a sharp axis."""
        source = self.sources[self.whole(len(self.sources))]
        return self._bent(self._cut(source))

    def _cut(self, source: Source) -> Tensor:
        sharp = source.sharp[self.whole(len(source.sharp))]
        values = source.values.transpose(sharp + 1, 3)
        if self.chance(0.5):
            values = values.transpose(1, 2)
        size = [min(n, m) for n, m in zip(values.shape[1:], (WIDE, WIDE, LONG), strict=True)]
        for _ in range(PATIENCE):
            part = values
            for axis, (n, m) in enumerate(zip(values.shape[1:], size, strict=True), start=1):
                part = part.narrow(axis, self.whole(n - m + 1), m)
            if float(part.var()) > LEAST:
                break
        return part

    def _bent(self, values: Tensor) -> Tensor:
        # Another contrast of the same anatomy, in other units.
        if self.chance(BENT):
            low, high = float(values.min()), float(values.max())
            unit = ((values - low) / max(high - low, 1e-6)).clamp(0, 1)
            exponent = math.exp(self.between(*(math.log(x) for x in EXPONENTS)))
            bent = unit**exponent
            values = (bent - bent.mean()) / bent.std().clamp_min(
                1e-6
            ) * values.std() + values.mean()
        if self.chance(TURNED):
            values = -values
        gain = math.exp(self.between(*(math.log(x) for x in GAINS)))
        return values * gain + self.between(-MOVES, MOVES)

    def whole(self, stop: int) -> int:
        """A whole number below ``stop``."""
        return int(torch.randint(stop, (), generator=self.generator))

    def between(self, low: float, high: float) -> float:
        """A number between two."""
        return low + (high - low) * float(torch.rand((), generator=self.generator))

    def chance(self, part: float) -> bool:
        """True in so many of the draws."""
        return float(torch.rand((), generator=self.generator)) < part


class TaskPool:
    """Tasks that steps draw from by turns: one of them is replaced every few steps.

    Args:
        parts: makes the tasks.
        first: number of the first of them.
    """

    def __init__(self, parts: ScanParts, first: int = 0) -> None:
        self.parts, self.first = parts, first
        self.tasks: dict[int, Task] = {}

    def draw(self, step: int, generator: torch.Generator) -> Task:
        """A task for a step, steps being counted from 0."""
        first = self.first + step // RENEWED
        number = first + int(torch.randint(POOL, (), generator=generator))
        if number not in self.tasks:
            self.tasks = {n: task for n, task in self.tasks.items() if n >= first}
            self.tasks[number] = self.parts.task(number)
        return self.tasks[number]
