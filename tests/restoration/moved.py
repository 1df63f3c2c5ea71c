"""Stacks of slices of a known function that moved."""

from __future__ import annotations

import torch
from monai.data import MetaTensor
from torch import Tensor

from oinr_monai import Grid
from oinr_monai.motion.affine import rotation_of
from tests.motion.makers import texture

__all__ = ["GRID", "THICK", "moved_stacks"]

# A volume of 24 voxels a side, 2 mm wide, about the world's origin.
GRID = Grid((24, 24, 24), Grid((24, 24, 24), torch.eye(4)).with_spacing(2.0).affine)
GRID = GRID.shift([-12.0, -12.0, -12.0])

THICK = 3


def moved_stacks(
    generator: torch.Generator, degrees: float = 3.0, mm: float = 2.0
) -> tuple[list[MetaTensor], list[Tensor]]:
    """Three stacks that cross, and the poses (S, 4, 4) of their slices about the origin."""
    found = [_stack(axis, generator, degrees, mm) for axis in (2, 1, 0)]
    return [image for image, _ in found], [poses for _, poses in found]


def _stack(
    axis: int, generator: torch.Generator, degrees: float, mm: float
) -> tuple[MetaTensor, Tensor]:
    scale, start = [1.0] * 3, [0.0] * 3
    scale[axis], start[axis] = float(THICK), (THICK - 1) / 2
    shape = [n // THICK if d == axis else n for d, n in enumerate(GRID.shape)]
    grid = GRID.scaled(start, shape, scale)
    steps = torch.randn(shape[axis], 6, generator=generator, dtype=torch.float64).cumsum(dim=0)
    steps = (steps - steps.mean(dim=0)) / steps.abs().max()
    poses = torch.eye(4, dtype=torch.float64).repeat(shape[axis], 1, 1)
    poses[:, :3, 3] = mm * steps[:, 3:]
    poses[:, :3, :3] = torch.stack([rotation_of(s * degrees / 57.3) for s in steps[:, :3]])
    places = grid.points().movedim(axis, 0)
    across = torch.eye(3, dtype=torch.float64)[axis]
    total = torch.zeros(places.shape[:-1], dtype=torch.float64)
    for node in torch.linspace(-2.5, 2.5, 6).tolist():
        moved = torch.einsum("sij,sabj->sabi", poses[:, :3, :3], places + node * across)
        total += texture((moved + poses[:, None, None, :3, 3]) / 2) / 6
    return grid.to_image(total.movedim(0, axis)[None].float()), poses
