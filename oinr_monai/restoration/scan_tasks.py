"""Tasks that an operator of super-resolution learns to carry over from: parts of scans, seen thick.

A task is a part of a scan whose sharp axis is seen as thick slices of random spacing and profile,
mirrored, its axes exchanged, its contrast bent, with noise on the slices.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from oinr_monai.grids.grid import Grid
from oinr_monai.images.intensity import IntensityScale
from oinr_monai.scanner.forward_model import along_axes
from oinr_monai.scanner.profiles import Boxcar, Gaussian, SliceProfile

from .pairs import AxisModel, Pair, draw_patches, resample_axis
from .told import Told

__all__ = ["ScanTasks", "Source", "Task"]

# All that follows is chosen by hand. Axes within the slices are sharp up to this factor of the
# smallest spacing.
SHARP = 1.25

# Fine voxels of a part of a scan along the axis that is made thick, and along the others.
LONG, WIDE = 112, 56

# The least and the most places in a slice; the part of the tasks whose slices hold a whole number.
FACTORS, WHOLE = (2, 6), 0.5

# Widths of profiles over the slice spacing.
WIDTHS = {Boxcar: (0.6, 1.1), Gaussian: (0.6, 1.2)}

# The part of the tasks with noise, and its most, over the standard deviation of the image.
NOISY, NOISE = 0.15, 0.25

# The part of the tasks whose contrast is bent, and turned; the exponents; gains and moves of all.
BENT, TURNED, EXPONENTS, GAINS, MOVES = 0.5, 0.25, (0.6, 1.7), (0.7, 1.4), 0.5

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


@dataclass(frozen=True)
class Task:
    """Pairs to learn from, and what the operator is told of them.

    Args:
        pair: slices along the last axis, and what they miss.
        told: of the slices.
    """

    pair: Pair
    told: Told

    def patches(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Coarse values (1, 1, *coarse) and missing ones (1, 1, *fine), without end."""
        return draw_patches([self.pair], generator, [0, 1, 2], [(0, 1)])


class ScanTasks:
    """Random tasks made of several scans.

    Args:
        sources: the scans.
        seed: of all tasks.
    """

    def __init__(self, sources: Sequence[Source], seed: int) -> None:
        self.sources, self.seed, self.generator = sources, seed, torch.Generator()

    def task(self, number: int) -> Task:
        """The task of a number, the same each time."""
        self.generator.manual_seed(((self.seed << 32) + number) % (1 << 63))
        source = self.sources[self._whole(len(self.sources))]
        fine = self._bent(self._part(source))
        factor = FACTORS[0] + self._whole(FACTORS[1] - FACTORS[0] + 1)
        ratio = float(factor) if self._chance(WHOLE) else factor - self._between(0.0, 0.95)
        profile = self._profile(ratio)
        fine = resample_axis(fine, 2, 1.0, ratio / factor)
        count = fine.shape[3] // factor
        first = self._whole(fine.shape[3] - count * factor + 1)
        model = AxisModel.of(count, ratio, factor, profile)
        fine = fine.narrow(3, first, count * factor)
        noise = self._between(0.0, NOISE) if self._chance(NOISY) else 0.0
        pair = self._pair(fine, model, factor, noise)
        return Task(pair, Told.of(ratio, profile, ratio, noise))

    def _part(self, source: Source) -> Tensor:
        sharp = source.sharp[self._whole(len(source.sharp))]
        values = source.values.transpose(sharp + 1, 3)
        if self._chance(0.5):
            values = values.transpose(1, 2)
        size = [min(n, m) for n, m in zip(values.shape[1:], (WIDE, WIDE, LONG), strict=True)]
        for _ in range(PATIENCE):
            part = values
            for axis, (n, m) in enumerate(zip(values.shape[1:], size, strict=True), start=1):
                part = part.narrow(axis, self._whole(n - m + 1), m)
            if float(part.var()) > LEAST:
                break
        return part

    def _bent(self, values: Tensor) -> Tensor:
        # Another contrast of the same anatomy, in other units.
        if self._chance(BENT):
            low, high = float(values.min()), float(values.max())
            unit = ((values - low) / max(high - low, 1e-6)).clamp(0, 1)
            exponent = math.exp(self._between(*(math.log(x) for x in EXPONENTS)))
            bent = unit**exponent
            values = (bent - bent.mean()) / bent.std().clamp_min(
                1e-6
            ) * values.std() + values.mean()
        if self._chance(TURNED):
            values = -values
        gain = math.exp(self._between(*(math.log(x) for x in GAINS)))
        return values * gain + self._between(-MOVES, MOVES)

    def _profile(self, ratio: float) -> SliceProfile:
        kind = (Boxcar, Gaussian)[self._whole(2)]
        # Half of the slices are as thick as they are apart, as most are.
        width = 1.0 if self._chance(0.5) else self._between(*WIDTHS[kind])
        return kind(width * ratio)

    def _pair(self, fine: Tensor, model: AxisModel, factor: int, noise: float) -> Pair:
        coarse = along_axes(fine, [None, None, model.coarse])
        coarse = coarse + noise * torch.randn(coarse.shape, generator=self.generator)
        return Pair(coarse, fine - along_axes(coarse, [None, None, model.guess]), (1, 1, factor))

    def _whole(self, stop: int) -> int:
        return int(torch.randint(stop, (), generator=self.generator))

    def _between(self, low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=self.generator))

    def _chance(self, part: float) -> bool:
        return float(torch.rand((), generator=self.generator)) < part
