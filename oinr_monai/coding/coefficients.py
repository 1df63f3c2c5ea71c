"""Whole coefficients of wavelet transforms as bytes, many chunks of one shape at once."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .ans import LANE_BYTES, Reader, Writer, lanes_of
from .contexts import CERTAIN, Known, Pass, passes
from .tokens import BITS, FIRSTS, pack_bits, tokens_of, unpack_bits

__all__ = ["read_coefficients", "write_coefficients"]

# Before the lanes: bytes of words, and which sub-bands are not zero throughout.
HEAD = struct.Struct("<IQ")

# Bits that a lane begins with in place of nothing.
SEED_BITS = 16


def write_coefficients(steps: NDArray[np.int32]) -> list[bytes]:
    """The bytes of coefficients (B, *shape), whose sizes are at most ``tokens.LARGEST``.

    Example:
        >>> steps = np.arange(-30, 30, dtype=np.int32).reshape(2, 5, 6)
        >>> bool((read_coefficients(write_coefficients(steps), (5, 6)) == steps).all())
        True
    """
    shape = steps.shape[1:]
    order = passes(shape)
    some = steps.reshape(len(steps), *_in_3d(shape))
    rows = np.concatenate([some[_at(each)].reshape(len(steps), -1) for each in order], axis=1)
    tokens = tokens_of(np.abs(rows))
    masks = _masks(tokens, order)
    writer, known = Writer(lanes_of(tokens.shape[1])), Known(len(steps), shape)
    for each, columns in _columns(order):
        active = masks >> np.uint64(each.band) & np.uint64(1) == 1
        if active.any():
            writer.put(_contexts(known, each, active), tokens[:, columns])
        known.put(each, tokens[:, columns])
    raw = [_raw_bits(*each) for each in zip(rows, tokens, strict=True)]
    seeds, rests = zip(*[_seeds(each, writer.lanes) for each in raw], strict=True)
    states, words = writer.finish(np.stack(seeds))
    return [
        HEAD.pack(len(word), int(mask)) + state.tobytes() + word + rest
        for mask, state, word, rest in zip(masks, states, words, rests, strict=True)
    ]


def read_coefficients(data: Sequence[bytes], shape: tuple[int, ...]) -> NDArray[np.int32]:
    """The coefficients (B, *shape) of bytes that may be anybody's.

    Raises:
        ValueError: if the bytes are not of such chunks.
    """
    order = passes(shape)
    total = sum(each.count for each in order)
    lanes = lanes_of(total)
    parts = [_parts(each, lanes) for each in data]
    masks = np.array([mask for mask, _, _, _ in parts], np.uint64)
    states, words = zip(*[(state, word) for _, state, word, _ in parts], strict=True)
    reader = Reader(np.stack(states), words)
    known, tokens = Known(len(data), shape), np.zeros((len(data), total), np.uint8)
    for each, columns in _columns(order):
        active = masks >> np.uint64(each.band) & np.uint64(1) == 1
        if active.any():
            tokens[:, columns] = reader.take(_contexts(known, each, active))
        known.put(each, tokens[:, columns])
    seeds = reader.finish()
    rows = np.stack(
        [
            _signed(token, _bits(seed, rest))
            for token, seed, (_, _, _, rest) in zip(tokens, seeds, parts, strict=True)
        ]
    )
    steps = np.empty((len(data), *_in_3d(shape)), np.int32)
    for each, columns in _columns(order):
        steps[_at(each)] = rows[:, columns].reshape(-1, *each.shape)
    return steps.reshape(len(data), *shape)


def _in_3d(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*[1] * (3 - len(shape)), *shape)


def _at(each: Pass) -> tuple[slice, ...]:
    return (slice(None), *each.box)


def _columns(order: Sequence[Pass]) -> list[tuple[Pass, slice]]:
    """Each pass and its place among the coefficients of a chunk."""
    found, first = [], 0
    for each in order:
        found.append((each, slice(first, first + each.count)))
        first += each.count
    return found


def _masks(tokens: NDArray[np.uint8], order: Sequence[Pass]) -> NDArray[np.uint64]:
    """For each chunk a bit for each sub-band: whether one of its coefficients is not zero."""
    masks = np.zeros(len(tokens), np.uint64)
    for each, columns in _columns(order):
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


def _parts(data: bytes, lanes: int) -> tuple[int, NDArray[np.uint32], bytes, bytes]:
    """Mask, lanes, words and bits of a chunk."""
    first = HEAD.size + LANE_BYTES * lanes
    if len(data) < first:
        raise ValueError("a chunk without its lanes")
    words, mask = HEAD.unpack_from(data)
    if words % 2 or first + words > len(data):
        raise ValueError("a chunk without its words")
    states = np.frombuffer(data, np.uint32, lanes, HEAD.size)
    return mask, states, data[first : first + words], data[first + words :]
