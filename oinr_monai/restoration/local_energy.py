"""How much an image changes around each place: what the sizes of errors are told from."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .error_scale import FLOOR

__all__ = ["bend", "log_root", "slope", "window_mean"]


def window_mean(values: Tensor, size: Sequence[int]) -> Tensor:
    """Means of values (C, *spatial) over windows of odd sizes, as if the border went on."""
    padding = [n // 2 for n in reversed(size) for _ in range(2)]
    pool = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[len(size) - 1]
    return pool(F.pad(values[None], padding, mode="replicate"), tuple(size), stride=1)[0]


def log_root(squares: Tensor) -> Tensor:
    """The logarithm of the root, of what is not below the floor."""
    return (squares.clamp_min(0).sqrt() + FLOOR).log()


def slope(values: Tensor, axis: int) -> Tensor:
    """First derivatives along an axis, per voxel, by central differences."""
    before, after = _neighbours(values, axis)
    return (after - before) / 2


def bend(values: Tensor, axis: int) -> Tensor:
    """Second derivatives along an axis, per voxel squared."""
    before, after = _neighbours(values, axis)
    return before - 2 * values + after


def _neighbours(values: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    n = values.shape[axis]
    first, last = values.narrow(axis, 0, 1), values.narrow(axis, n - 1, 1)
    longer = torch.cat([first, values, last], dim=axis)
    return longer.narrow(axis, 0, n), longer.narrow(axis, 2, n)
