"""Small scans by the names that the documents give theirs, all of the head that is shipped."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from monai.data import MetaTensor

from oinr_monai import Grid, Representation, fit, simulate_slices
from oinr_monai.cli.demo import HEAD
from oinr_monai.images.files import write_image
from scripts.shared.report import ROOT

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# Of the head, in mm: 39 x 47 x 24 voxels.
SPACING = 4.0

# What of the package and of the repository the commands name.
COPIED = {
    "mine.safetensors": "oinr_monai/restoration/super_resolution.safetensors",
    "volume_oinr_representation": "bundles/volume_oinr_representation",
    "dicom_to_dicom.json": "docs/examples/dicom_to_dicom.json",
}

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"


def head(shift: float = 0.0) -> MetaTensor:
    """Return whole numbers of the head, moved along x by so many mm."""
    whole = Representation.load(HEAD)
    grid = whole.grid.with_spacing(SPACING)
    values = whole.sample(grid.shift([-shift / SPACING, 0.0, 0.0])).as_tensor()
    return grid.to_image(values.round().clamp(0).to(torch.int16))


def write_inputs(folder: Path) -> None:
    """Write every file and folder that the commands of the documents read."""
    whole = head()
    for name, image in _images(whole).items():
        write_image(folder / name, image)
    _write_tables(folder, whole, simulate_slices(whole, 2 * SPACING))
    _write_stacks(folder)
    _write_dataset(folder / "dataset", whole)
    _write_dicom(folder / "CT", whole, CT, "1.2.840.1")
    _write_dicom(folder / "CD" / "a", whole, CT, "1.2.840.1")
    _write_dicom(folder / "CD" / "b", whole, CT, "1.2.840.2")
    for name, series in (("MR", "1.2.840.3"), ("series", "1.2.840.4")):
        _write_dicom(folder / name, simulate_slices(whole, 2 * SPACING), MR, series)
    for name, place in COPIED.items():
        copy = shutil.copytree if (ROOT / place).is_dir() else shutil.copyfile
        copy(ROOT / place, folder / name)


def _images(whole: MetaTensor) -> Mapping[str, MetaTensor]:
    stacks = [simulate_slices(whole, 2 * SPACING, axis=axis) for axis in (2, 1, 0)]
    axial, coronal, sagittal = stacks
    moved = head(SPACING)
    frames = Grid.from_image(whole).to_image(
        torch.cat([head(shift).as_tensor() for shift in (0.0, 2.0, 4.0, 6.0)])
    )
    labels, noise = _labels(whole), torch.Generator().manual_seed(0)
    noisy = axial.as_tensor() + 30 * torch.randn(axial.shape, generator=noise)
    same = ("t1", "cta", "before", "fixed", "template")
    return {
        **{f"{name}.nii.gz": whole for name in same},
        **{f"{name}.nii.gz": moved for name in ("after", "moving", "other")},
        **{f"{name}.nii.gz": labels for name in ("organ", "labels", "organs", "atlas")},
        **{f"{name}.nii.gz": axial for name in ("thick", "axial", "flair-thick")},
        **{f"{name}.nii.gz": frames for name in ("scan4d", "perfusion")},
        "ct.nii": whole,
        "coronal.nii.gz": coronal,
        "sagittal.nii.gz": sagittal,
        "axial_brain.nii.gz": _labels(axial),
        "coronal_brain.nii.gz": _labels(coronal),
        "noisy.nii.gz": Grid.from_image(axial).to_image(noisy.clamp(0)),
    }


def _labels(image: MetaTensor) -> MetaTensor:
    bright = image.as_tensor() > 0.3 * float(image.max())
    return Grid.from_image(image).to_image(bright.to(torch.uint8))


def _write_tables(folder: Path, whole: MetaTensor, thick: MetaTensor) -> None:
    rows, subjects = ["subject,image,labels"], ["subject,diagnosis"]
    for i in range(12):
        place = folder / "scans" / f"s{i}"
        place.mkdir(parents=True)
        values = thick.as_tensor()[:, i : i + 24, i : i + 24] * (1 + i % 2)
        write_image(place / "t1.nii.gz", MetaTensor(values, affine=thick.affine))
        write_image(place / "labels.nii.gz", _labels(MetaTensor(values, affine=thick.affine)))
        rows.append(f"s{i},scans/s{i}/t1.nii.gz,scans/s{i}/labels.nii.gz")
        subjects.append(f"s{i},{i % 2}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    (folder / "subjects.csv").write_text("\n".join(subjects) + "\n")
    middle = Grid.from_image(whole).points()[19, 23, 12].tolist()
    marks = ["x,y,z", ",".join(f"{each:g}" for each in middle)]
    (folder / "marks.csv").write_text("\n".join(marks) + "\n")
    fit(whole).save(folder / "ct.oinr")


def _write_stacks(folder: Path) -> None:
    stacks = "|".join(f"{name}.nii.gz" for name in ("axial", "coronal", "sagittal"))
    (folder / "stacks.csv").write_text(f"subject,image\ns1,{stacks}\n")


def _write_dataset(folder: Path, whole: MetaTensor) -> None:
    """A BIDS dataset of one subject: a T1-weighted scan, and two stacks of T2-weighted slices."""
    place = folder / "sub-01" / "ses-a" / "anat"
    place.mkdir(parents=True)
    described = {"Name": "small", "BIDSVersion": "1.9.0"}
    (folder / "dataset_description.json").write_text(json.dumps(described))
    write_image(place / "sub-01_ses-a_T1w.nii.gz", whole)
    for run, axis in enumerate((2, 1), start=1):
        stack = simulate_slices(whole, 2 * SPACING, axis=axis)
        write_image(place / f"sub-01_ses-a_run-{run}_T2w.nii.gz", stack)


def _write_dicom(folder: Path, image: MetaTensor, kind: str, series: str) -> None:
    folder.mkdir(parents=True)
    values = image.as_tensor()[0].round().numpy()
    spacing = Grid.from_image(image).spacing.tolist()
    origin = Grid.from_image(image).origin.tolist()
    for k in range(values.shape[2]):
        place = (-origin[0], -origin[1], origin[2] + k * spacing[2])
        # Rows go to the back and columns to the left in LPS, which is the other way round.
        _slice(values[::-1, ::-1, k].T, kind, series, k, (spacing, place, values.shape)).save_as(
            folder / f"{k:03d}", enforce_file_format=True
        )


def _slice(
    pixels: np.ndarray,
    kind: str,
    series: str,
    number: int,
    where: tuple[Sequence[float], Sequence[float], Sequence[int]],
) -> Dataset:
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

    spacing, (left, back, up), shape = where
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = UID(kind), generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    made.SOPClassUID, made.SOPInstanceUID = kind, meta.MediaStorageSOPInstanceUID
    made.StudyInstanceUID, made.SeriesInstanceUID = "1.2.840.9", series
    made.FrameOfReferenceUID, made.PatientName, made.PatientID = "1.2.840.8", "Head", "0"
    made.Modality, made.InstanceNumber = "CT" if kind == CT else "MR", number + 1
    made.Rows, made.Columns = pixels.shape
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 16, 15, 0
    made.PixelData = np.ascontiguousarray(pixels).astype("<u2").tobytes()
    made.PixelSpacing, made.SliceThickness = [spacing[1], spacing[0]], spacing[2]
    made.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    first = (left - (shape[0] - 1) * spacing[0], back - (shape[1] - 1) * spacing[1], up)
    made.ImagePositionPatient = [float(each) for each in first]
    return made
