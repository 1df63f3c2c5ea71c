r"""Gaussian derivatives of the spline through samples, as a matrix along each axis.

.. math:: A^{(m)}_{ik} = \int \partial^m g_\sigma(x_i - y) \, s_k(y) \, dy

for the cubic spline s_k that is 1 at sample k and 0 at the others, and goes on beyond the outermost
samples with their values. So the samples may lie at any spacing, and the places anywhere.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.interpolate import BSpline

__all__ = ["gaussian_matrices"]

# Standard deviations at which the Gaussian ends: its second derivative has fallen to 5e-10.
REACH = 7.0

# Nodes of the quadrature in a sample's or a standard deviation's distance: at 4 what is left out of
# a derivative is below 1e-6 of it (tests measure it on polynomials).
NODES = 4

# Samples that the spline is continued by: what lies beyond has fallen by 0.27^12 = 1e-7.
BEYOND = 12


@lru_cache(maxsize=128)
def gaussian_matrices(
    count: int, spacing: float, first: float, step: float, places: int, sigma: float, order: int
) -> NDArray[np.float64]:
    """Matrices (order + 1, places, count), from samples to derivatives at places, per mm^m.

    Args:
        count: number of samples, the first of which lies at 0.
        spacing: their distance in mm.
        first: where the first place lies, in mm.
        step: distance of the places in mm.
        places: their number.
        sigma: standard deviation of the Gaussian in mm; 0 asks the spline itself, at order 0.
        order: greatest order of the derivatives.

    Example:
        >>> value, slope = gaussian_matrices(30, 1.0, 10.0, 0.5, 2, sigma=1.5, order=1)
        >>> x = np.arange(30.0)
        >>> (value @ x).round(5).tolist(), (slope @ x).round(5).tolist()
        ([10.0, 10.5], [1.0, 1.0])
    """
    x = first + step * np.arange(places)
    halo = BEYOND + math.ceil(max(REACH * sigma - min(x[0], 0), x[-1] + REACH * sigma) / spacing)
    spline = _spline(count, halo, spacing)
    if sigma == 0:
        return _folded(spline(x), count, halo)[None]
    q = min(spacing, sigma) / NODES
    reach = math.ceil(REACH * sigma / q)
    y = q * np.arange(math.floor(x[0] / q) - reach, math.ceil(x[-1] / q) + reach + 1)
    values = _folded(spline(y), count, halo)
    return np.stack([q * g @ values for g in _gaussians((x[:, None] - y) / sigma, sigma, order)])


def _spline(count: int, halo: int, spacing: float) -> BSpline:
    """The splines of all samples at once, those that continue them among them."""
    from scipy.interpolate import make_interp_spline  # the commands load no more than they use

    knots = spacing * np.arange(-halo, count + halo)
    return make_interp_spline(knots, np.eye(len(knots)), k=3)


def _folded(values: NDArray[np.float64], count: int, halo: int) -> NDArray[np.float64]:
    """What each sample counts, (places, count): the outermost stand for all beyond them."""
    inner = values[:, halo : halo + count].copy()
    inner[:, 0] += values[:, :halo].sum(1)
    inner[:, -1] += values[:, halo + count :].sum(1)
    return inner


def _gaussians(t: NDArray[np.float64], sigma: float, order: int) -> list[NDArray[np.float64]]:
    r"""Derivatives :math:`\partial^m g_\sigma` at t standard deviations, by Hermite's recursion."""
    g = np.exp(-(t**2) / 2) / (sigma * math.sqrt(2 * math.pi))
    hermite = [np.ones_like(t), -t]
    for m in range(2, order + 1):
        hermite.append(-t * hermite[-1] - (m - 1) * hermite[-2])
    return [h * g / sigma**m for m, h in enumerate(hermite[: order + 1])]
