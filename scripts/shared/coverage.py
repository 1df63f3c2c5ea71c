"""What intervals hold of the truth, over all, by tissue and by intensity, and how wide they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from scipy.stats import spearmanr
from skimage.filters import threshold_multiotsu
from torch import Tensor

# Voxels that ranks and quantiles are taken of.
SOME = 50_000


@dataclass(frozen=True)
class Coverage:
    """Of intervals in a head: parts in per cent, widths in the image's units.

    Args:
        coverage: the part of the voxels whose truth they hold.
        tissue_least, tissue_most: the same of each of three tissues, by thresholds of Otsu.
        bright_least, bright_most: the same of five parts of equal size by intensity.
        correlation: of ranks of width and absolute error.
        width: the mean half width.
        constant: half width, the same everywhere, that holds as much.
    """

    coverage: float
    tissue_least: float
    tissue_most: float
    bright_least: float
    bright_most: float
    correlation: float
    width: float
    constant: float

    @classmethod
    def of(cls, truth: Tensor, error: Tensor, width: Tensor, head: Tensor) -> Self:
        """Score half widths (1, *spatial) of an answer that is off by ``error``."""
        inside, size = (error.abs() <= width)[0][head], error.abs()[0][head]
        bright = truth[0][head]
        tissue = torch.bucketize(bright, torch.from_numpy(threshold_multiotsu(bright.numpy(), 3)))
        tissues = [percent(inside[tissue == k]) for k in range(3)]
        brights = [percent(inside[each]) for each in bright.argsort().tensor_split(5)]
        chosen = torch.randperm(len(size), generator=torch.Generator().manual_seed(0))[:SOME]
        constant = float(torch.quantile(size[chosen], percent(inside) / 100))
        return cls(
            percent(inside), min(tissues), max(tissues), min(brights), max(brights),
            correlation=round(float(spearmanr(width[0][head][chosen], size[chosen])[0]), 3),
            width=short(float(width[0][head].mean())), constant=short(constant),
        )  # fmt: skip


def percent(inside: Tensor) -> float:
    """Per cent that are true."""
    return round(100 * float(inside.double().mean()), 1)


def short(value: float) -> float:
    """Four digits of a number."""
    return float(f"{value:.4g}")
