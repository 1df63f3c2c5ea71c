"""The noise level of an image, found in its own details or in repeats."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .details import Details, air, block_levels, kept_part, quiet, smoothing_of

__all__ = [
    "FEWEST_REPEATS",
    "air_level",
    "details_hold_anatomy",
    "known_noise",
    "noise_level",
    "repeat_noise_level",
]


# Channels from which they may be repeats of one scene: fewer may be colours, or contrasts. By hand.
FEWEST_REPEATS = 5

# Growth of details from which noise is taken for smooth, where they are alike everywhere and where
# they hold anatomy, chosen with what is in details.py; and up to which air is white, by hand.
GROWTH, ANATOMY, WHITE = 1.3, 1.6, 1.1


def noise_level(image: Tensor, mask: Tensor | None = None) -> tuple[float, ...]:
    """Standard deviation of the noise of each channel, from the finest details of the image.

    They are looked at where the blurred image changes least, so that edges and texture count
    little; where a magnitude image holds no signal its noise is smaller, and is not looked at. Of
    noise that is smooth itself, as after an interpolation, the size before details lost their part
    (:mod:`~oinr_monai.scanner.details`). Where the scene is as fine as the noise it is
    overestimated.

    Args:
        image: the image, shape (C, *spatial).
        mask: where to look, shape (*spatial); everywhere if None.

    Raises:
        ValueError: if the details vanish, so that there is no noise to estimate.

    Example:
        >>> noise = torch.randn(1, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> round(noise_level(5 * noise + 100)[0], 1)
        5.0
    """
    return _checked(_one_by_one(image, mask, None)[0])


def details_hold_anatomy(image: Tensor) -> bool:
    """Whether the finest details of an image differ too much from place to place to be noise.

    Blocks of some 100 voxels of white noise are alike: the quietest tenth of them has 0.8 times the
    level of the middle one. Below 0.65, details are of the scene in places.

    Args:
        image: the image, shape (C, *spatial).

    Example:
        >>> noise = torch.randn(1, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> details_hold_anatomy(noise)
        False
    """
    levels = torch.cat([block_levels(channel) for channel in image])
    return len(levels) >= 8 and float(levels.quantile(0.1)) < 0.65 * float(levels.median())


def repeat_noise_level(series: Tensor, mask: Tensor | None = None) -> float:
    """Standard deviation of the noise of repeated measurements, from what changes between them.

    The details of differences hold no anatomy, which alone may exceed the noise of thick voxels.
    Neighbours and next-but-one neighbours are compared, and the smaller answer taken, since in
    perfusion series two kinds of frames alternate.

    Args:
        series: frames of the same scene, shape (T, *spatial), at least 3.
        mask: where to look, shape (*spatial); everywhere if None.

    Raises:
        ValueError: if there are fewer than 3 frames, or all are equal.

    Example:
        >>> noise = torch.randn(6, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> round(repeat_noise_level(5 * noise + 100))
        5
    """
    if len(series) < 3:
        raise ValueError(f"series must hold 3 frames or more, got {len(series)}")
    return _checked((_repeated(series, mask, None)[0],))[0]


def known_noise(
    image: Tensor,
    mask: Tensor | None,
    sigma: float | tuple[float, ...] | None,
    smoothing: float | tuple[float, ...] | None,
) -> tuple[float | tuple[float, ...], float | tuple[float, ...]]:
    """Size of the noise of each channel, and its smoothing along each axis in voxels.

    From some channels on they may be repeats. The scene only adds to either estimate of the size,
    so that the smaller is the nearer.

    Args:
        image: (C, *spatial).
        mask: where to look (*spatial), or None.
        sigma: size where it is known: it stays.
        smoothing: where it is known, for all axes or each: it stays.

    Raises:
        ValueError: if the size is not known, and there are no details that would tell it.
    """
    if sigma is not None and smoothing is not None:
        return sigma, smoothing
    found = (_one_by_one if len(image) < FEWEST_REPEATS else _as_repeats)(image, mask, smoothing)
    return (_checked(found[0]) if sigma is None else sigma), found[1]


def air_level(channel: Tensor, mask: Tensor | None) -> float | None:
    """What noise a magnitude image (*spatial) has without signal; None without air that is white.

    Where the scene seems noisier than air, and air is white, noise is white.
    """
    details = Details.of(channel, mask, air)
    return details.level if details.level > 0 and max(details.growth) < WHITE else None


def _checked(levels: tuple[float, ...]) -> tuple[float, ...]:
    if min(levels) == 0:
        raise ValueError("image must hold noise in its details, got none; give sigma")
    return levels


def _as_repeats(
    image: Tensor, mask: Tensor | None, smoothing: float | tuple[float, ...] | None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    size, widths = _repeated(image, mask, smoothing)
    levels, _ = _one_by_one(image, mask, widths)
    return tuple(min(level, size) for level in levels), widths


def _one_by_one(
    image: Tensor, mask: Tensor | None, smoothing: float | tuple[float, ...] | None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    details = [Details.of(channel, mask, quiet) for channel in image]
    least = ANATOMY if details_hold_anatomy(image) else GROWTH
    widths = _smoothing(details, least) if smoothing is None else _each(smoothing, image.ndim - 1)
    return tuple(each.level / kept_part(widths) for each in details), widths


def _repeated(
    series: Tensor, mask: Tensor | None, smoothing: float | tuple[float, ...] | None
) -> tuple[float, tuple[float, ...]]:
    # Differences hold no anatomy: they are looked at everywhere.
    found = []
    for lag in (1, 2):
        details = [Details.of(each, mask) for each in series[lag:] - series[:-lag]]
        dims = series.ndim - 1
        widths = _smoothing(details, GROWTH) if smoothing is None else _each(smoothing, dims)
        level = float(np.median([each.level for each in details]))
        found.append((level / math.sqrt(2) / kept_part(widths), widths))
    return min(found)


def _smoothing(details: Sequence[Details], least: float) -> tuple[float, ...]:
    growth = np.median([each.growth for each in details], axis=0)
    return tuple(smoothing_of(each, least) for each in growth.tolist())


def _each(smoothing: float | tuple[float, ...], dims: int) -> tuple[float, ...]:
    return smoothing if isinstance(smoothing, tuple) else (float(smoothing),) * dims
