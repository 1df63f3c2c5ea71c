"""Volumes with bright balls planted in the head, and what is left of their contrast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from monai.data import MetaTensor
from nilearn.datasets import load_mni152_template
from scipy.ndimage import binary_erosion, binary_fill_holes, label
from torch import Tensor

from oinr_monai import Grid
from oinr_monai.images.files import read_image

LESIONS, RADII = 24, (2.0, 4.0)


@dataclass(frozen=True)
class Volume:
    """A volume (1, *spatial) with bright balls planted, its head mask, and where the balls are."""

    name: str
    image: MetaTensor
    head: Tensor
    lesions: tuple[tuple[tuple[float, ...], float], ...]

    def cropped(self, slices: int) -> Volume:
        image = self.image.as_tensor()[..., :slices]
        whole = Grid.from_image(self.image)
        grid = whole.crop((0, 0, 0), (*whole.shape[:2], slices))
        kept = tuple((c, r) for c, r in self.lesions if c[2] < slices - r - 4)
        return Volume(self.name, grid.to_image(image), self.head[..., :slices], kept)


def volumes(folder: Path | None, crop: Sequence[int]) -> list[Volume]:
    template = load_mni152_template(resolution=1)
    values = torch.from_numpy(template.get_fdata(dtype="f4"))[None]
    found = [("MNI152", MetaTensor(values, affine=torch.from_numpy(template.affine)))]
    for name in ("MR_Gd", "CT_AVM"):
        if folder is not None and (folder / f"{name}.nii.gz").is_file():
            found.append((name, read_image(folder / f"{name}.nii.gz")))
    return [prepared(name, image, crop) for name, image in found]


def prepared(name: str, image: MetaTensor, crop: Sequence[int]) -> Volume:
    grid = Grid.from_image(image)
    size = [min(n, m) for n, m in zip(grid.shape, crop, strict=True)]
    start = [(n - m) // 2 for n, m in zip(grid.shape, size, strict=True)]
    stop = [a + m for a, m in zip(start, size, strict=True)]
    part = image.as_tensor()[
        (slice(None), *(slice(a, b) for a, b in zip(start, stop, strict=True)))
    ]
    bright = torch.quantile(part.flatten()[:: max(part.numel() // 10**6, 1)], 0.999)
    part, grid = (part / bright).clamp(0, 1.2).contiguous(), grid.crop(start, stop)
    head = head_of(part[0])
    lesions = places(head, grid)
    return Volume(name, grid.to_image(planted(part, grid, lesions)), head[None], lesions)


def head_of(values: Tensor) -> Tensor:
    """Largest connected part above a tenth of the bright end, with its holes filled.

    Where that is less than a fifth, as where all but the vessels was blanked, everything counts.
    """
    parts, _ = label((values > 0.1).numpy())
    sizes = torch.bincount(torch.from_numpy(parts).flatten())
    sizes[0] = 0
    head = torch.from_numpy(binary_fill_holes(parts == int(sizes.argmax())))
    return head if float(head.double().mean()) > 0.2 else torch.ones_like(head)


def places(head: Tensor, grid: Grid) -> tuple[tuple[tuple[float, ...], float], ...]:
    """Centres in voxels and radii in mm of balls well inside the head, apart from each other."""
    generator = torch.Generator().manual_seed(0)
    inside = torch.from_numpy(binary_erosion(head.numpy(), iterations=8, border_value=0)).nonzero()
    found: list[tuple[tuple[float, ...], float]] = []
    for index in torch.randperm(len(inside), generator=generator).tolist():
        centre = inside[index].double() + torch.rand(3, generator=generator) - 0.5
        away = [(grid.to_world(centre) - grid.to_world(torch.tensor(c))).norm() for c, _ in found]
        if min(away, default=99.0) > 16:
            radius = RADII[0] + (RADII[1] - RADII[0]) * float(torch.rand(1, generator=generator))
            found.append((tuple(centre.tolist()), radius))
        if len(found) == LESIONS:
            break
    return tuple(found)


def distance(grid: Grid, centre: Sequence[float]) -> Tensor:
    """Distance of every voxel to a place given in voxels, in mm (*shape)."""
    return (grid.points() - grid.to_world(torch.tensor(centre, dtype=torch.float64))).norm(dim=-1)


def planted(image: Tensor, grid: Grid, lesions: Sequence[tuple[Sequence[float], float]]) -> Tensor:
    """The image with a quarter of its range added inside balls, whose border voxels take a part."""
    added = torch.zeros(grid.shape)
    for centre, radius in lesions:
        added += 0.25 * (radius - distance(grid, centre) + 0.5).clamp(0, 1).float()
    return image + added


def contrast(image: Tensor, volume: Volume) -> float:
    """Contrast of the balls to the shells around them, in per cent of the truth's."""
    grid, kept = Grid.from_image(volume.image), [0.0, 0.0]
    for centre, radius in volume.lesions:
        away = distance(grid, centre)
        ball, shell = away < radius, (away > radius + 2) & (away < radius + 4)
        for i, each in enumerate((image[0], volume.image.as_tensor()[0])):
            kept[i] += float(each[ball].mean() - each[shell].mean())
    return 100 * kept[0] / kept[1]
