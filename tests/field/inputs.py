"""Files as they come from the field: small, synthetic, and with what is right about them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

CT, ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1"
MR, ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"
PET, NUCLEAR = "1.2.840.10008.5.1.4.1.1.128", "1.2.840.10008.5.1.4.1.1.20"
CAPTURE, ULTRASOUND = "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.3.1"
MODALITIES = {CT: "CT", ENHANCED_CT: "CT", MR: "MR", ENHANCED_MR: "MR", PET: "PT", NUCLEAR: "NM"}

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
SHAPE = (11, 9, 6)  # columns, rows, slices
SPACING, ORIGIN = (1.5, 1.25, 4.0), (-20.0, 12.0, 7.0)
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)

Edit = Callable[[Dataset, int], None]


def counts(shape: Sequence[int] = SHAPE, top: int = 900) -> NDArray[np.int64]:
    """Whole numbers (X, Y, Z) that no flip or turn leaves as they are."""
    x, y, z = np.meshgrid(*[np.linspace(0, 1, n) for n in shape], indexing="ij")
    return np.round(top * (0.5 * x**2 + 0.3 * y + 0.15 * z + 0.05 * x * y)).astype(np.int64)


def affine_of(
    step: Sequence[float] = (0.0, 0.0, SPACING[2]),
    orientation: Sequence[float] = AXIAL,
    origin: Sequence[float] = ORIGIN,
) -> NDArray[np.float64]:
    """The RAS affine of slices that ``step`` apart, in LPS mm."""
    affine = np.eye(4)
    affine[:3, 0] = np.array(orientation[:3]) * SPACING[0]
    affine[:3, 1] = np.array(orientation[3:]) * SPACING[1]
    affine[:3, 2], affine[:3, 3] = step, origin
    return LPS_TO_RAS @ affine


def dicom(pixels: NDArray[Any], sop: str = CT, series: str = "1.2.3.1", number: int = 1) -> Dataset:
    """A data set of pixels (rows, columns) or (frames, rows, columns), without any place."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop, meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3.0", series
    dataset.FrameOfReferenceUID = "1.2.3.9"
    dataset.PatientName, dataset.PatientID = "Doe^Jane", "4711"
    dataset.Modality, dataset.InstanceNumber = MODALITIES.get(sop, "OT"), number
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelRepresentation = int(pixels.min() < 0)
    if pixels.ndim == 3:
        dataset.NumberOfFrames = len(pixels)
    dataset.PixelData = pixels.astype("<i2" if pixels.min() < 0 else "<u2").tobytes()
    return dataset


def write_series(
    folder: Path,
    volume: NDArray[Any],
    edit: Edit | None = None,
    *,
    step: Sequence[float] = (0.0, 0.0, SPACING[2]),
    orientation: Sequence[float] = AXIAL,
    sop: str = CT,
    series: str = "1.2.3.1",
) -> Path:
    """A file for each slice of a volume (X, Y, Z), with names against the order."""
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(volume.shape[2]):
        dataset = dicom(volume[:, :, k].T, sop, series, k + 1)
        dataset.PixelSpacing = [SPACING[1], SPACING[0]]
        dataset.ImageOrientationPatient = list(orientation)
        dataset.ImagePositionPatient = (np.array(ORIGIN) + k * np.array(step)).tolist()
        dataset.SliceThickness = SPACING[2]
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0
        if edit is not None:
            edit(dataset, k)
        dataset.save_as(folder / f"{99 - k}.dcm", enforce_file_format=True)
    return folder


def write_enhanced(
    path: Path,
    volume: NDArray[Any],
    edit: Edit | None = None,
    *,
    order: Sequence[int] | None = None,
    step: Sequence[float] = (0.0, 0.0, SPACING[2]),
    sop: str = ENHANCED_MR,
) -> Path:
    """One multi-frame file of a volume (X, Y, Z); ``edit`` sees each frame's functional groups."""
    order = range(volume.shape[2]) if order is None else order
    dataset = dicom(np.stack([volume[:, :, k].T for k in order]), sop)
    shared, measures, plane = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [SPACING[1], SPACING[0]], 3.0
    plane.ImageOrientationPatient = list(AXIAL)
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [plane]
    dataset.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for k in order:
        frame, place = Dataset(), Dataset()
        place.ImagePositionPatient = (np.array(ORIGIN) + k * np.array(step)).tolist()
        frame.PlanePositionSequence = [place]
        if edit is not None:
            edit(frame, k)
        frames.append(frame)
    dataset.PerFrameFunctionalGroupsSequence = frames
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def rescaled(slopes: Sequence[float], intercepts: Sequence[float]) -> Edit:
    """What gives each slice, or frame, its own slope and intercept."""

    def edit(dataset: Dataset, k: int) -> None:
        holder = dataset
        if "PixelData" not in dataset:
            holder = Dataset()
            dataset.PixelValueTransformationSequence = [holder]
        holder.RescaleSlope, holder.RescaleIntercept = f"{slopes[k]:.8g}", f"{intercepts[k]:.8g}"

    return edit
