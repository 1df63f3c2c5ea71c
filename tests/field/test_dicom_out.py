"""DICOM out: the right values in the right place, of the right patient, or of none."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from oinr_monai import Grid, Representation
from oinr_monai.cli.app import main
from oinr_monai.images.dicom_series import Slices
from oinr_monai.images.files import read_image, write_image
from oinr_monai.images.labels import read_labels
from oinr_monai.images.notes import ImageNote
from tests.field.inputs import (
    CAPTURE,
    CT,
    ENHANCED_CT,
    MR,
    NUCLEAR,
    PET,
    affine_of,
    counts,
    rescaled,
    write_enhanced,
    write_series,
)

hd = pytest.importorskip("highdicom")

EXACT = ["--preset", "exact"]
FLIP = torch.tensor([-1.0, -1.0, 1.0]).double()  # between RAS and LPS
COS, SIN = math.cos(0.4), math.sin(0.4)
PLACES: dict[str, dict[str, Any]] = {
    "axial": {},
    "oblique": {"orientation": (COS, SIN, 0, 0, 0, -1), "step": (-4 * SIN, 4 * COS, 0.0)},
    "tilted": {"step": (0.0, 0.342 * 4, 0.94 * 4)},
    "feet first": {"step": (0.0, 0.0, -4.0)},
}


def known(dataset: Dataset, k: int) -> None:
    """A patient and a study, of which each word could be found again."""
    dataset.PatientName, dataset.PatientID = "Doe^Jane^Secretname", "SECRETID4711"
    dataset.PatientBirthDate, dataset.PatientSex, dataset.PatientAge = "19010203", "F", "123Y"
    dataset.ReferringPhysicianName, dataset.AccessionNumber = "Secret^Doctor", "SECRETACC"
    dataset.InstitutionName, dataset.StationName = "Secret Hospital", "SECRETSTATION"
    dataset.StudyID, dataset.StudyDescription = "SECRETSTUDY", "secret question"
    dataset.StudyDate, dataset.StudyTime, dataset.AcquisitionDate = "19991231", "235959", "19991231"
    dataset.ProtocolName, dataset.DeviceSerialNumber = "secret protocol", "SECRETSERIAL"
    dataset.PatientComments = "secret comment"
    dataset.add_new((0x0009, 0x0010), "LO", "SECRETPRIVATE")
    dataset.KVP, dataset.SeriesNumber = 120, 4


@pytest.fixture(params=PLACES)
def series(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, NDArray[np.float64]]:
    """A CT series of a patient, and its affine."""
    place = PLACES[request.param]
    return write_series(tmp_path / "ct", counts(), known, **place), affine_of(**place)


def instances(folder: Path) -> list[Dataset]:
    return [pydicom.dcmread(path) for path in sorted(folder.iterdir())]


def verified(folder: Path) -> None:
    """dciodvfy finds no error in any file, where it is installed."""
    if shutil.which("dciodvfy") is None:
        return
    for path in sorted(folder.iterdir()):
        done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
        assert "Error" not in done.stdout + done.stderr, done.stdout + done.stderr


def world(image: MetaTensor, other: MetaTensor) -> NDArray[np.float32]:
    """The values of ``other`` at the voxels of ``image``, whose grids are equal but for flips."""
    voxels = Grid.from_image(other).to_voxel(Grid.from_image(image).points())
    index = voxels.round().long()
    assert float((voxels - index).abs().max()) < 1e-3
    return other.as_tensor()[0][tuple(index.unbind(-1))].numpy()[None]


def is_derived_of(written: Dataset, source: Dataset) -> None:
    for keyword in (
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "StudyInstanceUID",
        "StudyDate",
    ):
        assert written[keyword] == source[keyword]
    assert written.FrameOfReferenceUID == source.FrameOfReferenceUID
    assert written.SeriesInstanceUID != source.SeriesInstanceUID
    assert written.SOPInstanceUID != source.SOPInstanceUID


def test_a_series_comes_back_in_its_place(
    series: tuple[Path, NDArray[np.float64]], run: Callable[..., Any], tmp_path: Path
) -> None:
    folder, _ = series
    out, nifti = tmp_path / "out", tmp_path / "a.nii.gz"
    options = ["--sigma", 5, "--steps", 2]
    run("denoise", folder, "-o", out, "--dicom", *options)
    run("denoise", folder, "-o", nifti, *options)
    ours, wanted = read_image(out), read_image(nifti)
    step = np.ptp(wanted.numpy()) / 65_535
    assert np.abs(world(wanted, ours) - wanted.numpy()).max() <= step
    verified(out)
    written, sources = instances(out), instances(folder)
    assert len({each.SOPInstanceUID for each in written}) == len(written) == 6
    assert len({each.SeriesInstanceUID for each in written}) == 1
    by_uid = {each.SOPInstanceUID: each for each in sources}
    for each in written:
        is_derived_of(each, sources[0])
        assert each.ImageType[:2] == ["DERIVED", "SECONDARY"]
        assert each.SOPClassUID == CT
        (item,) = each.SourceImageSequence
        source = by_uid[item.ReferencedSOPInstanceUID]
        np.testing.assert_allclose(each.ImagePositionPatient, source.ImagePositionPatient)
        np.testing.assert_allclose(
            each.ImageOrientationPatient, source.ImageOrientationPatient, atol=1e-9
        )
        assert each.ReferencedSeriesSequence[0].SeriesInstanceUID == source.SeriesInstanceUID
        assert each.KVP == 120


def test_others_read_it_as_we_do(
    series: tuple[Path, NDArray[np.float64]], run: Callable[..., Any], tmp_path: Path
) -> None:
    """Slice by slice, SimpleITK and highdicom agree on values, position and orientation."""
    folder, _ = series
    out = tmp_path / "out"
    run("denoise", folder, "-o", out, "--dicom", "--sigma", 5, "--steps", 2)
    ours = read_image(out)
    places = Grid.from_image(ours)
    for path in out.iterdir():
        image = sitk.ReadImage(str(path))
        origin = torch.tensor(image.GetOrigin()).double() * FLIP
        index = int(places.to_voxel(origin)[2].round())
        values = sitk.GetArrayFromImage(image)[0].T
        np.testing.assert_allclose(values, ours.numpy()[0, :, :, index], atol=1e-3)
        last = [ours.shape[1] - 1, ours.shape[2] - 1]
        transform = hd.spatial.PixelToReferenceTransformer.for_image(hd.imread(path))
        expected = places.to_world(torch.tensor([*last, index])) * FLIP
        np.testing.assert_allclose(transform(np.array([last]))[0], expected, atol=1e-3)
        corner = image.TransformIndexToPhysicalPoint([*last, 0])
        np.testing.assert_allclose(corner, expected, atol=1e-3)


def test_a_whole_series_by_others(run: Callable[..., Any], tmp_path: Path) -> None:
    folder = write_series(tmp_path / "ct", counts(), known, **PLACES["oblique"])
    out = tmp_path / "out"
    run("denoise", folder, "-o", out, "--dicom", "--sigma", 5, "--steps", 2)
    ours = read_image(out)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(out)))
    image = reader.Execute()
    np.testing.assert_allclose(sitk.GetArrayFromImage(image).T, ours.numpy()[0], atol=1e-3)
    np.testing.assert_allclose(image.GetSpacing(), ours.pixdim, rtol=1e-6)
    np.testing.assert_allclose(image.GetOrigin(), ours.affine[:3, 3] * FLIP, atol=1e-6)
    volume = hd.get_volume_from_series(instances(out))
    np.testing.assert_allclose(volume.spacing[::-1], ours.pixdim, rtol=1e-6)


SOURCES: dict[str, tuple[str, str]] = {
    "CT": (CT, CT),
    "MR": (MR, MR),
    "PET": (PET, PET),
    "secondary captures": (CAPTURE, CAPTURE),
}


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("scale", ["whole", "tiny", "negative"])
def test_every_modality(name: str, scale: str, run: Callable[..., Any], tmp_path: Path) -> None:
    sop, written_sop = SOURCES[name]
    slope, intercept = {"whole": (1, 0), "tiny": (1e-7, 0), "negative": (0.5, -200)}[scale]
    edit = rescaled([slope] * 6, [intercept] * 6)
    folder, out = write_series(tmp_path / "a", counts(), edit, sop=sop), tmp_path / "out"
    fitted = tmp_path / "a.oinr"
    run("fit", folder, "-o", fitted, *EXACT)
    run("sample", fitted, "-o", out, "--dicom", "--reference", folder, "--factor", 2)
    verified(out)
    wanted = Representation.load(fitted).sample(Representation.load(fitted).grid.refine(2))
    ours = read_image(out)
    step = np.ptp(wanted.numpy()) / 32_767
    assert np.abs(world(wanted, ours) - wanted.numpy()).max() <= step
    assert {each.SOPClassUID for each in instances(out)} == {written_sop}


@pytest.mark.parametrize("sop", [ENHANCED_CT, "1.2.840.10008.5.1.4.1.1.4.1"])
def test_of_an_enhanced_source(sop: str, run: Callable[..., Any], tmp_path: Path) -> None:
    source, out = write_enhanced(tmp_path / "in.dcm", counts(), sop=sop), tmp_path / "out"
    run("denoise", source, "-o", out, "--dicom", "--sigma", 5, "--steps", 2)
    verified(out)
    np.testing.assert_allclose(read_image(out).affine, affine_of(), atol=1e-6)
    assert {each.SOPClassUID for each in instances(out)} == {CT if sop == ENHANCED_CT else MR}


def test_of_nuclear_medicine(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    def edit(dataset: Dataset, k: int) -> None:
        dataset.Modality = "NM"

    source = write_series(tmp_path / "a", counts(), edit, sop=NUCLEAR)
    out = tmp_path / "out"
    command = ["denoise", source, "-o", out, "--dicom", "--sigma", 5, "--steps", 2]
    assert main([*map(str, command)]) == 0
    verified(out)
    assert {(each.SOPClassUID, each.Modality) for each in instances(out)} == {(CAPTURE, "NM")}


def test_super_resolve(run: Callable[..., Any], tmp_path: Path) -> None:
    folder, out = write_series(tmp_path / "a", counts((16, 14, 6)), known), tmp_path / "out"
    run("super-resolve", folder, "-o", out, "--dicom", "--steps", 2)
    verified(out)
    written, image = instances(out), read_image(out)
    assert image.shape[3] > 12
    assert float(written[0].SliceThickness) == pytest.approx(float(image.pixdim[2]), rel=1e-6)
    sources = {each.SOPInstanceUID: each.ImagePositionPatient[2] for each in instances(folder)}
    for each in written:
        heights = [sources[item.ReferencedSOPInstanceUID] for item in each.SourceImageSequence]
        assert 1 <= len(heights) <= 2
        assert max(abs(h - each.ImagePositionPatient[2]) for h in heights) < 4


# Labels and maps


@pytest.mark.parametrize("place", ["axial", "oblique", "tilted"])
def test_labels_become_a_segmentation(place: str, run: Callable[..., Any], tmp_path: Path) -> None:
    folder = write_series(tmp_path / "ct", counts((16, 14, 8)), known, **PLACES[place])
    image = read_image(folder)
    ids = np.zeros(image.shape, np.int64)
    ids[0, 2:7, 2:12, 1:7], ids[0, 9:14, 2:12, 1:7] = 312_782_546, 312_782_550
    nib.save(nib.Nifti1Image(ids[0].astype(np.uint32), image.affine.numpy()), tmp_path / "l.nii")
    fitted, out = tmp_path / "l.oinr", tmp_path / "out"
    run("fit", tmp_path / "l.nii", "-o", fitted, "--labels", "--preset", "fast", "--steps", 60)
    run("sample", fitted, "--labels", "-o", out, "--dicom", "--reference", folder)
    run("sample", fitted, "--labels", "-o", tmp_path / "wanted.nii")
    verified(out)
    (path,) = out.iterdir()
    found = hd.seg.segread(path)
    is_derived_of(found, instances(folder)[0])
    assert found.SegmentationType == "BINARY"
    labels = [found.get_segment_description(n).segment_label for n in found.segment_numbers]
    assert labels == ["312782546", "312782550"]
    referenced = {
        item.ReferencedSOPInstanceUID
        for item in found.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    }
    assert referenced <= {each.SOPInstanceUID for each in instances(folder)}
    wanted = read_labels(tmp_path / "wanted.nii")
    for number, label in zip(found.segment_numbers, [312_782_546, 312_782_550], strict=True):
        frames = [
            (frame.PlanePositionSequence[0].ImagePositionPatient, pixels)
            for frame, pixels in zip(
                found.PerFrameFunctionalGroupsSequence, found.pixel_array, strict=True
            )
            if frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber == number
        ]
        for position, pixels in frames:
            ras = torch.tensor([float(x) for x in position]).double() * FLIP
            index = int(Grid.from_image(wanted).to_voxel(ras)[2].round())
            np.testing.assert_array_equal(pixels.T == 1, wanted.numpy()[0, :, :, index] == label)
        assert sum(int(p.sum()) for _, p in frames) == int((wanted == label).sum())
    if place != "tilted":  # highdicom makes no volume of a tilted stack
        again = read_labels(out)
        assert set(again.unique().tolist()) == {0, 312_782_546, 312_782_550}
        assert int((again == 312_782_550).sum()) == int((wanted == 312_782_550).sum())


@pytest.mark.parametrize("place", ["axial", "oblique", "tilted"])
def test_maps_become_parametric_maps(place: str, run: Callable[..., Any], tmp_path: Path) -> None:
    folder = write_series(tmp_path / "ct", counts(), known, **PLACES[place])
    fitted, out = tmp_path / "a.oinr", tmp_path / "out"
    run("fit", folder, "-o", fitted, *EXACT)
    options = ["--maps", "gradient,laplacian"]
    done = run("derive", fitted, "-o", out, "--dicom", "--reference", folder, *options)
    run("derive", fitted, "-o", tmp_path / "nifti", *options)
    verified(out)
    assert sorted(path.name for path in out.iterdir()) == [
        "gradient_1.dcm", "gradient_2.dcm", "gradient_3.dcm", "laplacian.dcm"
    ]  # fmt: skip
    assert done["maps"]["laplacian"] == [str(out / "laplacian.dcm")]
    wanted = read_image(tmp_path / "nifti" / "gradient.nii.gz")
    for i in range(3):
        ours = read_image(out / f"gradient_{i + 1}.dcm")
        part = MetaTensor(wanted.as_tensor()[i : i + 1], affine=wanted.affine)
        np.testing.assert_allclose(world(part, ours), part.numpy(), rtol=1e-5, atol=1e-5)
        found = hd.pm.ParametricMap.from_dataset(pydicom.dcmread(out / f"gradient_{i + 1}.dcm"))
        is_derived_of(found, instances(folder)[0])
        mapping = found.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
        assert "intensity/mm" in mapping.LUTExplanation


# Whom it names


SECRETS = re.compile(rb"secret|doe\^jane|19010203|19991231|235959|123Y", re.IGNORECASE)


def outputs(folder: Path, run: Callable[..., Any], tmp_path: Path, *options: str) -> list[Path]:
    """A series, a segmentation and parametric maps of one source."""
    fitted, labels = tmp_path / "a.oinr", tmp_path / "l.oinr"
    run("fit", folder, "-o", fitted, *EXACT)
    run("sample", fitted, "-o", tmp_path / "a.nii.gz")
    image = read_image(tmp_path / "a.nii.gz")
    write_image(tmp_path / "l.nii.gz", MetaTensor((image > 400).as_tensor().int(), meta=image.meta))
    run("fit", tmp_path / "l.nii.gz", "-o", labels, "--labels", "--preset", "fast", "--steps", 50)
    more = ["--dicom", "--reference", folder, *options]
    run("sample", fitted, "-o", tmp_path / "series", *more)
    run("sample", labels, "-o", tmp_path / "labels", "--labels", *more)
    run("derive", fitted, "-o", tmp_path / "maps", "--maps", "laplacian", *more)
    folders = [tmp_path / name for name in ("series", "labels", "maps")]
    for each in folders:
        verified(each)
    return [path for each in folders for path in each.iterdir()]


def test_without_identity_nothing_leads_to_the_patient(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    folder = write_series(tmp_path / "ct", counts(), known)
    sources = instances(folder)
    uids = {str(each.SOPInstanceUID) for each in sources}
    uids |= {str(sources[0][name].value) for name in (
        "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"
    )}  # fmt: skip
    for path in outputs(folder, run, tmp_path, "--deidentify"):
        raw = path.read_bytes()
        assert not SECRETS.search(raw), (path, SECRETS.search(raw))
        written = pydicom.dcmread(path)
        assert written.PatientIdentityRemoved == "YES"
        found = {str(e.value) for e in written.iterall() if e.VR == "UI"}
        assert not found & uids


def test_with_identity_it_is_the_source_patient(run: Callable[..., Any], tmp_path: Path) -> None:
    folder = write_series(tmp_path / "ct", counts(), known)
    for path in outputs(folder, run, tmp_path):
        is_derived_of(pydicom.dcmread(path), instances(folder)[0])
        assert b"SECRETPRIVATE" not in path.read_bytes()


def test_nothing_else_names_the_patient(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = write_series(tmp_path / "ct", counts(), known)
    fitted = tmp_path / "a.oinr"
    assert main(["fit", str(folder), "-o", str(fitted), *EXACT]) == 0
    assert main(["info", str(fitted)]) == 0
    assert main(["sample", str(fitted), "-o", str(tmp_path / "a.nii")]) == 0
    write_series(folder / "more", counts(), known, series="1.2.3.2")
    assert main(["fit", str(folder), "-o", str(fitted), *EXACT]) == 2
    told = "".join(capfd.readouterr()).encode()
    for text in (told, fitted.read_bytes(), (tmp_path / "a.nii").read_bytes()):
        assert not SECRETS.search(text)
    assert "Secret" not in str(read_image(tmp_path / "a.nii").meta)


# Refusals


def test_what_is_no_dicom_output_is_refused(refused: Callable[..., str], tmp_path: Path) -> None:
    folder = write_series(tmp_path / "ct", counts())
    fitted, out = tmp_path / "a.oinr", tmp_path / "out"
    assert main(["fit", str(folder), "-o", str(fitted), *EXACT]) == 0
    assert main(["sample", str(fitted), "-o", str(tmp_path / "a.nii")]) == 0
    sample = ["sample", fitted, "-o", out, "--dicom"]
    assert "give the series by --reference DICOM" in refused(*sample)
    assert "must be DICOM for --dicom" in refused(*sample, "--reference", tmp_path / "a.nii")
    assert "must be DICOM for --dicom" in refused("denoise", tmp_path / "a.nii", *sample[2:])
    assert "--deidentify must go with --dicom" in refused(*sample[:-1], "--deidentify")
    full = ["sample", fitted, "-o", folder, "--dicom", "--reference", folder]
    assert "must be a new or empty folder for --dicom" in refused(*full)
    far = write_series(tmp_path / "far", counts(), lambda dataset, k: setattr(
        dataset, "ImagePositionPatient", [900, 0, 4.0 * k]
    ))  # fmt: skip
    assert "must lie where the image lies" in refused(*sample, "--reference", far)
    burned = write_series(
        tmp_path / "burned",
        counts(),
        lambda dataset, k: setattr(dataset, "BurnedInAnnotation", "YES"),
    )
    options = ["--reference", burned, "--deidentify"]
    assert "must have no burned-in annotation" in refused(*sample, *options)


def test_a_sheared_plane_is_refused(refused: Callable[..., str], tmp_path: Path) -> None:
    folder = write_series(tmp_path / "ct", counts())
    sheared = affine_of()
    sheared[0, 1] = 0.5
    nib.save(nib.Nifti1Image(counts().astype("f4"), sheared), tmp_path / "a.nii")
    fitted = tmp_path / "a.oinr"
    assert main(["fit", str(tmp_path / "a.nii"), "-o", str(fitted), *EXACT]) == 0
    command = ["sample", fitted, "-o", tmp_path / "out", "--dicom"]
    reason = refused(*command, "--reference", folder)
    assert "must have rows and columns at right angles for DICOM" in reason
    assert main([*map(str, command), "--like", str(folder)]) == 0
    np.testing.assert_allclose(read_image(tmp_path / "out").affine, affine_of(), atol=1e-6)


def test_several_channels_are_refused(refused: Callable[..., str], tmp_path: Path) -> None:
    grey = counts(top=255).astype(np.uint8)

    def coloured(dataset: Dataset, k: int) -> None:
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 3, "RGB"
        dataset.PlanarConfiguration, dataset.BitsAllocated = 0, 8
        dataset.BitsStored, dataset.HighBit = 8, 7
        dataset.PixelData = np.stack([grey[..., k].T] * 3, -1).tobytes()

    folder = write_series(tmp_path / "a", grey, coloured, sop=CAPTURE)
    command = ["denoise", folder, "-o", tmp_path / "out", "--dicom", "--sigma", 5]
    assert "--dicom must have one channel, got 3" in refused(*command)


def test_a_lone_slice(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = write_series(tmp_path / "a", counts((16, 14, 1)))
    command = ["denoise", folder, "-o", tmp_path / "out", "--dicom", "--sigma", 5, "--steps", 2]
    assert main([*map(str, command)]) == 0
    verified(tmp_path / "out")
    with pytest.warns(ImageNote, match="a lone slice"):
        assert read_image(tmp_path / "out").pixdim[2] == 4


def test_rows_and_columns_are_at_right_angles_to_rounding() -> None:
    affine = np.diag([1.5, 1.25, 4.0, 1.0])
    affine[0, 1] = 1e-4  # as an affine in float32 may have it
    slices = Slices.of(affine, 3)
    np.testing.assert_allclose(slices.orientation @ slices.orientation.T, np.eye(2), atol=1e-12)
