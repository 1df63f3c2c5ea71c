"""A segmenter that never changes: tissues by a mixture of Gaussians, fitted on the truth."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# Bins of intensities, and rounds of expectation and maximisation.
BINS, ROUNDS = 400, 100


@dataclass(frozen=True)
class Mixture:
    """Classes of intensities, from the darkest on.

    Args:
        shares: of the voxels (K,).
        means: of each class (K,).
        deviations: of each class (K,).

    Example:
        >>> values = torch.cat([torch.randn(999) * 0.1 + mean for mean in (0.0, 1.0)])
        >>> [round(x) for x in Mixture.of(values, 2).means.tolist()]
        [0, 1]
    """

    shares: Tensor
    means: Tensor
    deviations: Tensor

    @classmethod
    def of(cls, values: Tensor, count: int) -> Mixture:
        """The most likely mixture of intensities (N,), by expectation and maximisation."""
        values = values.double()
        low, high = float(values.min()), float(values.max())
        weight = torch.histc(values, BINS, low, high)
        places = low + (high - low) * (torch.arange(BINS).double() + 0.5) / BINS
        means = torch.quantile(values, (torch.arange(count).double() + 0.5) / count)
        deviations = torch.full_like(means, float(values.std()) / count)
        mixture = cls(torch.full_like(means, 1 / count), means, deviations)
        for _ in range(ROUNDS):
            of_each = weight * mixture._likely(places).softmax(dim=0)
            total = of_each.sum(dim=1)
            means = (of_each * places).sum(dim=1) / total
            spread = (of_each * (places - means[:, None]).square()).sum(dim=1) / total
            deviations = spread.sqrt().clamp_min((high - low) / BINS)
            mixture = cls(total / total.sum(), means, deviations)
        return mixture

    def volumes(self, values: Tensor) -> Tensor:
        """Voxels of each class among intensities (N,)."""
        return torch.bincount(self._likely(values.double()).argmax(0), minlength=len(self.means))

    def _likely(self, values: Tensor) -> Tensor:
        away = (values - self.means[:, None]) / self.deviations[:, None]
        return -away.square() / 2 + (self.shares / self.deviations).log()[:, None]
