"""Images on disk: NIfTI, NRRD, MetaImage, DICOM, PNG and JPEG, each with an affine in RAS mm."""

import gzip
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.data.utils import to_affine_nd
from numpy.typing import NDArray

if TYPE_CHECKING:
    import SimpleITK as sitk

from .replacing import replacing

__all__ = ["STORED_DTYPE", "map_nifti", "read_image", "write_image", "write_slabs"]

# Key in a MetaTensor's meta: the type of the voxels in the file, unsigned where none is negative.
STORED_DTYPE = "stored_dtype"

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_MM = {"unknown": 1.0, "mm": 1.0, "meter": 1e3, "micron": 1e-3}
RawImage = tuple[NDArray[Any], NDArray[np.float64]]  # values (C, *spatial) and affine (4, 4)


def read_image(path: str | os.PathLike[str]) -> MetaTensor:
    """Read an image and its place in the world.

    NIfTI (``.nii``, ``.nii.gz``): the last axis of four becomes the channels; lengths in other
    units become mm; a 2-D image out of the world's XY plane, such as a sagittal slice, becomes a
    volume of one slice. NRRD, MetaImage and DICOM (``.nrrd``, ``.nhdr``, ``.mha``, ``.mhd``,
    ``.dcm`` or the folder of one DICOM series): LPS becomes RAS. PNG and JPEG: an image with X to
    the right, Y down and the identity for an affine, turned upright as EXIF says; an alpha channel
    is dropped, colour has 8 bits. No axis is squeezed.

    Args:
        path: the file, or the folder of a DICOM series.

    Returns:
        The image in float32, shape (C, *spatial), its affine in float64, shape (4, 4), from
        voxel indices to world mm, RAS. Its ``meta["stored_dtype"]`` is the type in the file,
        unsigned where no value is negative.

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
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder; give the path of an image")
    values, affine = read_dicom_folder(path) if path.is_dir() else _format(path, _READERS)(path)
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{path}: the voxels are {values.dtype}; save real numbers instead")
    stored = values.dtype
    with np.errstate(over="ignore"):  # what float32 cannot hold is reported as infinite
        values = np.ascontiguousarray(values, dtype=np.float32)
    check_values(path, values)
    check_affine(path, affine)
    sign = "u" if stored.kind == "i" and values.min() >= 0 else ""
    meta = {"filename_or_obj": str(path), "space": "RAS", STORED_DTYPE: f"{sign}{stored}"}
    return MetaTensor(torch.from_numpy(values), affine=torch.from_numpy(affine), meta=meta)


def write_image(path: str | os.PathLike[str], image: MetaTensor, description: str = "") -> None:
    """Write an image; nothing is left behind, and an older file stays as it was, if that fails.

    NIfTI (``.nii``, ``.nii.gz``), NRRD and MetaImage (``.nrrd``, ``.mha``) hold float32 and the
    affine; channels become NIfTI's fourth axis. A 2-D image becomes a volume of one slice,
    except that NIfTI keeps one channel 2-D. PNG and JPEG (``.png``, ``.jpg``, ``.jpeg``) hold a 2-D
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
    values = image.as_tensor().detach().cpu().float().numpy()
    affine = to_affine_nd(3, image.affine.detach().cpu().double().numpy())
    stored = np.dtype(image.meta.get(STORED_DTYPE, np.uint8))
    with replacing(path) as temporary:
        write(temporary, values, affine, description, stored)


def _format(path: Path, formats: dict[str, Callable[..., Any]]) -> Callable[..., Any]:
    """The function of the longest suffix that the name ends in."""
    for suffix in sorted(formats, key=len, reverse=True):
        if path.name.lower().endswith(suffix):
            return formats[suffix]
    raise ValueError(f"{path}: unknown suffix; use one of {', '.join(sorted(formats))}")


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
    import nibabel as nib

    with reading(path, "NIfTI"):
        nifti: Any = nib.load(path)
        values, affine = np.asarray(nifti.dataobj), _nifti_affine(nifti)
    return with_channels(path, values, affine)


def with_channels(path: Path, values: NDArray[Any], affine: NDArray[np.float64]) -> RawImage:
    if values.ndim == 5 and values.shape[3] == 1:  # NIfTI's layout of a vector image
        values = values[:, :, :, 0]
    if values.ndim > 4:
        raise too_many_dimensions(path, values.shape)
    if values.ndim == 2 and np.abs(affine[2, :2]).max() > 1e-3 * np.linalg.norm(affine[:3, 0]):
        values = values[:, :, None]  # in two dimensions the world is its XY plane
    return (np.moveaxis(values, -1, 0) if values.ndim == 4 else values[None]), affine


def read_itk(path: Path) -> RawImage:
    import SimpleITK as sitk

    with reading(path, path.suffix[1:].upper()), _quiet_itk():
        image = sitk.ReadImage(str(path))
    return _from_itk(path, image)


def read_dicom_folder(path: Path) -> RawImage:
    import SimpleITK as sitk

    with _quiet_itk():
        series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(path))
        if len(series) != 1:
            found = f"{len(series)} DICOM series ({', '.join(series)})" if series else "no DICOM"
            raise ValueError(f"{path}: the folder holds {found}; give a folder with one series")
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(path), series[0]))
        reader.MetaDataDictionaryArrayUpdateOn()
        with reading(path, "a DICOM series"):
            image = reader.Execute()
    values, affine = _from_itk(path, image)
    return values, _along_slices(path, reader, affine)


def _along_slices(
    path: Path, reader: "sitk.ImageSeriesReader", affine: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The affine with the step from slice to slice, which ITK takes to be along the normal."""
    key, slices = "0020|0032", range(len(reader.GetFileNames()))
    if len(slices) < 2 or not all(reader.HasMetaDataKey(i, key) for i in slices):
        return affine
    places = np.array([reader.GetMetaData(i, key).split("\\") for i in slices], dtype=np.float64)
    steps = np.diff(places, axis=0)
    step = steps.mean(axis=0)
    if np.abs(steps - step).max() > 0.02 * np.linalg.norm(step):
        gaps = np.linalg.norm(steps, axis=1)
        raise ValueError(
            f"{path}: the slices are unevenly spaced, {gaps.min():.4g} to {gaps.max():.4g} mm;"
            " look for missing or repeated slices and give one complete volume"
        )
    affine = affine.copy()
    affine[:3, 2] = _LPS_TO_RAS[:3, :3] @ step
    return affine


def _from_itk(path: Path, image: "sitk.Image") -> RawImage:
    """Values (C, X, Y[, Z]) and RAS affine of an ITK image, whose own arrays run (Z, Y, X[, C])."""
    import SimpleITK as sitk

    dims = image.GetDimension()
    values = sitk.GetArrayViewFromImage(image).T.copy()
    if image.GetNumberOfComponentsPerPixel() > 1:
        if dims > 3:
            raise too_many_dimensions(path, values.shape)
    else:
        values = np.moveaxis(values, -1, 0) if dims == 4 else values[None]
    space = min(dims, 3)
    affine = np.eye(4)
    direction = np.array(image.GetDirection()).reshape(dims, dims)[:space, :space]
    affine[:space, :space] = direction * image.GetSpacing()[:space]
    affine[:space, 3] = image.GetOrigin()[:space]
    return values, _LPS_TO_RAS @ affine


@contextmanager
def _quiet_itk() -> Iterator[None]:
    """Keep ITK's warnings off the terminal: what matters here is checked and raised."""
    import SimpleITK as sitk

    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


def read_picture(path: Path) -> RawImage:
    from PIL import Image, ImageOps

    with reading(path, "a PNG or JPEG picture"), Image.open(path) as stored:
        picture = ImageOps.exif_transpose(stored)
        if picture.mode in {"1", "LA"}:
            values = np.asarray(picture.convert("L"))
        elif picture.mode in {"L", "I", "F"} or picture.mode.startswith("I;16"):
            values = np.asarray(picture)
        else:
            values = np.asarray(picture.convert("RGB"))
    return (values.T if values.ndim == 3 else values.T[None]), np.eye(4)


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


def write_itk(
    path: Path,
    values: NDArray[np.float32],
    affine: NDArray[np.float64],
    description: str,
    _: np.dtype[Any],
) -> None:
    import SimpleITK as sitk

    volume = as_volume(values)
    image = sitk.GetImageFromArray(volume.T if len(volume) > 1 else volume[0].T)
    affine = _LPS_TO_RAS @ affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    if description:
        image.SetMetaData("description", description)
    try:
        sitk.WriteImage(image, str(path), useCompression=True)
    except RuntimeError as error:
        raise OSError(str(error).rpartition("sitk::ERROR: ")[2]) from error


def write_png(
    path: Path,
    values: NDArray[np.float32],
    _: NDArray[np.float64],
    description: str,
    stored: np.dtype[Any],
) -> None:
    from PIL import Image, PngImagePlugin

    note = PngImagePlugin.PngInfo()
    if description:
        note.add_text("Description", description)
    Image.fromarray(_pixels(values, stored, "PNG")).save(path, pnginfo=note)


def write_jpeg(
    path: Path,
    values: NDArray[np.float32],
    _: NDArray[np.float64],
    description: str,
    stored: np.dtype[Any],
) -> None:
    from PIL import Image

    picture = Image.fromarray(_pixels(values, stored, "JPEG"))
    picture.save(path, quality=95, subsampling=0, comment=description)


def _pixels(values: NDArray[np.float32], stored: np.dtype[Any], kind: str) -> NDArray[Any]:
    """Pixels (Y, X) or (Y, X, 3), as deep as the image was stored."""
    thin = [axis for axis in range(1, values.ndim) if values.shape[axis] == 1]
    flat = values.squeeze(thin[-1]) if values.ndim == 4 and thin else values
    if flat.ndim != 3 or len(flat) not in {1, 3}:
        raise ValueError(f"image must have shape (1 or 3, X, Y) for {kind}, got {values.shape}")
    depth = np.uint8 if stored.itemsize == 1 else np.uint16
    if stored.kind not in "bu" or (depth is np.uint16 and (kind == "JPEG" or len(flat) == 3)):
        raise ValueError(
            f"image must have been 8 bits deep and positive for {kind}, or 16 in grey PNG, got"
            f" {len(flat)} channels of {stored}; write NIfTI instead"
        )
    pixels = flat.round().clip(0, np.iinfo(depth).max).astype(depth).T
    return np.ascontiguousarray(pixels if len(flat) == 3 else pixels[:, :, 0])


def as_volume(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Values (C, X, Y, Z), with axes of one voxel for those missing."""
    return values.reshape(*values.shape, *(1,) * (4 - values.ndim))


def check_values(path: Path, values: NDArray[np.float32]) -> None:
    if values.size == 0:
        raise ValueError(f"{path}: the image is empty, shape {values.shape}; give one with voxels")
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        nan, infinite = int(np.isnan(values).sum()), int(np.isinf(values).sum())
        raise ValueError(
            f"{path}: {nan} NaN and {infinite} infinite voxels; replace them with numbers first"
        )


def check_affine(path: Path, affine: NDArray[np.float64]) -> None:
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    with np.errstate(all="ignore"):
        volume = abs(np.linalg.det(affine[:3, :3] / lengths))
    if not (np.isfinite(affine).all() and volume > 1e-6):
        rows = affine[:3].round(4).tolist()
        raise ValueError(f"{path}: the affine {rows} is not invertible; correct it in the header")


def too_many_dimensions(path: Path, shape: tuple[int, ...]) -> ValueError:
    return ValueError(
        f"{path}: the image has {len(shape)} dimensions, {shape}; save one volume (X, Y, Z) or one"
        " series (X, Y, Z, channels)"
    )


_READERS: dict[str, Callable[[Path], RawImage]] = {
    ".nii": read_nifti,
    ".nii.gz": read_nifti,
    **dict.fromkeys((".nrrd", ".nhdr", ".mha", ".mhd", ".dcm"), read_itk),
    **dict.fromkeys((".png", ".jpg", ".jpeg"), read_picture),
}
_WRITERS: dict[str, Callable[[Path, NDArray[Any], NDArray[Any], str, np.dtype[Any]], None]] = {
    ".nii": write_nifti,
    ".nii.gz": write_nifti,
    **dict.fromkeys((".nrrd", ".mha"), write_itk),
    ".png": write_png,
    **dict.fromkeys((".jpg", ".jpeg"), write_jpeg),
}
