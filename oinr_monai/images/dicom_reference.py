"""What a derived DICOM object takes over of its source, and what it must not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from oinr_monai.grids.grid import Grid

from .dicom_files import quiet_pydicom, read_headers, series_in
from .dicom_planes import Plane, planes_of
from .itk import LPS_TO_RAS

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.dataelem import DataElement

__all__ = ["SOFTWARE", "DicomReference", "read_reference"]

SOFTWARE = "oinr_monai"

# Who and when: attributes of patient and study, some of which must be there, if only empty.
_PATIENT = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "IssuerOfPatientID",
    "OtherPatientIDsSequence", "PatientAge", "PatientSize", "PatientWeight",
)  # fmt: skip
_STUDY = (
    "StudyInstanceUID", "StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID",
    "AccessionNumber", "StudyDescription",
)  # fmt: skip
_REQUIRED = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
    "ReferringPhysicianName", "StudyID", "AccessionNumber", "PositionReferenceIndicator",
    "Manufacturer", "Laterality",
)  # fmt: skip

# What tells nothing of a person.
_PLAIN = (
    "Modality", "Manufacturer", "ManufacturerModelName", "SpecificCharacterSet",
    "PositionReferenceIndicator", "AcquisitionNumber", "FrameOfReferenceUID",
    "LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod",
    "PhotometricInterpretation", "Laterality", "BurnedInAnnotation", "RescaleType", "WindowCenter",
    "WindowWidth", "VOILUTFunction",
)  # fmt: skip
_OTHERS = ("AcquisitionDate", "AcquisitionTime", "InstitutionName", "StationName")

# How the image was taken: whole groups. Without identity, only numbers and coded words of them.
_ACQUISITION, _EMISSION = 0x0018, 0x0054
_TELLS_NOTHING = {"CS", "DS", "IS", "FD", "FL", "US", "SS", "UL", "SL"}

# Of them, what holds for the source's own voxels.
_GEOMETRY = {
    "SliceThickness", "SpacingBetweenSlices", "GantryDetectorTilt", "ReconstructionDiameter",
    "ImagerPixelSpacing", "NominalScannedPixelSpacing", "NumberOfSlices", "SliceVector",
    "NumberOfFrames", "ImageIndex", "DetectorInformationSequence",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class DicomReference:
    """The series that a derived one belongs with: its patient, study and frame of reference.

    Args:
        headers: of its instances, without pixels.
        anonymous: whether what is written must not name the patient, or lead to the source.
        common: what all instances say alike and a derived object takes over.
    """

    headers: Sequence[Dataset]
    anonymous: bool
    common: Dataset

    @property
    def modality(self) -> str:
        """Kind of equipment, such as CT."""
        return str(self.common.get("Modality", "OT"))

    def new(self, sop_class: str, series: str, number: int) -> Dataset:
        """A data set of a new instance that has what is taken over, and its own identity.

        Args:
            sop_class: UID of its class.
            series: UID of its series.
            number: its number in the series.
        """
        from pydicom.dataset import Dataset, FileMetaDataset
        from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

        dataset, now, uid = Dataset(), datetime.now(), generate_uid()
        dataset.update(self.common)
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.MediaStorageSOPClassUID = UID(sop_class)
        dataset.file_meta.MediaStorageSOPInstanceUID = uid
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, uid
        dataset.SeriesInstanceUID, dataset.InstanceNumber = series, number
        for kind in ("InstanceCreation", "Series", "Content"):
            setattr(dataset, f"{kind}Date", now.strftime("%Y%m%d"))
            setattr(dataset, f"{kind}Time", now.strftime("%H%M%S"))
        dataset.ContributingEquipmentSequence = [_equipment()]
        return dataset

    def lies_at(self, grid: Grid) -> bool:
        """Whether the series may share some place with a volume; False where it cannot."""
        if grid.spatial_dims != 3 or any(plane.position is None for plane in self.planes):
            return True
        size = self.planes[0].size
        for plane in self.planes:
            affine = np.eye(4)
            affine[:3, 0] = plane.axes[0] * plane.spacing[1]
            affine[:3, 1] = plane.axes[1] * plane.spacing[0]
            affine[:3, 2] = plane.axes[2] * abs((plane.gap or (1.0, ""))[0])
            affine[:3, 3] = plane.position
            placed = torch.from_numpy(LPS_TO_RAS @ affine)
            if Grid((size[1], size[0], 1), placed).meets(grid):
                return True
        return False

    @cached_property
    def planes(self) -> list[Plane]:
        """Where each frame lies."""
        return [plane for header in self.headers for plane in planes_of(header)]

    @property
    def sources(self) -> list[Dataset]:
        """Headers that highdicom can take for the source images, with all that it asks for."""
        from pydicom.uid import generate_uid

        multi_frame = int(self.headers[0].get("NumberOfFrames", 1) or 1) > 1
        chosen = list(self.headers[:1] if multi_frame else self.headers)
        found, series = [], generate_uid()
        for header in chosen:
            source = _copied(header) if not self.anonymous else _geometry_of(header)
            source.update(self.common)
            if self.anonymous:
                source.SOPInstanceUID, source.SeriesInstanceUID = generate_uid(), series
            found.append(source)
        return found


def read_reference(
    path: Path, series: Sequence[str] = (), *, anonymous: bool = False
) -> DicomReference:
    """The series at a path, as that which a derived one belongs with.

    Args:
        path: DICOM file, or folder of a series.
        series: UIDs to choose from where a folder holds several.
        anonymous: whether what is written must not name the patient, or lead to the source: it
            gets a study and a frame of reference of its own.

    Raises:
        ValueError: if it is no DICOM, or names are burned into its pixels and must not be told.
    """
    headers = read_headers(series_in(path, series) if path.is_dir() else [path])
    if anonymous and any(each.get("BurnedInAnnotation") == "YES" for each in headers):
        raise ValueError(f"{path}: must have no burned-in annotation for --deidentify, got one")
    return DicomReference(headers, anonymous, _common(headers, anonymous))


def _common(headers: Sequence[Dataset], anonymous: bool) -> Dataset:
    from pydicom.dataset import Dataset
    from pydicom.uid import generate_uid

    common = Dataset()
    for element in headers[0]:
        if _taken_over(element, anonymous) and all(
            each.get(element.tag) == element for each in headers[1:]
        ):
            common.add(element)
    for keyword in _REQUIRED:
        if keyword not in common:
            setattr(common, keyword, None)
    if anonymous:
        common.StudyInstanceUID, common.FrameOfReferenceUID = generate_uid(), generate_uid()
        common.PatientName, common.PatientID = "Anonymous^Patient", generate_uid()[-16:]
        common.PatientIdentityRemoved = "YES"
        common.DeidentificationMethod = f"{SOFTWARE}: numbers and codes of the acquisition kept"
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID"):
        if not common.get(keyword):
            setattr(common, keyword, generate_uid())
    return common


def _taken_over(element: DataElement, anonymous: bool) -> bool:
    keyword, group = element.keyword, element.tag.group
    if element.tag.is_private or keyword in _GEOMETRY:
        return False
    if group in (_ACQUISITION, _EMISSION):
        return not anonymous or element.VR in _TELLS_NOTHING
    named = _PLAIN if anonymous else (*_PLAIN, *_PATIENT, *_STUDY, *_OTHERS)
    return keyword in named


def _copied(header: Dataset) -> Dataset:
    with quiet_pydicom():
        return header.copy()


def _geometry_of(header: Dataset) -> Dataset:
    """What places an instance, and nothing of whom it shows."""
    from pydicom.dataset import Dataset

    kept = (
        "SOPClassUID", "Rows", "Columns", "PixelSpacing", "ImageOrientationPatient",
        "ImagePositionPatient", "SliceThickness", "InstanceNumber", "NumberOfFrames",
        "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
    )  # fmt: skip
    source = Dataset()
    for keyword in kept:
        if keyword in header:
            source.add(header[keyword])
    return source


def _equipment() -> Dataset:
    """Who made the derived object of the source."""
    from pydicom.dataset import Dataset

    equipment = Dataset()
    equipment.PurposeOfReferenceCodeSequence = [_code("109103", "Modifying Equipment")]
    equipment.Manufacturer = equipment.ManufacturerModelName = SOFTWARE
    equipment.SoftwareVersions = metadata.version("oinr-monai")
    return equipment


def _code(value: str, meaning: str) -> Any:  # noqa: ANN401 (pydicom's Dataset)
    from pydicom.dataset import Dataset

    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "DCM", meaning
    return code
