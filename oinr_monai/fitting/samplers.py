"""Where a fit looks at each step: random places off the grid, and the spline's value there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from oinr_monai.grids.positions import Lattice, Positions

__all__ = ["Batch", "LatticeSampler", "Look", "WholeLattice", "batch_of", "looked_at", "to_device"]

# Part of the steps that look at voxel centres (docs/measured/performance.md).
ON_GRID = 0.25


@dataclass
class LatticeSampler:
    """An endless stream of random lattices with the spline interpolant's values on them.

    For operators with a closed form, each axis gets stratified random coordinates over the whole
    domain, and the lattice is their tensor product: its points lie as scattered as independent
    ones along every axis, while first layer and target cost one small matrix product per axis.
    For operators with inner kernels it is a patch at the fitted spacing under a random sub-voxel
    shift. One step in four looks at voxel centres themselves, where the samples were measured:
    without them a fit between samples would run ahead of the fit on them.

    Args:
        truth: interpolant of the standardised image, (C, *positions.shape) at voxel coordinates,
            on the device where it is asked.
        shape: size of the image.
        spacing: voxel spacing of each axis, in mm.
        places: places of a lattice, about.
        contiguous: patches instead of scattered coordinates.
        mask: voxels that count (*shape), or None for all.
        generator: source of randomness, on the CPU.
        origin: where the image's first voxel centre lies, in mm; 0 on every axis if None.
        counts: the mask as weights, on the device where they are asked; the mask itself if None.
    """

    truth: Callable[[Positions], Tensor]
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    places: int
    contiguous: bool
    mask: Tensor | None
    generator: torch.Generator
    origin: tuple[float, ...] | None = None
    counts: Tensor | None = None

    def __iter__(self) -> Iterator[dict[str, object]]:
        """Batches of ``image``, a lattice in mm, its ``spacing``, and ``label``: target, weight."""
        while True:
            yield self.draw()

    def draw(self) -> dict[str, object]:
        """One lattice with its target (C, *lattice.shape) and weight (*lattice.shape) or None."""
        return self.at(self.axes())

    def at(self, axes: tuple[Tensor, ...]) -> dict[str, object]:
        """The same of a lattice that was drawn before, given by its :meth:`axes`."""
        return {
            "image": self._in_mm(axes),
            "spacing": self.spacing,
            "label": (self.truth(Lattice(axes)), self._weight(axes)),
        }

    def lattice(self) -> Lattice:
        """One lattice alone, in mm."""
        return self._in_mm(self.axes())

    def axes(self) -> tuple[Tensor, ...]:
        """Coordinates of one lattice in voxels, float64, on the host."""
        bounds = self._bounds
        counts = _counts([self._most(high - low) for low, high in bounds], self.places)
        axes = tuple(self._coordinates(*bound, n) for bound, n in zip(bounds, counts, strict=True))
        if float(torch.rand((), generator=self.generator)) < ON_GRID:
            axes = tuple(self._to_centres(x) for x in axes)
        return axes

    def _in_mm(self, axes: tuple[Tensor, ...]) -> Lattice:
        origin = self.origin or (0.0,) * len(axes)
        places = tuple(o + x * h for x, h, o in zip(axes, self.spacing, origin, strict=True))
        return Lattice(places, self.spacing if self.contiguous else None)

    def _to_centres(self, x: Tensor) -> Tensor:
        # A patch moves as a whole, lest a tie in rounding breaks its regular steps.
        return (x - x[0] + x[0].round()).round() if self.contiguous else x.round()

    @cached_property
    def _bounds(self) -> list[tuple[int, int]]:
        if self.mask is None:
            return [(0, size - 1) for size in self.shape]
        places = self.mask.nonzero()
        return list(zip(places.amin(0).tolist(), places.amax(0).tolist(), strict=True))

    def _most(self, width: int) -> int:
        # A patch as wide as the domain less one voxel still has room to shift by a part of a voxel.
        if width == 0:
            return 1
        return width if self.contiguous else 2 * (width + 1)

    def _coordinates(self, low: int, high: int, count: int) -> Tensor:
        width = high - low
        if self.contiguous:
            return low + self._first(width, count) + torch.arange(count, dtype=torch.float64)
        jitter = torch.rand(count, generator=self.generator, dtype=torch.float64)
        return low + (torch.arange(count) + jitter) / count * width

    def _first(self, width: int, count: int) -> float:
        # Starts that leave the domain come back to within a voxel of its border, so that the border
        # is seen as often as the rest, under a random shift like the rest.
        room = max(width - (count - 1), 0)
        draw = torch.rand(2, generator=self.generator, dtype=torch.float64).tolist()
        start, edge = draw[0] * (width + count) - count / 2, draw[1] * min(1, room)
        if start < 0:
            return edge
        return room - edge if start > room else start

    def _weight(self, axes: tuple[Tensor, ...]) -> Tensor | None:
        if self.mask is None:
            return None
        weight = self.mask if self.counts is None else self.counts
        for d, x in enumerate(axes):
            weight = weight.index_select(d, x.round().long())
        return weight.float()


@dataclass
class WholeLattice:
    """An endless stream of the same lattice, the image's own, for operators that need all of it.

    Args:
        image: standardised image (C, *shape).
        mask: voxels that count (*shape), or None for all.
        spacing: voxel spacing of each axis, in mm.
    """

    image: Tensor
    mask: Tensor | None
    spacing: tuple[float, ...]

    def axes(self) -> tuple[Tensor, ...]:
        """None: there is nothing to draw."""
        return ()

    def at(self, axes: tuple[Tensor, ...]) -> dict[str, object]:
        """The lattice, written as None, its spacing, target and weight."""
        weight = None if self.mask is None else self.mask.float()
        return {"image": None, "spacing": self.spacing, "label": (self.image, weight)}

    def draw(self) -> dict[str, object]:
        """The same."""
        return self.at(self.axes())


def _counts(most: list[int], places: int) -> list[int]:
    # Short axes get fewer coordinates and leave the rest to the longer ones.
    counts, left = [1] * len(most), float(places)
    for rank, axis in enumerate(sorted(range(len(most)), key=lambda d: most[d])):
        wanted = round(left ** (1 / (len(most) - rank)))
        counts[axis] = max(1, min(most[axis], wanted))
        left /= counts[axis]
    return counts


# Places, target and weight there, and the network's other arguments.
Batch = tuple[Positions | None, tuple[Tensor, Tensor | None], dict[str, Any]]


# Where a step looks: the sampler that drew it, and what it drew.
Look = tuple[LatticeSampler | WholeLattice, tuple[Tensor, ...]]


def looked_at(looks: Sequence[Look], device: torch.device) -> Iterator[Batch]:
    """Where steps look and what is there, on a device, to which all of it goes at once."""
    axes = [x for _, axes in looks for x in axes]
    if not axes:
        yield from (batch_of(sampler.at(())) for sampler, _ in looks)
        return
    whole = torch.cat(axes)
    pinned = whole.pin_memory() if device.type == "cuda" else whole
    parts = iter(pinned.to(device, non_blocking=True).split([len(x) for x in axes]))
    for sampler, own in looks:
        resident = sampler.at(tuple(next(parts) for _ in own))
        yield batch_of(resident)


def batch_of(drawn: dict[str, Any]) -> Batch:
    """What a sampler drew, as a step takes it."""
    return drawn["image"], drawn["label"], {"spacing": drawn["spacing"]}


def to_device(batch: dict[str, Any], device: torch.device) -> Batch:
    """What a sampler drew on the host, on a device."""
    positions, (target, weight) = batch["image"], batch["label"]
    if positions is not None:
        positions = replace(positions, axes=tuple(x.to(device) for x in positions.axes))
    label = (target.to(device), None if weight is None else weight.to(device))
    return positions, label, {"spacing": batch["spacing"]}
