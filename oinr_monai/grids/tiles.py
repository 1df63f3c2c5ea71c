"""Cut a lattice into tiles, so that memory is bounded by the tile and not by the volume."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import product

import torch
from torch import Tensor

from .checks import check_room

__all__ = ["MemoryNote", "Tile", "edges", "most_numbers", "put_together", "slabs", "tiles"]

# Numbers a tile may hold in one layer; 2^22 floats are 16 MiB, and a handful of them live at once.
# Chosen by hand.
TILE_NUMBERS = 1 << 22

# How many times as many on another device than the CPU, whose caches are not what counts, and the
# part of its free memory that a volume may take there. Chosen by hand.
AWAY, ROOM = 16, 0.25

# A part of a lattice: a slice of each axis.
Tile = tuple[slice, ...]


def tiles(shape: Sequence[int], places: int) -> Iterator[Tile]:
    """Slices that cover ``shape`` once, each of at most about ``places`` places.

    Args:
        shape: size of each axis.
        places: places that a tile may hold; at least one along every axis.

    Example:
        >>> [tuple((s.start, s.stop) for s in tile) for tile in tiles((3, 2), places=4)]
        [((0, 2), (0, 2)), ((2, 3), (0, 2))]
    """
    widths = edges(shape, places)
    starts = [range(0, size, edge) for size, edge in zip(shape, widths, strict=True)]
    for corner in product(*starts):
        yield tuple(
            slice(start, min(start + edge, size))
            for start, edge, size in zip(corner, widths, shape, strict=True)
        )


class MemoryNote(UserWarning):
    """A device had less memory than was asked of it, and what was done instead; one line."""


def most_numbers(device: torch.device) -> int:
    """Numbers that a tile may hold in one layer on a device."""
    return TILE_NUMBERS if device.type == "cpu" else AWAY * TILE_NUMBERS


def put_together(
    shape: Sequence[int],
    numbers: int,
    answer: Callable[[Tile], Tensor],
    device: torch.device | str = "cpu",
    source: torch.device | None = None,
) -> Tensor:
    """A volume (K, *shape) of the answers at its tiles, which take the memory of a tile each.

    Where a device runs out of memory, tiles become smaller. A volume that has room there is
    brought back as a whole, any other tile by tile.

    Args:
        shape: size of each axis.
        numbers: numbers that an answer at one place holds at once, about.
        answer: what is at the places of a tile, (K, *tile) or with the places in a row.
        device: where the volume is to be.
        source: where answers are worked out; ``device`` if None.

    Raises:
        ValueError: if it does not fit into memory.

    Warns:
        MemoryNote: if tiles had to become smaller.

    Example:
        >>> put_together((2, 3), 1, lambda tile: torch.arange(6.0).view(1, 2, 3)[0, *tile][None])
        tensor([[[0., 1., 2.],
                 [3., 4., 5.]]])
    """
    result: Tensor | None = None
    home = torch.device(device)
    for tile, part in _answered(shape, max(most_numbers(source or home) // numbers, 1), answer):
        if result is None:
            check_room(shape, len(part))
            whole = (len(part), *shape)
            there = part.device if _has_room(part, math.prod(whole)) else home
            result = torch.empty(whole, dtype=part.dtype, device=there)
        place = result[(slice(None), *tile)]
        place.copy_(part.reshape(place.shape))
    if result is None:
        raise ValueError(f"shape must hold places, got {tuple(shape)}")
    return result.to(home)


def _answered(
    shape: Sequence[int], places: int, answer: Callable[[Tile], Tensor]
) -> Iterator[tuple[Tile, Tensor]]:
    """Tiles of at most about so many places, or of fewer where a device has no room for them."""
    for tile in tiles(shape, places):
        left = _within(tile, places)
        while left:
            now = left.pop()
            try:
                part = answer(now)
            except torch.OutOfMemoryError:
                places = math.prod(s.stop - s.start for s in now) // 2
                if not places:
                    raise
                _note(places)
                left = [part for some in (*left, now) for part in _within(some, places)]
            else:
                yield now, part


def _within(tile: Tile, places: int) -> list[Tile]:
    # The tile itself where it is small enough.
    sizes = [s.stop - s.start for s in tile]
    if math.prod(sizes) <= places:
        return [tile]
    return [
        tuple(slice(s.start + t.start, s.start + t.stop) for s, t in zip(tile, part, strict=True))
        for part in tiles(sizes, places)
    ]


def _note(places: int) -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    note = f"device has too little memory free for a tile; going on with {places} places at once"
    warnings.warn(MemoryNote(note), stacklevel=2)


def _has_room(part: Tensor, size: int) -> bool:
    # Where that can be told; the CPU's room was checked before.
    if part.device.type != "cuda":
        return True
    return size * part.element_size() <= ROOM * torch.cuda.mem_get_info(part.device)[0]


def edges(shape: Sequence[int], places: float, halo: int = 0) -> list[int]:
    """Widths along each axis of the most nearly cubic tile of at most about ``places`` places.

    Args:
        shape: size of each axis.
        places: places that a tile may hold, with the halo around it; at least one along every axis.
        halo: places around a tile, on both sides of each axis.

    Example:
        >>> edges((4, 100, 100), places=400)
        [4, 10, 10]
    """
    # Shortest axes first, so that what they leave unused goes to the longer ones; and no thin rest
    # at the end of an axis, which would cost as many calls as a whole tile.
    widths, left = [1] * len(shape), float(places)
    for rank, axis in enumerate(sorted(range(len(shape)), key=lambda d: shape[d])):
        most = int(left ** (1 / (len(shape) - rank)) + 1e-9) - 2 * halo
        most = max(1, min(shape[axis], most))
        widths[axis] = math.ceil(shape[axis] / math.ceil(shape[axis] / most))
        left /= widths[axis] + 2 * halo
    return widths


def slabs(shape: Sequence[int], voxels: int) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """First and one-past-last voxels of slabs across the last axis, of about ``voxels`` at most.

    Example:
        >>> list(slabs((4, 5, 3), voxels=40))
        [((0, 0, 0), (4, 5, 2)), ((0, 0, 2), (4, 5, 3))]
    """
    *others, last = shape
    thick = max(voxels // max(math.prod(others), 1), 1)
    for first in range(0, last, thick):
        yield (*[0] * len(others), first), (*others, min(first + thick, last))
