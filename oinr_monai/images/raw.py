"""What every reader hands on: voxels, affine and meta data, checked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .meta import STORED_SCALING
from .time_axis import TimeAxis

__all__ = [
    "OutgoingImage",
    "RawImage",
    "as_volume",
    "check_affine",
    "check_finite",
    "reading",
    "too_many_dimensions",
    "with_channels",
]


@dataclass(frozen=True, eq=False)
class RawImage:
    """An image as a file holds it: in memory, or mapped and read where it is looked at.

    Args:
        values: (C, *spatial), as they are stored.
        affine: from voxel indices to world mm, RAS, (4, 4).
        slope: intensities are slope times the values ...
        intercept: ... plus this.
        time: of the channels, where they follow each other in time.
    """

    values: NDArray[Any]
    affine: NDArray[np.float64]
    slope: float = 1.0
    intercept: float = 0.0
    time: TimeAxis | None = None

    @property
    def scaled(self) -> bool:
        """Whether intensities are others than the values."""
        return self.slope != 1 or self.intercept != 0

    @property
    def scaling(self) -> dict[str, Any]:
        """Slope and intercept, as a MetaTensor's ``meta``, where they are of whole numbers."""
        whole = self.scaled and self.values.dtype.kind in "iu"
        return {STORED_SCALING: [float(self.slope), float(self.intercept)]} if whole else {}

    def check(self, path: Path) -> None:
        """Refuse what is no image of real numbers with voxels and a place."""
        if self.values.dtype.kind not in "biuf":
            raise ValueError(
                f"{path}: the voxels are {self.values.dtype}; save real numbers instead, each"
                " channel by itself"
            )
        if self.values.size == 0:
            raise ValueError(
                f"{path}: the image is empty, shape {self.values.shape}; give one with voxels"
            )
        check_affine(path, self.affine)


@dataclass(frozen=True, eq=False)
class OutgoingImage:
    """An image as a file shall hold it.

    Args:
        values: (C, *spatial), in the type to be written.
        affine: from voxel indices to world mm, RAS, (4, 4).
        description: a note for the header.
        stored: type that tells how deep the pixels of a picture are.
        time: of the channels, where they follow each other in time.
    """

    values: NDArray[Any]
    affine: NDArray[np.float64]
    description: str
    stored: np.dtype[Any]
    time: TimeAxis | None = None


@contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Turn whatever a reader raises, often over several lines, into one line."""
    try:
        yield
    except Exception as error:
        problem = re.sub(r"\s+", " ", str(error)).strip() or type(error).__name__
        problem = problem.rpartition("sitk::ERROR: ")[2]
        raise ValueError(
            f"{path}: cannot be read as {kind} ({problem}); check that it is complete and really"
            f" {kind}"
        ) from error


def with_channels(path: Path, values: NDArray[Any], affine: NDArray[np.float64]) -> NDArray[Any]:
    """The image with its channels first: a colour or vector axis after the spatial ones moves."""
    if values.ndim == 5 and values.shape[3] == 1:  # NIfTI's layout of a vector image
        values = values[:, :, :, 0]
    elif values.ndim == 5 and values.shape[4] == 1:
        values = values[..., 0]
    if values.ndim > 4:
        raise too_many_dimensions(path, values.shape)
    if values.ndim == 2 and np.abs(affine[2, :2]).max() > 1e-3 * np.linalg.norm(affine[:3, 0]):
        values = values[:, :, None]  # in two dimensions the world is its XY plane
    return np.moveaxis(values, -1, 0) if values.ndim == 4 else values[None]


def as_volume(values: NDArray[Any]) -> NDArray[Any]:
    """Values (C, X, Y, Z), with axes of one voxel for those missing."""
    return values.reshape(*values.shape, *(1,) * (4 - values.ndim))


def check_finite(path: Path, values: NDArray[np.floating[Any]]) -> None:
    """Refuse an image that holds what is no finite number."""
    if not np.isfinite([values.min(), values.max()]).all():
        nan, infinite = int(np.isnan(values).sum()), int(np.isinf(values).sum())
        raise ValueError(
            f"{path}: {nan} NaN and {infinite} infinite voxels; replace them with numbers first,"
            " or leave them out by a mask"
        )


def check_affine(path: Path, affine: NDArray[np.float64]) -> None:
    """Refuse an affine whose axes are no axes: of length zero, parallel or not finite."""
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    with np.errstate(all="ignore"):
        volume = abs(np.linalg.det(affine[:3, :3] / lengths))
    if not (np.isfinite(affine).all() and volume > 1e-6):
        rows = affine[:3].round(4).tolist()
        raise ValueError(f"{path}: the affine {rows} is not invertible; correct it in the header")


def too_many_dimensions(path: Path, shape: tuple[int, ...]) -> ValueError:
    """The error for an image of more dimensions than a volume with channels has."""
    return ValueError(
        f"{path}: the image has {len(shape)} dimensions, {shape}; save one volume (X, Y, Z) or one"
        " series (X, Y, Z, channels)"
    )
