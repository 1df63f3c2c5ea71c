"""Cut a lattice into tiles, so that memory is bounded by the tile and not by the volume."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import product

import torch
from torch import Tensor

from .checks import check_room

__all__ = ["TILE_NUMBERS", "Tile", "edges", "put_together", "slabs", "tiles"]

# Numbers a tile may hold in one layer; 2^22 floats are 16 MiB, and a handful of them live at once.
# Chosen by hand.
TILE_NUMBERS = 1 << 22

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


def put_together(
    shape: Sequence[int],
    numbers: int,
    answer: Callable[[Tile], Tensor],
    device: torch.device | str = "cpu",
) -> Tensor:
    """A volume (K, *shape) of the answers at its tiles, which take the memory of a tile each.

    Args:
        shape: size of each axis.
        numbers: numbers that an answer at one place holds at once, about.
        answer: what is at the places of a tile, (K, *tile) or with the places in a row.
        device: where the volume is to be.

    Raises:
        ValueError: if it does not fit into memory.

    Example:
        >>> put_together((2, 3), 1, lambda tile: torch.arange(6.0).view(1, 2, 3)[0, *tile][None])
        tensor([[[0., 1., 2.],
                 [3., 4., 5.]]])
    """
    result: Tensor | None = None
    for tile in tiles(shape, max(TILE_NUMBERS // numbers, 1)):
        part = answer(tile)
        if result is None:
            check_room(shape, len(part))
            result = torch.empty((len(part), *shape), dtype=part.dtype, device=device)
        place = result[(slice(None), *tile)]
        place.copy_(part.reshape(place.shape))
    if result is None:
        raise ValueError(f"shape must hold places, got {tuple(shape)}")
    return result


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
