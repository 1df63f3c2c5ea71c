"""Statistics of the intensities of a region, as radiomics defines them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["FIRST_ORDER", "first_order"]

# Bins of equal width from the least to the greatest intensity, for entropy and uniformity: in the
# middle of the 8 to 128 that studies use.
BINS = 32

PERCENTILES = (5, 10, 25, 50, 75, 90, 95)

# In the order of :func:`first_order`.
FIRST_ORDER = (
    "mean",
    "std",
    *(f"p{percent}" for percent in PERCENTILES),
    "minimum",
    "maximum",
    "skewness",
    "kurtosis",
    "mean_absolute_deviation",
    "root_mean_square",
    "entropy",
    "uniformity",
)


def first_order(values: NDArray[np.floating]) -> list[float]:
    r"""Statistics of N intensities, named by :data:`FIRST_ORDER`.

    With m their mean and s their standard deviation over N, skewness is the mean of
    :math:`(x - m)^3 / s^3`, kurtosis that of :math:`(x - m)^4 / s^4` less 3, both 0 where nothing
    varies. Entropy, in bits, and uniformity are :math:`-\sum p \log_2 p` and :math:`\sum p^2` of
    the parts p in 32 bins of equal width from the least to the greatest.

    References:
        Zwanenburg et al., "The Image Biomarker Standardization Initiative", Radiology 2020, whose
        definitions these are.

    Args:
        values: intensities, one or more.

    Example:
        >>> numbers = dict(zip(FIRST_ORDER, first_order(np.array([0.0, 0.0, 0.0, 4.0]))))
        >>> numbers["mean"], round(numbers["skewness"], 3), round(numbers["entropy"], 3)
        (1.0, 1.155, 0.811)
    """
    x = values.astype(np.float64).ravel()
    mean, std = x.mean(), x.std()
    t = (x - mean) / (std if std > 0 else 1.0)
    return [
        float(each)
        for each in (
            mean,
            std,
            *np.percentile(x, PERCENTILES),
            x.min(),
            x.max(),
            (t**3).mean(),
            (t**4).mean() - 3 * (std > 0),
            np.abs(x - mean).mean(),
            np.sqrt((x**2).mean()),
            *_of_histogram(x),
        )
    ]


def _of_histogram(x: NDArray[np.float64]) -> tuple[float, float]:
    parts = np.histogram(x, BINS)[0] / len(x)
    some = parts[parts > 0]
    return float(-(some * np.log2(some)).sum()), float((parts**2).sum())
