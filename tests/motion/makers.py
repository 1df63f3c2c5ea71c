"""Motions and images for the tests of motions."""

from __future__ import annotations

import torch
from torch import Tensor

from oinr_monai import Grid
from oinr_monai.motion import VectorSpline
from tests.phantoms import rotation

__all__ = ["knots", "places", "texture", "wobble"]


def knots(shape: tuple[int, ...] = (8, 9, 7), spacing: float = 4.0) -> Grid:
    """Knots along rotated axes, one of them flipped, off the origin."""
    dims = len(shape)
    affine = torch.eye(4, dtype=torch.float64)
    axes = rotation(0.3, -0.5, 0.2) if dims == 3 else rotation(0.0, 0.0, 0.4)
    affine[:3, :3] = axes * torch.tensor([-spacing, spacing, spacing])
    affine[:dims, 3] = torch.tensor([31.25, -47.5, 12.125])[:dims]
    return Grid(shape, affine)


def wobble(generator: torch.Generator, size: float = 1.0, grid: Grid | None = None) -> VectorSpline:
    """Vectors of some ``size`` mm at knots."""
    grid = grid or knots()
    values = torch.randn(grid.spatial_dims, *grid.shape, generator=generator, dtype=torch.float64)
    return VectorSpline(size * values, grid)


def places(generator: torch.Generator, grid: Grid, count: int = 40, beyond: float = 1.0) -> Tensor:
    """World points over a grid, and up to ``beyond`` voxels outside of it."""
    unit = torch.rand(count, grid.spatial_dims, generator=generator, dtype=torch.float64)
    size = torch.tensor(grid.shape, dtype=torch.float64) - 1 + 2 * beyond
    return grid.to_world(unit * size - beyond)


def texture(points: Tensor) -> Tensor:
    """Smooth intensities (...) at world points (..., D): waves 8 to 13 mm long, and a hill."""
    x, y, z = points[..., 0], points[..., 1], points[..., -1]
    waves = torch.sin(x / 1.5 + y / 4) + torch.cos(y / 1.3 - z / 3) + torch.sin(z / 1.7 + x / 5)
    crossing = torch.cos(x / 2.1) * torch.sin(y / 1.9 + 0.4)
    return waves + crossing + 3 * torch.exp(-(points / 9).square().sum(dim=-1))
