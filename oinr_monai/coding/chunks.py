"""How a volume is cut into chunks that are coded each by itself, and which ones a box needs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

__all__ = ["MOST_VOXELS", "Chunk", "Chunking"]

# Voxels of a chunk, beyond any that is written: what a file may ask for in one piece.
MOST_VOXELS = 1 << 21

# Voxels along an axis of a chunk at most, by the number of axes. In 3-D, a box of 64 an axis with
# 14 around it meets at most 3 chunks of 46 or more along each, 27 of the 1000 of a volume of 512 an
# axis; chunks of volumes that are read whole in seconds may be larger, and take fewer bytes.
EDGES = {1: 1 << 16, 2: 288, 3: 54}
SMALL, EDGE_OF_SMALL = 384, 64


@dataclass(frozen=True)
class Chunk:
    """A box of one channel.

    Args:
        number: place in the file's index.
        channel: channel that it is of.
        start: its first voxel.
        stop: one past its last voxel.
    """

    number: int
    channel: int
    start: tuple[int, ...]
    stop: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along each axis."""
        return tuple(b - a for a, b in zip(self.start, self.stop, strict=True))


@dataclass(frozen=True)
class Chunking:
    """The cut of a volume: chunks of one size from its first voxel on, those at its end smaller.

    Args:
        shape: channels and voxels along each axis, (C, *spatial).
        edges: voxels of a chunk along each axis.

    Example:
        >>> chunking = Chunking.of((1, 100, 40))
        >>> chunking.edges, chunking.counts, len(chunking)
        ((100, 40), (1, 1), 1)
    """

    shape: tuple[int, ...]
    edges: tuple[int, ...]

    @classmethod
    def of(cls, shape: Sequence[int]) -> Chunking:
        """A cut into nearly equal parts."""
        edge = EDGES[len(shape) - 1]
        if max(shape[1:]) <= SMALL:
            edge = max(edge, EDGE_OF_SMALL)
        parts = [math.ceil(n / edge) for n in shape[1:]]
        return cls(
            tuple(shape), tuple(math.ceil(n / p) for n, p in zip(shape[1:], parts, strict=True))
        )

    @property
    def counts(self) -> tuple[int, ...]:
        """Chunks along each axis."""
        return tuple(math.ceil(n / e) for n, e in zip(self.shape[1:], self.edges, strict=True))

    def __len__(self) -> int:
        return self.shape[0] * math.prod(self.counts)

    def __iter__(self) -> Iterator[Chunk]:
        """All chunks, in the order of the file."""
        return self.around([0] * len(self.edges), self.shape[1:])

    def around(self, start: Sequence[int], stop: Sequence[int]) -> Iterator[Chunk]:
        """The chunks of every channel that a box meets, in the order of the file."""
        ranges = [
            range(a // e, math.ceil(b / e)) for a, b, e in zip(start, stop, self.edges, strict=True)
        ]
        for place in product(*ranges):
            for channel in range(self.shape[0]):
                yield self._chunk(channel, place)

    def _chunk(self, channel: int, place: tuple[int, ...]) -> Chunk:
        number = 0
        for i, count in zip((*place, channel), (*self.counts, self.shape[0]), strict=True):
            number = number * count + i
        start = tuple(i * e for i, e in zip(place, self.edges, strict=True))
        stop = tuple(
            min(a + e, n) for a, e, n in zip(start, self.edges, self.shape[1:], strict=True)
        )
        return Chunk(number, channel, start, stop)
