"""Files that ITK reads and writes: MetaImage, NRRD."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .raw import RawImage, as_volume, reading, too_many_dimensions

if TYPE_CHECKING:
    import SimpleITK as sitk

__all__ = ["LPS_TO_RAS", "quiet_itk", "read_itk", "write_itk"]


LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


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
    return RawImage(values, LPS_TO_RAS @ affine)


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


def write_itk(
    path: Path,
    values: NDArray[Any],
    affine: NDArray[np.float64],
    description: str,
    _: np.dtype[Any],
) -> None:
    """Write a MetaImage or NRRD file."""
    import SimpleITK as sitk

    volume = as_volume(values)
    image = sitk.GetImageFromArray(volume.T if len(volume) > 1 else volume[0].T)
    affine = LPS_TO_RAS @ affine
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
