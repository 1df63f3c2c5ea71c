r"""Noise that is alike at neighbouring voxels, as after an interpolation: white noise, smoothed.

Along each axis by a Gaussian whose standard deviation is :math:`w` voxels, with weights
:math:`k_i \propto e^{-i^2 / 2 w^2}` of unit energy: noise keeps its variance, and voxels :math:`l`
apart correlate by :math:`\sum_i k_i k_{i + l}`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["MOST_SMOOTHING", "correlation", "smooth_noise"]

# The widest smoothing, in voxels: noise of wider grain is beyond what a voxel's neighbours tell.
MOST_SMOOTHING = 1.0

# Voxels on either side beyond which weights are left out: below 1e-5 of the largest.
REACH = 5


def correlation(width: float, lag: int) -> float:
    """Correlation of noise some voxels apart, smoothed by a Gaussian of ``width`` voxels.

    Example:
        >>> round(correlation(0.6, lag=1), 2)
        0.45
    """
    weights = _weights(width)
    return float((weights[lag:] * weights[: len(weights) - lag]).sum())


def smooth_noise(
    shape: Sequence[int], smoothing: Sequence[float], generator: torch.Generator
) -> Tensor:
    """Normal noise of unit variance, smoothed.

    Args:
        shape: (..., *spatial), with as many spatial axes as widths.
        smoothing: standard deviation of the Gaussian along each spatial axis, in voxels; none is
            white noise.
        generator: source of randomness; the noise is on its device.

    Example:
        >>> smooth_noise((1, 40, 40), (0.6, 0.0), torch.Generator().manual_seed(0)).shape
        torch.Size([1, 40, 40])
    """
    lead = len(shape) - len(smoothing)
    around = [2 * REACH if width > 0 else 0 for width in smoothing]
    drawn = [*shape[:lead], *map(sum, zip(shape[lead:], around, strict=True))]
    noise = torch.randn(drawn, generator=generator, device=generator.device)
    for axis, (n, width) in enumerate(zip(shape[lead:], smoothing, strict=True), start=lead):
        if width > 0:
            shares = enumerate(_weights(width).tolist())
            noise = sum((w * noise.narrow(axis, i, n) for i, w in shares), noise.new_zeros(()))
    return noise


def _weights(width: float) -> Tensor:
    places = torch.arange(-REACH, REACH + 1)
    weights = torch.exp(-0.5 * (places / width) ** 2) if width > 0 else (places == 0).float()
    return weights / weights.norm()
