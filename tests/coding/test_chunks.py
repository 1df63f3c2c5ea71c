"""Chunks tile a volume, are of nearly one size, and those around a box are those that it meets."""

from __future__ import annotations

import math

import pytest
import torch

from oinr_monai.coding.chunks import EDGE_OF_SMALL, EDGES, MOST_VOXELS, SMALL, Chunking

SHAPES = [(1, 1), (2, 70_000), (3, 20, 9), (1, 700, 289), (2, 65, 64, 130), (1, 385, 54, 55)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_they_tile_the_volume_in_the_order_of_their_numbers(shape: tuple[int, ...]) -> None:
    chunking, times = Chunking.of(shape), torch.zeros(shape, dtype=torch.uint8)
    chunks = list(chunking)
    assert [each.number for each in chunks] == list(range(len(chunking)))
    assert len(chunking) == shape[0] * math.prod(chunking.counts)
    for each in chunks:
        box = tuple(slice(a, b) for a, b in zip(each.start, each.stop, strict=True))
        part = times[each.channel][box]
        assert part.shape == each.shape
        assert math.prod(each.shape) <= MOST_VOXELS
        part += 1
    assert bool((times == 1).all())
    # The channels of a place follow each other.
    assert [each.channel for each in chunks[: shape[0]]] == list(range(shape[0]))
    assert len({each.start for each in chunks[: shape[0]]}) == 1


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_they_are_as_few_as_their_longest_edge_allows(dims: int) -> None:
    for size in (1, 53, 54, 55, 64, 65, 288, 289, SMALL, SMALL + 1, 70_000):
        longest = max(EDGES[dims], EDGE_OF_SMALL) if size <= SMALL else EDGES[dims]
        chunking = Chunking.of((1, *[size] * dims))
        (count,), (edge,) = set(chunking.counts), set(chunking.edges)
        assert edge <= longest
        assert count == math.ceil(size / longest)
        # Of nearly one size: the last is shorter by less than their number.
        assert 0 <= count * edge - size < count


def test_those_around_a_box_are_those_that_it_meets() -> None:
    chunking = Chunking((2, 10, 7, 9), (4, 3, 5))
    every = list(chunking)
    for start, stop in (((0, 0, 0), (10, 7, 9)), ((4, 3, 5), (5, 4, 6)), ((3, 2, 4), (5, 3, 6))):
        meets = [
            each
            for each in every
            if all(
                a < q and p < b
                for a, b, p, q in zip(start, stop, each.start, each.stop, strict=True)
            )
        ]
        assert list(chunking.around(start, stop)) == meets
