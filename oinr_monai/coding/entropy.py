"""Lossless coders of bytes and whole numbers, chosen to survive bytes of strangers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["packed", "unpacked"]

# Of zstd: where more takes longer and gains little, chosen by hand.
EFFORT = 9


def packed(values: NDArray[np.uint8]) -> bytes:
    """Bytes by zstd.

    Example:
        >>> unpacked(packed(np.arange(9, dtype=np.uint8)), 9)
        array([0, 1, 2, 3, 4, 5, 6, 7, 8], dtype=uint8)
    """
    from imagecodecs import zstd_encode

    return bytes(zstd_encode(values.tobytes(), EFFORT))


def unpacked(data: bytes, size: int) -> NDArray[np.uint8]:
    """The bytes that :func:`packed` was given, whose number is known and bounds what is allocated.

    Raises:
        ValueError: if there are fewer or more.
    """
    from imagecodecs import zstd_decode

    found = bytearray(size)
    if len(zstd_decode(data, out=found)) != size:
        raise ValueError(f"{size} bytes, got another number")
    return np.frombuffer(found, np.uint8)
