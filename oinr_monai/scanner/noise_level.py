"""The noise level of an image, found in its own details or in repeats."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "FEWEST_REPEATS",
    "details_hold_anatomy",
    "known_level",
    "noise_level",
    "repeat_noise_level",
]


# Channels from which they may be repeats of one scene: fewer may be colours, or contrasts. By hand.
FEWEST_REPEATS = 5

# Details below this part of a channel's greatest intensity are what rounding in float64 leaves.
ROUNDING = 1e-12


def noise_level(image: Tensor, mask: Tensor | None = None) -> tuple[float, ...]:
    r"""Standard deviation of the noise of each channel, from the finest details of the image.

    The second differences along all axes, :math:`(1, -2, 1) / \sqrt 6` each, remove what is smooth
    and keep white noise as it is; their median magnitude over 0.6745 passes over the edges. Noise
    that is smooth itself, as after interpolation, is underestimated; where most voxels hold edges
    it is overestimated.

    References:
        Donoho and Johnstone, "Ideal spatial adaptation by wavelet shrinkage", Biometrika 1994.

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
    detail, inside = _details(image, mask)
    return tuple(_spread(channel[inside]) for channel in detail)


def _details(image: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    # Second differences along all axes, white noise keeping its size, and where they count.
    detail, inside = image.double(), torch.ones(image.shape[1:], dtype=torch.bool)
    inside = inside if mask is None else mask.clone()
    for axis in (d for d in range(1, image.ndim) if image.shape[d] > 2):
        size = detail.shape[axis] - 2
        before, here, after = (detail.narrow(axis, i, size) for i in range(3))
        detail = (before - 2 * here + after) / math.sqrt(6)
        inside = inside.narrow(axis - 1, 1, size)
    rounding = ROUNDING * image.flatten(1).double().abs().amax(1).view(-1, *[1] * inside.ndim)
    return torch.where(detail.abs() > rounding, detail, 0.0), inside


def details_hold_anatomy(image: Tensor) -> bool:
    """Whether the finest details of an image differ too much from place to place to be noise.

    Blocks of some 100 voxels of white noise are alike: the quietest tenth of them has 0.8 times the
    level of the middle one. Below 0.65, what :func:`noise_level` sees is the scene.

    Args:
        image: the image, shape (C, *spatial).

    Example:
        >>> noise = torch.randn(1, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> details_hold_anatomy(noise)
        False
    """
    detail, _ = _details(image, None)
    axes = [d for d in range(1, detail.ndim) if detail.shape[d] >= 5]
    if not axes:
        return False
    side = round(125 ** (1 / len(axes)))
    blocks = detail.abs()
    for axis in axes:
        blocks = blocks.unfold(axis, min(side, blocks.shape[axis]), min(side, blocks.shape[axis]))
    blocks = blocks.flatten(detail.ndim).flatten(0, -2)
    blocks = blocks[(blocks > 0).double().mean(dim=1) > 0.9]
    levels = blocks.median(dim=1).values
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
    levels = [noise_level(series[lag:] - series[:-lag], mask) for lag in (1, 2)]
    return min(float(np.median(level)) for level in levels) / math.sqrt(2)


def known_level(image: Tensor, mask: Tensor | None) -> tuple[float, ...]:
    """The scene only adds to either estimate, so that the smaller is the nearer."""
    levels = noise_level(image, mask)
    if len(image) < FEWEST_REPEATS:
        return levels
    repeats = repeat_noise_level(image, mask)
    return tuple(min(level, repeats) for level in levels)


def _spread(details: Tensor) -> float:
    # Constant background, cut out or padded, is no sample of the noise.
    magnitude = details.abs()
    magnitude = magnitude[magnitude > 0]
    if len(magnitude) < 8:
        raise ValueError("image must hold noise in its details, got none; give sigma")
    return float(magnitude.median()) / 0.6745
