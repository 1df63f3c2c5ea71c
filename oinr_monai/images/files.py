"""Images on disk: NIfTI, NRRD, MetaImage, DICOM, PNG and JPEG, each with an affine in RAS mm."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.data.utils import to_affine_nd
from numpy.typing import NDArray
from torch import Tensor

from oinr_monai.grids.grid import Grid, affine_in_ras

from .arrays import intensities, narrowed
from .dicom import read_dicom
from .dicom_files import is_dicom
from .identity import file_mark
from .itk import read_itk, write_itk
from .meta import SOURCE_MARK, STORED_DTYPE
from .nifti import LONGEST_AXIS, read_nifti, write_nifti
from .pictures import check_picture, read_picture, write_jpeg, write_png
from .raw import OutgoingImage, RawImage, check_finite, reading
from .replacing import replacing
from .time_axis import TimeAxis

__all__ = ["check_storable", "open_raw", "read_grid", "read_image", "write_image"]


def read_image(
    path: str | os.PathLike[str], series: Sequence[str] = (), *, finite: bool = True
) -> MetaTensor:
    """Read an image and its place in the world.

    NIfTI (``.nii``, ``.nii.gz``): the last axis of four becomes the channels; lengths in other
    units become mm; a 2-D image out of the world's XY plane, such as a sagittal slice, becomes a
    volume of one slice. NRRD and MetaImage (``.nrrd``, ``.nhdr``, ``.mha``, ``.mhd``): LPS becomes
    RAS. DICOM (a file of any name, or the folder of a series, at any depth): slices are ordered by
    their places, each scaled by its own slope and intercept, a tilted gantry shears the affine.
    PNG and JPEG: an image with X to the right, Y down and the identity for an affine, turned
    upright as EXIF says; an alpha channel is dropped, colour has 8 bits. No axis is squeezed.

    What the file does not say and is taken for granted is told as an
    :class:`~oinr_monai.images.notes.ImageNote`, a warning.

    Args:
        path: the file, or the folder of a DICOM series.
        series: UIDs of DICOM series to choose from, where a folder holds several.
        finite: refuse an image that is not finite everywhere; else who uses it checks what counts.

    Returns:
        The image in float32, or in float64 where that would cost a part of its contrast, as with a
        frequency of 123 MHz that varies by 200 Hz; shape (C, *spatial), its affine in float64,
        shape (4, 4), from voxel indices to world mm, RAS. Its ``meta["stored_dtype"]`` is the type
        in the file, unsigned where no value is negative.

    Raises:
        FileNotFoundError: if there is nothing at ``path``.
        ValueError: if the image cannot be read, is empty or not finite, has too many
            dimensions, or has no usable affine; the message names the file and the remedy.

    Example:
        >>> from nibabel.testing import data_path
        >>> image = read_image(data_path / "example4d.nii.gz")
        >>> image.shape
        torch.Size([2, 128, 96, 24])
        >>> image.pixdim
        tensor([2.0000, 2.0000, 2.2000], dtype=torch.float64)
    """
    path = Path(path)
    raw = open_raw(path, series)
    with reading(path, "an image"):  # a mapped file may turn out to end too soon
        values = intensities(raw.values, raw.slope, raw.intercept)
    if finite:
        check_finite(path, values)
    stored = np.dtype(np.float64) if raw.scaled else raw.values.dtype
    sign = "u" if stored.kind == "i" and values.min() >= 0 else ""
    meta = {"filename_or_obj": str(path), "space": "RAS", STORED_DTYPE: f"{sign}{stored.name}"}
    meta |= raw.scaling
    if raw.time is not None:
        meta |= raw.time.meta()
    if path.is_file():
        meta[SOURCE_MARK] = file_mark(path)
    return MetaTensor(torch.from_numpy(values), affine=torch.from_numpy(raw.affine), meta=meta)


def read_grid(path: str | os.PathLike[str], series: Sequence[str] = ()) -> Grid:
    """Where the voxels of an image lie; what is in them does not matter.

    Args:
        path: any file that :func:`read_image` reads.
        series: UIDs of DICOM series to choose from, where a folder holds several.

    Raises:
        FileNotFoundError: if there is nothing at ``path``.
        ValueError: if it cannot be read, or has no usable affine.
    """
    raw = open_raw(Path(path), series)
    return Grid(tuple(raw.values.shape[1:]), torch.from_numpy(raw.affine))


def open_raw(path: Path, series: Sequence[str] = ()) -> RawImage:
    """An image as its file holds it, checked: the one door by which files come in.

    Raises:
        FileNotFoundError: if there is nothing at ``path``.
        ValueError: if it cannot be read, or is no image of real numbers with a place.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder; give the path of an image")
    if path.is_dir() or path.suffix.lower() == ".dcm" or is_dicom(path):
        raw = read_dicom(path, series)
    else:
        raw = _format(path, _READERS)(path)
    raw.check(path)
    return raw


def write_image(path: str | os.PathLike[str], image: MetaTensor, description: str = "") -> None:
    """Write an image; nothing is left behind, and an older file stays as it was, if that fails.

    NIfTI (``.nii``, ``.nii.gz``), NRRD and MetaImage (``.nrrd``, ``.mha``) hold the affine, and
    float32, float64 where :func:`read_image` gives it, or whole numbers such as labels as such.
    Channels become a fourth axis, with the times that ``meta["time_axis"]`` tells. A 2-D image
    becomes a volume of one slice, except that NIfTI keeps one channel 2-D. PNG and JPEG hold a 2-D
    image, or a volume of one slice, of one or three channels, without the affine. Their pixels are
    rounded and clipped to 0..255, or, in grey PNG, to 0..65535 if the image was stored in more
    than 8 bits (``meta["stored_dtype"]``).

    Args:
        path: the file; its suffix chooses the format.
        image: the image, shape (C, *spatial), one to three spatial dimensions.
        description: a note for the header; NIfTI keeps its first 79 characters.

    Raises:
        ValueError: if the suffix is none of these, or the image does not fit the format, as one
            with negative or fractional intensities does not fit PNG.
        OSError: if the file cannot be written there.

    Example:
        >>> import tempfile
        >>> image = MetaTensor(torch.arange(24.0).reshape(1, 2, 3, 4))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_image(f"{folder}/image.nii.gz", image)
        ...     read_image(f"{folder}/image.nii.gz").shape
        torch.Size([1, 2, 3, 4])
    """
    path = Path(path)
    write = _format(path, _WRITERS)
    if not 2 <= image.ndim <= 4:
        raise ValueError(f"image must have shape (C, *spatial), got {tuple(image.shape)}")
    told = np.dtype(image.meta.get(STORED_DTYPE, np.uint8))
    values = _storable(image.as_tensor().detach().cpu(), told)
    affine = to_affine_nd(3, affine_in_ras(image).cpu().double().numpy())
    whole = values.dtype.kind in "iu"  # as labels, whose pixels are not to be clipped
    stored = values.dtype if whole else told
    check_storable(path, len(values), values.shape[1:], {STORED_DTYPE: stored})
    leaving = OutgoingImage(values, affine, description, stored, TimeAxis.of(image.meta))
    with replacing(path) as temporary:
        write(temporary, leaving)


def check_storable(
    path: Path, channels: int, shape: Sequence[int], meta: Mapping[str, Any]
) -> None:
    """Find out, before an image is computed, whether :func:`write_image` could write it.

    Args:
        path: the file; its suffix chooses the format.
        channels: of the image.
        shape: voxels along each axis.
        meta: what the image will say of itself; of it, ``stored_dtype``.

    Raises:
        ValueError: if the format cannot hold it.

    Example:
        >>> check_storable(Path("a.png"), 1, (64, 64, 30), {})
        Traceback (most recent call last):
        ValueError: image must have shape (1 or 3, X, Y) for PNG, got (1, 64, 64, 30); ...
    """
    write = _format(path, _WRITERS)
    if write in (write_png, write_jpeg):
        kind = "PNG" if write is write_png else "JPEG"
        check_picture(kind, channels, shape, np.dtype(meta.get(STORED_DTYPE, np.uint8)))
    elif write is write_nifti and max(*shape, channels) > LONGEST_AXIS:
        raise ValueError(
            f"image must have at most {LONGEST_AXIS} voxels along each axis for NIfTI, got"
            f" {(channels, *shape)}; choose a coarser grid"
        )


def _storable(values: Tensor, told: np.dtype[Any]) -> NDArray[Any]:
    """The values in a type that files hold: float32, or one for whole numbers.

    That is the one in which they were stored if it holds them all, else the smallest.
    """
    if values.is_complex():
        raise ValueError(f"image must hold real numbers, got {values.dtype}; write its parts")
    if values.is_floating_point():
        return narrowed(values.numpy()) if values.dtype == torch.float64 else values.float().numpy()
    whole = values.numpy()
    ends = [int(whole.min()), int(whole.max())] if whole.size else [0, 0]
    smallest = np.result_type(*[np.min_scalar_type(end) for end in ends])
    return whole.astype(told if np.can_cast(smallest, told) and told.kind in "iu" else smallest)


def _format(path: Path, formats: dict[str, Callable[..., Any]]) -> Callable[..., Any]:
    """The function of the longest suffix that the name ends in."""
    for suffix in sorted(formats, key=len, reverse=True):
        if path.name.lower().endswith(suffix):
            return formats[suffix]
    known = sorted({*formats, *([".dcm"] if formats is _READERS else [])})
    raise ValueError(f"{path}: unknown suffix; use one of {', '.join(known)}")


_READERS: dict[str, Callable[[Path], RawImage]] = {
    ".nii": read_nifti,
    ".nii.gz": read_nifti,
    **dict.fromkeys((".nrrd", ".nhdr", ".mha", ".mhd"), read_itk),
    **dict.fromkeys((".png", ".jpg", ".jpeg"), read_picture),
}


_WRITERS: dict[str, Callable[[Path, OutgoingImage], None]] = {
    ".nii": write_nifti,
    ".nii.gz": write_nifti,
    **dict.fromkeys((".nrrd", ".mha"), write_itk),
    ".png": write_png,
    **dict.fromkeys((".jpg", ".jpeg"), write_jpeg),
}
