"""Label maps as DICOM Segmentation, and maps as Parametric Map: whole volumes in one object."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from monai.data import MetaTensor

from .arrays import narrowed
from .dicom_files import quiet_pydicom
from .dicom_reference import SOFTWARE, DicomReference
from .dicom_series import Slices, new_folder, volume_and_slices
from .labels import as_labels

if TYPE_CHECKING:
    from highdicom.seg import SegmentDescription

__all__ = ["need_highdicom", "write_parametric_maps", "write_segmentation"]

_MOST_SEGMENTS = 65_535


def write_segmentation(
    folder: Path, labels: MetaTensor, reference: DicomReference, description: str
) -> None:
    """Write a label map as one DICOM Segmentation with a binary segment for each label.

    Segments are numbered from 1 in the order of the labels; the label itself is the segment's
    label and its tracking identifier.

    Args:
        folder: where; it must not exist, or be empty.
        labels: whole numbers (1, *spatial), 0 the background.
        reference: the series whose study, patient and frame of reference it belongs with.
        description: what it shows.

    Raises:
        ValueError: if it holds no label, or a plane that DICOM cannot hold.
        OSError: if the folder cannot be written.
    """
    volume, slices = volume_and_slices(labels)
    numbers = as_labels(volume).numpy()
    known = [int(label) for label in np.unique(numbers) if label]
    if not known or len(known) > _MOST_SEGMENTS:
        raise ValueError(f"labels must hold 1 to {_MOST_SEGMENTS} labels, got {len(known)}")
    highdicom = need_highdicom()
    segments = np.searchsorted([0, *known], numbers).astype(np.uint16)
    described = [_described(i + 1, label) for i, label in enumerate(known)]
    with quiet_pydicom():
        found = highdicom.seg.Segmentation(
            pixel_array=segments.transpose(2, 1, 0),
            segmentation_type="BINARY",
            segment_descriptions=described,
            content_description=description[:64],
            content_label="LABELS",
            **_common(reference, slices),
        )
    with new_folder(folder) as temporary:
        _save(found, temporary / "segmentation.dcm", reference)


def write_parametric_maps(
    folder: Path, maps: Iterable[tuple[str, MetaTensor, str]], reference: DicomReference
) -> dict[str, list[str]]:
    """Write maps as DICOM Parametric Maps, each channel as an object of its own.

    Args:
        folder: where; it must not exist, or be empty.
        maps: a name, the map (C, *spatial), and what it is and in which unit.
        reference: the series whose study, patient and frame of reference they belong with.

    Returns:
        The names of the files for each map.

    Raises:
        ValueError: if a map has a plane that DICOM cannot hold.
        OSError: if the folder cannot be written.
    """
    written: dict[str, list[str]] = {}
    with new_folder(folder) as temporary:
        for name, image, description in maps:
            for i, channel in enumerate(image.as_tensor()):
                one = len(image) == 1
                file = f"{name}.dcm" if one else f"{name}_{i + 1}.dcm"
                part = MetaTensor(channel[None], meta=image.meta)
                _save(_parametric_map(part, description, reference, i), temporary / file, reference)
                written.setdefault(name, []).append(file)
    return written


def _parametric_map(
    image: MetaTensor, description: str, reference: DicomReference, channel: int
) -> Any:  # noqa: ANN401 (highdicom's)
    from pydicom.sr.codedict import codes

    highdicom = need_highdicom()
    volume, slices = volume_and_slices(image)
    values = narrowed(volume.transpose(2, 1, 0))
    low, high = float(values.min()), float(values.max())
    mapping = highdicom.pm.RealWorldValueMapping(
        lut_label=f"component {channel + 1}",
        lut_explanation=description[:64],
        unit=codes.UCUM.NoUnits,
        value_range=(low, high),
        slope=1.0,
        intercept=0.0,
    )
    shown = highdicom.VOILUTTransformation(
        (low + high) / 2, (high - low) or 1.0, voi_lut_function="LINEAR_EXACT"
    )
    with quiet_pydicom():
        found = highdicom.pm.ParametricMap(
            pixel_array=values,
            contains_recognizable_visual_features=False,
            real_world_value_mappings=[mapping],
            voi_lut_transformations=[shown],
            content_description=description[:64],
            content_label="MAP",
            **_common(reference, slices),
        )
    if "Laterality" not in found:
        found.Laterality = None
    return found


def _common(reference: DicomReference, slices: Slices) -> dict[str, Any]:
    """What both kinds of objects are made with: the source, the place, and who made them."""
    from pydicom.uid import generate_uid

    highdicom = need_highdicom()
    gap = slices.gap
    return {
        "source_images": reference.sources,
        "series_instance_uid": generate_uid(),
        "series_number": 1000 + int(reference.headers[0].get("SeriesNumber", 0) or 0),
        "sop_instance_uid": generate_uid(),
        "instance_number": 1,
        "manufacturer": SOFTWARE,
        "manufacturer_model_name": SOFTWARE,
        "software_versions": metadata.version("oinr-monai"),
        "device_serial_number": metadata.version("oinr-monai"),
        "pixel_measures": highdicom.PixelMeasuresSequence(slices.spacing, gap, gap),
        "plane_orientation": highdicom.PlaneOrientationSequence(
            "PATIENT", slices.orientation.ravel().tolist()
        ),
        "plane_positions": [
            highdicom.PlanePositionSequence("PATIENT", place.tolist()) for place in slices.positions
        ],
    }


def _described(number: int, label: int) -> SegmentDescription:
    from pydicom.sr.codedict import codes
    from pydicom.uid import generate_uid

    highdicom = need_highdicom()
    algorithm = highdicom.AlgorithmIdentificationSequence(
        SOFTWARE, codes.DCM.ArtificialIntelligence, metadata.version("oinr-monai")
    )
    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=str(label),
        segmented_property_category=codes.SCT.AnatomicalStructure,
        segmented_property_type=codes.SCT.AnatomicalStructure,
        algorithm_type="SEMIAUTOMATIC",
        algorithm_identification=algorithm,
        tracking_uid=generate_uid(),
        tracking_id=str(label),
    )


def _save(dataset: Any, path: Path, reference: DicomReference) -> None:  # noqa: ANN401
    if reference.anonymous:
        _forget_sources(dataset)
    dataset.save_as(path, enforce_file_format=True)


def _forget_sources(dataset: Any) -> None:  # noqa: ANN401
    """Take out the references to source images, which stood for those that are not to be told."""
    for keyword in ("ReferencedSeriesSequence", "SourceImageSequence"):
        dataset.pop(keyword, None)
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        frame.pop("DerivationImageSequence", None)


def need_highdicom() -> Any:  # noqa: ANN401 (a module)
    """highdicom, or an error that says how to have it."""
    try:
        import highdicom.pm
        import highdicom.seg
    except ImportError as error:
        raise ValueError(
            "DICOM segmentations and parametric maps need `pip install oinr-monai[dicom]`"
        ) from error
    return highdicom
