"""Sections through a representation, as pictures."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from oinr_monai.grids.grid import Grid

if TYPE_CHECKING:
    from .representation import Representation

__all__ = ["axes_across", "png_of", "section", "window_of"]

# Parts of the values that black and white leave out at either end; chosen by hand.
LEFT_OUT = 0.005


def axes_across(grid: Grid) -> list[int | None]:
    """The axes that sections are taken across: all of a volume, None for a picture.

    Example:
        >>> axes_across(Grid((8, 8, 8), torch.eye(4))), axes_across(Grid((8, 8), torch.eye(4)))
        ([0, 1, 2], [None])
    """
    return [0, 1, 2] if grid.spatial_dims == 3 else [None]


def section(
    image: Representation,
    across: int | None = None,
    point: Tensor | None = None,
    pixels: int = 192,
) -> Tensor:
    """Intensities (up, right) of the first channel in a plane of square pixels.

    Up and to the right lie the axes that are not ``across``, the last one upwards; the first row is
    the lowest.

    Args:
        image: what is shown, in one to three dimensions.
        across: axis of a volume that the plane is at right angles to.
        point: world point (D,) in mm that a volume's plane goes through; the middle voxel if None.
        pixels: along the longer side, at most.

    Example:
        >>> from oinr_monai import fit
        >>> section(fit(torch.rand(1, 10, 12, 8)), across=2).shape
        torch.Size([12, 10])
    """
    grid = image.grid
    if across is not None:
        grid = _plane(grid, across, point)
    spacing, sizes = grid.spacing.tolist(), grid.shape
    wide = [h for h, n in zip(spacing, sizes, strict=True) if n > 1]
    width = max(min(wide, default=1.0), float(grid.extent.max()) / (pixels - 1))
    even = grid.with_spacing([width if n > 1 else h for h, n in zip(spacing, sizes, strict=True)])
    values = image.sample(even).as_tensor()[0].float().cpu()
    flat = values if across is None else values.squeeze(across)
    return flat.T if flat.ndim == 2 else flat[None]


def _plane(grid: Grid, across: int, point: Tensor | None) -> Grid:
    start, stop = [0] * grid.spatial_dims, list(grid.shape)
    voxel = (grid.shape[across] - 1) // 2
    if point is not None:
        voxel = round(float(grid.to_voxel(point[None].to(grid.affine))[0, across]))
    start[across] = min(max(voxel, 0), grid.shape[across] - 1)
    stop[across] = start[across] + 1
    return grid.crop(start, stop)


def window_of(values: Tensor) -> tuple[float, float]:
    """What is shown black and white: all values but the outermost.

    Example:
        >>> window_of(torch.ones(4))
        (1.0, 2.0)
    """
    flat = values.flatten().sort().values
    ends = [round(part * (len(flat) - 1)) for part in (LEFT_OUT, 1 - LEFT_OUT)]
    low, high = (float(flat[end]) for end in ends)
    return (low, high) if high > low else (low, low + 1.0)


def png_of(values: Tensor, window: tuple[float, float] | None = None) -> bytes:
    """A PNG of intensities (up, right), the first row at the bottom.

    Args:
        values: what is shown.
        window: values that are black and white; those of :func:`window_of` if None.
    """
    from PIL import Image

    low, high = window or window_of(values)
    shown = ((values - low) / (high - low)).clamp(0, 1).flip(0)
    stream = io.BytesIO()
    Image.fromarray((255 * shown).round().to(torch.uint8).numpy()).save(stream, "PNG")
    return stream.getvalue()
