"""One frame of DICOM: where it lies, and how its stored values become intensities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["Plane", "planes_of"]

# Where multi-frame objects keep what others have at their top.
_GROUPS = {
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "SliceThickness": "PixelMeasuresSequence",
    "SpacingBetweenSlices": "PixelMeasuresSequence",
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
}

# Spacings within a plane, in the order in which they are trusted; but for the first, with a word.
_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")

# Pointers to vectors that step from slice to slice, and not in time.
_SLICE_VECTOR, _GRID_OFFSETS, _SLICE_LOCATIONS = 0x0054_0080, 0x3004_000C, 0x0018_2005

_PARAMETRIC_MAP = "1.2.840.10008.5.1.4.1.1.30"
_NUCLEAR_MEDICINE = "1.2.840.10008.5.1.4.1.1.20"


@dataclass(frozen=True, eq=False)
class Plane:
    """One frame of DICOM, in its own world: mm, LPS.

    Args:
        size: rows, columns, and numbers for each pixel.
        spacing: between rows, and between columns.
        orientation: unit vectors along a row and down a column, (2, 3); None where it is not told.
        position: of the first pixel, (3,); None where it is not told.
        gap: from slice to slice, and what told it; None where nothing does.
        number: which instance, -1 where it is not told, and which frame it is.
        slope: intensities are slope times the stored values ...
        intercept: ... plus this.
        assumed: what was taken for granted.
        times: when it was measured, in seconds, by each of the attributes that may tell.
        kind: echo time and b-value, in which frames at one place may differ.
    """

    size: tuple[int, int, int]
    spacing: tuple[float, float]
    orientation: NDArray[np.float64] | None
    position: NDArray[np.float64] | None
    gap: tuple[float, str] | None
    number: tuple[int, int]
    slope: float
    intercept: float
    assumed: tuple[str, ...] = ()
    times: tuple[float | None, ...] = ()
    kind: tuple[float | None, ...] = ()

    @property
    def axes(self) -> NDArray[np.float64]:
        """Along a row, down a column and across both, as rows (3, 3)."""
        along = np.eye(3)[:2] if self.orientation is None else self.orientation
        return np.stack([*along, np.cross(*along)])


def planes_of(dataset: Dataset) -> list[Plane]:
    """The frames of one data set, in their order.

    Raises:
        ValueError: if they follow each other in time, or a number in the header is none.
    """
    count = int(dataset.get("NumberOfFrames", 1) or 1)
    shared = list(dataset.get("SharedFunctionalGroupsSequence") or [])
    groups = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])
    if groups:
        if len(groups) != count:
            raise ValueError(f"it has {count} frames, but headers for {len(groups)}")
        return [_plane(dataset, [each, *shared], i) for i, each in enumerate(groups)]
    if count == 1:
        return [_plane(dataset, shared, 0)]
    return _in_one_object(dataset, _plane(dataset, shared, 0), count)


def _plane(dataset: Dataset, groups: Sequence[Dataset], frame: int) -> Plane:
    detectors = list(dataset.get("DetectorInformationSequence") or [])
    places = [*groups, dataset, *detectors[:1]]
    spacing, assumed = _spacing(places)
    slope, intercept = _scaling(dataset, places)
    return Plane(
        size=(int(dataset.Rows), int(dataset.Columns), int(dataset.get("SamplesPerPixel", 1))),
        spacing=spacing,
        orientation=_orientation(places),
        position=_numbers(places, "ImagePositionPatient", 3),
        gap=_gap(places),
        number=(_instance(dataset), frame),
        slope=slope,
        intercept=intercept,
        assumed=assumed,
        times=_times(places),
        kind=tuple(_number(places, name) for name in ("EchoTime", "DiffusionBValue")),
    )


def _instance(dataset: Dataset) -> int:
    try:
        return int(dataset.InstanceNumber)
    except (AttributeError, TypeError, ValueError):
        return -1


def _in_one_object(dataset: Dataset, first: Plane, count: int) -> list[Plane]:
    """Frames without headers of their own: what steps from one to the next is told once."""
    steps = _steps(dataset, count)
    if steps is None:
        if first.gap is None:
            return [replace(first, number=(first.number[0], i)) for i in range(count)]
        gap, told = first.gap
        signed = gap if dataset.get("SOPClassUID") == _NUCLEAR_MEDICINE else abs(gap)
        order = _slice_numbers(dataset, count)
        steps = signed * (order - order[0])
        first = replace(first, assumed=(*first.assumed, f"frames placed by {told}"))
    start = np.zeros(3) if first.position is None else first.position
    return [
        replace(first, number=(first.number[0], i), position=start + step * first.axes[2])
        for i, step in enumerate(steps)
    ]


def _steps(dataset: Dataset, count: int) -> NDArray[np.float64] | None:
    """How far along the normal each frame lies from the first, where the object says so."""
    pointers = dataset.get("FrameIncrementPointer") or []
    pointers = [pointers] if isinstance(pointers, int) else list(pointers)
    space = {_SLICE_VECTOR, _GRID_OFFSETS, _SLICE_LOCATIONS}
    for pointer in pointers:
        values = _vector(dataset, pointer)
        if pointer not in space and (len(values) != count or len(set(values)) > 1):
            raise ValueError("its frames follow each other in time or otherwise, not in space")
    for pointer in pointers:
        if pointer in (_GRID_OFFSETS, _SLICE_LOCATIONS):
            offsets = np.array(_vector(dataset, pointer), dtype=np.float64)
            return _checked(offsets - offsets[:1], count, "offsets of its frames")
    return None


def _slice_numbers(dataset: Dataset, count: int) -> NDArray[np.float64]:
    numbers = _vector(dataset, _SLICE_VECTOR) or list(range(count))
    return _checked(np.array(numbers, dtype=np.float64), count, "slice numbers")


def _checked(values: NDArray[np.float64], count: int, name: str) -> NDArray[np.float64]:
    if values.shape != (count,):
        raise ValueError(f"it has {count} frames, but {values.size} {name}")
    return values


def _vector(dataset: Dataset, tag: int) -> list[Any]:
    value = dataset[tag].value if tag in dataset else []
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]


# ---- what a header says -------------------------------------------------------------------------


def _found(places: Sequence[Dataset], keyword: str) -> Any:  # noqa: ANN401 (pydicom has no types)
    """The first value of an attribute: of the frame, of all frames, or at the top."""
    for place in places:
        inner = place.get(_GROUPS.get(keyword, ""))
        for holder in (*(inner or [])[:1], place):
            value = holder.get(keyword)
            if value is not None and value != "":
                return value
    return None


def _numbers(places: Sequence[Dataset], keyword: str, count: int) -> NDArray[np.float64] | None:
    value = _found(places, keyword)
    if value is None:
        return None
    numbers = np.array(value, dtype=np.float64)
    if numbers.shape != (count,) or not np.isfinite(numbers).all():
        raise ValueError(f"{keyword} must be {count} numbers, got {value}")
    return numbers


def _number(places: Sequence[Dataset], keyword: str) -> float | None:
    value = _found(places, keyword)
    number = None if value is None else float(value)
    if number is not None and not np.isfinite(number):
        raise ValueError(f"{keyword} must be a number, got {value}")
    return number


def _orientation(places: Sequence[Dataset]) -> NDArray[np.float64] | None:
    cosines = _numbers(places, "ImageOrientationPatient", 6)
    if cosines is None:
        return None
    axes = cosines.reshape(2, 3)
    if np.abs(axes @ axes.T - np.eye(2)).max() > 1e-3:
        raise ValueError(
            f"ImageOrientationPatient must be two unit vectors at right angles, got {cosines}"
        )
    return axes / np.linalg.norm(axes, axis=1, keepdims=True)


def _spacing(places: Sequence[Dataset]) -> tuple[tuple[float, float], tuple[str, ...]]:
    for keyword in _SPACINGS:
        found = _numbers(places, keyword, 2)
        if found is None:
            continue
        if found.min() <= 0:
            raise ValueError(f"{keyword} must be positive, got {found.tolist()}")
        assumed = () if keyword == "PixelSpacing" else (f"pixel spacing taken from {keyword}",)
        return (float(found[0]), float(found[1])), assumed
    return (1.0, 1.0), ("no pixel spacing; taken for 1 mm",)


def _gap(places: Sequence[Dataset]) -> tuple[float, str] | None:
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        value = _number(places, keyword)
        if value:
            return value, f"{keyword}, {abs(value):g} mm"
    return None


def _times(places: Sequence[Dataset]) -> tuple[float | None, ...]:
    place, apart = (
        _number(places, name) for name in ("TemporalPositionIdentifier", "TemporalResolution")
    )
    in_turn = None if place is None or not apart else place * apart / 1000
    clock = (_found(places, name) for name in ("AcquisitionTime", "ContentTime"))
    waits = (_number(places, name) for name in ("FrameReferenceTime", "TriggerTime"))
    return (
        in_turn,
        *(None if each is None else each / 1000 for each in waits),
        *(None if each is None else _seconds(str(each)) for each in clock),
    )


def _seconds(clock: str) -> float | None:
    """Since midnight, of HHMMSS.FFFFFF; None where it is cut short or no time."""
    try:
        return 3600 * int(clock[:2]) + 60 * int(clock[2:4]) + float(clock[4:])
    except ValueError:
        return None


def _scaling(dataset: Dataset, places: Sequence[Dataset]) -> tuple[float, float]:
    slope, intercept = _number(places, "RescaleSlope"), _number(places, "RescaleIntercept")
    if slope is None and "DoseGridScaling" in dataset:
        slope = float(dataset.DoseGridScaling)
    if slope is None and dataset.get("SOPClassUID") == _PARAMETRIC_MAP:
        slope, intercept = _real_world(places)
    return (1.0 if slope is None else slope), (0.0 if intercept is None else intercept)


def _real_world(places: Sequence[Dataset]) -> tuple[float | None, float | None]:
    """Slope and intercept of a parametric map, which has no others."""
    for place in places:
        for mapping in place.get("RealWorldValueMappingSequence") or []:
            if "RealWorldValueSlope" in mapping:
                return float(mapping.RealWorldValueSlope), float(mapping.RealWorldValueIntercept)
    return None, None
