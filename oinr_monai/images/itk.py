"""Files that ITK reads and writes: MetaImage, NRRD."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .raw import OutgoingImage, RawImage, as_volume, reading, too_many_dimensions
from .time_axis import TimeAxis

if TYPE_CHECKING:
    import SimpleITK as sitk

__all__ = ["LPS_TO_RAS", "quiet_itk", "read_itk", "write_itk"]


LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

# Units of length as NRRD and MetaImage write them.
_MM = {
    **dict.fromkeys(("mm", "millimeter", "millimeters", "millimetre", "millimetres"), 1.0),
    **dict.fromkeys(("um", "\u00b5m", "\u03bcm", "micron", "microns", "micrometer"), 1e-3),
    **dict.fromkeys(("micrometers", "micrometre", "micrometres"), 1e-3),
    **dict.fromkeys(("nm", "nanometer", "nanometers"), 1e-6),
    **dict.fromkeys(("cm", "centimeter", "centimeters"), 10.0),
    **dict.fromkeys(("m", "meter", "meters", "metre", "metres"), 1e3),
    **dict.fromkeys(("in", "inch", "inches"), 25.4),
}


def read_itk(path: Path) -> RawImage:
    """A file that ITK reads: MetaImage, NRRD."""
    import SimpleITK as sitk

    with reading(path, path.suffix[1:].upper()), quiet_itk():
        image = sitk.ReadImage(str(path))
    return _from_itk(path, image)


def _from_itk(path: Path, image: sitk.Image) -> RawImage:
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
    affine[:space] *= _millimetres(path, image, dims)
    return RawImage(values, LPS_TO_RAS @ affine, time=_time(image))


def _time(image: sitk.Image) -> TimeAxis | None:
    """The fourth axis, where its spacing says that it is one of time."""
    if image.GetDimension() < 4 or image.GetSpacing()[3] == 1:
        return None
    return TimeAxis(image.GetSpacing()[3], image.GetOrigin()[3])


def _millimetres(path: Path, image: sitk.Image, dims: int) -> float:
    """How many mm one unit of length is: ITK reads the numbers of NRRD, and leaves the unit."""
    told = image.GetMetaData("ITK_VoxelUnits") if image.HasMetaDataKey("ITK_VoxelUnits") else ""
    units = {told.lower()} if told else _nrrd_units(path)
    units -= {""}
    if not units:
        return 1.0
    if len(units) > 1 or not units <= set(_MM):
        raise ValueError(
            f"{path}: lengths must be in one unit, such as um, mm or cm, got"
            f" {', '.join(sorted(units))}; correct the header"
        )
    return _MM[units.pop()]


def _nrrd_units(path: Path) -> set[str]:
    """The units that a NRRD header names for the axes of space."""
    if path.suffix.lower() not in {".nrrd", ".nhdr"}:
        return set()
    with path.open("rb") as file:
        header = re.split(rb"\r?\n\r?\n", file.read(1 << 16))[0].decode("latin-1")
    lines = re.findall(r"^([\w ]+): *(.*?)\r?$", header, re.MULTILINE)
    fields: dict[str, str] = {str(name): str(text) for name, text in lines}
    if "space units" in fields:
        return {unit.strip().lower() for unit in re.findall(r'"([^"]*)"', fields["space units"])}
    if "space" in fields or "space dimension" in fields:
        return set()  # units are then those of the other axes
    named = {unit.strip().lower() for unit in re.findall(r'"([^"]*)"', fields.get("units", ""))}
    return named & set(_MM)


@contextmanager
def quiet_itk() -> Iterator[None]:
    """Keep ITK's warnings off the terminal: what matters here is checked and raised."""
    import SimpleITK as sitk

    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


def write_itk(path: Path, outgoing: OutgoingImage) -> None:
    """Write a MetaImage or NRRD file; channels that have times, as a fourth axis in seconds."""
    import SimpleITK as sitk

    volume, time = as_volume(outgoing.values), outgoing.time
    if len(volume) > 1 and time is not None:
        image = sitk.GetImageFromArray(volume.transpose(0, 3, 2, 1), isVector=False)
        image.SetSpacing([1.0, 1.0, 1.0, time.step * time.seconds or 1.0])
        image.SetOrigin([0.0, 0.0, 0.0, time.start * time.seconds])
    else:
        image = sitk.GetImageFromArray(volume.T if len(volume) > 1 else volume[0].T)
    _place(image, LPS_TO_RAS @ outgoing.affine)
    if outgoing.description:
        image.SetMetaData("description", outgoing.description)
    _reserve(path, volume.nbytes)
    try:
        sitk.WriteImage(image, str(path), useCompression=True)
    except RuntimeError as error:
        raise OSError(str(error).rpartition("sitk::ERROR: ")[2]) from error


def _reserve(path: Path, size: int) -> None:
    # ITK tells of a full disk in words of its own, some of them straight to the terminal.
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, size + (size >> 10) + (1 << 12))


def _place(image: sitk.Image, affine: NDArray[np.float64]) -> None:
    """Give an ITK image its place in LPS mm; further axes keep theirs."""
    dims = image.GetDimension()
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    direction = np.eye(dims)
    direction[:3, :3] = affine[:3, :3] / spacing
    image.SetSpacing([*spacing.tolist(), *image.GetSpacing()[3:]])
    image.SetDirection(direction.ravel().tolist())
    image.SetOrigin([*affine[:3, 3].tolist(), *image.GetOrigin()[3:]])
