"""What there is to see, at a place between thick slices, of how wrong the answer may be there.

Where the slices bend, the spline between them knows little; where the operator adds much, it may
add what is not there. All of it is told in logarithms, so that factors become differences.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .local_energy import bend, log_root, slope, window_mean

__all__ = ["FEATURES", "Answer"]

# Voxels around a place that its features depend on.
REACH = 3

# Features of a place.
FEATURES = 13

# Fine voxels whose features are worked out at a time; chosen by hand.
SLAB_PLACES = 500_000


@dataclass(frozen=True)
class Answer:
    """Slices along the last axis and what was made of them, standardised.

    Args:
        coarse: the slices (1, X, Y, Z).
        fine: the answer (1, X, Y, Z * factor).
        added: what of it the operator added to the spline, (1, X, Y, Z * factor).

    Example:
        >>> flat = Answer(torch.zeros(1, 9, 9, 4), torch.zeros(1, 9, 9, 8), torch.zeros(1, 9, 9, 8))
        >>> flat.factor, flat.features().shape
        (2, torch.Size([13, 9, 9, 8]))
    """

    coarse: Tensor
    fine: Tensor
    added: Tensor

    @property
    def factor(self) -> int:
        """Fine voxels in a slice."""
        return self.fine.shape[3] // self.coarse.shape[3]

    def slabs(self) -> Iterator[tuple[slice, Tensor]]:
        """Rows of the first axis, and their features (K, rows, Y, Z * factor), part by part."""
        rows = max(SLAB_PLACES // self.fine[0, 0].numel(), 1)
        count = self.coarse.shape[1]
        for start in range(0, count, rows):
            stop = min(start + rows, count)
            low, high = max(start - REACH, 0), min(stop + REACH, count)
            part = Answer(*(each[:, low:high] for each in (self.coarse, self.fine, self.added)))
            yield slice(start, stop), part.features()[:, start - low : stop - low]

    def features(self) -> Tensor:
        """Features (K, X, Y, Z * factor) of every place."""
        across = [
            _energy(slope(self.fine, 3) * self.factor, (1, 1, 3)),
            _energy(bend(self.fine, 3) * self.factor**2, (3, 3, 3)),
            _energy(self.added, (1, 1, 1)),
            _energy(self.added, (3, 3, 3)),
            self.fine,
            *self._phases(),
        ]
        return torch.cat([*across, _between(torch.cat(self._of_slices()), self.factor)])

    def _of_slices(self) -> list[Tensor]:
        slices = self.coarse
        middle = window_mean(slices, (5, 5, 3))
        variance = (window_mean(slices.square(), (5, 5, 3)) - middle.square()).clamp_min(0)
        within = (1, 2)
        return [
            _energy(bend(slices, 3), (3, 3, 1)),
            _energy(slope(slices, 3), (3, 3, 1)),
            log_root(
                sum((window_mean(bend(slices, d).square(), (3, 3, 1)) for d in within), 0 * middle)
            ),
            log_root(
                sum((window_mean(slope(slices, d).square(), (3, 3, 1)) for d in within), 0 * middle)
            ),
            log_root(variance),
            middle,
        ]

    def _phases(self) -> list[Tensor]:
        # Distance from the middle of the slice, in slices.
        places = (torch.arange(self.factor, device=self.fine.device) + 0.5) / self.factor - 0.5
        phase = places.to(self.fine).repeat(self.coarse.shape[3]).expand_as(self.fine)
        return [phase.abs(), phase.square()]


def _energy(values: Tensor, size: tuple[int, ...]) -> Tensor:
    return log_root(window_mean(values.square(), size))


def _between(values: Tensor, factor: int) -> Tensor:
    # Linear between the middles of slices (K, X, Y, Z), constant beyond the outer ones.
    rows = values.flatten(0, 1)[:, None]
    size = (values.shape[2], values.shape[3] * factor)
    fine = F.interpolate(rows, size=size, mode="bilinear", align_corners=False)
    return fine[:, 0].unflatten(0, values.shape[:2])
