"""Volumes, and motions of them that are known."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import torch
from monai.data import MetaTensor
from nilearn.datasets import load_mni152_template
from torch import Tensor

from oinr_monai import Grid, Motion, RegisterConfig
from oinr_monai.images.files import read_image
from oinr_monai.motion import AffineMotion, VectorSpline, Velocity, rigid_about

BLOCK = 80


def template(spacing: int) -> MetaTensor:
    """The head of MNI152 at a spacing in mm."""
    found = load_mni152_template(resolution=spacing)
    values = torch.from_numpy(found.get_fdata(dtype="f4"))[None]
    return MetaTensor(values, affine=torch.from_numpy(found.affine))


def volumes(folder: Path) -> Iterator[tuple[str, MetaTensor]]:
    """Names and images; all but the first lie in ``folder/volumes``."""
    yield "MNI152, 2 mm", template(2)
    for name in ("MR_Gd", "CT_AVM"):
        yield name, read_image(folder / "volumes" / f"{name}.nii.gz")


def block(image: MetaTensor) -> MetaTensor:
    """The middle of an image."""
    grid = Grid.from_image(image)
    start = [(n - min(n, BLOCK)) // 2 for n in grid.shape]
    stop = [a + min(n, BLOCK) for a, n in zip(start, grid.shape, strict=True)]
    part = image.as_tensor()[(slice(None), *map(slice, start, stop))]
    return grid.crop(start, stop).to_image(part.contiguous())


def motions(grid: Grid) -> Iterator[tuple[str, Motion, RegisterConfig]]:
    """A motion of each kind over a grid, and how it is to be found."""
    h = float(grid.spacing.min())
    centre = grid.to_world((torch.tensor(grid.shape) - 1) / 2)
    turn = torch.tensor([0.08, -0.12, 0.15])
    shift = h * torch.tensor([3.0, -2.0, 4.0], dtype=torch.float64)
    yield "rigid", rigid_about(turn, shift, centre), RegisterConfig("rigid")
    stretch = torch.tensor([[0.05, 0.03, 0], [-0.02, -0.04, 0.02], [0, 0.03, 0.04]]).double()
    linear = torch.eye(3, dtype=torch.float64) + stretch
    yield (
        "affine",
        AffineMotion.of(linear, shift + centre - linear @ centre),
        RegisterConfig("affine"),
    )
    cells = [-(-n // 16) + 3 for n in grid.shape]
    knots = grid.scaled([-16.0] * 3, cells, [16.0] * 3)
    generator = torch.Generator().manual_seed(0)
    wave = torch.randn(3, *cells, generator=generator, dtype=torch.float64) * 2 * h
    yield "flow", Velocity(VectorSpline(wave, knots)), RegisterConfig()


def known_flow(grid: Grid, inside: Tensor, apart: float, far: float) -> Velocity:
    """A flow with knots so far apart that moves the places inside so far on average, in mm."""
    scale = (apart / grid.spacing).tolist()
    cells = [math.ceil(n / k) + 3 for n, k in zip(grid.shape, scale, strict=True)]
    knots = grid.scaled([-k for k in scale], cells, scale)
    generator = torch.Generator().manual_seed(0)
    field = VectorSpline(torch.randn(3, *cells, generator=generator, dtype=torch.float64), knots)
    size = far
    for _ in range(6):
        moved = Velocity(field.scaled(size)).at(inside) - inside
        size *= far / float(moved.norm(dim=1).mean())
    return Velocity(field.scaled(size))
