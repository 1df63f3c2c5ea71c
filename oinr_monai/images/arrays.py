"""Arrays and tensors of any kind as real numbers that torch can work on."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["intensities", "narrowed", "plain_tensor"]

# The part of an image's contrast that rounding to float32 may cost.
_COST = 1e-5

# Half the distance between the smallest numbers of float32.
_LEAST = 2.0**-150


def plain_tensor(values: Tensor | NDArray[Any], name: str = "image") -> Tensor:
    """The values as a tensor without meta data, whatever the array's strides and byte order.

    Args:
        values: a tensor, or an array as NumPy and nibabel give them: flipped, big-endian, mapped.
        name: what the argument is called in errors.

    Raises:
        TypeError: if it is neither a tensor nor an array.
        ValueError: if the values are no real numbers.

    Example:
        >>> plain_tensor(np.array([[1, 2]], ">i2")[:, ::-1]).tolist()
        [[2, 1]]
    """
    if isinstance(values, MetaTensor):
        values = values.as_tensor()
    if isinstance(values, np.ndarray) and values.dtype.kind in "biuf":
        values = torch.from_numpy(_native(values))
    if not isinstance(values, Tensor | np.ndarray):
        raise TypeError(f"{name} must be a tensor or an array, got {type(values).__name__}")
    if isinstance(values, np.ndarray) or values.is_complex():
        raise ValueError(f"{name} must hold real numbers, got {values.dtype}; take its magnitude")
    return values.detach()


def _native(values: NDArray[Any]) -> NDArray[Any]:
    wide = values.dtype.kind == "f" and values.dtype.itemsize > 8  # which torch does not know
    kind = np.dtype(np.float64) if wide else values.dtype.newbyteorder("=")
    writable = np.ascontiguousarray(values, dtype=kind)
    return writable if writable.flags.writeable else writable.copy()


def intensities(
    values: NDArray[Any], slope: float = 1.0, intercept: float = 0.0
) -> NDArray[np.floating[Any]]:
    """Slope times the stored values plus the intercept, scaled in float64, and narrowed.

    Example:
        >>> intensities(np.array([2**30 + 5], np.int32), 1.0, -(2.0**30))
        array([5.], dtype=float32)
    """
    if slope == 1 and intercept == 0:
        return narrowed(values)
    return narrowed(values.astype(np.float64) * slope + intercept)


def narrowed(values: NDArray[Any]) -> NDArray[np.floating[Any]]:
    """The values in float32; in float64 where float32 would cost a part of their contrast.

    That is so where they vary little around a large offset, as a frequency of 123 MHz does by
    200 Hz, and where they are smaller or larger than the numbers of float32.

    Example:
        >>> narrowed(np.array([1.1, 2.0])).dtype, narrowed(np.array([1e8 + 0.25, 1e8])).dtype
        (dtype('float32'), dtype('float64'))
    """
    with np.errstate(over="ignore"):
        single = np.ascontiguousarray(values, dtype=np.float32)
    exact = values.dtype.itemsize < 4 or values.dtype.newbyteorder("=") == np.float32
    if exact or not values.size:
        return single
    double = values.astype(np.float64)
    finite = np.isfinite(single)
    if not finite.all() and np.isfinite(double[~finite]).any():
        return double
    known = double if finite.all() else double[finite]
    if not known.size or (known == single[finite].reshape(known.shape)).all():
        return single
    low, high = float(known.min()), float(known.max())
    rounding = max(max(abs(low), abs(high)) * 2.0**-24, _LEAST)
    return double if rounding > _COST * (high - low) > 0 else single
