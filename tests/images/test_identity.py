"""The digest of an image: the same wherever it is, another for any other image."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from oinr_monai import Grid, StoredImage
from oinr_monai.images.identity import digest_of_image
from oinr_monai.images.scans import checked_scans

SHAPE = (5, 6, 7)


def voxels() -> Tensor:
    return torch.arange(210.0).sin().view(1, *SHAPE)


def grid(**change: float) -> Grid:
    affine = torch.diag(torch.tensor([2.0, 1.5, 3.0, 1.0], dtype=torch.float64))
    affine[0, 3] = change.get("x", 0.0)
    affine[0, 0] *= change.get("sign", 1.0)
    return Grid(SHAPE, affine)


def mask(last: int = 7) -> Tensor:
    inside = torch.zeros(SHAPE, dtype=torch.bool)
    inside[..., 1:last] = True
    return inside


@pytest.mark.parametrize("inside", [None, mask()])
@pytest.mark.parametrize("thickness", [1, 2, 5, 7])
def test_slabs_are_as_the_whole(inside: Tensor | None, thickness: int) -> None:
    whole = digest_of_image([voxels()], grid(), inside)
    assert digest_of_image(voxels().split(thickness, dim=-1), grid(), inside) == whole


def changed(place: tuple[int, ...], value: float) -> Tensor:
    image = voxels()
    image[place] = value
    return image


OTHERS: dict[str, Callable[[], str]] = {
    "a voxel": lambda: digest_of_image([changed((0, 2, 3, 4), 1e-9)], grid(), mask()),
    "the mirror image": lambda: digest_of_image([voxels().flip(1)], grid(), mask()),
    "the mirrored axis": lambda: digest_of_image([voxels()], grid(sign=-1.0), mask()),
    "another place": lambda: digest_of_image([voxels()], grid(x=1e-9), mask()),
    "another mask": lambda: digest_of_image([voxels()], grid(), mask(6)),
    "no mask": lambda: digest_of_image([voxels()], grid()),
    "two channels": lambda: digest_of_image([voxels().expand(2, *SHAPE)], grid(), mask()),
    "another type": lambda: digest_of_image([voxels().double()], grid(), mask()),
}


@pytest.mark.parametrize("other", OTHERS)
def test_any_other_image_has_another(other: str) -> None:
    assert OTHERS[other]() != digest_of_image([voxels()], grid(), mask())


def test_what_does_not_count_does_not_tell() -> None:
    whole = digest_of_image([voxels()], grid(), mask())
    assert digest_of_image([changed((0, 2, 3, 0), math.nan)], grid(), mask()) == whole


def test_it_is_the_same_in_every_process() -> None:
    code = (
        "import torch; from oinr_monai import Grid; "
        "from oinr_monai.images.identity import digest_of_image; "
        "image = torch.arange(24.0).view(1, 4, 6); "
        "print(digest_of_image([image], Grid((4, 6), torch.eye(4))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    here = digest_of_image([torch.arange(24.0).view(1, 4, 6)], Grid((4, 6), torch.eye(4)))
    assert done.stdout.strip() == here


@pytest.mark.parametrize("memory", [0.01, 100.0])
def test_it_is_the_same_on_disk(memory: float) -> None:
    stored = np.arange(210, dtype=np.int16).reshape(1, *SHAPE)
    on_disk = StoredImage(stored, grid().affine, memory, slope=0.5, intercept=-20.0)
    (scan,) = checked_scans([grid().to_image(torch.from_numpy(stored * 0.5 - 20.0).float())], None)
    assert on_disk.digest == scan.digest
