"""Tiles: each place once, none too large."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from oinr_monai.grids import tiles as tiling
from oinr_monai.grids.tiles import put_together, tiles
from oinr_monai.testing import StandIn


@given(
    shape=st.lists(st.integers(1, 9), min_size=1, max_size=3).map(tuple),
    places=st.integers(1, 900),
)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_tiles_cover_once_within_bounds(shape: tuple[int, ...], places: int) -> None:
    count = torch.zeros(shape, dtype=torch.int64)
    for tile in tiles(shape, places):
        count[tile] += 1
        assert math.prod(s.stop - s.start for s in tile) <= places
        assert all(0 <= s.start < s.stop <= n for s, n in zip(tile, shape, strict=True))
    assert bool((count == 1).all())


@pytest.mark.parametrize("shape", [(7,), (5, 6), (4, 5, 6), (1, 9, 2)])
def test_one_tile_where_all_fits(shape: tuple[int, ...]) -> None:
    assert len(list(tiles(shape, math.prod(shape)))) == 1


def test_a_short_axis_leaves_its_share_to_the_long_ones() -> None:
    first = next(tiles((1, 1000, 1000), 10_000))
    assert tuple(s.stop for s in first) == (1, 100, 100)


@given(
    shape=st.lists(st.integers(1, 9), min_size=1, max_size=3).map(tuple),
    most=st.integers(1, 900),
    flat=st.booleans(),
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_a_volume_is_its_tiles_together(shape: tuple[int, ...], most: int, flat: bool) -> None:
    whole = torch.rand(2, *shape, dtype=torch.float64)
    largest = 0

    def answer(tile: tiling.Tile) -> torch.Tensor:
        nonlocal largest
        part = whole[(slice(None), *tile)]
        largest = max(largest, part[0].numel())
        return part.flatten(1) if flat else part

    numbers = -(-tiling.TILE_NUMBERS // most)
    found = put_together(shape, numbers, answer)
    assert torch.equal(found, whole)
    assert largest <= most


@given(
    shape=st.lists(st.integers(1, 9), min_size=1, max_size=3).map(tuple),
    voxels=st.integers(1, 900),
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_slabs_follow_each_other_as_thick_as_they_may_be(
    shape: tuple[int, ...], voxels: int
) -> None:
    plane, end = math.prod(shape[:-1]), 0
    for start, stop in tiling.slabs(shape, voxels):
        assert start == (*[0] * (len(shape) - 1), end)
        assert stop[:-1] == shape[:-1]
        end, thick = stop[-1], stop[-1] - start[-1]
        assert thick == 1 or thick * plane <= voxels
        assert end == shape[-1] or (thick + 1) * plane > voxels
    assert end == shape[-1]


def test_what_memory_cannot_hold_is_refused_after_one_tile() -> None:
    calls: list[tiling.Tile] = []

    def answer(tile: tiling.Tile) -> torch.Tensor:
        calls.append(tile)
        return torch.zeros(9, *(s.stop - s.start for s in tile))

    with pytest.raises(ValueError, match="the result must fit into memory"):
        put_together((10**6,) * 3, 1 << 20, answer)
    assert len(calls) == 1


@pytest.mark.parametrize("room", [1, 5, 40])
def test_where_memory_runs_out_tiles_become_smaller_and_the_answer_is_the_same(room: int) -> None:
    whole = torch.rand(2, 5, 6, 7)
    refused: list[int] = []

    def answer(tile: tiling.Tile) -> torch.Tensor:
        part = whole[(slice(None), *tile)]
        if part[0].numel() > room:
            refused.append(part[0].numel())
            raise torch.OutOfMemoryError
        return part

    with pytest.warns(tiling.MemoryNote, match="going on with"):
        found = put_together(whole.shape[1:], 1, answer)
    assert torch.equal(found, whole)
    assert len(refused) < 12


def test_where_there_is_no_memory_at_all_that_is_said() -> None:
    def answer(tile: tiling.Tile) -> torch.Tensor:
        raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError), pytest.warns(tiling.MemoryNote):
        put_together((3, 3), 1, answer)


def test_a_volume_of_a_device_is_brought_back_at_once() -> None:
    with StandIn() as device:
        whole = torch.rand(1, 9, 9).to("meta")
        numbers = tiling.most_numbers(whole.device) // 4
        found = put_together((9, 9), numbers, lambda t: whole[:, *t], source=whole.device)
    assert found.device.type == "cpu"
    assert [each.kind for each in device.transfers] == ["to device", "to host"]
