"""Tasks that an operator of super-resolution learns to carry over from: parts of scans, seen thick.

A task is a part of a scan whose sharp axis is seen as thick slices of random spacing and profile,
mirrored, its axes exchanged, its contrast bent, with noise on the slices.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from oinr_monai.scanner.forward_model import along_axes
from oinr_monai.scanner.profiles import Boxcar, Gaussian, SliceProfile

from .pairs import AxisModel, Pair, draw_patches, resample_axis
from .scan_parts import ScanParts
from .told import Told

__all__ = ["ScanTasks", "SliceTask"]

# All that follows is chosen by hand. The least and the most places in a slice; the part of the
# tasks whose slices hold a whole number.
FACTORS, WHOLE = (2, 6), 0.5

# Widths of profiles over the slice spacing.
WIDTHS = {Boxcar: (0.6, 1.1), Gaussian: (0.6, 1.2)}

# The part of the tasks with noise, and its most, over the standard deviation of the image.
NOISY, NOISE = 0.15, 0.25


@dataclass(frozen=True)
class SliceTask:
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


@final
class ScanTasks(ScanParts):
    """Random tasks of super-resolution made of several scans."""

    def drawn(self) -> SliceTask:
        """A part of a scan, seen as slices."""
        fine = self.part()
        factor = FACTORS[0] + self.whole(FACTORS[1] - FACTORS[0] + 1)
        ratio = float(factor) if self.chance(WHOLE) else factor - self.between(0.0, 0.95)
        profile = self._profile(ratio)
        fine = resample_axis(fine, 2, 1.0, ratio / factor)
        count = fine.shape[3] // factor
        first = self.whole(fine.shape[3] - count * factor + 1)
        model = AxisModel.of(count, ratio, factor, profile)
        fine = fine.narrow(3, first, count * factor)
        noise = self.between(0.0, NOISE) if self.chance(NOISY) else 0.0
        pair = self._pair(fine, model, factor, noise)
        return SliceTask(pair, Told.of(ratio, profile, ratio, noise))

    def _profile(self, ratio: float) -> SliceProfile:
        kind = (Boxcar, Gaussian)[self.whole(2)]
        # Half of the slices are as thick as they are apart, as most are.
        width = 1.0 if self.chance(0.5) else self.between(*WIDTHS[kind])
        return kind(width * ratio)

    def _pair(self, fine: Tensor, model: AxisModel, factor: int, noise: float) -> Pair:
        coarse = along_axes(fine, [None, None, model.coarse])
        coarse = coarse + noise * torch.randn(coarse.shape, generator=self.generator)
        return Pair(coarse, fine - along_axes(coarse, [None, None, model.guess]), (1, 1, factor))
