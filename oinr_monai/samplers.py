"""Where a fit looks at each step: random places off the grid, and the spline's value there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .positions import Lattice
from .splines import CubicInterpolant

__all__ = ["LatticeSampler"]


@dataclass
class LatticeSampler:
    """An endless stream of random lattices with the spline interpolant's values on them.

    For operators with a closed form, each axis gets stratified random coordinates over the whole
    domain, and the lattice is their tensor product: its points lie as scattered as independent
    ones along every axis, while first layer and target cost one small matrix product per axis.
    For operators with inner kernels it is a patch at the fitted spacing under a random sub-voxel
    shift. Either way no step sees the grid itself twice.

    Args:
        truth: interpolant of the standardised image (C, *shape).
        shape: size of the image.
        spacing: voxel spacing of each axis, in mm.
        places: places of a lattice, about.
        contiguous: patches instead of scattered coordinates.
        mask: voxels that count (*shape), or None for all.
        generator: source of randomness, on the CPU.
    """

    truth: CubicInterpolant
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    places: int
    contiguous: bool
    mask: Tensor | None
    generator: torch.Generator

    def __iter__(self) -> Iterator[dict[str, object]]:
        """Batches of ``image``: a lattice in mm, and ``label``: target and weight."""
        while True:
            yield self.draw()

    def draw(self) -> dict[str, object]:
        """One lattice with its target (C, *lattice.shape) and weight (*lattice.shape) or None."""
        counts = _counts(self.shape, self.places)
        bounds = self._bounds()
        axes = tuple(self._coordinates(*bound, n) for bound, n in zip(bounds, counts, strict=True))
        target = self.truth(Lattice(axes))
        in_mm = tuple(x * h for x, h in zip(axes, self.spacing, strict=True))
        return {"image": Lattice(in_mm), "label": (target, self._weight(axes))}

    def _bounds(self) -> list[tuple[int, int]]:
        if self.mask is None:
            return [(0, size - 1) for size in self.shape]
        places = self.mask.nonzero()
        return list(zip(places.amin(0).tolist(), places.amax(0).tolist(), strict=True))

    def _coordinates(self, low: int, high: int, count: int) -> Tensor:
        width = high - low
        if self.contiguous:
            count = max(1, min(count, width))
            start = torch.rand((), generator=self.generator, dtype=torch.float64) * (width + count)
            first = (start - count / 2).clamp(0, max(width - (count - 1), 0))
            return low + first + torch.arange(count, dtype=torch.float64)
        jitter = torch.rand(count, generator=self.generator, dtype=torch.float64)
        return low + (torch.arange(count) + jitter) / count * width

    def _weight(self, axes: tuple[Tensor, ...]) -> Tensor | None:
        if self.mask is None:
            return None
        weight = self.mask
        for d, x in enumerate(axes):
            weight = weight.index_select(d, x.round().long().to(weight.device))
        return weight.float()


def _counts(shape: tuple[int, ...], places: int) -> list[int]:
    # Short axes get fewer coordinates and leave the rest to the longer ones.
    counts, left = [1] * len(shape), float(places)
    for rank, axis in enumerate(sorted(range(len(shape)), key=lambda d: shape[d])):
        most = 2 * shape[axis] if shape[axis] > 1 else 1
        counts[axis] = max(1, min(most, round(left ** (1 / (len(shape) - rank)))))
        left /= counts[axis]
    return counts
