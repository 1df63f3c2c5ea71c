"""Masks: which voxels of an image count."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from monai.data import MetaTensor
from torch import Tensor

from oinr_monai.grids.grid import Grid

from .files import read_image

__all__ = ["read_mask"]


def read_mask(path: Path, image: MetaTensor, series: Sequence[str] = ()) -> Tensor:
    """Where the mask is nonzero, on the image's own voxels (*spatial).

    Args:
        path: the file, or DICOM folder.
        image: the image whose voxels it tells apart.
        series: UIDs of DICOM series to choose from, where the folder holds several.

    Raises:
        ValueError: if the mask has another shape or lies elsewhere; the message names the file.
    """
    mask = read_image(path, series)
    shape, wanted = tuple(mask.shape), (1, *image.shape[1:])
    if shape != wanted:
        raise ValueError(f"{path}: the mask must have the image's shape {wanted}, got {shape}")
    if not Grid.from_image(mask).same_places(Grid.from_image(image)):
        raise ValueError(f"{path}: the mask must have the image's affine; resample it onto it")
    return mask.as_tensor()[0] != 0
