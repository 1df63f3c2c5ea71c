r"""The finest details of an image, which hold its noise and little of the scene.

Second differences along all axes, :math:`(1, -2, 1) / \sqrt 6` each, keep the size of white noise;
their median magnitude over 0.6745 passes over the edges. Blocks where the blurred image changes
least are quiet: what is blurred tells nothing of the details of noise, but of those of the scene.
Of noise that is smooth itself, details keep a part, which their growth tells as voxels twice as far
apart are compared along an axis.

References:
    Donoho and Johnstone, "Ideal spatial adaptation by wavelet shrinkage", Biometrika 1994 (the
    median).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Self

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from .smooth_noise import MOST_SMOOTHING, correlation

__all__ = ["Details", "air", "block_levels", "kept_part", "quiet", "smoothing_of"]

# Details below this part of an image's greatest intensity are what rounding in float64 leaves.
ROUNDING = 1e-12

# Median magnitude of a normal deviate.
NORMAL = 0.6745

# Voxels of a block, some, and the part of it that must hold details; the blur by which quiet ones
# are told, in voxels; the part of them that is taken, and the fewest: with fewer, all of the image
# is. Chosen on two heads of random contrast and two scans of open-MS, with noise of 1 to 9 % of the
# range, white and smoothed.
BLOCK, FILLED, BLUR, QUIETEST, FEWEST = 125, 0.9, 1.2, 0.05, 40

# Places from which on they tell whether noise is smooth; by hand.
ENOUGH = 1000

# Where what is never negative is less than so many times its noise, it may be a magnitude of noise.
SIGNAL = 4.0


# Means of blocks over that of the darkest that are taken for air as well, and of magnitudes over
# their standard deviation below which there is no signal; by hand.
ALIKE, AIR = 1.2, 2.1


# Blocks to look at of values and their details, given where they count.
Places = Callable[[Tensor, Tensor, Tensor], Tensor | None]


@dataclass(frozen=True)
class Details:
    """Details of one image.

    Args:
        level: standard deviation of the finest; 0 where there are none.
        growth: along each axis, how much more variance they have as voxels twice as far apart are
            compared along it; 1 where noise is white, or there are too few to tell.
    """

    level: float
    growth: tuple[float, ...]

    @classmethod
    def of(cls, image: Tensor, mask: Tensor | None, places: Places | None = None) -> Self:
        """The details of an image (*spatial), at some places or everywhere."""
        values = image.double()
        lags = [1] * values.ndim
        fine = _details(values, lags)
        where = fine != 0
        where = where if mask is None else where & _inner(mask)
        blocks = None if places is None else places(values, fine, where)
        kept = _taken(fine, where, blocks)
        level, growth = _spread(kept), [1.0] * values.ndim
        for axis in (d for d, n in enumerate(values.shape) if n >= 5 and len(kept) > ENOUGH):
            apart = _details(values, [*lags[:axis], 2, *lags[axis + 1 :]])
            growth[axis] = (_spread(_taken(apart, where, blocks)) / level) ** 2
        return cls(level, tuple(growth))


def block_levels(image: Tensor) -> Tensor:
    """Standard deviation of the finest details in each block (N,) of an image (*spatial)."""
    blocks = _blocks(_details(image.double(), [1] * image.ndim).abs())
    return blocks[_full(blocks > 0)].median(dim=1).values / NORMAL


@cache
def smoothing_of(growth: float, least: float) -> float:
    """Voxels by which noise is smooth whose details grow so; 0 below ``least``.

    Example:
        >>> smoothing_of(2.16, least=1.3)
        0.6
    """
    widths = [0.01 * i for i in range(round(100 * MOST_SMOOTHING) + 1)]
    found = min(widths, key=lambda w: abs(_kept(w, 2) / _kept(w, 1) - growth))
    return found if growth > least else 0.0


def kept_part(smoothing: Sequence[float]) -> float:
    """Of the standard deviation of noise that is smooth along the axes, the part in its details.

    Example:
        >>> kept_part((0.0, 0.0)), round(kept_part((0.6, 0.6, 0.6)), 2)
        (1.0, 0.28)
    """
    return math.prod(_kept(width, 1) for width in smoothing) ** 0.5


@cache
def _kept(width: float, lag: int) -> float:
    return (3 - 4 * correlation(width, lag) + correlation(width, 2 * lag)) / 3


def _details(values: Tensor, lags: Sequence[int]) -> Tensor:
    # Away from the borders, equally far for all lags.
    detail = values
    for axis, (n, lag) in enumerate(zip(values.shape, lags, strict=True)):
        if n > 2:
            edge = _edge(n)
            before, here, after = (
                detail.narrow(axis, edge + step, n - 2 * edge) for step in (-lag, 0, lag)
            )
            detail = (before - 2 * here + after) / math.sqrt(6)
    return torch.where(detail.abs() > ROUNDING * values.abs().max(), detail, 0.0)


def _edge(size: int) -> int:
    return 2 if size >= 5 else int(size > 2)


def _inner(values: Tensor) -> Tensor:
    # As far from the borders as details are.
    return values[tuple(slice(_edge(n), n - _edge(n)) for n in values.shape)]


def quiet(values: Tensor, fine: Tensor, where: Tensor) -> Tensor | None:
    """Numbers of the quietest blocks; None, which is everywhere, where there are too few."""
    full, change = _full(_blocks(where)), _blocks(_inner(_change(values))).mean(dim=1)
    chosen = _quietest(change, full)
    if chosen is None or float(values.min()) < 0:
        return chosen
    signal = SIGNAL * _spread(_taken(fine, where, chosen))
    bright = full & (_blocks(_inner(values)).mean(dim=1) > signal)
    found = _quietest(change, bright)
    return chosen if found is None else found


def air(values: Tensor, fine: Tensor, where: Tensor) -> Tensor:
    """Numbers of the blocks in which a magnitude image has no signal, if there are any.

    There the mean of its noise is 1.91 times as large as the standard deviation.
    """
    full, means = _full(_blocks(where)), _blocks(_inner(values)).mean(dim=1)
    if int(full.sum()) >= FEWEST:
        dark = (full & (means <= ALIKE * means[full].quantile(QUIETEST))).nonzero()[:, 0]
        if 0 < means[dark].mean() < AIR * _spread(_taken(fine, where, dark)):
            return dark
    return full.nonzero()[:0, 0]


def _quietest(change: Tensor, counted: Tensor) -> Tensor | None:
    numbers = counted.nonzero()[:, 0]
    if len(numbers) < FEWEST:
        return None
    return numbers[change[numbers].argsort()[: max(round(QUIETEST * len(numbers)), FEWEST)]]


def _change(values: Tensor) -> Tensor:
    """Squared slope of the blurred image, along the axes that are long enough."""
    axes = [axis for axis, n in enumerate(values.shape) if n >= 5]
    blurred = gaussian_filter(values.cpu().numpy(), BLUR, axes=axes)
    slopes = [np.square(np.gradient(blurred, axis=axis)) for axis in axes]
    return torch.from_numpy(np.sum(slopes, axis=0)) if axes else torch.zeros_like(values)


def _taken(detail: Tensor, where: Tensor, blocks: Tensor | None) -> Tensor:
    # Details that count, of all the image or of some blocks.
    if blocks is None:
        return detail[where]
    return _blocks(detail)[blocks][_blocks(where)[blocks]]


def _blocks(values: Tensor) -> Tensor:
    """All blocks (N, places) of an image (*spatial); what is left over at the ends is left out."""
    axes = [axis for axis, n in enumerate(values.shape) if n >= 5]
    side = round(BLOCK ** (1 / max(len(axes), 1)))
    for axis in axes:
        size = min(side, values.shape[axis])
        values = values.unfold(axis, size, size)
    whole = values.ndim - len(axes)
    return values.flatten(whole).flatten(0, whole - 1) if axes else values.reshape(1, -1)


def _full(blocks: Tensor) -> Tensor:
    return blocks.double().mean(dim=1) > FILLED


def _spread(details: Tensor) -> float:
    # Constant background, cut out or padded, is no sample of the noise.
    magnitude = details.abs()
    magnitude = magnitude[magnitude > 0]
    return float(magnitude.median()) / NORMAL if len(magnitude) >= 8 else 0.0
