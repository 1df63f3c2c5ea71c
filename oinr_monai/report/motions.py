"""Reports on a registration: how well two images lie on each other, and where a motion squeezes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from monai.data import MetaTensor
from torch import Tensor

from oinr_monai.grids.grid import Grid
from oinr_monai.motion.affine import AffineMotion
from oinr_monai.motion.folding import MotionQuality, quality_of
from oinr_monai.motion.motion import Motion
from oinr_monai.motion.warp import warp_image

from .answers import look, made
from .page import Page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["report_of_motion"]

# Squares of a checkerboard along its longer side, and parts of the values that black and white
# leave out at either end. Chosen by hand.
SQUARES, LEFT_OUT = 8, 0.01

# Places at which the viewer tells determinants, at most: each takes a flow's whole path.
MOST_PLACES = 1 << 16


def report_of_motion(
    fixed: MetaTensor,
    moving: MetaTensor,
    motion: Motion,
    title: str = "Registration",
    quality: MotionQuality | None = None,
) -> Page:
    """A page on a motion between two images: checkerboards before and after, and its determinant.

    Args:
        fixed: image (C, *spatial) that stays.
        moving: image (C, *spatial) that is moved.
        motion: from places of ``fixed`` to where they lie in ``moving``.
        title: title of the page.
        quality: what :func:`~oinr_monai.motion.quality_of` says of it, if that is known.

    Example:
        >>> image = MetaTensor(torch.rand(1, 6, 7, 8), affine=torch.eye(4))
        >>> page = report_of_motion(image, image, AffineMotion.identity(3))
        >>> "No fold" in page.html()
        True
    """
    page, grid = Page(title, made()), Grid.from_image(fixed)
    told = quality or quality_of(motion, grid)
    _say(page, told)
    page.facts("What it is", _facts(grid, Grid.from_image(moving), told))
    still = AffineMotion.identity(grid.spatial_dims)
    images = {
        "fixed": _first(fixed),
        "moved": _first(warp_image(moving, motion, grid)),
        "before": _first(warp_image(moving, still, grid)),
    }
    boards = _boards(images)
    page.figure("On each other", boards, "Squares of the fixed and of the moving image, by turns.")
    page.figure(
        "Where it squeezes", _determinants(motion, grid),
        "Determinant of the Jacobian: below 1 the moving image has less room, below 0 it folds.",
    )  # fmt: skip
    look(page, images | _volume(motion, grid))
    return page


def _say(page: Page, told: MotionQuality) -> None:
    if told.folds:
        page.warn(f"The motion folds at {told.folds} voxels: there it is wrong.")
    elif told.least_anywhere > 0:
        page.say(f"No fold anywhere: no determinant is below {told.least_anywhere:.3g}.")
    else:
        page.say(f"No fold at a voxel, where the least determinant is {told.min_jacobian:.3g}.")


def _facts(fixed: Grid, moving: Grid, told: MotionQuality) -> dict[str, str]:
    return {
        "voxels of the fixed image": " x ".join(map(str, fixed.shape)),
        "voxels of the moving image": " x ".join(map(str, moving.shape)),
        "folds": str(told.folds),
        "least determinant at a voxel": f"{told.min_jacobian:.4g}",
        "and anywhere, at least": f"{told.least_anywhere:.4g}",
        "there and back, off by at most": f"{told.inverse_consistency_mm:.2g} mm",
    }


def _first(image: MetaTensor) -> MetaTensor:
    return Grid.from_image(image).to_image(image.as_tensor()[:1].float().cpu())


@dataclass(frozen=True)
class _Plane:
    """The middle plane across an axis, or all of a picture."""

    across: int | None
    grid: Grid

    @classmethod
    def all_of(cls, grid: Grid) -> list[_Plane]:
        if grid.spatial_dims == 2:
            return [cls(None, grid)]
        found = []
        for axis in range(3):
            start, stop = [0] * 3, list(grid.shape)
            start[axis] = grid.shape[axis] // 2
            stop[axis] = start[axis] + 1
            found.append(cls(axis, grid.crop(start, stop)))
        return found

    def pixels(self, values: Tensor) -> Tensor:
        """Of values (*grid.shape) of the whole image."""
        return values if self.across is None else values.select(self.across, self._middle(values))

    def _middle(self, values: Tensor) -> int:
        return values.shape[self.across or 0] // 2

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, lower and upper end, in mm."""
        sides = [n * h for n, h in zip(self.grid.shape, self.grid.spacing.tolist(), strict=True)]
        right, up = (side for d, side in enumerate(sides) if d != self.across)
        return 0.0, right, 0.0, up


def _boards(images: Mapping[str, MetaTensor]) -> Figure:
    from matplotlib.figure import Figure as Drawn

    planes = _Plane.all_of(Grid.from_image(images["fixed"]))
    seen = {name: _unit(image.as_tensor()[0]) for name, image in images.items()}
    figure = Drawn(figsize=(4 * len(planes), 8), layout="constrained")
    axes = figure.subplots(2, len(planes), squeeze=False)
    for row, name in zip(axes, ("before", "moved"), strict=True):
        for axis, plane in zip(row, planes, strict=True):
            here, there = (plane.pixels(seen[each]) for each in ("fixed", name))
            board = torch.where(_squares(here.shape, plane.extent), here, there)
            shown = {"extent": plane.extent, "origin": "lower", "vmin": 0, "vmax": 1}
            axis.imshow(board.T.numpy(), cmap="gray", **shown)
            axis.set(title="before" if name == "before" else "after", xlabel="mm")
    return figure


def _unit(values: Tensor) -> Tensor:
    """From 0, dark, to 1, bright."""
    ends = torch.tensor([LEFT_OUT, 1 - LEFT_OUT], dtype=torch.float64)
    ranks = (ends * (values.numel() - 1)).round().long()
    low, high = values.flatten().sort().values[ranks]
    return ((values - low) / (high - low).clamp_min(1e-12)).clamp(0, 1)


def _squares(shape: torch.Size, extent: tuple[float, float, float, float]) -> Tensor:
    """True and false by turns, in squares of mm."""
    side = max(extent) / SQUARES
    lengths = (extent[1], extent[3])
    rows = [(torch.arange(n) * (e / n / side)).long() for n, e in zip(shape, lengths, strict=True)]
    return (rows[0][:, None] + rows[1]) % 2 == 0


def _determinants(motion: Motion, grid: Grid) -> Figure:
    from matplotlib.colors import TwoSlopeNorm
    from matplotlib.figure import Figure as Drawn

    planes = _Plane.all_of(grid)
    found = [torch.linalg.det(motion.jacobian_on(plane.grid)) for plane in planes]
    # As bright at half as at twice the room.
    far = max(float(each.clamp_min(1e-3).log2().abs().max()) for each in found)
    norm = TwoSlopeNorm(0.0, -max(far, 0.1), max(far, 0.1))
    figure = Drawn(figsize=(4 * len(planes) + 1, 4), layout="constrained")
    axes = figure.subplots(1, len(planes), squeeze=False)[0]
    for axis, plane, each in zip(axes, planes, found, strict=True):
        flat = each if plane.across is None else each.squeeze(plane.across)
        shown = flat.clamp_min(1e-3).log2().T.numpy()
        drawn = axis.imshow(shown, cmap="RdBu", norm=norm, extent=plane.extent, origin="lower")
        if flat.min() < 0 < flat.max():
            axis.contour(flat.T.numpy(), [0.0], colors="black", extent=plane.extent)
        axis.set(xlabel="mm")
    figure.colorbar(drawn, ax=list(axes), label="determinant, as a power of 2")
    return figure


def _volume(motion: Motion, grid: Grid) -> dict[str, MetaTensor]:
    width = max((math.prod(grid.shape) / MOST_PLACES) ** (1 / grid.spatial_dims), 1.0)
    sides = zip(grid.spacing.tolist(), grid.shape, strict=True)
    coarse = grid.with_spacing([h * width if n > 1 else h for h, n in sides])
    found = torch.linalg.det(motion.jacobian_on(coarse))
    return {"determinant": coarse.to_image(found[None].float())}
