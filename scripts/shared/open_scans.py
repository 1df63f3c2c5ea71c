"""Open scans that operators are learned from.

A folder holds `open_ms/` (T1, T2 and FLAIR of one person, CC BY), `labelmaps/anatomy_0?.nii.gz`
(heads as label maps, Apache-2.0) and `lung/3DCT_lung_baseline.mha` (CT of a chest, Apache-2.0),
which the repository does not ship. Heads get random contrasts, bias and blur.
"""

from __future__ import annotations

from pathlib import Path

import torch
from monai.data import MetaTensor

from oinr_monai import Grid
from oinr_monai.images.files import read_image
from scripts.shared.anatomies import random_scan

# How often each scan is drawn for once that a head of random contrast is; by hand. FLAIR was
# measured in three dimensions.
TIMES = {"FLAIR": 6, "T1": 4, "T2": 4, "CT": 4}

# T1 and T2 were measured in slices about so many voxels of their files thick.
THICK = 3

# Contrasts of each anatomy; the last anatomy is kept aside for choices.
CONTRASTS = 4

# Intensities of CT, in HU.
WINDOW = (-1024, 1000)


def scans(folder: Path, noise: float) -> list[MetaTensor]:
    """The scans of a folder; heads of random contrast get at most so much noise of their range."""
    found: list[MetaTensor] = []
    for name, times in TIMES.items():
        found += [real(folder, name)] * times
    generator = torch.Generator().manual_seed(0)
    for path in sorted((folder / "labelmaps").glob("anatomy_0[1-5].nii.gz")):
        labels = read_image(path)
        found += [random_scan(labels, generator, noise) for _ in range(CONTRASTS)]
    return found


def real(folder: Path, name: str) -> MetaTensor:
    if name == "CT":
        image = read_image(folder / "lung/3DCT_lung_baseline.mha")
        return Grid.from_image(image).to_image(image.as_tensor().clamp(*WINDOW))
    image = read_image(folder / f"open_ms/{name}.nii.gz")
    if name == "FLAIR":
        return image
    # As it was measured: what the file holds between the slices was interpolated.
    grid, scale = Grid.from_image(image), (1.0, 1.0, float(THICK))
    values = image.as_tensor()[..., ::THICK]
    return grid.scaled((0.0, 0.0, 0.0), tuple(values.shape[1:]), scale).to_image(values)
