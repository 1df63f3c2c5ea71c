"""DICOM images: slices, series and multi-frame objects, as one volume where they make one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .dicom_files import quiet_pydicom, read_headers, series_in
from .dicom_planes import Plane, planes_of
from .dicom_times import volumes_in_time
from .itk import LPS_TO_RAS, quiet_itk
from .notes import note
from .raw import RawImage, reading
from .scratch import Scratch

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["read_dicom", "stacked_planes"]

# Directions that differ by less, in radians, are the same, and places by less, in mm.
_SAME_DIRECTION, _SAME_PLACE = 1e-3, 1e-3

_SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")

# Part of a step by which the distances between slices may differ.
_EVEN = 0.02


def read_dicom(path: Path, series: Sequence[str] = ()) -> RawImage:
    """A DICOM file, or the one series of a folder; volumes at several times are its channels.

    Args:
        path: file, or folder of any depth.
        series: UIDs to choose from where the folder holds several series.

    Raises:
        ValueError: if there is no DICOM image, or not one series, or its slices are no volume.
    """
    files = series_in(path, series) if path.is_dir() else [path]
    datasets = read_headers(files, pixels=True)
    if len(files) == 1 and datasets[0].get("SOPClassUID") in _SEGMENTATIONS:
        return _read_segmentation(path, files[0])
    planes = []
    with reading(path, "DICOM"):
        for dataset in datasets:
            planes += planes_of(dataset)
    volumes, time = volumes_in_time(path, planes)
    order, affine = stacked_planes(path, [planes[i] for i in volumes[0]])
    with reading(path, "DICOM"):
        frames = [frame for dataset in datasets for frame in _stored(dataset)]
        if time is not None and planes[0].size[2] > 1:
            raise ValueError("it is a film in colour")
        # Arrays of frames run (Z, Y, X[, C]).
        found = [
            np.stack([_intensities(frames[each[i]], planes[each[i]]) for i in order]).T
            for each in volumes
        ]
    values = found[0] if found[0].ndim == 4 else np.stack(found)
    return RawImage(values, LPS_TO_RAS @ affine, time=time)


def _read_segmentation(path: Path, file: Path) -> RawImage:
    """A DICOM Segmentation as a label map: by the segments' labels where these are numbers."""
    from .dicom_objects import need_highdicom

    highdicom = need_highdicom()
    with reading(path, "a DICOM segmentation"), quiet_pydicom():
        found = highdicom.seg.segread(file)
        volume = found.get_volume(combine_segments=True)
    labels = np.zeros(int(max(found.segment_numbers)) + 1, np.int64)
    told = [found.get_segment_description(each).segment_label for each in found.segment_numbers]
    known = all(text.isdecimal() for text in told)
    for number, text in zip(found.segment_numbers, told, strict=True):
        labels[number] = int(text) if known else number
    # Its axes run (Z, Y, X), from the outermost frames that hold anything.
    affine = np.array(volume.affine)[:, [2, 1, 0, 3]]
    return RawImage(labels[volume.array].T[None], LPS_TO_RAS @ affine)


# ---- where the slices lie -----------------------------------------------------------------------


def stacked_planes(
    path: Path, planes: Sequence[Plane]
) -> tuple[Sequence[int], NDArray[np.float64]]:
    """The order of the slices of a volume, and its affine (4, 4) in LPS mm.

    Raises:
        ValueError: if they are no volume: they differ in size, spacing or orientation, or are
            repeated or unevenly spaced.
    """
    _check_alike(path, planes)
    first = planes[0]
    assumed = [each for plane in planes for each in plane.assumed]
    if first.orientation is None:
        assumed.append("no orientation, taken for axial")
    order, positions = _placed(path, planes, assumed)
    affine = np.eye(4)
    affine[:3, 0] = first.axes[0] * first.spacing[1]
    affine[:3, 1] = first.axes[1] * first.spacing[0]
    affine[:3, 2] = _step(path, first, positions, assumed)
    affine[:3, 3] = positions[0]
    if assumed:
        note(path, "; ".join(dict.fromkeys(assumed)))
    return order, affine


def _check_alike(path: Path, planes: Sequence[Plane]) -> None:
    first = planes[0]
    sizes = sorted({plane.size for plane in planes})
    if len(sizes) > 1:
        shapes = ", ".join(f"{columns} x {rows} x {each}" for rows, columns, each in sizes)
        raise ValueError(f"{path}: the slices differ in size, {shapes}; give one series alone")
    spacings = np.array([plane.spacing for plane in planes])
    if np.abs(spacings / spacings[0] - 1).max() > 1e-3:
        raise ValueError(
            f"{path}: the slices differ in pixel spacing, {spacings.min(0)} to {spacings.max(0)}"
            " mm; give one series alone"
        )
    if len({plane.orientation is None for plane in planes}) > 1:
        raise ValueError(f"{path}: some slices have no orientation; give those that have")
    turned = max(float(np.abs(plane.axes - first.axes).max()) for plane in planes)
    if turned > _SAME_DIRECTION:
        angle = max(_angle(plane.axes, first.axes) for plane in planes)
        raise ValueError(
            f"{path}: the orientation differs between slices, by up to {angle:.3g} degrees; give"
            " slices that are parallel"
        )


def _angle(axes: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """Angle of the turn between two frames, in degrees."""
    cosine = (np.trace(axes @ others.T) - 1) / 2
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def _placed(
    path: Path, planes: Sequence[Plane], assumed: list[str]
) -> tuple[Sequence[int], NDArray[np.float64]]:
    """The order of the slices along their normal, and their places (n, 3) in that order."""
    known = [plane.position for plane in planes if plane.position is not None]
    if not known:
        return _placed_by_number(path, planes, assumed)
    if len(known) < len(planes):
        raise ValueError(f"{path}: some slices have no position; give those that have")
    places = np.array(known)
    heights = places @ planes[0].axes[2]
    order = np.argsort(heights, kind="stable").tolist()
    if heights[0] > heights[-1] and len({plane.number[0] for plane in planes}) == 1:
        order.reverse()  # the frames of one object keep the way they run
    return order, places[order]


def _placed_by_number(
    path: Path, planes: Sequence[Plane], assumed: list[str]
) -> tuple[Sequence[int], NDArray[np.float64]]:
    numbers = [plane.number for plane in planes]
    gap, counted = planes[0].gap, len(set(numbers)) == len(planes)
    apart = {plane.gap for plane in planes}
    if len(planes) > 1 and (gap is None or not counted or len(apart) > 1):
        raise ValueError(
            f"{path}: the slices have no position, and not both a number each and one"
            " SpacingBetweenSlices or SliceThickness; give slices that have positions"
        )
    assumed.append("no position, the first voxel put at the origin")
    order = sorted(range(len(planes)), key=numbers.__getitem__)
    if gap is None or len(planes) == 1:
        return order, np.zeros((1, 3))
    assumed.append(f"slices in the order of their numbers, as far apart as {gap[1]}")
    return order, np.arange(len(planes))[:, None] * abs(gap[0]) * planes[0].axes[2]


def _step(
    path: Path, first: Plane, positions: NDArray[np.float64], assumed: list[str]
) -> NDArray[np.float64]:
    """From slice to slice (3,): across a tilted gantry, not along the normal."""
    if len(positions) == 1:
        gap, told = first.gap or (1.0, "nothing, 1 mm")
        assumed.append(f"a lone slice, its thickness taken from {told}")
        return first.axes[2] * abs(gap)
    steps = np.diff(positions, axis=0)
    repeated = int((np.abs(steps @ first.axes[2]) < _SAME_PLACE).sum())
    if repeated:
        raise ValueError(
            f"{path}: {repeated} of {len(positions)} slices repeat the place of another, as those"
            " of several echoes, times or b-values do; give one volume"
        )
    step = (positions[-1] - positions[0]) / len(steps)
    if np.abs(steps - step).max() > _EVEN * np.linalg.norm(step):
        gaps = np.linalg.norm(steps, axis=1)
        raise ValueError(
            f"{path}: the slices are unevenly spaced, {gaps.min():.4g} to {gaps.max():.4g} mm;"
            " look for missing or repeated slices and give one complete volume"
        )
    return step


# ---- what is in them ----------------------------------------------------------------------------


def _stored(dataset: Dataset) -> Iterator[NDArray[Any]]:
    """The stored values of each frame, (rows, columns) or, in colour, (rows, columns, 3)."""
    values = _decoded(dataset)
    colour = values.ndim > 2 and values.shape[-1] == 3 and int(dataset.SamplesPerPixel) == 3
    palette = dataset.get("PhotometricInterpretation") == "PALETTE COLOR"
    if palette:
        from pydicom.pixels.processing import apply_color_lut

        values = apply_color_lut(values, dataset)[..., :3]
        values = values if values.dtype == np.uint8 else (values >> 8).astype(np.uint8)
    elif "ModalityLUTSequence" in dataset:
        from pydicom.pixels.processing import apply_modality_lut

        values = apply_modality_lut(values, dataset)
    if values.ndim == 2 + (colour or palette):
        values = values[None]
    if values.dtype.kind in "iu":
        # Some put overlays into the bits that are not the value's.
        spare = 8 * values.dtype.itemsize - int(dataset.get("BitsStored", 0) or 0)
        if 0 < spare < 8 * values.dtype.itemsize and dataset.get("BitsAllocated", 0) > 8:
            values = (values << spare) >> spare
    yield from values


def _decoded(dataset: Dataset) -> NDArray[Any]:
    from pydicom.pixels.utils import pixel_array

    with quiet_pydicom():
        try:
            return pixel_array(dataset)
        except RuntimeError:
            return _decoded_by_itk(dataset)


def _decoded_by_itk(dataset: Dataset) -> NDArray[Any]:
    """Stored values by ITK, which has decoders that pydicom lacks, as that of lossless JPEG."""
    import SimpleITK as sitk

    plain = dataset.copy()
    for keyword in ("RescaleSlope", "RescaleIntercept", "SharedFunctionalGroupsSequence"):
        if keyword in plain:
            delattr(plain, keyword)
    if plain.PhotometricInterpretation == "MONOCHROME1":  # ITK would invert it
        plain.PhotometricInterpretation = "MONOCHROME2"
    with Scratch() as folder, quiet_itk():
        plain.save_as(folder / "image.dcm")
        image = sitk.ReadImage(folder / "image.dcm")
    values = sitk.GetArrayFromImage(image)
    colour = image.GetNumberOfComponentsPerPixel() > 1
    return values[0] if values.ndim == 3 + colour and len(values) == 1 else values


def _intensities(stored: NDArray[Any], plane: Plane) -> NDArray[Any]:
    """What was measured, in the smallest type that holds it; how to show it does not matter."""
    slope, intercept = plane.slope, plane.intercept
    if slope == 1 and intercept == 0:
        return stored
    if stored.dtype.kind in "iu" and slope.is_integer() and intercept.is_integer():
        return stored.astype(np.int64) * int(slope) + int(intercept)
    return stored * slope + intercept
