"""Blur and decimation as linear operators with exact adjoints."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from oinr_monai.grids.grid import Grid

from .forward_model import Separable
from .profiles import Gaussian, profile_weights

__all__ = ["Blur", "Decimation"]


class Blur(Separable):
    """A Gaussian blur on a grid, cut and renormalised at its ends.

    Args:
        grid: source and target.
        fwhm: full width at half maximum along each axis, in mm; 0 leaves an axis as it is.

    Raises:
        ValueError: if a width is negative.

    Example:
        >>> blur = Blur(Grid((5, 5), torch.eye(4)), (2.0, 0.0))
        >>> round(float(blur.forward(torch.ones(1, 5, 5)).sum()), 4)
        25.0
    """

    def __init__(self, grid: Grid, fwhm: Sequence[float]) -> None:
        if len(fwhm) != grid.spatial_dims or not all(width >= 0 for width in fwhm):
            raise ValueError(
                f"fwhm must be {grid.spatial_dims} widths of 0 or more, got {tuple(fwhm)}"
            )
        matrices: list[Tensor | None] = []
        for axis, (size, width) in enumerate(zip(grid.shape, fwhm, strict=True)):
            places = torch.arange(size, dtype=torch.float64)
            spacing = float(grid.plane_spacing[axis])
            matrix = profile_weights(Gaussian(width), places, size, spacing) if width else None
            matrices.append(matrix)
        super().__init__(grid, grid, matrices)


class Decimation(Separable):
    """Every n-th voxel along each axis, from the first on.

    Args:
        source: grid of the volume.
        factor: n for each axis.

    Raises:
        ValueError: if a factor is below 1.

    Example:
        >>> Decimation(Grid((4, 5), torch.eye(4)), (2, 2)).target.shape
        (2, 3)
    """

    def __init__(self, source: Grid, factor: Sequence[int]) -> None:
        if len(factor) != source.spatial_dims or min(factor) < 1:
            raise ValueError(
                f"factor must be {source.spatial_dims} numbers of 1 or more, got {tuple(factor)}"
            )
        rows = [
            torch.eye(n, dtype=torch.float64)[::f]
            for n, f in zip(source.shape, factor, strict=True)
        ]
        affine = source.affine.clone()
        dims = source.spatial_dims
        affine[:dims, :dims] *= torch.tensor(factor, dtype=torch.float64)
        target = Grid(tuple(len(each) for each in rows), affine)
        super().__init__(
            source, target, [m if f > 1 else None for m, f in zip(rows, factor, strict=True)]
        )
