r"""Intervals that cover what they promise, by the scores of errors that are known.

An error is scored by what its size was taken to be, :math:`e / s`. Of n known scores of one
stratum, the :math:`\lceil (n + 1) p \rceil`-th smallest is one that a further error, drawn alike,
stays below with probability p, however wrong s is.

References:
    Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", Springer 2005.
    Lei et al., "Distribution-Free Predictive Inference for Regression", JASA 2018 (split-conformal,
    and scores over a size that is itself predicted).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["ConformalScores", "interpolated"]

# Strata by predicted size; chosen by hand.
STRATA = 8


@dataclass(frozen=True)
class ConformalScores:
    """Scores of known errors, in strata of the size that was predicted for them.

    Args:
        centres: mean logarithm of the predicted sizes of each stratum, ascending.
        scores: of each stratum, ascending.

    Example:
        >>> log_size = torch.zeros(999)
        >>> scores = ConformalScores.of(log_size, torch.arange(999.0))
        >>> scores.half_width(torch.zeros(1), 0.9).tolist()
        [899.0]
    """

    centres: Tensor
    scores: tuple[Tensor, ...]

    @classmethod
    def of(cls, log_size: Tensor, errors: Tensor) -> ConformalScores:
        """The scores of known errors (N,), beside the logarithms of their predicted sizes (N,)."""
        order = log_size.argsort(stable=True)
        # Equal sizes are one stratum: what cannot be told apart is not told apart.
        strata = STRATA if float(log_size.max() - log_size.min()) > 0 else 1
        parts = order.tensor_split(min(strata, len(order)))
        scores = (errors.abs() / log_size.exp())[order]
        sizes = [len(each) for each in parts]
        centres = torch.stack([log_size[each].mean() for each in parts])
        return cls(centres, tuple(each.sort().values for each in scores.split(sizes)))

    def quantiles(self, level: float) -> Tensor:
        """The score of each stratum that a part ``level`` of further ones stays below.

        Raises:
            ValueError: if ``level`` is not between 0 and 1.
        """
        if not 0 < level < 1:
            raise ValueError(f"level must be between 0 and 1, got {level}")
        ranks = [min(math.ceil((len(s) + 1) * level), len(s)) for s in self.scores]
        return torch.stack([s[rank - 1] for s, rank in zip(self.scores, ranks, strict=True)])

    def half_width(self, log_size: Tensor, level: float) -> Tensor:
        """Half widths of intervals, of any shape, for the logarithms of predicted sizes."""
        return log_size.exp() * interpolated(log_size, self.centres, self.quantiles(level))


def interpolated(x: Tensor, places: Tensor, values: Tensor) -> Tensor:
    """Values of strata at any x, linear between their places, constant beyond the outer ones."""
    if len(places) == 1:
        return values.expand_as(x)
    right = torch.bucketize(x.contiguous(), places).clamp(1, len(places) - 1)
    low, high = places[right - 1], places[right]
    part = ((x - low) / (high - low).clamp_min(1e-12)).clamp(0, 1)
    return torch.lerp(values[right - 1], values[right], part)
