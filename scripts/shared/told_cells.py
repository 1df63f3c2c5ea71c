"""Slices of real volumes, whose truth is known, and what is told of them, rightly or wrongly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from monai.data import MetaTensor
from nilearn.datasets import load_mni152_template
from scipy.ndimage import binary_dilation
from torch import Tensor

from oinr_monai import GaussianNoise, Grid, simulate_slices
from oinr_monai.images.files import read_image
from oinr_monai.scanner.profiles import Boxcar, Gaussian
from scripts.shared.lesions import head_of

PROFILES: dict[str, type[Boxcar | Gaussian]] = {"boxcar": Boxcar, "gaussian": Gaussian}
FILES = {
    "MR_Gd": "volumes/MR_Gd.nii.gz",
    "CT_AVM": "volumes/CT_AVM.nii.gz",
    "T1": "open_ms/T1.nii.gz",
    "T2": "open_ms/T2.nii.gz",
}
CROP = (80, 96, 72)

# What is told of slices that are none of that: their thickness over the true one, or the profile.
WRONG = {"as told": 1.0, "thinner": 0.8, "thicker": 1.25, "other profile": 1.0}


@dataclass(frozen=True)
class Scene:
    """A truth (1, *spatial), its head, and what is asked of it."""

    name: str
    image: MetaTensor
    head: Tensor


def scenes(folder: Path | None) -> Iterator[Scene]:
    template = load_mni152_template(resolution=1)
    values = torch.from_numpy(template.get_fdata(dtype="f4"))[None]
    yield scene("MNI152", MetaTensor(values, affine=torch.from_numpy(template.affine)))
    for name, path in FILES.items():
        if folder is not None and (folder / path).is_file():
            yield scene(name, read_image(folder / path))


def scene(name: str, image: MetaTensor) -> Scene:
    """The middle of a volume, over its 99.9th percentile, and the head in it."""
    grid = Grid.from_image(image)
    start = [max(n - m, 0) // 2 for n, m in zip(grid.shape, CROP, strict=True)]
    stop = [min(a + m, n) for a, m, n in zip(start, CROP, grid.shape, strict=True)]
    box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    part = image.as_tensor()[(slice(None), *box)].float()
    part = (part / torch.quantile(part.flatten(), 0.999)).clamp(-0.1, 1.2).contiguous()
    if name == "CT_AVM":
        head = torch.from_numpy(binary_dilation((part[0] > 0.05).numpy(), iterations=2))
    else:
        head = head_of(part[0])
    return Scene(name, grid.crop(start, stop).to_image(part), head)


@dataclass(frozen=True)
class Cell:
    """Slices of a scene, and what is told of them."""

    scene: Scene
    factor: float
    profile: str
    noise: float
    told: str
    many: bool = False  # whether an ensemble is asked as well

    @property
    def spacing(self) -> float:
        return self.factor * float(Grid.from_image(self.scene.image).spacing[2])

    def across(self, told: str) -> Boxcar | Gaussian:
        other = next(name for name in PROFILES if name != self.profile)
        kind = PROFILES[other if told == "other profile" else self.profile]
        return kind(WRONG[told] * self.spacing)

    def cropped(self) -> Cell:
        """The same with as many planes as whole slices hold."""
        grid = Grid.from_image(self.scene.image)
        planes = int(int(grid.shape[2] / self.factor + 1e-6) * self.factor + 1e-6)
        image = grid.crop((0, 0, 0), (*grid.shape[:2], planes)).to_image(
            self.scene.image.as_tensor()[..., :planes]
        )
        return replace(self, scene=Scene(self.scene.name, image, self.scene.head[..., :planes]))

    def thick(self) -> MetaTensor:
        noise = GaussianNoise(self.noise) if self.noise else None
        return simulate_slices(
            self.scene.image, self.spacing, profile=self.across("as told"), noise=noise
        )
