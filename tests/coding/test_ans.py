"""Tokens in contexts come back, and take what their frequencies say."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from oinr_monai.coding.ans import Reader, Writer, fewest_lanes, lanes_of
from oinr_monai.coding.tables import FREQUENCIES

TABLE = np.array(FREQUENCIES)
LANES = 16
Tokens = NDArray[np.uint8]


def drawn(chunks: int, count: int) -> tuple[Tokens, Tokens]:
    """Contexts, and tokens as likely as they are in them."""
    draw = np.random.default_rng(0)
    contexts = draw.integers(0, len(TABLE), (chunks, count)).astype(np.uint8)
    places = draw.integers(0, TABLE[0].sum(), (chunks, count))
    tokens = (TABLE.cumsum(1)[contexts] <= places[..., None]).sum(-1)
    return contexts, tokens.astype(np.uint8)


def test_frequencies_of_every_context_sum_to_a_power_of_two() -> None:
    assert set(TABLE.sum(1)) == {1 << 14}
    assert TABLE.min() >= 0
    # Every token can be written in every context but the last, of which all is certain.
    assert TABLE[:-1].min() > 0
    assert TABLE[-1, 0] == 1 << 14


def test_tokens_come_back_and_so_do_the_seeds() -> None:
    contexts, tokens = drawn(3, 1000)
    writer = Writer(LANES)
    parts = [slice(0, 5), slice(5, 421), slice(421, 1000)]
    for part in parts:
        writer.put(contexts[:, part], tokens[:, part])
    seeds = np.random.default_rng(1).integers(0, 1 << 16, (3, LANES)).astype(np.uint16)
    states, words = writer.finish(seeds)
    reader = Reader(states, words)
    for part in parts:
        assert np.array_equal(reader.take(contexts[:, part]), tokens[:, part])
    assert np.array_equal(reader.finish(), seeds)


def test_bytes_are_what_the_frequencies_say() -> None:
    contexts, tokens = drawn(1, 40_000)
    writer = Writer(LANES)
    writer.put(contexts, tokens)
    _, (words,) = writer.finish(np.zeros((1, LANES), np.uint16))
    ideal = -np.log2(TABLE[contexts, tokens] / (1 << 14)).sum() / 8
    # A lane keeps two bytes more or less of its own.
    assert len(words) == pytest.approx(ideal, rel=2e-3, abs=4 * LANES)


@pytest.mark.parametrize("damage", ["word", "state", "cut", "longer"])
def test_what_was_not_written_is_told(damage: str) -> None:
    contexts, tokens = drawn(1, 2000)
    writer = Writer(LANES)
    writer.put(contexts, tokens)
    states, (words,) = writer.finish(np.zeros((1, LANES), np.uint16))
    if damage == "state":
        states[0, 3] ^= 1 << 20
    changed = {
        "word": bytes([words[0] ^ 255]) + words[1:],
        "cut": words[:-2],
        "longer": words + b"ab",
    }.get(damage, words)
    reader = Reader(states, [changed])
    reader.take(contexts)
    with pytest.raises(ValueError, match="not those of a chunk"):
        reader.finish()


@pytest.mark.parametrize(
    ("tokens", "not_zero", "lanes"),
    [(0, 0, 1), (2048, 0, 1), (2049, 0, 2), (10**5, 0, 64), (10**5, 2100, 128), (10**7, 0, 256)],
)
def test_lanes(tokens: int, not_zero: int, lanes: int) -> None:
    assert lanes_of(tokens, not_zero) == lanes
    assert fewest_lanes(tokens) <= lanes
