"""NIfTI files: read, mapped into memory, and written plane by plane."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from .notes import note
from .raw import OutgoingImage, RawImage, as_volume, reading, with_channels
from .replacing import replacing
from .time_axis import TimeAxis, TimeUnit

__all__ = ["LONGEST_AXIS", "read_nifti", "write_nifti", "write_slabs"]


# The most voxels along an axis that the header can count.
LONGEST_AXIS = 32_767

_MM = {"unknown": 1.0, "mm": 1.0, "meter": 1e3, "micron": 1e-3}

# By how much the square of a quaternion's length may exceed one: writers round it.
_LONG_QUATERNION = 1e-3

# Part of a voxel by which the corners of sform and qform may differ without a word.
_FORMS_AGREE = 0.1


def read_nifti(path: Path, name: Path | None = None) -> RawImage:
    """A NIfTI file; the voxels of one that is not packed stay on disk until they are looked at.

    Args:
        path: the file, ``.nii`` or ``.nii.gz``.
        name: what to call it in what is said, if not ``path``.
    """
    import nibabel as nib

    name = name or path
    with reading(name, "NIfTI"):
        header = _header(path)
        proxy: Any = nib.arrayproxy.ArrayProxy(path, header)
        values = proxy.get_unscaled()
        affine = header.get_best_affine()
    unit, time_unit = _units(name, header)
    _note_forms(name, header, affine)
    affine[:3] *= _MM[unit]
    time = None
    if values.ndim == 4 or (values.ndim == 5 and values.shape[4] == 1):
        time = _time(header, time_unit)
    values = with_channels(name, values, affine)
    return RawImage(values, affine, float(proxy.slope), float(proxy.inter), time)


def _time(header: Any, unit: str) -> TimeAxis | None:  # noqa: ANN401
    """The fourth axis; None where the header says nothing of it, as that of a vector image."""
    axis = TimeAxis(float(header["pixdim"][4]), float(header["toffset"]), cast("TimeUnit", unit))
    plain = axis.step in (0.0, 1.0) and axis.start == 0 and unit == "unknown"
    return None if plain or not np.isfinite([axis.step, axis.start]).all() else axis


def _header(path: Path) -> Any:  # noqa: ANN401 (nibabel has no types)
    import nibabel as nib

    with nib.openers.ImageOpener(str(path)) as file:
        start = file.read(nib.Nifti2Header.sizeof_hdr)
        file.seek(0)
        version = nib.Nifti2Header if nib.Nifti2Header.may_contain_header(start) else None
        header: Any = (version or nib.Nifti1Header).from_fileobj(file)
    header.quaternion_threshold = -_LONG_QUATERNION
    return header


def _units(path: Path, header: Any) -> tuple[str, str]:  # noqa: ANN401
    """The units of length and of time; a code that names none is told, and 'unknown'."""
    from nibabel.nifti1 import unit_codes

    code = int(header["xyzt_units"])
    found = []
    for part, taken_for in ((code % 8, "mm"), (code - code % 8, "no unit of time")):
        known = part in unit_codes.code
        if not known:
            note(path, f"xyzt_units of {code} names no unit; taken for {taken_for}")
        found.append(str(unit_codes.label[part]) if known else "unknown")
    return found[0], found[1]


def _note_forms(path: Path, header: Any, affine: NDArray[np.float64]) -> None:  # noqa: ANN401
    """Say where the place of the image is not told, or told twice."""
    sform, qform = int(header["sform_code"]), int(header["qform_code"])
    if not sform and not qform:
        note(path, "neither sform nor qform; centred, its first axis taken to run to the left")
    told = header["quatern_b"] ** 2 + header["quatern_c"] ** 2 + header["quatern_d"] ** 2
    if qform and not sform and float(told) > 1 + 1e-6:
        note(path, f"the quaternion's length is {float(told) ** 0.5:.7g}; taken for 1")
    apart = _between_forms(header, affine) if sform and qform else 0.0
    if apart > _FORMS_AGREE * np.linalg.norm(affine[:3, :3], axis=0).min():
        note(path, f"sform and qform differ by up to {apart:.3g} mm; the sform is taken")


def _between_forms(header: Any, sform: NDArray[np.float64]) -> float:  # noqa: ANN401
    """How far apart the two place a corner of the image, in mm; 0 where the qform is none."""
    import nibabel as nib

    try:
        qform = header.get_qform()
    except (ValueError, nib.spatialimages.HeaderDataError):
        return 0.0
    last = header["dim"][1:4].astype(np.float64) - 1
    corners = np.c_[np.vstack([np.zeros(3), np.diag(last), last]), np.ones(5)]
    return float(np.linalg.norm((corners @ (qform - sform).T)[:, :3], axis=1).max())


def write_slabs(
    path: str | os.PathLike[str],
    shape: Sequence[int],
    affine: NDArray[np.float64],
    slabs: Iterable[NDArray[np.floating[Any]]],
    description: str = "",
    *,
    wide: bool = False,
) -> None:
    """Write an image of one channel that need not fit into memory, complete or not at all.

    Args:
        path: the file, ``.nii`` or ``.nii.gz``.
        shape: its shape, two or three sizes.
        affine: from voxel indices to world mm, (4, 4).
        slabs: its parts across the last axis, in their order, (*shape[:-1], any thickness).
        description: a note for the header.
        wide: whether to write float64, not float32.

    Raises:
        OSError: if the file cannot be written there.
    """
    path = Path(path)
    kind = np.dtype("<f8" if wide else "<f4")
    nothing = np.broadcast_to(kind.type(0), tuple(shape))
    header = _nifti(nothing, affine, description).header
    header.set_slope_inter(1, 0)
    opened: Callable[..., Any] = open
    if path.suffix.lower() == ".gz":
        opened = partial(gzip.open, compresslevel=1)
    with replacing(path) as temporary, opened(temporary, "wb") as file:
        header.write_to(file)
        for slab in slabs:  # the first axis runs fastest in the file, and the last slowest
            file.write(np.asarray(slab, dtype=kind).tobytes(order="F"))


def write_nifti(path: Path, image: OutgoingImage) -> None:
    """Write a NIfTI file in mm."""
    import nibabel as nib

    values = image.values
    voxels = values[0] if len(values) == 1 else np.moveaxis(as_volume(values), 0, -1)
    nib.save(_nifti(voxels, image.affine, image.description, image.time), path)


def _nifti(
    voxels: NDArray[Any],
    affine: NDArray[np.float64],
    description: str,
    time: TimeAxis | None = None,
) -> Any:  # noqa: ANN401
    import nibabel as nib

    nifti = nib.Nifti1Image(voxels, affine, dtype=voxels.dtype)
    nifti.header.set_xyzt_units("mm")
    if time is not None and voxels.ndim == 4:
        nifti.header.set_xyzt_units("mm", time.unit)
        nifti.header["pixdim"][4], nifti.header["toffset"] = time.step, time.start
    nifti.header["descrip"] = description.encode("ascii", "replace")[:79]
    nifti.set_sform(affine, code=1)
    nifti.set_qform(affine, code=1)
    if not np.allclose(nifti.get_qform(), affine, rtol=1e-4, atol=1e-4):
        nifti.set_qform(affine, code=0)  # a qform cannot hold shears: leave the sform to speak
    return nifti
