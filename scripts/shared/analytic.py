"""Phantoms with exact derivatives in mm, on grids of several kinds, with noise."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from monai.data import MetaTensor
from scipy.spatial.transform import Rotation
from torch import Tensor

from oinr_monai import Grid

NOISES = (0.0, 0.02, 0.05, 0.1)

MARGIN = 3  # voxels at the borders that do not count

TUBE_RADII = (1.5, 2.0, 3.0, 4.0)

# Phantom, grid and noise of a case.
Key = tuple[str, str, float]


@dataclass(frozen=True)
class Phantom:
    """A function of world mm, differentiated exactly by automatic differentiation in float64."""

    name: str
    value: Callable[[Tensor], Tensor]  # (3,) to a number

    def on(self, grid: Grid) -> tuple[Tensor, Tensor, Tensor]:
        """Values (N,), gradients (N, 3) and Hessians (N, 3, 3) at the voxel centres."""
        questions = (self.value, torch.func.grad(self.value), torch.func.hessian(self.value))
        points = grid.points().flatten(0, -2).split(5_000)
        value, gradient, hessian = (
            torch.cat([torch.func.vmap(question)(chunk) for chunk in points])
            for question in questions
        )
        return value, gradient, hessian


def phantoms() -> list[Phantom]:
    """Blobs, tubes of four radii, a ball with a smooth edge, and waves, within 20 mm of 0."""
    generator = torch.Generator().manual_seed(0)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    centres, widths, heights = uniform(8, 3) * 26 - 13, 2.5 + uniform(8) * 2.5, 0.5 + uniform(8)
    waves = 2 * math.pi / torch.tensor([[9.0, 20, 30], [16, -12, 40], [25, 18, -14]]).double()

    def blobs(x: Tensor) -> Tensor:
        square = (x - centres).square().sum(1)
        return (heights * torch.exp(-square / (2 * widths**2))).sum()

    def tubes(x: Tensor) -> Tensor:
        radii = torch.tensor(TUBE_RADII, dtype=torch.float64)
        return torch.exp(-tube_distances(x).square() / (2 * radii**2)).sum()

    def ball(x: Tensor) -> Tensor:
        centre = torch.tensor([0.3, -0.4, 0.7], dtype=torch.float64)
        return torch.erfc(((x - centre).norm() - 11) / (1.5 * math.sqrt(2))) / 2

    def sines(x: Tensor) -> Tensor:
        return torch.sin(waves @ x + torch.tensor([0.3, 1.0, 2.0]).double()).sum()

    named = {"blobs": blobs, "tubes": tubes, "ball": ball, "waves": sines}
    return [Phantom(name, value) for name, value in named.items()]


_AXES = torch.Generator().manual_seed(1)

_THROUGH = torch.rand(4, 3, generator=_AXES, dtype=torch.float64) * 16 - 8

_ALONG = torch.nn.functional.normalize(torch.randn(4, 3, generator=_AXES, dtype=torch.float64))


def tube_distances(x: Tensor) -> Tensor:
    """Distances (..., 4) in mm of points (..., 3) to the axes of the tubes."""
    away = x[..., None, :] - _THROUGH
    along = (away * _ALONG).sum(-1, keepdim=True) * _ALONG
    return ((away - along).square().sum(-1) + 1e-12).sqrt()


def grids() -> dict[str, Grid]:
    """Isotropic, anisotropic and oblique voxels, all around 0."""
    turn = torch.from_numpy(Rotation.from_euler("xyz", [0.3, -0.5, 0.2]).as_matrix())
    return {
        "1 mm": _centred((40, 40, 40), (1.0, 1.0, 1.0), torch.eye(3).double()),
        "1 x 1 x 3 mm": _centred((40, 40, 14), (1.0, 1.0, 3.0), torch.eye(3).double()),
        "oblique": _centred((44, 36, 32), (0.9, 1.1, 1.25), turn),
    }


def _centred(shape: tuple[int, ...], spacing: tuple[float, ...], turn: Tensor) -> Grid:
    affine = torch.eye(4, dtype=torch.float64)
    affine[:3, :3] = turn * torch.tensor(spacing, dtype=torch.float64)
    affine[:3, 3] = -affine[:3, :3] @ ((torch.tensor(shape).double() - 1) / 2)
    return Grid(shape, affine)


class Case(NamedTuple):
    """A phantom on a grid, with noise of a share of its range, and the truth."""

    phantom: str
    grid_name: str
    noise: float
    grid: Grid
    image: MetaTensor
    gradient: Tensor
    hessian: Tensor

    @property
    def key(self) -> Key:
        """What tells it from the others."""
        return self.phantom, self.grid_name, self.noise

    def inner(self, values: Tensor) -> Tensor:
        """Those of the voxels (N, ...) that count."""
        core = (slice(MARGIN, -MARGIN),) * 3
        return values.unflatten(0, self.grid.shape)[core].flatten(0, 2)


def cases() -> Iterator[Case]:
    for phantom in phantoms():
        for name, grid in grids().items():
            value, gradient, hessian = phantom.on(grid)
            span = float(value.max() - value.min())
            for noise in NOISES:
                generator = torch.Generator().manual_seed(1)
                drawn = torch.randn(value.shape, generator=generator, dtype=torch.float64)
                values = (value + noise * span * drawn).float().unflatten(0, grid.shape)
                image = grid.to_image(values[None])
                yield Case(phantom.name, name, noise, grid, image, gradient, hessian)
