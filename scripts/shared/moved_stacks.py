"""Stacks of thick slices of a volume that moved between the slices, with the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from monai.data import MetaTensor
from scipy.ndimage import binary_dilation
from torch import Tensor

from oinr_monai import Grid
from oinr_monai.grids.positions import Scatter
from oinr_monai.grids.splines import CubicInterpolant
from oinr_monai.motion.affine import rotation_of
from oinr_monai.scanner.slices import thick_grid

# Points across a slice at which the volume is taken.
NODES = 9


@dataclass(frozen=True)
class Movement:
    """How much the object moves, and what else goes wrong.

    Slices are taken in so many ``packages``, as every other one and then those between.
    """

    degrees: float = 5.0
    mm: float = 3.0
    thickness: float = 3.2
    noise: float = 0.03
    bias: float = 0.2
    dropped: float = 0.05
    packages: int = 1


@dataclass(frozen=True)
class MovedStack:
    """A stack, its mask, and for each slice the true pose about the volume's centre."""

    image: MetaTensor
    mask: Tensor
    poses: Tensor


def walk(count: int, how: Movement, generator: np.random.Generator) -> Tensor:
    """Poses (count, 4, 4): a random walk in time whose largest turn and shift are as told."""
    steps = generator.normal(size=(count, 6)).cumsum(axis=0)
    steps -= steps.mean(axis=0)
    steps /= np.abs(steps).max(axis=0)
    steps *= np.array([np.deg2rad(how.degrees)] * 3 + [how.mm] * 3)
    poses = torch.eye(4, dtype=torch.float64).repeat(count, 1, 1)
    taken = np.concatenate([np.arange(k, count, how.packages) for k in range(how.packages)])
    for pose, (*turn, x, y, z) in zip((poses[i] for i in taken), steps, strict=True):
        pose[:3, :3] = rotation_of(torch.tensor(turn))
        pose[:3, 3] = torch.tensor([x, y, z])
    return poses


def stacks_of(
    volume: Tensor, grid: Grid, how: Movement, seed: int, axes: Sequence[int] = (2, 1, 0)
) -> list[MovedStack]:
    """One stack along each of the axes of a volume (*shape)."""
    generator = np.random.default_rng(seed)
    spline = CubicInterpolant(volume[None].float())
    brightest = (
        float(volume.quantile(0.99))
        if volume.numel() < 1e7
        else float(np.quantile(volume.numpy(), 0.99))
    )
    return [_stack(spline, volume, grid, axis, how, generator, brightest) for axis in axes]


def _stack(
    spline: CubicInterpolant, volume: Tensor, grid: Grid, axis: int, how: Movement,
    generator: np.random.Generator, brightest: float,
) -> MovedStack:  # fmt: skip
    thick = how.thickness * float(grid.spacing[axis])
    own = thick_grid(grid, axis, thick)
    poses = walk(own.shape[axis], how, generator)
    centre = grid.to_world((torch.tensor(grid.shape, dtype=torch.float64) - 1) / 2)
    normal = grid.directions[:, axis]
    slices = []
    for number, pose in enumerate(poses):
        start = [0, 0, 0]
        start[axis] = number
        stop = list(own.shape)
        stop[axis] = number + 1
        places = own.crop(start, stop).points() - centre
        total = torch.zeros(places.shape[:-1])
        for node in (np.arange(NODES) + 0.5) / NODES - 0.5:
            moved = (places + node * thick * normal) @ pose[:3, :3].T + pose[:3, 3] + centre
            total += _at(spline, volume, grid.to_voxel(moved))
        slices.append(total / NODES)
    clean = torch.cat(slices, dim=axis)
    mask = binary_dilation(clean.numpy() > 0.05 * brightest, iterations=2)
    field = _bias(own, generator, how.bias)
    values = clean * field
    for number in range(own.shape[axis]):
        if generator.random() < how.dropped:
            values.select(axis, number).mul_(float(generator.uniform(0.1, 0.5)))
    noisy = values + how.noise * brightest * torch.from_numpy(
        generator.normal(size=values.shape).astype("f4")
    )
    return MovedStack(own.to_image(noisy[None]), torch.from_numpy(mask), poses)


def _at(spline: CubicInterpolant, volume: Tensor, voxels: Tensor) -> Tensor:
    last = torch.tensor(volume.shape, dtype=torch.float64) - 1
    near = voxels.clamp(min=torch.zeros_like(last), max=last)
    found = spline(Scatter(tuple(near.flatten(0, -2).T.contiguous())))[0]
    inside = ((near - voxels).abs() < 0.5).all(dim=-1)
    return found.view(voxels.shape[:-1]) * inside


def _bias(grid: Grid, generator: np.random.Generator, size: float) -> Tensor:
    x, y, z = (grid.points() - grid.points().flatten(0, -2).mean(dim=0)).unbind(dim=-1)
    reach = float(grid.extent.max()) / 2
    a, b, c = generator.normal(size=3)
    wave = (a * x + b * y + c * z) / reach
    return torch.exp(size * wave / np.linalg.norm([a, b, c])).float()
