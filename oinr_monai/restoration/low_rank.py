r"""Noise taken out of a series by what its frames have in common, window by window.

In a small window the frames of a series, each less its mean there, are sums of few courses. Of
their matrix :math:`R = \sum_k s_k u_k v_k^\top` with m frames and n places, all of noise of unit
variance, optimal shrinkage keeps

.. math:: \hat R = \sum_k \eta(s_k) u_k v_k^\top, \qquad
          \eta(s) = \tfrac{n}{s} \sqrt{(s^2 / n - \beta - 1)^2 - 4 \beta}
          \quad\text{where } s > \sqrt n (1 + \sqrt \beta), \text{ else } 0,

:math:`\beta = m / n`: it takes out what noise alone would have, and what noise adds to the rest.
Where noise is alike at neighbouring places, :math:`\beta` counts fewer of them. Windows overlap;
each counts the more the fewer courses it holds.

References:
    Gavish and Donoho, "Optimal shrinkage of singular values", IEEE Transactions on Information
    Theory 2017.
    Veraart et al., "Denoising of diffusion MRI using random matrix theory", NeuroImage 2016.
    Manjón et al., "Diffusion weighted image denoising using overcomplete local PCA", PLoS ONE 2013
    (the weights).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor

from oinr_monai.scanner.smooth_noise import correlation

__all__ = ["low_rank"]

# Places of a window, some, and voxels from one to the next. Of sides 3, 5 and 7 in three
# dimensions, on four kinds of simulated series, 5 was best in all but one cell.
WINDOW, STRIDE = 125, 2

# Numbers of all windows that are looked at together; chosen by hand.
TOGETHER = 8_000_000

# Lags up to which neighbours are alike, in voxels.
REACH = 4


def low_rank(series: Tensor, smoothing: Sequence[float]) -> Tensor:
    """Take noise of unit variance out of a series.

    Args:
        series: frames (T, *spatial).
        smoothing: of the noise along each axis, in voxels.

    Example:
        >>> noise = torch.randn(8, 12, 12, 12, generator=torch.Generator().manual_seed(0))
        >>> bool(low_rank(100 + noise, (0.0, 0.0, 0.0)).std() < 0.2)
        True
    """
    shape = series.shape[1:]
    sides = _sides(shape)
    rows = list(product(*[_starts(n, side) for n, side in zip(shape, sides, strict=True)]))
    found, counted = torch.zeros_like(series), torch.zeros_like(series[:1])
    together = max(TOGETHER // (len(series) * math.prod(sides)), 1)
    alike = math.prod(_alike(width) for width in smoothing)
    for first in range(0, len(rows), together):
        windows = [_window(start, sides) for start in rows[first : first + together]]
        seen = torch.stack([series[window].flatten(1) for window in windows])
        clean, weights = _shrunk(seen, alike)
        for window, each, weight in zip(windows, clean, weights, strict=True):
            found[window] += each.view(len(series), *sides)
            counted[window] += weight
    return found / counted


def _shrunk(seen: Tensor, alike: float) -> tuple[Tensor, Tensor]:
    """Clean windows (B, T, places), each times its weight (B,)."""
    middle = seen.mean(dim=2, keepdim=True)
    rest = (seen - middle).double()
    wide = rest.shape[1] <= rest.shape[2]
    matrix = rest if wide else rest.mT
    few, many = matrix.shape[1:]
    squares, turned = torch.linalg.eigh(matrix @ matrix.mT)
    kept = _kept(squares.clamp_min(0) / many, few / many * alike)
    clean = (turned * kept[:, None]) @ (turned.mT @ matrix)
    weights = 1 / (1 + (kept > 0).sum(dim=1)).to(seen)
    whole = middle + (clean if wide else clean.mT).to(seen)
    return whole * weights.view(-1, 1, 1), weights


def _kept(squares: Tensor, ratio: float) -> Tensor:
    """The part that is kept of a singular value whose square over the number of places is given."""
    inner = ((squares - ratio - 1).square() - 4 * ratio).clamp_min(0).sqrt()
    return torch.where(squares > (1 + ratio**0.5) ** 2, inner / squares.clamp_min(1e-12), 0.0)


def _alike(width: float) -> float:
    # Places over those that would tell as much if noise were white.
    return 1 + 2 * sum(correlation(width, lag) ** 2 for lag in range(1, REACH))


def _sides(shape: Sequence[int]) -> list[int]:
    # About as many places where some axes are short.
    sides, left = [0] * len(shape), WINDOW
    for taken, axis in enumerate(sorted(range(len(shape)), key=shape.__getitem__)):
        sides[axis] = min(shape[axis], round(left ** (1 / (len(shape) - taken))))
        left = max(left // sides[axis], 1)
    return sides


def _starts(size: int, side: int) -> list[int]:
    return sorted({*range(0, size - side + 1, STRIDE), size - side})


def _window(start: Sequence[int], sides: Sequence[int]) -> tuple[slice, ...]:
    return (slice(None), *[slice(a, a + n) for a, n in zip(start, sides, strict=True)])
