"""Images larger than memory: kept where they are, and read box by box."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.utils import ImageMetaKey
from torch import Tensor

from oinr_monai.grids.checks import check_positive
from oinr_monai.grids.grid import Grid
from oinr_monai.grids.tiles import slabs

from .arrays import intensities
from .identity import digest_of_image, file_mark
from .meta import SOURCE_MARK, STORED_DTYPE, STORED_SCALING
from .nifti import read_nifti
from .scratch import Scratch
from .time_axis import TimeAxis

__all__ = ["StoredImage", "open_image"]


@dataclass(frozen=True, eq=False)
class StoredImage:
    """An image (C, *spatial) that stays on disk; :func:`~oinr_monai.fit` reads it box by box.

    Args:
        values: what holds it, (C, *spatial), sliced as NumPy slices: a ``numpy.memmap``, or an
            array of Zarr or HDF5.
        affine: from voxel indices to world mm.
        memory: MiB that the parts read at once may take; the fitted numbers come on top, 20 bytes
            for each.
        slope: intensities are slope times the values ...
        intercept: ... plus this.
        source: file it is of, after which MONAI names what it writes.
        time: of the channels, where they follow each other in time.

    Raises:
        ValueError: if ``values`` has no voxels or another shape, or ``memory`` is not positive.

    Example:
        >>> image = StoredImage(np.zeros((1, 40, 50, 60), np.int16), np.eye(4))
        >>> image.read((0, 0, 0), (2, 3, 4)).shape
        torch.Size([1, 2, 3, 4])
    """

    values: Any
    affine: Tensor | np.ndarray
    memory: float = 256.0
    slope: float = 1.0
    intercept: float = 0.0
    source: str | None = None
    time: TimeAxis | None = None

    def __post_init__(self) -> None:
        shape = tuple(self.values.shape)
        if not 2 <= len(shape) <= 4 or min(shape) < 1:
            raise ValueError(f"values must have shape (C, *spatial) and voxels, got {shape}")
        check_positive(self, "memory")

    @property
    def shape(self) -> tuple[int, ...]:
        """Channels, and voxels along each axis."""
        return tuple(map(int, self.values.shape))

    @property
    def channels(self) -> int:
        """Number of channels."""
        return int(self.values.shape[0])

    @property
    def grid(self) -> Grid:
        """Where its voxels lie."""
        return Grid(tuple(self.values.shape[1:]), torch.as_tensor(self.affine))

    @property
    def meta(self) -> dict[str, Any]:
        """What it says of itself, as a MetaTensor's ``meta``: file, pixel depth and times."""
        plain = self.slope == 1 and self.intercept == 0
        known: dict[str, Any] = {} if self.time is None else self.time.meta()
        if not plain and np.dtype(self.values.dtype).kind in "iu":
            known[STORED_SCALING] = [float(self.slope), float(self.intercept)]
        if self.source is not None:
            known[ImageMetaKey.FILENAME_OR_OBJ] = self.source
            if Path(self.source).is_file():
                known[SOURCE_MARK] = file_mark(Path(self.source))
        return {**known, **({STORED_DTYPE: np.dtype(self.values.dtype).name} if plain else {})}

    @cached_property
    def digest(self) -> str:
        """What tells it from any other image: that of the same image in memory."""
        parts = slabs(self.grid.shape, self.voxels_at_once)
        return digest_of_image((self.read(*part) for part in parts), self.grid)

    @property
    def voxels_at_once(self) -> int:
        """Voxels that a slab may have, with some copies of it, to stay within ``memory``."""
        return int(self.memory * 2**20 / (32 * self.channels))

    def read(self, start: Sequence[int], stop: Sequence[int]) -> Tensor:
        """Intensities (C, *box) of the voxels ``start`` to ``stop - 1``, scaled as in memory.

        Raises:
            ValueError: if one is not finite.
        """
        box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
        stored = np.asarray(self.values[(slice(None), *box)])
        values = intensities(stored, self.slope, self.intercept)
        if not np.isfinite(values).all():
            raise ValueError(
                f"image must be finite, got NaN or infinite voxels between {tuple(start)} and "
                f"{tuple(stop)}; replace them with numbers first"
            )
        return torch.from_numpy(np.ascontiguousarray(values))


def open_image(path: str | os.PathLike[str], memory: float = 256.0) -> StoredImage:
    """Open a NIfTI file that need not fit into memory.

    A ``.nii`` is mapped: what is not asked for is not read. A ``.nii.gz`` cannot be, and is
    unpacked to a file in the folder of temporary files, which goes when nothing needs it any more.

    Args:
        path: the file, ``.nii`` or ``.nii.gz``; its fourth axis becomes the channels.
        memory: MiB that the parts read at once may take.

    Raises:
        FileNotFoundError: if there is nothing at ``path``.
        ValueError: if it is not NIfTI, or damaged.

    Example:
        >>> from nibabel.testing import data_path
        >>> open_image(data_path / "example4d.nii.gz").shape
        (2, 128, 96, 24)
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file; give the path of a NIfTI image")
    name = path.name.lower()
    if not path.is_file() or not name.endswith((".nii", ".nii.gz")):
        raise ValueError(
            f"{path}: must be NIfTI, .nii or .nii.gz, to be read in parts; convert it, or read it"
            " as a whole, without --memory"
        )
    if name.endswith(".nii"):
        raw = read_nifti(path)
    else:
        with Scratch() as folder:
            unpacked = folder / path.name[:-3]
            try:
                with gzip.open(path) as packed, unpacked.open("wb") as plain:
                    shutil.copyfileobj(packed, plain, 1 << 20)
            except (EOFError, gzip.BadGzipFile) as error:
                raise ValueError(f"{path}: cannot be unpacked ({error}); fetch it again") from error
            raw = read_nifti(unpacked, path)
    raw.check(path)
    return StoredImage(
        raw.values, raw.affine, memory, raw.slope, raw.intercept, str(path), raw.time
    )
