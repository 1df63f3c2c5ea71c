"""Whole coefficients of wavelet transforms as bytes, many chunks of one shape at once."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .ans import LANE_BYTES, MOST, Reader, Writer, fewest_lanes, lanes_of
from .contexts import CERTAIN, Known, Pass, passes
from .tokens import BITS, FIRSTS, pack_bits, tokens_of, unpack_bits

__all__ = ["read_coefficients", "write_coefficients"]

# Before the lanes: bytes of words, and which sub-bands are not zero throughout; the last byte of
# those is the logarithm of the number of lanes.
HEAD, BANDS = struct.Struct("<IQ"), 56

# Bits that a lane begins with in place of nothing.
SEED_BITS = 16

Order = Sequence[tuple[Pass, slice]]


def write_coefficients(steps: NDArray[np.int32]) -> list[bytes]:
    """The bytes of coefficients (B, *shape), whose sizes are at most ``tokens.LARGEST``.

    Example:
        >>> steps = np.arange(-30, 30, dtype=np.int32).reshape(2, 5, 6)
        >>> bool((read_coefficients(write_coefficients(steps), (5, 6)) == steps).all())
        True
    """
    shape = steps.shape[1:]
    order = _columns(shape)
    some = steps.reshape(len(steps), *_in_3d(shape))
    rows = np.concatenate([some[_at(each)].reshape(len(steps), -1) for each, _ in order], axis=1)
    tokens = tokens_of(np.abs(rows))
    masks = _masks(tokens, order)
    not_zero = np.count_nonzero(tokens, axis=1).tolist()
    lanes = [lanes_of(_coded(m, order), n) for m, n in zip(masks, not_zero, strict=True)]
    found: dict[int, bytes] = {}
    for count, which in _groups(lanes):
        data = _write(rows[which], tokens[which], masks[which], shape, count)
        found.update(zip(which, data, strict=True))
    return [found[i] for i in range(len(steps))]


def _write(
    rows: NDArray[np.int32],
    tokens: NDArray[np.uint8],
    masks: NDArray[np.uint64],
    shape: tuple[int, ...],
    lanes: int,
) -> list[bytes]:
    """The bytes of chunks that have so many lanes."""
    writer, known = Writer(lanes), Known(len(rows), shape)
    for each, columns in _columns(shape):
        active = _active(masks, each)
        if active.any():
            writer.put(_contexts(known, each, active), tokens[:, columns])
        known.put(each, tokens[:, columns])
    raw = [_raw_bits(*each) for each in zip(rows, tokens, strict=True)]
    seeds, rests = zip(*[_seeds(each, lanes) for each in raw], strict=True)
    states, words = writer.finish(np.stack(seeds))
    told = (lanes.bit_length() - 1) << BANDS
    return [
        HEAD.pack(len(word), int(mask) | told) + state.tobytes() + word + rest
        for mask, state, word, rest in zip(masks, states, words, rests, strict=True)
    ]


def read_coefficients(data: Sequence[bytes], shape: tuple[int, ...]) -> NDArray[np.int32]:
    """The coefficients (B, *shape) of bytes that may be anybody's.

    Raises:
        ValueError: if the bytes are not of such chunks.
    """
    order = _columns(shape)
    parts = [_Parts.of(each, order) for each in data]
    steps = np.empty((len(data), *_in_3d(shape)), np.int32)
    for _, which in _groups([each.lanes for each in parts]):
        rows = _read([parts[i] for i in which], shape)
        for each, columns in order:
            for chunk, row in zip(which, rows, strict=True):
                steps[chunk][each.box] = row[columns].reshape(each.shape)
    return steps.reshape(len(data), *shape)


def _read(parts: Sequence[_Parts], shape: tuple[int, ...]) -> NDArray[np.int32]:
    """The coefficients, in the order of coding, of chunks that have as many lanes."""
    order = _columns(shape)
    masks = np.array([each.mask for each in parts], np.uint64)
    reader = Reader(np.stack([each.states for each in parts]), [each.words for each in parts])
    known = Known(len(parts), shape)
    tokens = np.zeros((len(parts), order[-1][1].stop), np.uint8)
    for each, columns in order:
        active = _active(masks, each)
        if active.any():
            tokens[:, columns] = reader.take(_contexts(known, each, active))
        known.put(each, tokens[:, columns])
    found = zip(tokens, reader.finish(), parts, strict=True)
    return np.stack([_signed(token, _bits(seed, each.rest)) for token, seed, each in found])


@dataclass(frozen=True)
class _Parts:
    """What the bytes of a chunk are made of.

    Args:
        mask: a bit for each sub-band that is not zero throughout.
        states: where its lanes ended.
        words: what they put out before.
        rest: bits that are not in the seeds of the lanes.
    """

    mask: int
    states: NDArray[np.uint32]
    words: bytes
    rest: bytes

    @property
    def lanes(self) -> int:
        """How many there are."""
        return len(self.states)

    @classmethod
    def of(cls, data: bytes, order: Order) -> _Parts:
        """Take a chunk apart.

        Raises:
            ValueError: if it is none.
        """
        if len(data) < HEAD.size:
            raise ValueError("a chunk without its lanes")
        words, told = HEAD.unpack_from(data)
        mask, exponent = told & ((1 << BANDS) - 1), told >> BANDS
        if exponent > MOST or 1 << exponent < fewest_lanes(_coded(mask, order)):
            raise ValueError("a chunk with another number of lanes")
        first = HEAD.size + (LANE_BYTES << exponent)
        if len(data) < first:
            raise ValueError("a chunk without its lanes")
        if words % 2 or first + words > len(data):
            raise ValueError("a chunk without its words")
        states = np.frombuffer(data, np.uint32, 1 << exponent, HEAD.size)
        return cls(mask, states, data[first : first + words], data[first + words :])


def _groups(lanes: Sequence[int]) -> list[tuple[int, list[int]]]:
    """Which chunks have as many lanes as each other."""
    return [(count, [i for i, n in enumerate(lanes) if n == count]) for count in sorted(set(lanes))]


def _active(masks: NDArray[np.uint64], each: Pass) -> NDArray[np.bool_]:
    """In which chunks the sub-band of a pass is not zero throughout."""
    return (masks >> np.uint64(each.band) & np.uint64(1)) == 1


def _coded(mask: int, order: Order) -> int:
    """How many tokens of a chunk are coded."""
    return sum(each.count for each, _ in order if int(mask) >> each.band & 1)


def _in_3d(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*[1] * (3 - len(shape)), *shape)


def _at(each: Pass) -> tuple[slice, ...]:
    return (slice(None), *each.box)


@lru_cache(maxsize=64)
def _columns(shape: tuple[int, ...]) -> tuple[tuple[Pass, slice], ...]:
    """Each pass and its place among the coefficients of a chunk."""
    found, first = [], 0
    for each in passes(shape):
        found.append((each, slice(first, first + each.count)))
        first += each.count
    return tuple(found)


def _masks(tokens: NDArray[np.uint8], order: Order) -> NDArray[np.uint64]:
    """For each chunk a bit for each sub-band: whether one of its coefficients is not zero."""
    masks = np.zeros(len(tokens), np.uint64)
    for each, columns in order:
        masks |= tokens[:, columns].any(axis=1).astype(np.uint64) << np.uint64(each.band)
    return masks


def _contexts(known: Known, each: Pass, active: NDArray[np.bool_]) -> NDArray[np.uint8]:
    found = known.contexts(each)
    found[~active] = CERTAIN
    return found


def _raw_bits(row: NDArray[np.int32], tokens: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Signs, then what tokens leave open of the sizes, a byte for each bit."""
    counts = BITS.take(tokens)
    open_ = counts > 0
    rest = np.abs(row[open_]) - FIRSTS.take(tokens[open_])
    signs = (row[tokens > 0] < 0).astype(np.uint8)
    return np.concatenate([signs, pack_bits(rest, counts[open_])])


def _signed(tokens: NDArray[np.uint8], bits: NDArray[np.uint8]) -> NDArray[np.int32]:
    """The coefficients of a chunk, of its tokens and the bits beside them."""
    places = tokens > 0
    count = int(places.sum())
    if count > len(bits):
        raise ValueError("bits fewer than those of the tokens of a chunk")
    sizes, counts = FIRSTS.take(tokens), BITS.take(tokens)
    open_ = counts > 0
    sizes[open_] += unpack_bits(bits[count:], counts[open_])
    sizes[places] = np.where(bits[:count] == 1, -sizes[places], sizes[places])
    return sizes


def _seeds(bits: NDArray[np.uint8], lanes: int) -> tuple[NDArray[np.uint16], bytes]:
    """The first bits as what the lanes begin with, and the others as bytes."""
    room = lanes * SEED_BITS
    first = np.zeros(room, np.uint8)
    first[: min(room, len(bits))] = bits[:room]
    packed = np.packbits(first, bitorder="little").view(np.uint16)
    return packed, np.packbits(bits[room:], bitorder="little").tobytes()


def _bits(seeds: NDArray[np.uint16], rest: bytes) -> NDArray[np.uint8]:
    every = np.concatenate([seeds.view(np.uint8), np.frombuffer(rest, np.uint8)])
    return np.unpackbits(every, bitorder="little")
