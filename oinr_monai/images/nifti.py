"""NIfTI files: read, mapped into memory, and written plane by plane."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .raw import RawImage, as_volume, check_affine, reading, with_channels
from .replacing import replacing

__all__ = ["map_nifti", "read_nifti", "write_nifti", "write_slabs"]


_MM = {"unknown": 1.0, "mm": 1.0, "meter": 1e3, "micron": 1e-3}


def map_nifti(path: Path) -> tuple[NDArray[Any], float, float, NDArray[np.float64]]:
    """Map the voxels of an unpacked NIfTI file into memory, where only those looked at are read.

    Returns:
        Values (C, *spatial), slope and intercept that make intensities of them, affine in mm.
    """
    import nibabel as nib

    with reading(path, "NIfTI"):
        nifti: Any = nib.load(path)
        values = nifti.dataobj.get_unscaled()
    slope, intercept = float(nifti.dataobj.slope), float(nifti.dataobj.inter)
    values, affine = with_channels(path, values, _nifti_affine(nifti))
    check_affine(path, affine)
    return values, slope, intercept, affine


def _nifti_affine(nifti: Any) -> NDArray[np.float64]:  # noqa: ANN401 (nibabel has no types)
    affine = np.array(nifti.affine, dtype=np.float64)
    affine[:3] *= _MM[nifti.header.get_xyzt_units()[0]]
    return affine


def read_nifti(path: Path) -> RawImage:
    """A NIfTI file, scaled by its slope and intercept."""
    import nibabel as nib

    with reading(path, "NIfTI"):
        nifti: Any = nib.load(path)
        values, affine = np.asarray(nifti.dataobj), _nifti_affine(nifti)
    return with_channels(path, values, affine)


def write_slabs(
    path: str | os.PathLike[str],
    shape: Sequence[int],
    affine: NDArray[np.float64],
    slabs: Iterable[NDArray[np.float32]],
    description: str = "",
) -> None:
    """Write an image of one channel that need not fit into memory, complete or not at all.

    Args:
        path: the file, ``.nii`` or ``.nii.gz``.
        shape: its shape, two or three sizes.
        affine: from voxel indices to world mm, (4, 4).
        slabs: its parts across the last axis, in their order, (*shape[:-1], any thickness).
        description: a note for the header.

    Raises:
        OSError: if the file cannot be written there.
    """
    path = Path(path)
    nothing = np.broadcast_to(np.float32(0), tuple(shape))
    header = _nifti(nothing, affine, description).header
    header.set_slope_inter(1, 0)
    opened: Callable[..., Any] = open
    if path.suffix.lower() == ".gz":
        opened = partial(gzip.open, compresslevel=1)
    with replacing(path) as temporary, opened(temporary, "wb") as file:
        header.write_to(file)
        file.write(bytes(int(header["vox_offset"]) - file.tell()))
        for slab in slabs:  # the first axis runs fastest in the file, and the last slowest
            file.write(np.asarray(slab, dtype="<f4").tobytes(order="F"))


def write_nifti(
    path: Path,
    values: NDArray[np.float32],
    affine: NDArray[np.float64],
    description: str,
    _: np.dtype[Any],
) -> None:
    """Write a NIfTI file in mm."""
    import nibabel as nib

    voxels = values[0] if len(values) == 1 else np.moveaxis(as_volume(values), 0, -1)
    nib.save(_nifti(voxels, affine, description), path)


def _nifti(voxels: NDArray[np.float32], affine: NDArray[np.float64], description: str) -> Any:  # noqa: ANN401
    import nibabel as nib

    nifti = nib.Nifti1Image(voxels, affine)
    nifti.header.set_xyzt_units("mm")
    nifti.header["descrip"] = description.encode("ascii", "replace")[:79]
    nifti.set_sform(affine, code=1)
    nifti.set_qform(affine, code=1)
    if not np.allclose(nifti.get_qform(), affine, rtol=1e-4, atol=1e-4):
        nifti.set_qform(affine, code=0)  # a qform cannot hold shears: leave the sform to speak
    return nifti
