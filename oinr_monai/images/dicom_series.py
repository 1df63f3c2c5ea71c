"""Images as derived DICOM series: a file a slice, where the grid says, in the source's study."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from monai.data import MetaTensor
from monai.data.utils import to_affine_nd
from numpy.typing import NDArray

from oinr_monai.grids.grid import affine_in_ras

from .dicom_reference import DicomReference
from .itk import LPS_TO_RAS
from .raw import as_volume
from .replacing import writing
from .scratch import Scratch

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["Slices", "new_folder", "refer", "volume_and_slices", "write_dicom_series"]

_CT, _MR, _PET, _CAPTURE = (
    "1.2.840.10008.5.1.4.1.1.2",
    "1.2.840.10008.5.1.4.1.1.4",
    "1.2.840.10008.5.1.4.1.1.128",
    "1.2.840.10008.5.1.4.1.1.7",
)
_CLASSES = {"CT": _CT, "MR": _MR, "PT": _PET}

# What a class asks for, where the source does not say it; None may stay empty.
_ASKED: dict[str, dict[str, Any]] = {
    _CT: {"KVP": None, "AcquisitionNumber": None, "PatientPosition": None},
    _MR: {
        "ScanningSequence": "RM",
        "SequenceVariant": "NONE",
        "ScanOptions": None,
        "MRAcquisitionType": None,
        "RepetitionTime": None,
        "EchoTime": None,
        "EchoTrainLength": None,
        "PatientPosition": None,
    },
    _PET: {
        "SeriesType": ["STATIC", "IMAGE"],
        "Units": "PROPCNTS",
        "CountsSource": "EMISSION",
        "CorrectedImage": None,
        "DecayCorrection": "NONE",
        "CollimatorType": None,
        "RadiopharmaceuticalInformationSequence": [],
        "PatientOrientationCodeSequence": [],
        "PatientGantryRelationshipCodeSequence": [],
        "FrameReferenceTime": 0,
        "ActualFrameDuration": 0,
        "AcquisitionDate": None,
        "AcquisitionTime": None,
    },
    _CAPTURE: {"ConversionType": "WSD", "PatientOrientation": None},
}

# Rows and columns that miss a right angle by less, in radians, are at one.
_SQUARE = 1e-4


@dataclass(frozen=True, eq=False)
class Slices:
    """Where the slices of a volume lie, as DICOM tells it, in LPS mm.

    Args:
        orientation: unit vectors along a row and down a column, (2, 3).
        spacing: between rows, and between columns.
        positions: of the first pixel of each slice, (n, 3).
        gap: between neighbouring slices, along their normal.
    """

    orientation: NDArray[np.float64]
    spacing: tuple[float, float]
    positions: NDArray[np.float64]
    gap: float

    @classmethod
    def of(cls, affine: NDArray[np.float64], count: int) -> Slices:
        """The slices across the third axis of a volume with this RAS affine.

        Raises:
            ValueError: if rows and columns are not at right angles.
        """
        placed = LPS_TO_RAS @ affine
        lengths = np.linalg.norm(placed[:3, :2], axis=0)
        axes = (placed[:3, :2] / lengths).T
        if abs(float(axes[0] @ axes[1])) > _SQUARE:
            raise ValueError(
                "image must have rows and columns at right angles for DICOM, got a sheared plane;"
                " sample it on a grid that has, with --like or --spacing, first"
            )
        down = axes[1] - (axes[0] @ axes[1]) * axes[0]
        axes = np.stack([axes[0], down / np.linalg.norm(down)])
        positions = placed[:3, 3] + np.arange(count)[:, None] * placed[:3, 2]
        gap = abs(float(placed[:3, 2] @ np.cross(*axes)))
        return cls(axes, (float(lengths[1]), float(lengths[0])), positions, gap)

    def corners(self, index: int, rows: int, columns: int) -> NDArray[np.float64]:
        """The outermost pixel centres of a slice (4, 3)."""
        along = self.orientation[0] * self.spacing[1] * (columns - 1)
        down = self.orientation[1] * self.spacing[0] * (rows - 1)
        return self.positions[index] + np.stack([0 * along, along, down, along + down])


def write_dicom_series(
    folder: Path, image: MetaTensor, reference: DicomReference, description: str
) -> None:
    """Write an image as a series derived of another, complete or not at all.

    CT, MR and PET stay that; what is of another kind becomes secondary captures. Values are stored
    in 16 bits with a slope and intercept that span them; whole numbers, where they fit, as such. A
    tilted stack keeps the place of each slice.

    Args:
        folder: where; it must not exist, or be empty.
        image: (1, *spatial).
        reference: the series whose study, patient and frame of reference it belongs with.
        description: what was done, which becomes the series' description.

    Raises:
        ValueError: if the image has several channels, or a plane that DICOM cannot hold.
        OSError: if the folder cannot be written.
    """
    volume, slices = volume_and_slices(image)
    stored, slope, intercept = _stored(volume, signed=reference.modality == "PT")
    series = _Series(reference, slices, description)
    with new_folder(folder) as temporary:
        for k in range(volume.shape[2]):
            dataset = series.instance(k, stored[:, :, k].T, slope, intercept)
            _show(dataset, float(volume.min()), float(volume.max()))
            dataset.save_as(temporary / f"{k + 1:04d}.dcm", enforce_file_format=True)


def volume_and_slices(image: MetaTensor) -> tuple[NDArray[Any], Slices]:
    """The values (X, Y, Z) of an image of one channel, and where its slices lie."""
    if len(image) != 1:
        raise ValueError(f"image must have one channel for DICOM, got {len(image)}; write NIfTI")
    values = as_volume(image.as_tensor().detach().cpu().numpy())[0]
    affine = to_affine_nd(3, affine_in_ras(image).cpu().double().numpy())
    return values, Slices.of(affine, values.shape[2])


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder that becomes ``folder``, which is new or empty, if nothing goes wrong."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder}: must be a new or empty folder for DICOM; give another")
    if not folder.parent.is_dir():
        raise FileNotFoundError(f"{folder}: {folder.parent} is not a folder; create it first")
    with writing(folder), Scratch(folder.parent) as outer:
        inner = outer / folder.name
        inner.mkdir()
        yield inner
        os.replace(inner, folder)


class _Series:
    """The instances of one derived series."""

    def __init__(self, reference: DicomReference, slices: Slices, description: str) -> None:
        from pydicom.uid import generate_uid

        self.reference, self.slices, self.description = reference, slices, description
        self.uid = generate_uid()
        self.sop_class = _CLASSES.get(reference.modality, _CAPTURE)
        self.number = 1000 + int(reference.headers[0].get("SeriesNumber", 0) or 0)
        self.kind = _kind_of_image(reference, self.sop_class)

    def instance(self, k: int, pixels: NDArray[Any], slope: str, intercept: str) -> Dataset:
        """Slice ``k`` with these stored values (rows, columns)."""
        dataset = self.reference.new(self.sop_class, self.uid, k + 1)
        dataset.SeriesNumber, dataset.ImageType = self.number, self.kind
        dataset.SeriesDescription = f"{self.description}"[:64]
        dataset.DerivationDescription = self.description
        for keyword, value in _ASKED[self.sop_class].items():
            if keyword not in dataset:
                setattr(dataset, keyword, value)
        self._place(dataset, k)
        _fill(dataset, pixels, slope, intercept)
        if self.sop_class == _PET:
            dataset.NumberOfSlices, dataset.ImageIndex = len(self.slices.positions), k + 1
        if not self.reference.anonymous:
            refer(dataset, self.reference, self.slices, k)
        return dataset

    def _place(self, dataset: Dataset, k: int) -> None:
        from pydicom.valuerep import DS

        numbers: Callable[[NDArray[Any]], list[Any]] = lambda values: [  # noqa: E731
            DS(float(value), auto_format=True) for value in values
        ]
        dataset.PixelSpacing = numbers(np.array(self.slices.spacing))
        dataset.ImageOrientationPatient = numbers(self.slices.orientation.ravel())
        dataset.ImagePositionPatient = numbers(self.slices.positions[k])
        dataset.SliceThickness = DS(self.slices.gap, auto_format=True)
        if self.sop_class == _MR:
            dataset.SpacingBetweenSlices = DS(self.slices.gap, auto_format=True)


def _show(dataset: Dataset, low: float, high: float) -> None:
    """How to show it: as the source, or from the least to the greatest value."""
    from pydicom.valuerep import DS

    if "WindowCenter" in dataset and "WindowWidth" in dataset:
        return
    dataset.WindowCenter = DS((low + high) / 2, auto_format=True)
    dataset.WindowWidth = DS((high - low) or 1.0, auto_format=True)
    dataset.VOILUTFunction = "LINEAR_EXACT"


def _kind_of_image(reference: DicomReference, sop_class: str) -> list[str]:
    known = list(reference.headers[0].get("ImageType") or [])
    third = known[2:3] or {_CT: ["AXIAL"], _MR: ["OTHER"]}.get(sop_class, [])
    if sop_class == _PET:
        return ["DERIVED", "PRIMARY"]  # the standard knows no secondary ones
    return ["DERIVED", "SECONDARY", *third]


def _fill(dataset: Dataset, pixels: NDArray[Any], slope: str, intercept: str) -> None:
    signed = pixels.dtype.kind == "i"
    dataset.SamplesPerPixel = 1
    if dataset.get("PhotometricInterpretation") not in ("MONOCHROME1", "MONOCHROME2"):
        dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, int(signed)
    scaled = (slope, intercept) != ("1", "0")
    if scaled or dataset.SOPClassUID in (_CT, _PET):
        dataset.RescaleSlope, dataset.RescaleIntercept = slope, intercept
    if dataset.SOPClassUID == _CAPTURE and scaled:
        dataset.RescaleType = dataset.get("RescaleType", "US")
    elif dataset.SOPClassUID != _CT:
        dataset.pop("RescaleType", None)
    dataset.PixelData = np.ascontiguousarray(pixels).astype("<i2" if signed else "<u2").tobytes()


def _stored(values: NDArray[Any], signed: bool) -> tuple[NDArray[Any], str, str]:
    """Values in 16 bits, with the slope and intercept, as DICOM writes them, that scale them.

    Args:
        values: finite numbers.
        signed: whether the intercept must be 0, as in PET.
    """
    low, high = float(values.min()), float(values.max())
    whole = bool((values == np.round(values)).all())
    for kind in (np.uint16, np.int16):
        if whole and np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return values.astype(kind), "1", "0"
    if signed and low < 0:
        slope = _decimal(max(-low, high) / 32_767, ROUND_CEILING)
        return np.round(values / float(slope)).astype(np.int16), slope, "0"
    intercept = "0" if signed else _decimal(low, ROUND_FLOOR)
    slope = _decimal((high - float(intercept)) / 65_535, ROUND_CEILING)
    stored = np.round((values.astype(np.float64) - float(intercept)) / float(slope))
    return stored.clip(0, 65_535).astype(np.uint16), slope, intercept


def _decimal(value: float, rounding: str) -> str:
    """A number in at most 16 characters, rounded one way."""
    if value == 0:
        return "0"
    digits = 9 - math.floor(math.log10(abs(value)))
    exact = Decimal(value).quantize(Decimal(1).scaleb(-digits), rounding=rounding)
    return f"{exact:.9e}"


def refer(dataset: Dataset, reference: DicomReference, slices: Slices, k: int) -> None:
    """Name the source images that a slice was made of: those next to it, or of its own place."""
    from pydicom.dataset import Dataset

    near = _near(reference, slices, k, dataset.Rows, dataset.Columns)
    items = []
    for header in near:
        item = Dataset()
        item.ReferencedSOPClassUID = header.SOPClassUID
        item.ReferencedSOPInstanceUID = header.SOPInstanceUID
        items.append(item)
    series = Dataset()
    series.SeriesInstanceUID = reference.headers[0].SeriesInstanceUID
    series.ReferencedInstanceSequence = items
    dataset.SourceImageSequence, dataset.ReferencedSeriesSequence = items, [series]


def _near(
    reference: DicomReference, slices: Slices, k: int, rows: int, columns: int
) -> Sequence[Dataset]:
    """The source images whose planes a slice lies between, crosses, or is."""
    headers, planes = reference.headers, reference.planes
    known = [plane.position for plane in planes if plane.position is not None]
    if len(known) < len(headers) or len(planes) > len(headers) or len(headers) == 1:
        return headers
    normal = planes[0].axes[2]
    heights = np.array(known) @ normal
    across = slices.corners(k, rows, columns) @ normal
    gap = float(np.diff(np.sort(heights)).max())
    same = np.abs(across[:, None] - heights).max(axis=0) < 1e-3 * gap
    low, high = across.min() - gap, across.max() + gap
    chosen = same if same.any() else (heights > low) & (heights < high)
    return [each for each, near in zip(headers, chosen, strict=True) if near] or headers
