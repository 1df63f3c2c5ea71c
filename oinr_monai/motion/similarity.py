"""How alike two images are, and how that changes with the values of one of them.

Each kind is, around the present values of the moving image, a weighted sum of squares in them: its
slope is exact, its curvature that of Gauss and Newton.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from oinr_monai.grids.checks import check_positive
from oinr_monai.grids.splines import bspline_weights
from oinr_monai.scanner.forward_model import along_axes

from .separable import window_rows

__all__ = [
    "HUBER",
    "MEDIAN",
    "LocalCorrelation",
    "MutualInformation",
    "Pull",
    "Similarity",
    "SquaredDifferences",
]

# Variance below which a window counts as empty, of images of unit spread: noise of a tenth of the
# contrast. Chosen by hand.
EMPTY = 1e-2

# What is added to the variance of the moving image in a window, so that a line through noise is not
# steep. Chosen by hand.
RIDGE = 1e-3

# Huber's constant: 95 % of the efficiency of least squares under normal noise.
HUBER = 1.345

# Share of the places below which a pair of intensities counts as this rare, and its logarithm.
RAREST, LOWEST = 1e-12, math.log(1e-12)

# Rounds of reweighting, from all weights equal.
REWEIGHTED = 3

# Standard deviations of a normal distribution in its median absolute deviation.
MEDIAN = 1.4826


class Pull(NamedTuple):
    """Unlikeness of two images, and its derivatives by the moving one's values (C, *shape).

    Args:
        unlikeness: 0 for images that are alike.
        slope: first derivative by each value.
        curvature: second derivative by each value, never negative.
    """

    unlikeness: float
    slope: Tensor
    curvature: Tensor


class Similarity(ABC):
    """A measure of how unlike images are."""

    @abstractmethod
    def pull(self, fixed: Tensor, moved: Tensor, weight: Tensor) -> Pull:
        """Unlikeness and its derivatives by ``moved``.

        Args:
            fixed: the fixed image (C, *shape).
            moved: values of the moving image at the same places (C, *shape).
            weight: how much each place counts (*shape), 0 or more.
        """


@dataclass(frozen=True)
class SquaredDifferences(Similarity):
    r"""Mean squared difference after the best straight line between the intensities.

    .. math:: \min_{a, b} \sum_x w(x) \, \rho\big(f(x) - a m(x) - b\big) \Big/ \sum_x w(x)

    Huber's function rho lets what does not fit count by its size instead of its square, beyond
    ``robust`` times the spread of the differences. The fixed image has unit spread.

    References:
        Huber, "Robust estimation of a location parameter", Annals of Mathematical Statistics 35(1),
        1964.

    Args:
        robust: where that begins, in standard deviations of the differences.

    Example:
        >>> SquaredDifferences(robust=2.0).robust
        2.0
    """

    robust: float = HUBER

    def __post_init__(self) -> None:
        check_positive(self, "robust")

    def pull(self, fixed: Tensor, moved: Tensor, weight: Tensor) -> Pull:
        """Unlikeness and its derivatives by ``moved``."""
        found = [self._channel(f, m, weight) for f, m in zip(fixed, moved, strict=True)]
        return _mean(found)

    def _channel(self, fixed: Tensor, moved: Tensor, weight: Tensor) -> list[Tensor]:
        trust, total = weight, weight.sum()
        for _ in range(REWEIGHTED):
            a, left = _line(fixed, moved, trust)
            edge = self.robust * MEDIAN * left.abs()[weight > 0].median().clamp_min(1e-6)
            trust = weight * (edge / left.abs().clamp_min(1e-12)).clamp_max(1)
        far = left.abs() > edge
        huber = torch.where(far, (left.abs() - edge / 2) * edge, left**2 / 2)
        return [(weight * huber).sum() / total, -a * trust * left / total, a * a * trust / total]


def _line(fixed: Tensor, moved: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The slope a of the best line through the intensities, and what it leaves."""
    share = weight / weight.sum()
    f, m = (share * fixed).sum(), (share * moved).sum()
    variance = (share * (moved - m) ** 2).sum().clamp_min(1e-12)
    a = (share * (fixed - f) * (moved - m)).sum() / variance
    return a, fixed - f - a * (moved - m)


def _mean(channels: list[list[Tensor]]) -> Pull:
    parts = zip(*channels, strict=True)
    unlike, slope, curvature = (torch.stack(part) / len(channels) for part in parts)
    return Pull(float(unlike.sum()), slope, curvature)


@dataclass(frozen=True)
class LocalCorrelation(Similarity):
    r"""One minus the mean squared correlation in windows around each place.

    .. math:: 1 - r^2 = \min_{a, b} \sum_{y} (f(y) - a m(y) - b)^2 \Big/ \sum_y (f(y) - \bar f)^2

    As the best line's own change does not count, to first order, the slope is exact with the lines
    as they are; each place sums those of the windows that it is in. Windows of less than a
    hundredth of the image's variance count as empty.

    References:
        Avants et al., "Symmetric diffeomorphic image registration with cross-correlation", Medical
        Image Analysis 12(1), 2008. Golub and Pereyra, "The differentiation of pseudo-inverses and
        nonlinear least squares problems whose variables separate", SIAM Journal on Numerical
        Analysis 10(2), 1973.

    Args:
        radius: of the windows, in voxels; they are 2 radius + 1 wide.

    Example:
        >>> LocalCorrelation(radius=3).radius
        3
    """

    radius: int = 2

    def __post_init__(self) -> None:
        check_positive(self, "radius")

    def pull(self, fixed: Tensor, moved: Tensor, weight: Tensor) -> Pull:
        """Unlikeness and its derivatives by ``moved``."""
        rows = [window_rows(n, self.radius) for n in fixed.shape[1:]]
        count = along_axes(weight, rows).clamp_min(1e-6)
        sums = torch.stack([fixed, moved, fixed**2, moved**2, fixed * moved]) * weight
        f, m, ff, mm, fm = along_axes(sums, rows) / count
        spread = (ff - f * f).clamp_min(0)
        covariance = fm - f * m
        a = covariance / ((mm - m * m).clamp_min(0) + RIDGE)
        b = f - a * m
        vf = spread + EMPTY
        share = weight / (weight.sum() * len(fixed))
        unlike = (share * (spread - a * covariance) / vf).double().sum()
        # Sums over the windows that a place is in, which are the windows around it.
        each = share / (vf * count)
        p, q, r = along_axes(torch.stack([a * each, a * a * each, a * b * each]), rows)
        slope = -2 * weight * (fixed * p - moved * q - r)
        return Pull(float(unlike), slope, 2 * weight * q)


@dataclass(frozen=True)
class MutualInformation(Similarity):
    r"""Minus the mutual information of the intensities, by Parzen's windows of cubic B-splines.

    .. math:: -I = -\sum_{ij} p_{ij} \log \frac{p_{ij}}{p_i \, p_j}

    The curvature is Fisher's, the square of each place's slope; so it suits motions of few
    parameters.

    References:
        Thevenaz and Unser, "Optimization of mutual information for multiresolution image
        registration", IEEE TIP 9(12), 2000.

    Args:
        bins: of each image's intensities.

    Example:
        >>> MutualInformation(bins=24).bins
        24
    """

    bins: int = 32

    def __post_init__(self) -> None:
        if self.bins < 8:
            raise ValueError(f"bins must be 8 or more, got {self.bins}")

    def pull(self, fixed: Tensor, moved: Tensor, weight: Tensor) -> Pull:
        """Unlikeness and its derivatives by ``moved``."""
        found = [self._channel(f, m, weight) for f, m in zip(fixed, moved, strict=True)]
        return _mean(found)

    def _channel(self, fixed: Tensor, moved: Tensor, weight: Tensor) -> list[Tensor]:
        share = (weight / weight.sum()).flatten()
        rows, _, _ = self._parzen(fixed)
        columns, slopes, step = self._parzen(moved)
        joint = (rows * share[:, None]).T @ columns
        known, alone = joint.sum(dim=1, keepdim=True).log(), joint.sum(dim=0).log()
        shared = joint.clamp_min(RAREST).log()
        information = (joint * (shared - known.clamp_min(LOWEST) - alone.clamp_min(LOWEST))).sum()
        # Of each place's own term, per unit of its intensity.
        own = -((rows @ (shared - alone.clamp_min(LOWEST))) * slopes).sum(dim=1) / step
        slope, curvature = share * own, share * own**2
        return [-information, slope.reshape(moved.shape), curvature.reshape(moved.shape)]

    def _parzen(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        # Weights (places, bins) of the intensities, their derivatives per bin, and a bin's width.
        flat = image.flatten()
        low, high = flat.aminmax()
        step = ((high - low) / (self.bins - 4)).clamp_min(1e-12)
        at = (flat - low) / step + 1.5
        cell = at.floor().clamp(1, self.bins - 3)
        near = cell.long()[:, None] - 1 + torch.arange(4, device=cell.device)
        tables = []
        for order in (0, 1):
            table = flat.new_zeros(len(flat), self.bins)
            tables.append(table.scatter_(1, near, bspline_weights(at - cell, order)))
        return tables[0], tables[1], step
