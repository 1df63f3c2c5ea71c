"""Hippocampi in small MR images, which of them are for what, and how other scanners see them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor
from scipy.spatial.transform import Rotation
from torch import Tensor

from oinr_monai import Grid, simulate_slices
from oinr_monai.images.files import read_image
from oinr_monai.representation.exact import spline_representation

__all__ = ["CLASSES", "SCANNERS", "TURN", "Scan", "Subject", "Subjects", "subjects"]

# Background, anterior and posterior part.
CLASSES = 3

# Subjects that score and those that labels are drawn from; the others are for choosing settings.
HELD, POOL = 30, 20

# Seed of the order in which subjects are dealt out.
DEALT = 0

# The rotated grid: degrees around an oblique axis.
TURN, AXIS = 20.0, (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Subject:
    """Intensities of mean 0 and deviation 1, and labels, (1, *shape) in voxels of 1 mm."""

    name: str
    image: Tensor
    labels: Tensor

    @property
    def grid(self) -> Grid:
        """Where its voxels lie."""
        return Grid(tuple(self.image.shape[1:]), torch.eye(4, dtype=torch.float64))


@dataclass(frozen=True)
class Subjects:
    """Who scores, who may be labelled, and who settings are chosen on."""

    held: list[Subject]
    pool: list[Subject]
    chosen_on: list[Subject]

    def labelled(self, count: int, seed: int) -> list[Subject]:
        """So many of the pool, others for each seed; fewer labels are a part of more."""
        order = np.random.default_rng(seed).permutation(len(self.pool))
        return [self.pool[i] for i in order[:count]]


def subjects(folder: Path) -> Subjects:
    """The subjects of a folder of ``images`` and ``labels``, dealt out in an order that is fixed.

    Args:
        folder: of the Medical Segmentation Decathlon's fourth task, or a part of it.
    """
    files = sorted((folder / "images").glob("*.nii.gz"))
    if len(files) <= HELD + POOL:
        raise SystemExit(f"--hippocampus must hold more than {HELD + POOL} scans, got {len(files)}")
    order = np.random.default_rng(DEALT).permutation(len(files))
    dealt = [_read(files[i], folder / "labels" / files[i].name) for i in order]
    return Subjects(dealt[:HELD], dealt[HELD : HELD + POOL], dealt[HELD + POOL :])


def _read(image: Path, labels: Path) -> Subject:
    values = read_image(image).as_tensor().float()
    classes = read_image(labels).as_tensor().round().to(torch.uint8)
    standard = (values - values.mean()) / values.std()
    return Subject(image.name.removesuffix(".nii.gz"), standard, classes)


# ---- other scanners -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Scan:
    """What another scanner sees of a subject.

    Args:
        image: intensities (1, *spatial).
        grid: where its voxels lie, in the world of the subject's own.
        blur: standard deviation in mm along each axis of what its voxels smooth more than those
            of 1 mm do.
        brought: the image on the subject's own voxels, by a cubic spline.
    """

    image: Tensor
    grid: Grid
    blur: tuple[float, float, float]
    brought: Tensor


def same(subject: Subject) -> Scan:
    """The scan itself."""
    return Scan(subject.image, subject.grid, (0.0, 0.0, 0.0), subject.image)


def voxels(*sizes: float) -> Callable[[Subject], Scan]:
    """Voxels of other sizes in mm, each the mean over itself."""

    def seen(subject: Subject) -> Scan:
        image = MetaTensor(subject.image, affine=subject.grid.affine)
        for axis, size in enumerate(sizes):
            if size > 1:
                image = simulate_slices(image, size, axis=axis)
        x, y, z = (float(np.sqrt((size**2 - 1) / 12)) for size in sizes)
        return _scan(subject, image.as_tensor(), Grid.from_image(image), (x, y, z))

    return seen


def rotated(subject: Subject) -> Scan:
    """A grid of 1 mm that lies across the subject's own, wide enough for all of it."""
    turn = np.deg2rad(TURN) * np.array(AXIS) / np.linalg.norm(AXIS)
    matrix = torch.from_numpy(Rotation.from_rotvec(turn).as_matrix())
    corners = subject.grid.points().reshape(-1, 3) @ matrix
    low, high = corners.amin(0).floor(), corners.amax(0).ceil()
    affine = torch.eye(4, dtype=torch.float64)
    affine[:3, :3], affine[:3, 3] = matrix, matrix @ low
    grid = Grid(tuple(int(n) + 1 for n in (high - low).tolist()), affine)
    seen = resampled(subject.image, subject.grid, grid, degree=5)
    return _scan(subject, seen, grid, (0.0, 0.0, 0.0))


def _scan(subject: Subject, image: Tensor, grid: Grid, blur: tuple[float, float, float]) -> Scan:
    return Scan(image, grid, blur, resampled(image, grid, subject.grid))


def resampled(image: Tensor, grid: Grid, other: Grid, degree: int = 3) -> Tensor:
    """An image on another grid by a spline, at its border the nearest value."""
    places = grid.to_voxel(other.points())
    inside = torch.stack([places[..., d].clamp(0, n - 1) for d, n in enumerate(grid.shape)], dim=-1)
    points = grid.to_world(inside.reshape(-1, 3))
    found = spline_representation(image, grid, degree=degree).at(points)
    return found.T.reshape(len(image), *other.shape).float()


SCANNERS: dict[str, Callable[[Subject], Scan]] = {
    "1 mm": same,
    "1 x 1 x 3 mm": voxels(1.0, 1.0, 3.0),
    "2 mm": voxels(2.0, 2.0, 2.0),
    "rotated": rotated,
}
