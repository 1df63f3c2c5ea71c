"""Errors that can be drawn, as likely as a model takes them for, and how far that is true."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Any, final

import torch
from torch import Tensor

from .local_energy import window_mean
from .restored import LEVEL, Errors

__all__ = ["DrawnErrors", "pooled_spread"]

# Errors whose mean squares give the widths, and the side in voxels of the boxes that they are
# taken over as well; by hand.
DRAWS, SIDE = 8, 3


@final
class DrawnErrors(Errors):
    """Errors that are drawn, and made larger by what scores say.

    Args:
        draw: errors (C, *grid.shape) of which each is as likely as the next.
        scores: known errors over what was taken for their standard deviation (N,), without sign.
        said: what they were learned from.
        seed: of the errors that give the widths.
    """

    def __init__(
        self,
        draw: Callable[[torch.Generator], Tensor],
        scores: Tensor,
        said: dict[str, Any],
        seed: int,
    ) -> None:
        self.draw, self.scores, self.said = draw, scores.sort().values, said
        generator = torch.Generator().manual_seed(seed)
        self.spread = pooled_spread([draw(generator) for _ in range(DRAWS)])

    def half_width(self, level: float) -> Tensor:
        """Half widths (C, *grid.shape) of the intervals."""
        return self._quantile(level) * self.spread

    def sample(self, generator: torch.Generator) -> Tensor:
        """A sample (C, *grid.shape) of the errors."""
        return self._factor * self.draw(generator)

    def statement(self) -> dict[str, Any]:
        """What they were learned from, and by how much the model was off."""
        return self.said | {"places": len(self.scores), "gap": round(self._factor, 3)}

    @property
    def _factor(self) -> float:
        return self._quantile(LEVEL) / NormalDist().inv_cdf((1 + LEVEL) / 2)

    def _quantile(self, level: float) -> float:
        rank = min(math.ceil((len(self.scores) + 1) * level), len(self.scores))
        return float(self.scores[rank - 1])


def pooled_spread(errors: Sequence[Tensor]) -> Tensor:
    """Root mean squares of errors (C, *spatial), over all of them and boxes around each voxel.

    Example:
        >>> pooled_spread([torch.ones(1, 4, 5), torch.ones(1, 4, 5)]).unique().tolist()
        [1.0]
    """
    squares = torch.stack([each.square() for each in errors]).mean(dim=0)
    return window_mean(squares, [min(SIDE, n) for n in _odd(squares.shape[1:])]).sqrt()


def _odd(shape: Sequence[int]) -> list[int]:
    return [n - 1 + n % 2 for n in shape]
