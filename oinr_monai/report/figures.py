"""Figures of a report: a place seen closely, how often each value is, and how much is how fine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from monai.data import MetaTensor
from torch import Tensor

from oinr_monai.grids.grid import Grid
from oinr_monai.representation.representation import Representation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Plane", "busiest", "curves", "spectrum", "zooms"]

# Width of what is seen closely, in mm, and its pixels; chosen by hand.
WIDTH, PIXELS = 48.0, 240

# Bins of a histogram, and of a spectrum.
BINS = 96


def busiest(image: MetaTensor) -> Tensor:
    """World point (D,) in mm, around which the image (1, *spatial) changes most."""
    grid = Grid.from_image(image)
    values = image.as_tensor()[0].double().cpu()
    axes = [d for d in range(values.ndim) if values.shape[d] > 1]
    slopes = torch.gradient(values, dim=axes)
    energy = torch.stack([slope.square() for slope in slopes]).sum(0)[None, None]
    pool = getattr(torch.nn.functional, f"avg_pool{values.ndim}d")
    width = [2 * min(4, (n - 1) // 2) + 1 for n in values.shape]
    for _ in range(2):  # once alone is the same wherever a small edge lies in its window
        energy = pool(energy, width, stride=1, padding=[w // 2 for w in width])
    place = torch.unravel_index(energy[0, 0].argmax(), values.shape)
    return grid.to_world(torch.stack(place).double())


@dataclass(frozen=True)
class Plane:
    """A plane of voxels.

    Args:
        grid: of one voxel across it.
        up: axis that is shown upwards.
        right: axis that is shown to the right.
    """

    grid: Grid
    up: int
    right: int

    @classmethod
    def through(cls, grid: Grid, point: Tensor) -> Plane:
        """The plane of the thickest axis and the finest other one, around a world point in mm."""
        spacing, sizes = grid.spacing.tolist(), grid.shape
        wide = sorted((d for d, n in enumerate(sizes) if n > 1), key=spacing.__getitem__)
        right, up = (wide[0], wide[-1]) if len(wide) > 1 else (0, 0)
        nearest = grid.to_voxel(point[None].to(grid.affine))[0].round().long().tolist()
        start = [min(max(v, 0), n - 1) for v, n in zip(nearest, sizes, strict=True)]
        stop, factor = [v + 1 for v in start], [1] * len(sizes)
        fine = WIDTH / PIXELS
        for d in {up, right}:
            half = max(round(WIDTH / 2 / spacing[d]), 1)
            start[d], stop[d] = max(start[d] - half, 0), min(stop[d] + half, sizes[d])
            factor[d] = max(round(spacing[d] / fine), 1)
        return cls(grid.crop(start, stop).refine(factor), up, right)

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, lower and upper end, in mm."""
        lengths = self.grid.extent.tolist()
        return 0.0, lengths[self.right], 0.0, lengths[self.up]

    def pixels(self, image: Representation) -> Tensor:
        """Intensities (up, right) of its first channel."""
        values = image.sample(self.grid).as_tensor()[0].float().cpu()
        return (
            values.reshape(self.grid.shape[0], -1) if self.up == self.right else self._flat(values)
        )

    def _flat(self, values: Tensor) -> Tensor:
        return values.movedim((self.up, self.right), (0, 1)).flatten(1)


def zooms(images: Mapping[str, Representation], grid: Grid, point: Tensor) -> Figure:
    """The same plane through a world point by each of several representations.

    Args:
        images: what is shown, by name.
        grid: whose axes the plane lies along.
        point: world point (D,), in mm.
    """
    from matplotlib.figure import Figure as Drawn

    plane = Plane.through(grid, point)
    shown = {name: plane.pixels(each) for name, each in images.items()}
    ends = torch.stack(list(shown.values())).aminmax()
    figure = Drawn(figsize=(4.5 * len(images), 4))
    axes = figure.subplots(1, len(images), squeeze=False)
    for axis, (name, pixels) in zip(axes[0], shown.items(), strict=True):
        axis.imshow(
            pixels.numpy(),
            cmap="gray",
            vmin=float(ends.min),
            vmax=float(ends.max),
            extent=plane.extent,
            origin="lower",
        )
        axis.set(title=name, xlabel="mm")
    return figure


def curves(images: Mapping[str, MetaTensor], axis: int) -> Figure:
    """How often each intensity is, and how much of each fineness there is along an axis.

    Args:
        images: (1, *spatial) each, by name, along the same axes.
        axis: the axis.
    """
    from matplotlib.figure import Figure as Drawn

    figure = Drawn(figsize=(11, 3.2))
    left, right = figure.subplots(1, 2)
    values = {name: image.as_tensor()[0].float().cpu() for name, image in images.items()}
    low = min(float(each.min()) for each in values.values())
    high = max(float(each.max()) for each in values.values())
    for name, each in values.items():
        counts = torch.histc(each, BINS, low, high)
        left.plot(torch.linspace(low, high, BINS), counts / counts.sum(), label=name)
        spacing = float(Grid.from_image(images[name]).spacing[axis])
        right.plot(*spectrum(each.movedim(axis, -1), spacing), label=name)
    left.set(yscale="log", xlabel="intensity", ylabel="part of the voxels")
    right.set(yscale="log", xlabel="cycles / mm", ylabel=f"power along axis {axis}")
    left.legend()
    return figure


def spectrum(lines: Tensor, spacing: float) -> tuple[Tensor, Tensor]:
    """Frequencies in cycles / mm, and the power of each, mean over the lines (..., n).

    Each line is taken without its mean, and faded to its ends; its power is per cycle / mm, so that
    lines of other spacings compare.
    """
    n = lines.shape[-1]
    fade = torch.hann_window(n, periodic=False) if n > 2 else torch.ones(n)
    faded = (lines - lines.mean(-1, keepdim=True)) * fade
    power = torch.fft.rfft(faded).abs().square().flatten(0, -2).mean(0)
    return torch.fft.rfftfreq(n, spacing), power * spacing / fade.square().sum()
