"""Whole numbers as tokens, whose frequencies are known, and bits, all of which are as likely."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["BITS", "FIRSTS", "LARGEST", "SIZES", "TOKENS", "pack_bits", "tokens_of", "unpack_bits"]

# Sizes below DIRECT are tokens of their own; two tokens share a doubling above them, which leaves
# bits that say where in it; the last token is followed by all bits of the size.
DIRECT, TOKENS, ALL_BITS = 8, 25, 24

# The largest size that can be told.
LARGEST = (1 << ALL_BITS) - 1


def _first(token: int) -> int:
    if token < DIRECT:
        return token
    doubling, half = divmod(token - DIRECT, 2)
    return (2 + half) << (doubling + 2)


FIRSTS = np.array([*map(_first, range(TOKENS - 1)), 0], np.int32)

# Bits that follow a token: those of its size that it leaves open.
BITS = np.array([*([0] * DIRECT), *(2 + k // 2 for k in range(TOKENS - 1 - DIRECT)), ALL_BITS])

# The middle of the sizes of a token, which stands for them where they are not known yet.
SIZES = np.append(FIRSTS[:-1] + (1 << BITS[:-1] >> 1), 1 << 11).astype(np.int16)


def tokens_of(sizes: NDArray[np.int32]) -> NDArray[np.uint8]:
    """The tokens of sizes from 0 to ``LARGEST``.

    Example:
        >>> tokens_of(np.array([0, 7, 8, 11, 12, 1 << 20], np.int32))
        array([ 0,  7,  8,  8,  9, 24], dtype=uint8)
    """
    tokens = np.minimum(sizes, DIRECT - 1).astype(np.uint8)
    large = sizes >= DIRECT
    if large.any():
        some = sizes[large]
        doublings = np.frexp(some.astype(np.float64))[1] - 1
        halves = (some >> (doublings - 1)) & 1
        tokens[large] = np.minimum(DIRECT + 2 * (doublings - 3) + halves, TOKENS - 1)
    return tokens


def pack_bits(values: NDArray[np.int32], counts: NDArray[np.int64]) -> NDArray[np.uint8]:
    """So many low bits of each number, one after the other, a byte for each bit."""
    places = np.cumsum(counts) - counts
    bits = np.zeros(int(counts.sum()), np.uint8)
    for k in range(int(counts.max(initial=0))):
        some = counts > k
        bits[places[some] + k] = (values[some] >> k) & 1
    return bits


def unpack_bits(bits: NDArray[np.uint8], counts: NDArray[np.int64]) -> NDArray[np.int32]:
    """The numbers whose bits :func:`pack_bits` put down.

    Raises:
        ValueError: if there are fewer bits.
    """
    if int(counts.sum()) > len(bits):
        raise ValueError("bits fewer than those of the tokens of a chunk")
    places = np.cumsum(counts) - counts
    values = np.zeros(len(counts), np.int32)
    for k in range(int(counts.max(initial=0))):
        some = counts > k
        values[some] |= bits[places[some] + k].astype(np.int32) << k
    return values
