r"""B-spline coefficients of samples: the filter that undoes the spline's own values at the knots.

.. math:: \sum_k c_k \beta^p(i - k) = s_i, \qquad c = (b^p)^{-1} * s

The inverse falls off by its largest pole from sample to sample: 0.27 for cubic splines, 0.43 for
quintic ones. So a box of coefficients needs the samples of a little more than the box.

References:
    Unser, Aldroubi, Eden, "B-spline signal processing: part II, efficient design and applications",
    IEEE Transactions on Signal Processing 41(2), 1993.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .constants import constant

__all__ = ["decay", "prefilter"]

# The largest pole of the filter for each degree: of z + 4 + 1/z, and of z² + 26 z + 66 + ...
POLES = {
    3: 2 - math.sqrt(3),
    5: 6.5 - math.sqrt(26.25) - math.sqrt(67.5 - math.sqrt(4436.25)),
}

# What is left of a sample where it no longer counts: a quarter of the rounding of float32.
LEFT = 2.0**-26


def decay(degree: int) -> int:
    """Samples over which the filter's answer falls below the rounding of float32.

    Raises:
        ValueError: if the degree is neither 3 nor 5.

    Example:
        >>> decay(3), decay(5)
        (14, 22)
    """
    if degree not in POLES:
        raise ValueError(f"degree must be 3 or 5, got {degree}")
    return math.ceil(math.log(LEFT) / math.log(abs(POLES[degree])))


def prefilter(samples: Tensor, degree: int, beyond: Sequence[tuple[int, int]]) -> Tensor:
    """Coefficients of the spline through all samples, one knot a sample, and some beyond the ends.

    At an end with knots beyond it the image goes on by its point reflections, which keep its value
    and its slope. At one without, the samples are a part of more, and the coefficients of the last
    :func:`decay` samples are not those of the whole: the caller leaves them out.

    Args:
        samples: (C, *spatial).
        degree: 3 or 5.
        beyond: knots beyond the first and beyond the last sample of each axis.

    Returns:
        Coefficients (C, *(spatial + knots beyond)): by the recursion on the CPU, elsewhere by a
        product with its matrix along each axis; the two agree to rounding.

    Raises:
        ValueError: if the degree is neither 3 nor 5.

    Example:
        >>> prefilter(torch.ones(1, 4, 5), 3, [(2, 2), (0, 1)]).round().unique().tolist()
        [1.0]
    """
    filtered = _product if samples.device.type != "cpu" else _recursion
    exact = samples if samples.dtype == torch.float64 else samples.float()
    return filtered(exact, degree, beyond).to(samples.dtype)


def _recursion(samples: Tensor, degree: int, beyond: Sequence[tuple[int, int]]) -> Tensor:
    values = samples.numpy()
    for axis, ends in enumerate(beyond, start=1):
        values = _along(values, axis, degree, ends)
    return torch.from_numpy(np.ascontiguousarray(values))


def _along(
    values: NDArray[np.floating], axis: int, degree: int, beyond: tuple[int, int]
) -> NDArray[np.floating]:
    from scipy.ndimage import spline_filter1d

    reach = decay(degree)
    extra = [reach + knots if knots else 0 for knots in beyond]
    if any(extra):
        widths = [tuple(extra) if d == axis else (0, 0) for d in range(values.ndim)]
        values = np.pad(values, widths, mode="reflect", reflect_type="odd")
    found = spline_filter1d(values, degree, axis, output=values.dtype, mode="mirror")
    first, last = (reach if knots else 0 for knots in beyond)
    inner = slice(first, found.shape[axis] - last)
    return found[(*[slice(None)] * axis, inner)]


def _product(samples: Tensor, degree: int, beyond: Sequence[tuple[int, int]]) -> Tensor:
    kind: dict[str, Any] = {"dtype": samples.dtype, "device": samples.device}
    for axis, ends in enumerate(beyond, start=1):
        matrix = constant(_matrix, samples.shape[axis], degree, tuple(ends), **kind)
        moved = torch.tensordot(matrix, samples, dims=([1], [axis]))
        samples = moved.movedim(0, axis)
    return samples.contiguous()


def _matrix(size: int, degree: int, beyond: tuple[int, int]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(_along(np.eye(size), 0, degree, beyond)))
