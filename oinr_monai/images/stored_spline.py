"""A spline through an image that stays on disk, block by block."""

from __future__ import annotations

import math
import os
import weakref
from collections.abc import Sequence
from itertools import pairwise, product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oinr_monai.grids.positions import Lattice, Positions, Scatter
from oinr_monai.grids.splines import evaluate, interpolating_coefficients
from oinr_monai.grids.tiles import edges, slabs

from .intensity import IntensityScale, check_contrast
from .scratch import Scratch
from .stored import StoredImage

__all__ = ["StoredInterpolant", "scale_of"]


# Samples around a block that tell its coefficients to single precision: 0.268^16 = 7e-10.
HALO = 16


# A block is at least so wide, without the samples around it; chosen by hand.
LEAST = 8


# Coefficients beyond each border, which continue the image by its mirror images.
BEYOND = 2


# What the work on the coefficients of a block takes for each of its voxels, in bytes.
BYTES_A_VOXEL = 40


def scale_of(image: StoredImage) -> tuple[IntensityScale, Tensor]:
    """Intensity scale of an image, and the greatest intensity of each channel, slab by slab.

    Raises:
        ValueError: if it is constant, or not finite.
    """
    count = 0
    mean = squares = low = high = torch.zeros(image.channels, dtype=torch.float64)
    for start, stop in slabs(image.grid.shape, image.voxels_at_once):
        part = image.read(start, stop).flatten(1).double()
        var, own = torch.var_mean(part, dim=1, correction=0)
        # Two parts' moments make those of both together (Chan, Golub, LeVeque, 1983).
        n, shift = part.shape[1], own - mean
        squares = squares + var * n + shift**2 * (count * n / (count + n))
        mean = mean + shift * (n / (count + n))
        low, high = (
            torch.minimum(low, part.amin(1)) if count else part.amin(1),
            torch.maximum(high, part.amax(1)) if count else part.amax(1),
        )
        count += n
    widest = int((high - low).argmax())
    check_contrast("image", float(low[widest]), float(high[widest]))
    std = (squares / count).sqrt()
    std = torch.where(std > 0, std, torch.ones_like(std))
    scale = IntensityScale(tuple(mean.tolist()), tuple(std.tolist()), tuple(low.tolist()))
    return scale, high


class StoredInterpolant:
    """The cubic B-spline through all samples of an image on disk, mirrored at its outermost ones.

    Its coefficients, 4 bytes for each voxel, are worked out block by block and kept in a file in
    the folder of temporary files, which goes with this object. A lattice reads the rows it needs.

    Args:
        image: the image.
        scale: what it is standardised by.

    Raises:
        ValueError: if the image's memory is too little for blocks wider than what is read around.
        OSError: if the disk has no room for the file.
    """

    def __init__(self, image: StoredImage, scale: IntensityScale) -> None:
        self.image, self.scale = image, scale
        self.shape = (image.channels, *[n + 2 * BEYOND for n in image.grid.shape])
        scratch = Scratch()
        weakref.finalize(self, scratch.close)
        self._path = scratch.path / "coefficients"
        self._reserve()
        self.blocks = 0
        for first, stop in self._boxes():
            self._write(first, stop)
            self.blocks += 1

    def __call__(self, positions: Positions) -> Tensor:
        """Values (C, *positions.shape) at voxel coordinates between the outermost samples."""
        inner = positions.shifted([float(BEYOND)] * positions.spatial_dims)
        if isinstance(inner, Lattice):
            return self._on_lattice(inner)
        return self._at_points(inner.axes)

    def _on_lattice(self, lattice: Lattice) -> Tensor:
        *outer, last = lattice.axes
        chosen, places = [], []
        for u, n in zip(outer, self.shape[1:-1], strict=True):
            cells = u.floor().clamp(1, n - 3)
            knots = torch.unique((cells.long()[:, None] + torch.arange(-1, 3)).flatten())
            chosen.append(knots.numpy())
            # Knots that follow each other are still neighbours among those that are read.
            places.append(torch.searchsorted(knots, cells.long()) + (u - cells))
        # A new map each time, lest every page that was ever read counts as memory of the process.
        coefficients = self._map("r")
        rows = np.stack(
            [channel[np.ix_(*chosen)] if chosen else channel for channel in coefficients]
        )
        return evaluate(torch.from_numpy(rows), Lattice((*places, last)))

    def _at_points(self, axes: Sequence[Tensor]) -> Tensor:
        # Slab by slab across the first axis, so that each is read once.
        values = torch.empty(self.shape[0], len(axes[0]), dtype=torch.float32)
        thick = max(self.image.voxels_at_once // math.prod(self.shape[2:]), 1)
        cells = axes[0].floor().clamp(1, self.shape[1] - 3).long()
        for first in range(1, self.shape[1] - 2, thick):
            inside = (cells >= first) & (cells < first + thick)
            if bool(inside.any()):
                rows = torch.from_numpy(np.array(self._map("r")[:, first - 1 : first + thick + 2]))
                moved = axes[0][inside] - (first - 1)
                places = Scatter((moved, *[x[inside] for x in axes[1:]]))
                values[:, inside] = evaluate(rows, places)
        return values

    def _reserve(self) -> None:
        # At once: where the disk is full, a map of what is not there yet would end the process.
        size = 4 * math.prod(self.shape)
        with self._path.open("wb") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)

    def _map(self, mode: str) -> NDArray[np.float32]:
        return np.memmap(self._path, np.float32, mode, shape=self.shape)  # type: ignore[call-overload]

    def _boxes(self) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        shape = self.image.grid.shape
        voxels = self.image.memory * 2**20 / (BYTES_A_VOXEL * self.image.channels)
        widths = edges(shape, voxels, HALO)
        if any(width < min(LEAST, n) for width, n in zip(widths, shape, strict=True)):
            raise ValueError(
                f"memory must have room for blocks of {LEAST + 2 * HALO} voxels along each axis, "
                f"got {self.image.memory} MiB; give more"
            )
        cuts = [[*range(0, n, width), n] for n, width in zip(shape, widths, strict=True)]
        return [tuple(zip(*cell, strict=True)) for cell in product(*map(pairwise, cuts))]  # type: ignore[misc]

    def _write(self, first: Sequence[int], stop: Sequence[int]) -> None:
        shape = self.image.grid.shape
        low = [max(a - HALO, 0) for a in first]
        high = [min(b + HALO, n) for b, n in zip(stop, shape, strict=True)]
        block = self.scale.standardise(self.image.read(low, high))
        found = interpolating_coefficients(block, halo=BEYOND).numpy()
        # The mirror images beyond the borders go with the blocks there.
        begin = [a + BEYOND if a else 0 for a in first]
        end = [b + BEYOND + (BEYOND if b == n else 0) for b, n in zip(stop, shape, strict=True)]
        where = tuple(slice(a, b) for a, b in zip(begin, end, strict=True))
        part = tuple(slice(a - c, b - c) for a, b, c in zip(begin, end, low, strict=True))
        self._map("r+")[(slice(None), *where)] = found[(slice(None), *part)]
