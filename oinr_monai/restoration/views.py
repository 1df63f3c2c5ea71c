"""The two ways of making an image finer: across its slices, or along all axes at once."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor

from oinr_monai.grids.grid import Grid
from oinr_monai.scanner.forward_model import along_axes
from oinr_monai.scanner.profiles import Boxcar, SliceProfile
from oinr_monai.scanner.resampling import Resampling
from oinr_monai.scanner.slices import SliceStack, fine_grid, thickest_axis

from .pairs import AxisModel, Pair, resample_axis, rotated
from .pose import Pose

__all__ = ["Slices", "View", "isotropic_view", "slice_view"]

# A factor may exceed a whole number by so much before one more place is answered; this and what
# follows is chosen by hand.
SLACK = 0.02

# Axes within the slices are sharp up to this factor of the smallest spacing.
SHARP = 1.25

# The fewest coarse voxels along a degraded axis.
FEWEST = 3

# Range of the angles of turned pairs: at 0 and 90 degrees the image is its own.
ANGLES = (math.radians(20), math.radians(70))

# A fine image (C, *fine), and for each axis how it is seen as coarse.
Turned = tuple[Tensor, Sequence[AxisModel | None]]


class View(ABC):
    """What is coarse, what is asked, and how the scanner went from one to the other.

    Args:
        grid: of the image.
        result: grid of the answer.
        factor: fine places in a voxel along each axis, at which the operator answers.
        profiles: sensitivity of the scanner along each axis; None where the factor is 1.
    """

    renews: bool  # whether the pairs are made of an estimate, which gets better

    def __init__(
        self,
        grid: Grid,
        result: Grid,
        factor: Sequence[int],
        profiles: Sequence[SliceProfile | None],
    ) -> None:
        self.grid, self.result = grid, result
        self.factor, self.profiles = tuple(factor), tuple(profiles)
        spacing = grid.spacing.tolist()
        self.lattice = fine_grid(grid, 0, [h / f for h, f in zip(spacing, factor, strict=True)])
        self.models = [
            None if p is None else AxisModel.of(n, h, f, p)
            for n, h, f, p in zip(grid.shape, spacing, factor, profiles, strict=True)
        ]

    @abstractmethod
    def pairs(self, image: Tensor, generator: torch.Generator) -> list[Pair]:
        """Pairs to learn from, of the latest estimate or of the image itself."""

    @abstractmethod
    def posed(self, pose: Pose) -> View:
        """The same view of an image that was turned into a pose."""

    def part(self, image: Tensor, places: int, generator: torch.Generator) -> Tensor:
        """What the next pairs are made of: the whole image."""
        return image

    def turned(self, image: Tensor, generator: torch.Generator) -> list[Turned]:
        """Fine images with a known truth across their slices: none where no axis is sharper."""
        return []

    @property
    def order_keys(self) -> list[float]:
        """A number for each axis, larger for those that are coarser."""
        return [
            f * 1e3 + round(h, 6)
            for f, h in zip(self.factor, self.grid.spacing.tolist(), strict=True)
        ]

    @property
    def swaps(self) -> list[tuple[int, int]]:
        """Pairs of axes that are alike."""
        spacing, dims = self.grid.spacing.tolist(), self.grid.spatial_dims
        return [
            (i, j)
            for i, j in combinations(range(dims), 2)
            if self.factor[i] == self.factor[j] and _same(spacing[i], spacing[j])
        ]

    @property
    def mirrors(self) -> list[int]:
        """Axes whose mirror image the scanner sees as the mirror image of what it saw."""
        return [
            d
            for d, m in enumerate(self.models)
            if m is None or torch.allclose(m.coarse, m.coarse.flip(0, 1), atol=1e-9)
        ]

    def guess(self, coarse: Tensor) -> Tensor:
        """The corrected spline (C, *fine) through an image (C, *coarse)."""
        return along_axes(coarse, [None if m is None else m.guess for m in self.models])

    def keep_data(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """The image nearest to ``fine`` that would have been seen as ``coarse``."""
        back = [None if m is None else m.back for m in self.models]
        return fine + along_axes(coarse - self._seen(fine), back)

    def answer(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """Values (C, *result.shape) of the fine image, where they are asked, which keep the data.

        Where the answer has other voxels within the slices than the image, its lattice keeps them.
        """
        values = self.at_asked(self.keep_data(fine, coarse))
        stack = None if self.asks_lattice else self._scanner()
        return values if stack is None else stack.project(values, coarse)

    def at_asked(self, fine: Tensor) -> Tensor:
        """Values (C, *result.shape) of the fine image, where they are asked."""
        return fine if self.asks_lattice else Resampling(self.lattice, self.result).forward(fine)

    def residual(self, values: Tensor, coarse: Tensor) -> float | None:
        """Root mean square of what the answer would have been seen as, less the image.

        None where the answer has other voxels within the slices, and was not seen.
        """
        stack = self._scanner()
        if not self.asks_lattice and stack is None:
            return None
        seen = self._seen(values) if stack is None else stack.forward(values)
        return float((seen - coarse).double().square().mean().sqrt())

    @property
    def across(self) -> tuple[float, SliceProfile]:
        """Spacing in mm and profile along the first axis that is made finer."""
        pairs = zip(self.grid.spacing.tolist(), self.profiles, strict=True)
        return next((h, p) for h, p in pairs if p is not None)

    @property
    def asks_lattice(self) -> bool:
        """Whether the answer is asked at the places of the lattice."""
        same = torch.allclose(self.result.affine, self.lattice.affine, rtol=0, atol=1e-9)
        return same and self.result.shape == self.lattice.shape

    def _seen(self, fine: Tensor) -> Tensor:
        return along_axes(fine, [None if m is None else m.coarse for m in self.models])

    def _scanner(self) -> SliceStack | None:
        # From the answer to the image, where they differ along one axis alone.
        axes = [d for d, p in enumerate(self.profiles) if p is not None]
        places = self.grid.axes_in(self.result)
        if len(axes) != 1 or places is None:
            return None
        others = [d for d in range(self.grid.spatial_dims) if d != axes[0]]
        if any(self.grid.shape[d] != self.result.shape[d] for d in others):
            return None
        profile = self.profiles[axes[0]]
        return None if profile is None else SliceStack(self.result, self.grid, axes[0], profile)


class Slices(View):
    """Slices along one axis, which are sharp along the others."""

    renews = True

    def __init__(
        self, grid: Grid, result: Grid, axis: int, profile: SliceProfile, factor: int
    ) -> None:
        dims, self.axis, self.profile = grid.spatial_dims, axis, profile
        super().__init__(
            grid,
            result,
            [factor if d == axis else 1 for d in range(dims)],
            [profile if d == axis else None for d in range(dims)],
        )
        spacing = grid.spacing.tolist()
        smallest = min(h for d, h in enumerate(spacing) if d != axis)
        sharp = [d for d in range(dims) if d != axis and spacing[d] < SHARP * smallest]
        reach = {d: int(self.lattice.shape[d] * spacing[d] / spacing[axis] + 1e-6) for d in sharp}
        self.sharp = [d for d in sharp if reach[d] >= FEWEST]
        if not self.sharp:
            raise ValueError(
                f"image must reach over {FEWEST} slice spacings along another axis, "
                f"got {max(reach.values())}"
            )

    def posed(self, pose: Pose) -> View:
        """The same view of an image that was turned into a pose."""
        axis, factor = pose.order.index(self.axis), self.factor[self.axis]
        grids = pose.grid(self.grid), pose.grid(self.result)
        return Slices(*grids, axis, self.profile, factor)

    def part(self, image: Tensor, places: int, generator: torch.Generator) -> Tensor:
        """All slices of a random part of large stacks, which the next pairs are made of."""
        width = math.isqrt(places // image.shape[self.axis + 1]) + 1
        for d in range(self.grid.spatial_dims):
            room = image.shape[d + 1] - width
            if d != self.axis and room > 0:
                start = int(torch.randint(room + 1, (), generator=generator))
                image = image.narrow(d + 1, start, width)
        return image

    def turned(self, image: Tensor, generator: torch.Generator) -> list[Turned]:
        """A fine image with each sharp axis where the thick one was, and how that is seen."""
        return [self._turned(image, d, generator) for d in self.sharp]

    def pairs(self, image: Tensor, generator: torch.Generator) -> list[Pair]:
        """The estimate seen as thick slices along each sharp axis, as it lies and turned."""
        spacing, found = self.grid.spacing.tolist(), []
        turned = [image]
        flat = [d for d in range(self.grid.spatial_dims) if d != self.axis]
        if len(flat) == 2 and _same(spacing[flat[0]], spacing[flat[1]]):
            low, high = ANGLES
            angle = low + (high - low) * float(torch.rand((), generator=generator))
            turned.append(rotated(image.movedim(self.axis + 1, 3), angle).movedim(3, self.axis + 1))
        for values in turned:
            found += [self.pair(values, d, generator) for d in self.sharp]
        return found

    def pair(self, fine: Tensor, sharp: int, generator: torch.Generator) -> Pair:
        """The fine image seen as thick slices along a sharp axis, which comes to lie last."""
        return Pair.of(*self._turned(fine, sharp, generator), self.factor)

    def _turned(self, fine: Tensor, sharp: int, generator: torch.Generator) -> Turned:
        # The sharp axis goes where the thick one was, and the other way round.
        axis, factor, thick = self.axis, self.factor[self.axis], float(self.grid.spacing[self.axis])
        spacing, step = float(self.grid.spacing[sharp]), thick / factor
        turned = resample_axis(fine.transpose(sharp + 1, axis + 1), sharp, step, spacing)
        turned = resample_axis(turned, axis, spacing, step)
        size = turned.shape[axis + 1]
        count = size // factor
        # Slices begin at any fine voxel.
        spare = min(size - count * factor + (factor if count > FEWEST else 0), factor - 1)
        first = int(torch.randint(spare + 1, (), generator=generator))
        count = (size - first) // factor
        models: list[AxisModel | None] = [None] * self.grid.spatial_dims
        models[axis] = AxisModel.of(count, thick, factor, self.profile)
        return turned.narrow(axis + 1, first, count * factor), models


class _Isotropic(View):
    """All axes alike: what a coarser copy of the image misses is learnt for the image itself."""

    renews = False

    def posed(self, pose: Pose) -> View:
        """The same view of an image that was turned into a pose."""
        factor = [self.factor[d] for d in pose.order]
        profiles = [self.profiles[d] for d in pose.order]
        return _Isotropic(pose.grid(self.grid), pose.grid(self.result), factor, profiles)

    def pairs(self, image: Tensor, generator: torch.Generator) -> list[Pair]:
        """The image beside a copy of itself that is coarser by the factor."""
        models, window = [], []
        for n, h, f in zip(self.grid.shape, self.grid.spacing.tolist(), self.factor, strict=True):
            count = n // f
            models.append(None if f == 1 else AxisModel.of(count, h * f, f, Boxcar(h * f)))
            window.append(slice(0, count * f))
        return [Pair.of(image[(slice(None), *window)], models, self.factor)]


def slice_view(
    grid: Grid,
    axis: int | None,
    thickness: float | None,
    profile: SliceProfile | None,
    spacing: float | Sequence[float] | None,
) -> View:
    """Slices along ``axis``, by default that of the largest spacing, as thick as that.

    Raises:
        ValueError: if the slices are as fine as the answer or as their own voxels, or too few of
            those are sharp.
    """
    axis = thickest_axis(grid) if axis is None else axis
    result = fine_grid(grid, axis, spacing)
    thick = float(grid.spacing[axis])
    profile = profile or Boxcar(thick if thickness is None else thickness)
    asked = float(result.spacing[axis])
    if asked > thick / (1 + SLACK):
        raise ValueError(
            f"spacing must be smaller than the {thick:g} mm from slice to slice, got {asked:g}"
        )
    # Finer than the slices are within, nothing can be learnt: there the spline takes over.
    within = min(h for d, h in enumerate(grid.spacing.tolist()) if d != axis)
    factor = math.ceil(thick / within - SLACK)
    if factor < 2:
        raise ValueError(
            f"slice_axis must be one along which the spacing is larger than the {within:g} mm "
            f"within the slices, got {axis}, where it is {thick:g}"
        )
    return Slices(grid, result, axis, profile, factor)


def isotropic_view(grid: Grid, spacing: float | Sequence[float] | None) -> View:
    """All axes finer at once.

    Raises:
        ValueError: if ``spacing`` is not finer than the image along any axis.
    """
    if spacing is None:
        raise ValueError("spacing must be given for an image without a thick axis, got None")
    result = fine_grid(grid, 0, spacing)
    steps = zip(grid.spacing.tolist(), result.spacing.tolist(), strict=True)
    factor = [max(math.ceil(h / asked - SLACK), 1) for h, asked in steps]
    if max(factor) < 2:
        raise ValueError(
            f"spacing must be smaller than that of the image, {grid.spacing.tolist()}, "
            f"got {spacing}"
        )
    profiles = [
        Boxcar(h) if f > 1 else None for h, f in zip(grid.spacing.tolist(), factor, strict=True)
    ]
    return _Isotropic(grid, result, factor, profiles)


def _same(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=0.01)
