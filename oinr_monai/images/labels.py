"""Label maps: whole numbers that name what a voxel belongs to, and never pass through float32."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.utils import ImageMetaKey, MetaKeys
from numpy.typing import NDArray
from torch import Tensor

from .files import open_raw
from .identity import file_mark
from .meta import SOURCE_MARK, STORED_DTYPE

__all__ = ["as_labels", "read_labels"]

# By how much the scale factors in a header, which are float32, may miss a whole number.
_ROUNDING = 1e-5


def read_labels(path: str | os.PathLike[str], series: Sequence[str] = ()) -> MetaTensor:
    """Read a label map, its numbers exactly as in the file.

    Args:
        path: any file that :func:`~oinr_monai.images.files.read_image` reads.
        series: UIDs of DICOM series to choose from, where a folder holds several.

    Returns:
        The labels in int64, shape (1, *spatial), with their affine.

    Raises:
        FileNotFoundError: if there is nothing at ``path``.
        ValueError: if it cannot be read, has several channels, or holds what are no labels.
    """
    path = Path(path)
    raw = open_raw(path, series)
    if len(raw.values) != 1:
        raise ValueError(f"{path}: labels must have one channel, got {len(raw.values)}")
    try:
        _check_told_apart(raw.values)
        labels = _whole(raw.values * raw.slope + raw.intercept if raw.scaled else raw.values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    meta = {ImageMetaKey.FILENAME_OR_OBJ: str(path), MetaKeys.SPACE: "RAS"}
    if raw.values.dtype.kind in "iu":
        meta[STORED_DTYPE] = raw.values.dtype.name
    if path.is_file():
        meta[SOURCE_MARK] = file_mark(path)
    return MetaTensor(torch.from_numpy(labels), affine=torch.from_numpy(raw.affine), meta=meta)


def as_labels(labels: Tensor | NDArray[Any]) -> Tensor:
    """The labels of an image in int64, on the CPU and without meta data.

    Raises:
        ValueError: if they are not whole, or too large for their type to tell them apart.

    Example:
        >>> as_labels(np.array([[0, 312782546]], dtype=np.uint32)).tolist()
        [[0, 312782546]]
    """
    plain = labels.as_tensor() if isinstance(labels, MetaTensor) else labels
    values = plain.detach().cpu().numpy() if isinstance(plain, Tensor) else np.asarray(plain)
    _check_told_apart(values)
    return torch.from_numpy(_whole(values))


def _check_told_apart(values: NDArray[Any]) -> None:
    """Refuse floating-point numbers above which neighbours are rounded onto each other."""
    if values.dtype.kind != "f" or not values.size:
        return
    most = 2.0 ** (np.finfo(values.dtype).nmant + 1)
    if np.isfinite(values).all() and np.abs(values).max() > most:
        raise ValueError(
            f"labels must be stored as integers above {most:.0f}, where {values.dtype} cannot tell"
            f" them apart, got {np.abs(values).max():.0f}; save them as integers"
        )


def _whole(values: NDArray[Any]) -> NDArray[np.int64]:
    if values.dtype.kind in "bi" or values.dtype in (np.uint8, np.uint16, np.uint32):
        return np.ascontiguousarray(values, dtype=np.int64)
    if values.dtype.kind not in "uf":
        raise ValueError(f"labels must be whole numbers, got {values.dtype}")
    if values.size and not (values.min() >= -(2**63) and values.max() < 2**63):
        raise ValueError(
            f"labels must be whole numbers below 2^63, got {values.min()} to {values.max()}"
        )
    whole = np.round(values)
    wrong = np.abs(values - whole) > _ROUNDING if values.dtype.kind == "f" else np.zeros(1, bool)
    if wrong.any():
        raise ValueError(
            f"labels must be whole numbers, got {values[wrong][0]:.6g} and {int(wrong.sum()) - 1}"
            " other voxels; resample with nearest values, or fit intensities as an image"
        )
    return np.ascontiguousarray(whole, dtype=np.int64)
