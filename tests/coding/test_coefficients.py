"""Coefficients as bytes: tokens, contexts and all, of any shape and size."""

from __future__ import annotations

import math
import zlib

import numpy as np
import pytest
from numpy.typing import NDArray

from oinr_monai.coding.coefficients import read_coefficients, write_coefficients
from oinr_monai.coding.contexts import BLANK, BLIND, CONTEXTS, Known, passes
from oinr_monai.coding.tokens import (
    BITS,
    FIRSTS,
    LARGEST,
    SIZES,
    TOKENS,
    pack_bits,
    tokens_of,
    unpack_bits,
)

SHAPES = [(1,), (3,), (1000,), (1, 1, 1), (7, 9), (20, 33, 5), (24, 24, 24)]


def drawn(*shape: int, scale: float) -> NDArray[np.int32]:
    values = np.random.default_rng(0).laplace(size=shape) * scale
    return np.clip(np.round(values), -LARGEST, LARGEST).astype(np.int32)


# ---- tokens --------------------------------------------------------------------------------------


def test_a_token_and_its_bits_are_the_size() -> None:
    sizes = np.array([*range(5000), *(1 << np.arange(24)), LARGEST], np.int32)
    tokens = tokens_of(sizes)
    left = sizes - FIRSTS[tokens]
    assert left.min() >= 0
    assert (left < 1 << BITS[tokens]).all()
    assert set(tokens.tolist()) <= set(range(TOKENS))
    # The middle that stands for a size is of its token.
    assert (tokens_of(SIZES[:-1].astype(np.int32)) == np.arange(TOKENS - 1)).all()


def test_bits_come_back() -> None:
    draw = np.random.default_rng(0)
    counts = draw.integers(0, 25, 400)
    values = (draw.integers(0, 1 << 24, 400) & ((1 << counts) - 1)).astype(np.int32)
    bits = pack_bits(values, counts)
    assert len(bits) == counts.sum()
    assert (unpack_bits(bits, counts) == values).all()
    with pytest.raises(ValueError, match="fewer"):
        unpack_bits(bits[:-1], counts)


# ---- contexts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_coefficient_is_coded_once(shape: tuple[int, ...]) -> None:
    times = np.zeros((*[1] * (3 - len(shape)), *shape), int)
    for each in passes(shape):
        assert times[each.box].shape == each.shape
        times[each.box] += 1
    assert (times == 1).all()


def test_contexts_rise_with_what_is_around() -> None:
    found = []
    for size in (0, 1, 3, 7, 40, 900):
        known = Known(1, (16, 16, 16))
        for each in passes((16, 16, 16)):
            contexts = known.contexts(each)
            known.put(each, tokens_of(np.full((1, each.count), size, np.int32)))
        # Of the last pass, all of whose neighbours are known and of one size.
        assert len(set(contexts.ravel().tolist())) == 1
        found.append(int(contexts[0, 0]))
    assert found[0] >= BLANK
    assert found[1] > BLIND
    assert found[1:] == sorted(set(found[1:]))
    assert max(found) < CONTEXTS


# ---- all of it -----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("scale", [0.1, 2.0, 3000.0, 4e6])
def test_coefficients_come_back(scale: float, shape: tuple[int, ...]) -> None:
    steps = drawn(3, *shape, scale=scale)
    assert np.array_equal(read_coefficients(write_coefficients(steps), shape), steps)


# Checksums of the bytes that made files are of: another number is another format.
KNOWN = {
    (1000,): 96309656,
    (40, 33): 3682592322,
    (5, 24, 17): 3467445194,
    (36, 20, 30): 1403992278,
}


@pytest.mark.parametrize("shape", KNOWN, ids=str)
def test_files_of_yesterday_are_read_tomorrow(shape: tuple[int, ...]) -> None:
    places = np.arange(4 * math.prod(shape), dtype=np.uint64)
    drawn = (places * 2_654_435_761 + 12_345) % (1 << 32)
    # Many small ones, in parts of a chunk larger ones, and a few of any size.
    bits = np.array([2, 5, 1, 9], np.uint64)[(places // (len(places) // 16)).astype(int) % 4]
    sizes = (drawn >> 8) % (1 << bits) >> (drawn >> 5) % 8 % bits
    sizes[::101] = (drawn >> 8)[::101] % LARGEST
    steps = np.where(drawn & 16 > 0, -sizes.astype(np.int32), sizes.astype(np.int32))
    data = write_coefficients(steps.reshape(4, *shape))
    assert zlib.crc32(b"".join(data)) == KNOWN[shape]


def test_chunks_are_the_same_bytes_alone_and_together() -> None:
    steps = drawn(3, 20, 18, 16, scale=2.0)
    alone = [write_coefficients(steps[i : i + 1])[0] for i in range(3)]
    assert write_coefficients(steps) == alone


def test_sizes_that_lie_together_take_less_than_by_themselves() -> None:
    """Half of a chunk with large coefficients beside half with none, and the same ones mixed."""
    steps = drawn(1, 32, 32, 32, scale=4.0)
    steps[:, :, :, 16:] = 0
    mixed = np.random.default_rng(1).permutation(steps.ravel()).reshape(steps.shape)
    (apart,), (together,) = write_coefficients(steps), write_coefficients(mixed)
    assert len(apart) < 0.9 * len(together)


def test_zeros_take_next_to_nothing() -> None:
    (data,) = write_coefficients(np.zeros((1, 32, 32, 32), np.int32))
    assert len(data) < 300


@pytest.mark.parametrize("kept", [0, 5, 12, 100, -1])
def test_bytes_that_were_cut_are_refused(kept: int) -> None:
    (data,) = write_coefficients(drawn(1, 12, 12, 12, scale=3.0))
    with pytest.raises(ValueError, match="chunk"):
        read_coefficients([data[:kept]], (12, 12, 12))
