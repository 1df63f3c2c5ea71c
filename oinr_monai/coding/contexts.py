"""What is expected of a wavelet coefficient, told from those around it that are known already.

Coefficients are coded coarsest first, sub-band by sub-band, and each sub-band in eight passes: the
places of a lattice of every second coefficient, then those between them, so that most have known
neighbours on all sides. The expected size of a coefficient is a weighted mean of the sizes of its
known neighbours one, two and three axes away, of its parent in the next coarser level, and of the
sub-bands of its own level at its place. All of it is whole numbers, the same on every machine.

References:
    Wu, Memon, "Context-based, adaptive, lossless image coding", IEEE Transactions on Communications
    1997.
    Shapiro, "Embedded image coding using zerotrees of wavelet coefficients", IEEE Transactions on
    Signal Processing 1993.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from operator import ne

import numpy as np
from numpy.typing import NDArray

from .tables import WEIGHTS
from .tokens import SIZES
from .wavelets import Subband, subbands

__all__ = ["CERTAIN", "CONTEXTS", "Known", "Pass", "passes"]

# Passes of a sub-band by the first place of their lattice; chosen by hand: farthest places first.
ORDER = (
    (0, 0, 0),
    (1, 1, 1),
    (1, 1, 0),
    (0, 0, 1),
    (1, 0, 1),
    (0, 1, 0),
    (0, 1, 1),
    (1, 0, 0),
)

# On how many axes the places of two passes differ.
DISTANCES = [[sum(map(ne, a, b)) for b in ORDER] for a in ORDER]

# The largest size that is known; sums of twelve fit into 16 bits.
LARGEST = 2048

# An expected size of 1 in the whole numbers that it is computed in.
ONE = 1024

# A context ends where the expected size has grown by a half of a doubling; narrower ones gain below
# 0.2 %. By whole numbers, since logarithms may differ in their last bit from machine to machine.
EDGES = sorted({math.isqrt(1 << k) for k in range(42)})
# Two more kinds: where nothing is known yet, and, for each pass, where all that is known is zero.
# In the last, of sub-bands that are zero throughout, there is nothing to tell.
BLIND, BLANK = 0, len(EDGES) + 1
CERTAIN = BLANK + len(ORDER)
CONTEXTS = CERTAIN + 1

# Expected sizes below ``LOOKED_UP`` are looked up as they are, larger ones without their last bits.
LOOKED_UP, SHIFT = 1 << 12, 9
LAST = LOOKED_UP + (LARGEST * ONE >> SHIFT)
CONTEXT_OF = np.searchsorted(
    EDGES, [*range(LOOKED_UP), *(k << SHIFT for k in range(LAST - LOOKED_UP + 1))], "right"
).astype(np.uint8)


@dataclass(frozen=True)
class Pass:
    """The coefficients that are coded together.

    Args:
        band: place of their sub-band in the list of all.
        phase: place of the pass in ``ORDER``.
        box: where they lie in the array of all coefficients, in three dimensions.
        shape: their number along each axis.
    """

    band: int
    phase: int
    box: tuple[slice, ...]
    shape: tuple[int, ...]

    @cached_property
    def count(self) -> int:
        """Number of coefficients."""
        return math.prod(self.shape)


def _in_3d(shape: Sequence[int]) -> tuple[int, ...]:
    return (*[1] * (3 - len(shape)), *shape)


@lru_cache(maxsize=64)
def passes(shape: tuple[int, ...]) -> tuple[Pass, ...]:
    """The passes over the coefficients of a chunk, in their order.

    Example:
        >>> sum(each.count for each in passes((12, 10)))
        120
    """
    found = []
    for number, band in enumerate(subbands(shape)):
        box = (*[slice(0, 1)] * (3 - len(shape)), *band.box)
        for phase, offsets in enumerate(ORDER):
            places = tuple(slice(b.start + o, b.stop, 2) for b, o in zip(box, offsets, strict=True))
            sizes = tuple(len(range(p.start, p.stop, 2)) for p in places)
            if min(sizes) > 0:
                found.append(Pass(number, phase, places, sizes))
    return tuple(found)


class Known:
    """The sizes of the coefficients that were coded, and what they let expect of the next.

    Args:
        chunks: number of chunks.
        shape: shape of each.
        weights: for each pass, what each kind of neighbour weighs.
    """

    def __init__(
        self, chunks: int, shape: tuple[int, ...], weights: Sequence[Sequence[float]] = WEIGHTS
    ) -> None:
        self.weights, self.bands = weights, subbands(shape)
        self.sizes = np.zeros((chunks, *_in_3d(shape)), np.int16)
        self.family = [_family(self.bands, number) for number in range(len(self.bands))]
        self.done: dict[int, dict[int, NDArray[np.int16]]] = {}

    def put(self, coded: Pass, tokens: NDArray[np.uint8]) -> None:
        """Learn the tokens (B, count) of the coefficients of a pass."""
        kept = SIZES.take(tokens).reshape(-1, *coded.shape)
        self.sizes[(slice(None), *coded.box)] = kept
        self.done.setdefault(coded.band, {})[coded.phase] = kept

    def contexts(self, wanted: Pass) -> NDArray[np.uint8]:
        """Numbers (B, count) below ``CONTEXTS`` that rise with the size that is expected."""
        weights, features = self.weights[wanted.phase], self.features(wanted)
        known = sum(weights[kind] for kind, _, _ in features)
        if not known:
            return np.full((len(self.sizes), wanted.count), BLIND, np.uint8)
        # What is missing is taken to be as the others are.
        total = known / sum(weights)
        expected = np.zeros((len(self.sizes), *wanted.shape), np.int32)
        for kind, values, count in features:
            factor = round(ONE * weights[kind] / (total * count))
            expected += values.astype(np.int32) * factor
        found = _context_of(expected.reshape(len(self.sizes), -1))
        found[found == 0] = BLANK + wanted.phase
        return found

    def features(self, wanted: Pass) -> list[tuple[int, NDArray[np.int16], int]]:
        """Sums of known sizes at every place: of which kind, the sums, and of how many they are.

        Kinds are numbered as in a row of ``WEIGHTS``.
        """
        found: list[tuple[int, NDArray[np.int16], int]] = []
        for distance in (1, 2, 3):
            sums = [
                _around(sizes, wanted.shape, phase, wanted.phase)
                for phase, sizes in self.done.get(wanted.band, {}).items()
                if DISTANCES[phase][wanted.phase] == distance
            ]
            if sums:
                found.append((distance - 1, _sum(sums), len(sums) << distance))
        parent, siblings = self.family[wanted.band]
        if parent is not None:
            box = _in_3d_box(self.bands[parent].box)
            sizes = _fitted(self.sizes[(slice(None), *box)], wanted.shape)
            found.append((3, sizes, 1))
        beside = [
            _fitted(self.done[band][wanted.phase], wanted.shape)
            for band in siblings
            if wanted.phase in self.done.get(band, {})
        ]
        if beside:
            found.append((4, _sum(beside), len(beside)))
        return found


def _in_3d_box(box: tuple[slice, ...]) -> tuple[slice, ...]:
    return (*[slice(0, 1)] * (3 - len(box)), *box)


def _sum(arrays: Sequence[NDArray[np.int16]]) -> NDArray[np.int16]:
    total = arrays[0]
    for each in arrays[1:]:
        total = total + each
    return total


def _family(bands: Sequence[Subband], number: int) -> tuple[int | None, list[int]]:
    """The parent of a sub-band, and those of its level that come before it."""
    band = bands[number]
    places = {(each.level, each.details): i for i, each in enumerate(bands)}
    if not any(band.details):
        return None, []
    siblings = [i for i in range(number) if bands[i].level == band.level and any(bands[i].details)]
    return places.get((band.level + 1, band.details)), siblings


def _around(
    sizes: NDArray[np.int16], shape: tuple[int, ...], phase: int, wanted: int
) -> NDArray[np.int16]:
    """The sum, at every place of one pass, of the nearest places of another."""
    for axis, (theirs, ours) in enumerate(zip(ORDER[phase], ORDER[wanted], strict=True), start=1):
        if theirs == ours:
            sizes = _resized(sizes, axis, shape[axis - 1])
        else:
            sizes = _pairs(sizes, axis, shape[axis - 1], before=theirs > ours)
    return sizes


def _pairs(sizes: NDArray[np.int16], axis: int, count: int, before: bool) -> NDArray[np.int16]:
    """Sums of the two neighbours along an axis; beyond the ends is the mirror image."""
    at = (slice(None),) * axis
    length = sizes.shape[axis]
    out = np.empty((*sizes.shape[:axis], count, *sizes.shape[axis + 1 :]), np.int16)
    first, last = (1, min(length, count)) if before else (0, min(length - 1, count))
    shift = 1 if before else 0
    np.add(
        sizes[(*at, slice(first - shift, last - shift))],
        sizes[(*at, slice(first - shift + 1, last - shift + 1))],
        out=out[(*at, slice(first, last))],
    )
    if before:
        out[(*at, slice(0, 1))] = 2 * sizes[(*at, slice(0, 1))]
    if last < count:
        out[(*at, slice(last, count))] = 2 * sizes[(*at, slice(length - 1, length))]
    return out


def _resized(sizes: NDArray[np.int16], axis: int, count: int) -> NDArray[np.int16]:
    """As many as ``count`` along an axis: the last one repeated, or those over left out."""
    at = (slice(None),) * axis
    length = sizes.shape[axis]
    if length >= count:
        return sizes[(*at, slice(0, count))]
    end = np.repeat(sizes[(*at, slice(length - 1, length))], count - length, axis)
    return np.concatenate([sizes, end], axis)


def _fitted(sizes: NDArray[np.int16], shape: tuple[int, ...]) -> NDArray[np.int16]:
    for axis, count in enumerate(shape, start=1):
        sizes = _resized(sizes, axis, count)
    return sizes


def _context_of(expected: NDArray[np.int32]) -> NDArray[np.uint8]:
    large = expected >> SHIFT
    large += LOOKED_UP
    return CONTEXT_OF[np.minimum(np.where(expected < LOOKED_UP, expected, large), LAST)]
