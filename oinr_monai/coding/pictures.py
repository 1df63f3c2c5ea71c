"""Whole numbers of up to 16 bits as lossless JPEG XL pictures.

What a stream says of its picture and its frame is not taken from bytes of strangers: the picture's
header is made here, of the size that is known, and a frame that is not one plain, whole, last one
is refused. A decoder can then be asked for no more than that picture.
"""

from __future__ import annotations

import re
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["FAST", "THOROUGH", "packed_picture", "unpacked_picture"]

# How a code stream begins, and the name of the box that holds one.
START, BOX = b"\xff\x0a", b"jxlc"

# Efforts of the encoder. A scan with noise is hardly smaller by the greater one, in three times the
# time, and one that is mostly blank by some percent: which is taken is tried on a part of the scan.
FAST, THOROUGH = 3, 5

# The header of a regular modular frame without flags, upsampling, crop, blending, filters or
# extensions, in one pass, the last; what may differ is the size of groups, and what comes after it.
FRAME = re.compile(rb"\x08[\x00\x02\x04\x06]\x01(?=[" + re.escape(bytes(range(0, 256, 8))) + rb"])")

Picture = NDArray[np.uint8] | NDArray[np.uint16]


def packed_picture(picture: Picture, effort: int = FAST) -> bytes | None:
    """A picture's frame; None where it is not a plain one.

    Args:
        picture: the whole numbers.
        effort: ``FAST`` or ``THOROUGH``.

    Example:
        >>> picture = np.arange(60, dtype=np.uint16).reshape(6, 10)
        >>> data = packed_picture(picture)
        >>> bool((unpacked_picture(data, (6, 10), np.dtype(np.uint16)) == picture).all())
        True
    """
    stream = _stream(picture, effort)
    header = _header(picture.shape, picture.dtype)
    plain = stream.startswith(header) and FRAME.match(stream, len(header))
    return stream[len(header) :] if plain else None


def unpacked_picture(data: bytes, shape: tuple[int, ...], dtype: np.dtype) -> Picture:
    """The picture of a frame, which may be anybody's.

    Raises:
        ValueError: if it is not a plain frame.
        RuntimeError: if it cannot be decoded.
    """
    from imagecodecs import jpegxl_decode

    if not FRAME.match(data):
        raise ValueError("a frame that is not a plain one")
    picture: Picture = np.empty(shape, dtype)
    jpegxl_decode(_header(shape, dtype) + data, index=0, numthreads=1, out=picture)
    return picture


@lru_cache(maxsize=64)
def _header(shape: tuple[int, ...], dtype: np.dtype) -> bytes:
    """What comes before the frame of every picture of a size and type."""
    stream = _stream(np.zeros(shape, dtype), FAST)
    found = FRAME.search(stream, len(START))
    if found is None:
        raise ValueError("pictures of another encoder than the one that is known")
    return stream[: found.start()]


def _stream(picture: Picture, effort: int) -> bytes:
    """The code stream of a picture, without the boxes that one of 16 bits comes in."""
    from imagecodecs import jpegxl_encode

    made = bytes(jpegxl_encode(picture, lossless=True, effort=effort, numthreads=1))
    return made if made.startswith(START) else made[made.index(BOX + START) + len(BOX) :]
