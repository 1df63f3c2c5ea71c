"""Range coding of tokens in contexts, for many chunks at once: asymmetric numeral systems.

A chunk has some lanes, each a number that grows by every token that is written into it, by as much
as the token is unlikely; when it is large, 16 bits of it go to the words of the chunk. A token is
read by looking where the number lies among the frequencies of its context. All of it is arithmetic
of whole arrays, whose sizes follow from the shape of the chunks alone: bytes that somebody made up
give wrong tokens, and are told by where the lanes end, but can neither ask for memory nor for time.

References:
    Duda, "Asymmetric numeral systems: entropy coding combining speed of Huffman coding with
    compression rate of arithmetic coding", arXiv:1311.2540, 2013.
    Giesen, "Interleaved entropy coders", arXiv:1402.3392, 2014.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .tables import FREQUENCIES

__all__ = ["LANE_BYTES", "MOST", "Reader", "Writer", "fewest_lanes", "lanes_of"]

# Frequencies of a context sum to 2^PRECISION; a lane is at least 2^16.
PRECISION = 14
MASK = (1 << PRECISION) - 1
LEAST = 1 << 16

# What is left in a lane at the end.
LANE_BYTES = 4

# A lane costs two bytes or more, and lanes save time: one for so many tokens that are not zero, and
# for so many in all, up to 2^MOST. Chosen by hand.
NOT_ZERO, TOKENS, MOST = 16, 2048, 8


def fewest_lanes(tokens: int) -> int:
    """Lanes that a chunk of so many tokens has at least; a power of two."""
    return 1 << min(max((tokens - 1) // TOKENS, 0).bit_length(), MOST)


def lanes_of(tokens: int, not_zero: int) -> int:
    """Lanes of a chunk of so many tokens, of which so many are not zero; a power of two.

    Example:
        >>> lanes_of(100_000, 10), lanes_of(100_000, 10_000)
        (64, 256)
    """
    wanted = 1 << min(max(not_zero // NOT_ZERO, 1).bit_length() - 1, MOST)
    return max(wanted, fewest_lanes(tokens))


@lru_cache(maxsize=1)
def _frequencies() -> NDArray[np.uint32]:
    return np.array(FREQUENCIES, np.uint32)


@lru_cache(maxsize=1)
def _starts() -> NDArray[np.uint32]:
    sums = np.cumsum(_frequencies(), axis=1, dtype=np.uint32)
    return sums - _frequencies()


@lru_cache(maxsize=1)
def _slots() -> NDArray[np.uint8]:
    """The token at each of 2^PRECISION places of each context."""
    tokens = np.arange(_frequencies().shape[1], dtype=np.uint8)
    return np.stack([np.repeat(tokens, row) for row in _frequencies()]).reshape(-1)


class Writer:
    """Collects the tokens of some chunks, in the order in which they will be read.

    Args:
        lanes: number of lanes of each chunk.
    """

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        self.parts: list[tuple[NDArray[np.uint32], NDArray[np.uint32]]] = []

    def put(self, contexts: NDArray[np.uint8], tokens: NDArray[np.uint8]) -> None:
        """Tokens (B, n) and the contexts that they will be read in."""
        width = _frequencies().shape[1]
        places = contexts.astype(np.int32) * width + tokens
        self.parts.append((_frequencies().take(places), _starts().take(places)))

    def finish(self, seeds: NDArray[np.uint16]) -> tuple[NDArray[np.uint32], list[bytes]]:
        """Where the lanes end (B, lanes), and the words of each chunk.

        Args:
            seeds: 16 bits for each lane (B, lanes), which reading the last token gives back.
        """
        states = seeds.astype(np.uint32) + np.uint32(LEAST)
        words = [np.zeros((len(states), 0), np.uint16)]
        taken = [np.zeros((len(states), 0), np.bool_)]
        for frequencies, starts in reversed(self.parts):
            for first in reversed(range(0, frequencies.shape[1], self.lanes)):
                at = slice(first, first + self.lanes)
                word, full = _write(states, frequencies[:, at], starts[:, at])
                words.append(word)
                taken.append(full)
        every, which = np.concatenate(words[::-1], axis=1), np.concatenate(taken[::-1], axis=1)
        return states, [row[full].tobytes() for row, full in zip(every, which, strict=True)]


def _write(
    states: NDArray[np.uint32], frequencies: NDArray[np.uint32], starts: NDArray[np.uint32]
) -> tuple[NDArray[np.uint16], NDArray[np.bool_]]:
    now = states[:, : frequencies.shape[1]]
    words = now.astype(np.uint16)
    # What a lane may be before a token, so that it stays below 2^32 after it.
    full = now >> np.uint32(32 - PRECISION) >= frequencies
    now = np.where(full, now >> np.uint32(16), now)
    whole = now // frequencies
    states[:, : frequencies.shape[1]] = (
        (whole << np.uint32(PRECISION)) + (now - whole * frequencies) + starts
    )
    return words, full


class Reader:
    """Reads the tokens of some chunks.

    Args:
        states: where the lanes of each chunk ended (B, lanes).
        words: the words of each chunk.
    """

    def __init__(self, states: NDArray[np.uint32], words: Sequence[bytes]) -> None:
        self.states = states.copy()
        arrays = [np.frombuffer(each, np.uint16) for each in words]
        self.lengths = np.array([len(each) for each in arrays])
        # One word more: what a chunk that was cut short goes on with.
        self.words = np.concatenate([*arrays, np.zeros(1, np.uint16)]).astype(np.uint32)
        self.firsts = np.cumsum(self.lengths) - self.lengths
        self.places = self.firsts - 1
        self.last = len(self.words) - 1

    def take(self, contexts: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The next tokens (B, n), which stand in these contexts."""
        rows, lanes = contexts.astype(np.int32), self.states.shape[1]
        tokens = np.empty(contexts.shape, np.uint8)
        for first in range(0, contexts.shape[1], lanes):
            at = slice(first, first + lanes)
            tokens[:, at] = self._read(rows[:, at])
        return tokens

    def _read(self, contexts: NDArray[np.int32]) -> NDArray[np.uint8]:
        now = self.states[:, : contexts.shape[1]]
        slots = (now & np.uint32(MASK)).astype(np.int32)
        tokens = _slots().take((contexts << PRECISION) + slots)
        places = contexts * _frequencies().shape[1] + tokens
        now = _frequencies().take(places) * (now >> np.uint32(PRECISION))
        now += slots.astype(np.uint32) - _starts().take(places)
        low = now < LEAST
        counts = np.cumsum(low, axis=1)
        found = self.words.take(np.minimum(self.places[:, None] + counts, self.last))
        self.states[:, : contexts.shape[1]] = np.where(low, now << np.uint32(16) | found, now)
        self.places += counts[:, -1]
        return tokens

    def finish(self) -> NDArray[np.uint16]:
        """The seeds (B, lanes) that the lanes began with.

        Raises:
            ValueError: if they began with none, or words are left: what was read is not what was
                written.
        """
        ended = self.states >> np.uint32(16) == 1
        if not ended.all() or (self.places + 1 != self.firsts + self.lengths).any():
            raise ValueError("tokens that are not those of a chunk")
        return self.states.astype(np.uint16)
