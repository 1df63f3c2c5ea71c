"""DICOM as it comes: the right values at the right places, or a reason why not."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from monai.data import MetaTensor
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import generate_uid

from oinr_monai.cli.app import main
from oinr_monai.images.files import read_image
from oinr_monai.images.meta import STORED_DTYPE
from oinr_monai.images.notes import ImageNote
from oinr_monai.images.time_axis import TimeAxis
from oinr_monai.representation.representation import Representation
from tests.field.inputs import (
    CAPTURE,
    CT,
    ENHANCED_CT,
    MR,
    NUCLEAR,
    ORIGIN,
    PET,
    SHAPE,
    SPACING,
    ULTRASOUND,
    Edit,
    affine_of,
    counts,
    dicom,
    rescaled,
    write_enhanced,
    write_series,
)

DEPTH = SHAPE[2]


def is_right(image: MetaTensor, values: NDArray, affine: NDArray) -> None:
    """The image has these values (X, Y, Z) at these places, whichever way its slices run."""
    found, place = image.numpy().astype(np.float64), image.affine.numpy()
    values = values if values.ndim == 4 else values[None]
    if place[:3, 2] @ affine[:3, 2] < 0:
        values = values[..., ::-1]
        affine = affine @ np.array(
            [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, values.shape[3] - 1], [0, 0, 0, 1]]
        )
    np.testing.assert_allclose(place, affine, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found, values, rtol=1e-6, atol=1e-12 * np.ptp(values))


def is_refused(path: Path, reason: str, series: Sequence[str] = ()) -> str:
    with pytest.raises(ValueError, match=reason) as caught:
        read_image(path, series)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert len(text.splitlines()) == 1
    assert "Doe" not in text
    return text


def told(*keywords: str) -> Callable[[Dataset, int], None]:
    """What leaves out these attributes."""

    def edit(dataset: Dataset, k: int) -> None:
        for keyword in keywords:
            delattr(dataset, keyword)

    return edit


# Values


SCALINGS = {
    "slopes below one after a whole one": ([1.0, *[2e-4 * (k + 1) for k in range(5)]], [0.0] * 6),
    "slopes of 1e-8": ([1e-8 * (k + 1) for k in range(6)], [0.0] * 6),
    "fractions": ([1.0, 0.37, 0.61, 1.0, 0.083, 0.25], [0.0] * 6),
    "intercepts below what the first slice holds": ([1.0] * 6, [0, 0, -1024, -1024, 0, -500]),
    "intercepts from the first slice on": ([1.0] * 6, [-2047, -1024, -2047, -2047, -1024, -2047]),
    "beyond 16 bits": ([1.0, 100.0, 1.0, 1.0, 1.0, 70.0], [0.0] * 6),
}


@pytest.mark.parametrize("name", SCALINGS)
@pytest.mark.parametrize("enhanced", [False, True])
def test_every_slice_is_scaled_by_its_own(name: str, enhanced: bool, tmp_path: Path) -> None:
    slopes, intercepts = SCALINGS[name]
    edit = rescaled(slopes, intercepts)
    if enhanced:
        path = write_enhanced(tmp_path / "a.dcm", counts(), edit)
    else:
        path = write_series(tmp_path / "a", counts(), edit, sop=PET)
    image = read_image(path)
    is_right(image, counts() * np.array(slopes) + np.array(intercepts), affine_of())
    whole = all(float(each).is_integer() for each in (*slopes, *intercepts))
    assert (np.dtype(image.meta[STORED_DTYPE]).kind in "iu") == whole


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("intercept", [0, -1024])
def test_how_to_show_an_image_is_not_what_was_measured(
    bits: int, intercept: int, tmp_path: Path
) -> None:
    values = counts(top=2**bits - 1)

    def inverted(dataset: Dataset, k: int) -> None:
        dataset.PhotometricInterpretation = "MONOCHROME1"
        dataset.BitsStored, dataset.HighBit = bits, bits - 1
        dataset.RescaleIntercept = intercept

    folder = write_series(tmp_path / "a", values, inverted)
    is_right(read_image(folder), values + intercept, affine_of())
    with pytest.warns(ImageNote, match="a lone slice"):
        lone = read_image(folder / "99.dcm")
    np.testing.assert_array_equal(lone.numpy()[0], values[:, :, :1] + intercept)


def test_a_table_of_modality_values(tmp_path: Path) -> None:
    def tabled(dataset: Dataset, k: int) -> None:
        table = Dataset()
        table.LUTDescriptor, table.ModalityLUTType = [1024, 0, 16], "US"
        table.add_new("LUTData", "OW", (3 * np.arange(1024) + 7).astype("<u2").tobytes())
        del dataset.RescaleSlope, dataset.RescaleIntercept
        dataset.ModalityLUTSequence = [table]

    folder = write_series(tmp_path / "a", counts(), tabled)
    is_right(read_image(folder), 3 * counts() + 7, affine_of())


def test_bits_that_are_not_the_values_do_not_count(tmp_path: Path) -> None:
    def overlaid(dataset: Dataset, k: int) -> None:
        dataset.BitsStored, dataset.HighBit = 12, 11
        dataset.PixelData = (np.frombuffer(dataset.PixelData, "<u2") | 0x8000).tobytes()

    is_right(read_image(write_series(tmp_path / "a", counts(), overlaid)), counts(), affine_of())


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_compressed_slices(photometric: str, tmp_path: Path) -> None:
    """By run lengths, which pydicom decodes, and by lossless JPEG, which ITK does."""

    def packed(dataset: Dataset, k: int) -> None:
        dataset.PhotometricInterpretation = photometric
        dataset.compress("1.2.840.10008.1.2.5", generate_instance_uid=False)

    is_right(read_image(write_series(tmp_path / "a", counts(), packed)), counts(), affine_of())
    plain = write_series(tmp_path / "b", counts(), rescaled([0.5] * 6, [-7.0] * 6))
    for path in plain.iterdir():
        source, writer = pydicom.dcmread(path), sitk.ImageFileWriter()
        pixels = sitk.GetImageFromArray(source.pixel_array)
        writer.SetFileName(str(tmp_path / "packed.dcm"))
        writer.SetUseCompression(True)
        writer.SetCompressor("JPEG")
        writer.Execute(pixels)
        packed_pixels = pydicom.dcmread(tmp_path / "packed.dcm")
        source.file_meta.TransferSyntaxUID = packed_pixels.file_meta.TransferSyntaxUID
        source.PixelData = packed_pixels.PixelData
        source.PhotometricInterpretation = photometric
        source.save_as(path)
    assert source.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.70"
    is_right(read_image(plain), counts() * 0.5 - 7, affine_of())


def test_colour_slices(tmp_path: Path) -> None:
    grey = counts(top=255).astype(np.uint8)
    colours = np.stack([grey, 255 - grey, grey // 2])

    def coloured(dataset: Dataset, k: int) -> None:
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 3, "RGB"
        dataset.PlanarConfiguration = 0
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
        dataset.PixelData = np.ascontiguousarray(colours[..., k].T).tobytes()

    is_right(
        read_image(write_series(tmp_path / "a", grey, coloured, sop=CAPTURE)), colours, affine_of()
    )


def test_slices_coloured_by_a_palette_have_no_fourth_colour(tmp_path: Path) -> None:
    index = counts(top=255).astype(np.uint8)
    tables = {"Red": np.arange(256), "Green": 255 - np.arange(256), "Blue": np.arange(256) // 2}
    tables |= {"Alpha": np.full(256, 9)}

    def coloured(dataset: Dataset, k: int) -> None:
        dataset.PhotometricInterpretation = "PALETTE COLOR"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
        dataset.PixelData = np.ascontiguousarray(index[..., k].T).tobytes()
        for name, table in tables.items():
            told = f"{name}PaletteColorLookupTable"
            setattr(dataset, f"{told}Data", table.astype(np.uint8).tobytes())
            if name != "Alpha":
                setattr(dataset, f"{told}Descriptor", [256, 0, 8])

    wanted = np.stack([tables[name][index] for name in ("Red", "Green", "Blue")])
    image = read_image(write_series(tmp_path / "a", index, coloured, sop=CAPTURE))
    is_right(image, wanted, affine_of())


def test_a_file_that_begins_as_dicom_may_and_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(b"\x08\x00" + bytes(400))
    with pytest.raises(ValueError, match="cannot be read as NIfTI"):
        read_image(tmp_path / "a.nii")


# Places


def test_a_tilted_gantry_and_oblique_slices(tmp_path: Path) -> None:
    tilted = (0.0, 0.342 * 4, 0.94 * 4)
    for path in (
        write_series(tmp_path / "tilted", counts(), step=tilted),
        write_enhanced(tmp_path / "tilt.dcm", counts(), step=tilted, sop=ENHANCED_CT),
    ):
        is_right(read_image(path), counts(), affine_of(tilted))
    cos, sin = math.cos(0.4), math.sin(0.4)
    oblique, step = (cos, sin, 0, 0, 0, -1), (-4 * sin, 4 * cos, 0.0)
    folder = write_series(tmp_path / "oblique", counts(), orientation=oblique, step=step)
    is_right(read_image(folder), counts(), affine_of(step, oblique))


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4, 5), (5, 4, 3, 2, 1, 0), (0, 2, 4, 1, 3, 5)])
def test_frames_are_sorted_by_their_places(order: tuple[int, ...], tmp_path: Path) -> None:
    slopes = [0.5 + k for k in range(6)]
    path = write_enhanced(tmp_path / "a.dcm", counts(), rescaled(slopes, [3.0] * 6), order=order)
    is_right(read_image(path), counts() * slopes + 3.0, affine_of())


@pytest.mark.parametrize("between", [-4.0, 4.0, 3.0])
def test_places_count_more_than_distances(between: float, tmp_path: Path) -> None:
    def edit(dataset: Dataset, k: int) -> None:
        dataset.SpacingBetweenSlices, dataset.InstanceNumber = between, 6 - k

    is_right(read_image(write_series(tmp_path / "a", counts(), edit)), counts(), affine_of())


@pytest.mark.parametrize("keyword", ["SpacingBetweenSlices", "SliceThickness"])
@pytest.mark.parametrize("sop", [CT, CAPTURE])
def test_without_positions_distances_count_and_are_told(
    keyword: str, sop: str, tmp_path: Path
) -> None:
    def edit(dataset: Dataset, k: int) -> None:
        del dataset.ImagePositionPatient, dataset.SliceThickness
        setattr(dataset, keyword, 2.5)

    folder = write_series(tmp_path / "a", counts(), edit, sop=sop)
    with pytest.warns(ImageNote, match=f"no position.*{keyword}, 2.5 mm"):
        image = read_image(folder)
    is_right(image, counts(), affine_of((0, 0, 2.5), origin=(0, 0, 0)))


def test_a_lone_slice_is_as_thick_as_it_says(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "a", counts()[:, :, :1])
    with pytest.warns(ImageNote, match="a lone slice, its thickness taken from SliceThickness, 4"):
        is_right(read_image(folder), counts()[:, :, :1], affine_of())


def test_spacings_of_another_kind_are_told(tmp_path: Path) -> None:
    def edit(dataset: Dataset, k: int) -> None:
        dataset.ImagerPixelSpacing = dataset.PixelSpacing
        del dataset.PixelSpacing

    with pytest.warns(ImageNote, match="pixel spacing taken from ImagerPixelSpacing"):
        is_right(read_image(write_series(tmp_path / "a", counts(), edit)), counts(), affine_of())


def frames_in_one(path: Path, sop: str, edit: Callable[[Dataset], None]) -> Path:
    dataset = dicom(counts().transpose(2, 1, 0), sop)
    dataset.PixelSpacing, dataset.SliceThickness = [SPACING[1], SPACING[0]], 4.0
    edit(dataset)
    dataset.save_as(path, enforce_file_format=True)
    return path


def test_frames_that_a_slice_vector_counts(tmp_path: Path) -> None:
    def edit(dataset: Dataset) -> None:
        detector = Dataset()
        detector.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        detector.ImagePositionPatient = list(ORIGIN)
        dataset.DetectorInformationSequence = [detector]
        dataset.SpacingBetweenSlices = -4
        dataset.FrameIncrementPointer, dataset.SliceVector = 0x0054_0080, list(range(1, 7))

    path = frames_in_one(tmp_path / "a.dcm", NUCLEAR, edit)
    with pytest.warns(ImageNote, match="frames placed by SpacingBetweenSlices, 4 mm"):
        is_right(read_image(path), counts(), affine_of((0, 0, -4.0)))


def test_dose_has_a_scaling_and_offsets_of_its_own(tmp_path: Path) -> None:
    def edit(dataset: Dataset) -> None:
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        dataset.ImagePositionPatient = list(ORIGIN)
        dataset.DoseGridScaling = "0.001"
        dataset.FrameIncrementPointer = 0x3004_000C
        dataset.GridFrameOffsetVector = [2.5 * k for k in range(6)]

    path = frames_in_one(tmp_path / "a.dcm", "1.2.840.10008.5.1.4.1.1.481.2", edit)
    is_right(read_image(path), counts() * 0.001, affine_of((0, 0, 2.5)))


def test_commands_choose_a_series_and_say_what_was_assumed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def edit(dataset: Dataset, k: int) -> None:
        del dataset.ImagePositionPatient

    write_series(tmp_path / "cd" / "a", counts(), series="1.2.3.1")
    write_series(tmp_path / "cd" / "b", counts(), edit, series="1.2.3.2")
    out = tmp_path / "a.oinr"
    command = ["fit", str(tmp_path / "cd"), "-o", str(out), "--preset", "exact", "--json"]
    assert main(command) == 2
    assert "choose one by --series UID" in capfd.readouterr().err
    assert main([*command, "--series", "1.2.3.2"]) == 0
    shown = capfd.readouterr()
    assert re.fullmatch(r"oinr: [^\n]*no position, the first voxel [^\n]*\n", shown.err)
    assert Representation.load(out).grid.spacing.tolist() == [*SPACING]
    evaluate = ["evaluate", str(out), "--image", str(tmp_path / "cd"), "--series", "1.2.3.2"]
    assert main([*evaluate, "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["mse"] < 1e-3
    (tmp_path / "table.csv").write_text("subject,image,series\na,cd,1.2.3.1\nb,cd,\n")
    cohort = ["cohort", "fit", str(tmp_path / "table.csv"), "-o", str(tmp_path / "fits")]
    assert main([*cohort, "--preset", "fast", "--steps", "2"]) == 1
    assert sorted(path.name for path in (tmp_path / "fits").iterdir()) == ["a.oinr", "status.csv"]
    assert "choose one by --series UID" in (tmp_path / "fits" / "status.csv").read_text()


# What is no volume


def moved(dataset: Dataset, k: int) -> None:
    x, y, z = dataset.ImagePositionPatient
    dataset.ImagePositionPatient = [x, y, z + (8.0 if k > 3 else 0.0)]


def turned(by: float) -> Edit:
    def edit(dataset: Dataset, k: int) -> None:
        angle = math.radians(by * k)
        cosines = [1, 0, 0, 0, math.cos(angle), math.sin(angle)]
        dataset.ImageOrientationPatient = [f"{each:.8g}" for each in cosines]

    return edit


def coronal_first(dataset: Dataset, k: int) -> None:
    if k == 0:
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]


def smaller(dataset: Dataset, k: int) -> None:
    dataset.PixelSpacing = [1.0 + 0.1 * (k == 2), 1.0]


REFUSED: dict[str, tuple[Edit, str]] = {
    "a slice is missing": (moved, r"unevenly spaced, 4 to 12 mm"),
    "slices fan out": (turned(9), r"orientation differs between slices, by up to 45 degrees"),
    "slices fan out a little": (
        turned(0.2),
        r"orientation differs between slices, by up to 1 deg",
    ),
    "a localiser is among them": (coronal_first, r"orientation differs between slices, by up to"),
    "pixel spacings differ": (smaller, r"differ in pixel spacing"),
    "neither place nor distance": (
        told("ImagePositionPatient", "SliceThickness"),
        r"have no position, and not both",
    ),
    "distances that differ": (
        lambda dataset, k: (
            told("ImagePositionPatient")(dataset, k),
            setattr(dataset, "SliceThickness", 4 + k % 2),
        )[1],
        r"have no position, and not both",
    ),
    "no number either": (told("ImagePositionPatient", "InstanceNumber"), r"have no position, and"),
    "some have no position": (
        lambda dataset, k: k == 2 and told("ImagePositionPatient")(dataset, k),
        r"some slices have no position",
    ),
    "axes that are not at right angles": (
        lambda dataset, k: setattr(dataset, "ImageOrientationPatient", [1, 0, 0, 0.5, 0.8, 0]),
        r"two unit vectors at right angles",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_slices_that_are_no_volume(name: str, tmp_path: Path) -> None:
    edit, reason = REFUSED[name]
    is_refused(write_series(tmp_path / "a", counts(), edit), reason)


def test_frames_that_are_no_volume(tmp_path: Path) -> None:
    def gap(frame: Dataset, k: int) -> None:
        moved(frame.PlanePositionSequence[0], k)

    def mixed(frame: Dataset, k: int) -> None:
        plane = Dataset()
        plane.ImageOrientationPatient = [1, 0, 0, 0, 1, 0] if k < 3 else [1, 0, 0, 0, 0, -1]
        frame.PlaneOrientationSequence = [plane]

    twice = [*range(3), *range(3)]
    is_refused(write_enhanced(tmp_path / "gap.dcm", counts(), gap), "unevenly spaced, 4 to 12 mm")
    is_refused(write_enhanced(tmp_path / "mixed.dcm", counts(), mixed), "orientation differs")
    is_refused(
        write_enhanced(tmp_path / "twice.dcm", counts(), order=twice),
        "3 of 6 slices repeat the place of another, as those of several echoes, times or b-values",
    )


def test_several_echoes_in_one_series(tmp_path: Path) -> None:
    write_series(tmp_path / "a" / "one", counts(), sop=MR)
    write_series(tmp_path / "a" / "two", counts(), sop=MR)
    is_refused(tmp_path / "a", "6 of 12 slices repeat the place of another")


VOLUMES = [counts(top=top) for top in (900, 500, 700)]


def write_times(folder: Path, edit: Callable[[Dataset, int, int], None]) -> Path:
    """One series of three volumes, one after the other; ``edit`` sees volume and slice."""
    for t, volume in enumerate(VOLUMES):
        write_series(folder / str(2 - t), volume, lambda d, k, t=t: edit(d, t, k), sop=MR)
    return folder


TIMES: dict[str, Callable[[Dataset, int, int], None]] = {
    "a clock for each slice": lambda d, t, k: setattr(
        d, "AcquisitionTime", f"0959{57 + t:02d}.{125 + 50 * k:06d}"
    ),
    "over midday": lambda d, t, k: setattr(d, "AcquisitionTime", ("115959", "120000", "120001")[t]),
    "trigger times": lambda d, t, k: setattr(d, "TriggerTime", 250.0 * t),
    "counted": lambda d, t, k: (
        setattr(d, "TemporalPositionIdentifier", t + 1),
        setattr(d, "TemporalResolution", 1500.0),
        setattr(d, "AcquisitionTime", "100000"),
    ),
}


@pytest.mark.parametrize(
    ("name", "step"),
    [("a clock for each slice", 1), ("over midday", 1), ("trigger times", 0.25), ("counted", 1.5)],
)
def test_volumes_at_several_times_are_channels(name: str, step: float, tmp_path: Path) -> None:
    image = read_image(write_times(tmp_path / "a", TIMES[name]))
    is_right(image, np.stack(VOLUMES), affine_of())
    assert TimeAxis.of(image.meta) == TimeAxis(step, unit="sec")


def test_volumes_that_are_not_told_apart_by_time_are_refused(tmp_path: Path) -> None:
    def echoes(dataset: Dataset, t: int, k: int) -> None:
        dataset.AcquisitionTime, dataset.EchoTime = f"1000{t:02d}", 10.0 * (t + 1)

    reason = "12 of 18 slices repeat the place of another"
    is_refused(write_times(tmp_path / "a", echoes), reason)
    is_refused(write_times(tmp_path / "b", lambda d, t, k: None), reason)
    short = write_times(tmp_path / "c", TIMES["trigger times"])
    next((short / "1").iterdir()).unlink()
    is_refused(short, "11 of 17 slices repeat the place of another")


def test_frames_of_a_film_are_no_slices(tmp_path: Path) -> None:
    def edit(dataset: Dataset) -> None:
        dataset.FrameIncrementPointer, dataset.FrameTime = 0x0018_1063, 40.0

    is_refused(
        frames_in_one(tmp_path / "a.dcm", ULTRASOUND, edit),
        "follow each other in time or otherwise",
    )


# Folders


@pytest.mark.parametrize("depth", [0, 1, 3])
@pytest.mark.parametrize("suffix", ["", ".dcm", ".IMA"])
def test_folders_are_searched_whatever_the_names(depth: int, suffix: str, tmp_path: Path) -> None:
    inner = Path(tmp_path / "cd", *["deeper"] * depth)
    write_series(inner, counts())
    for path in list(inner.iterdir()):
        path.rename(path.with_name(f"IM{path.stem}{suffix}"))
    (tmp_path / "cd" / "README.txt").write_text("how to open the viewer")
    (tmp_path / "cd" / "empty").touch()
    is_right(read_image(tmp_path / "cd"), counts(), affine_of())


@pytest.mark.parametrize("implicit", [True, False])
@pytest.mark.parametrize("little", [True, False])
def test_old_files_have_neither_preamble_nor_suffix(
    implicit: bool, little: bool, tmp_path: Path
) -> None:
    if implicit and not little:
        return  # DICOM knows no such thing
    folder = write_series(tmp_path / "a", counts())
    for path in list(folder.iterdir()):
        dataset, bare = pydicom.dcmread(path), DicomBytesIO()
        bare.is_implicit_VR, bare.is_little_endian = implicit, little
        if not little:
            dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").byteswap().tobytes()
        write_dataset(bare, dataset)
        path.with_suffix("").write_bytes(bare.getvalue())
        path.unlink()
    is_right(read_image(folder), counts(), affine_of())


def test_what_is_hidden_does_not_count_and_links_do(tmp_path: Path) -> None:
    write_series(tmp_path / "elsewhere", counts())
    (tmp_path / "cd").mkdir()
    (tmp_path / "cd" / "series").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "cd")
    (tmp_path / "cd" / "._99.dcm").write_bytes(b"\x00\x05\x16\x07 what a Mac leaves")
    is_right(read_image(tmp_path / "cd"), counts(), affine_of())


def test_a_damaged_slice_is_not_left_out(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "a", counts())
    (folder / "94.dcm").write_bytes(bytes(500))
    with pytest.raises(ValueError, match=r"94\.dcm: cannot be read as DICOM"):
        read_image(folder)


def test_a_file_without_suffix(tmp_path: Path) -> None:
    path = write_enhanced(tmp_path / "folder" / "IM0001", counts())
    is_right(read_image(path), counts(), affine_of())
    is_right(read_image(path.parent), counts(), affine_of())


def test_several_series_are_listed_and_one_is_chosen(tmp_path: Path) -> None:
    write_series(tmp_path / "cd" / "a", counts(), series="1.2.3.1")
    write_series(tmp_path / "cd" / "b", counts() + 5, series="1.2.3.2", sop=MR)
    listed = is_refused(tmp_path / "cd", r"holds 2 DICOM series: .*; choose one by --series UID")
    assert "1.2.3.1 (CT, 6 of 11 x 9), 1.2.3.2 (MR, 6 of 11 x 9)" in listed
    is_right(read_image(tmp_path / "cd", ["1.2.3.2"]), counts() + 5, affine_of())
    is_refused(tmp_path / "cd", "choose one by --series UID, got 1.2.3.7", ["1.2.3.7"])


def test_a_loose_slice_is_not_taken_for_the_series(tmp_path: Path) -> None:
    write_series(tmp_path / "cd" / "series", counts(), series="1.2.3.1")
    write_series(tmp_path / "cd", counts()[:, :, :1], series="1.2.3.2")
    is_refused(tmp_path / "cd", r"1\.2\.3\.1 \(CT, 6 of .*1\.2\.3\.2 \(CT, 1 of")


def test_a_series_uid_for_each_slice(tmp_path: Path) -> None:
    numbers = itertools.count(1)

    def edit(dataset: Dataset, k: int) -> None:
        dataset.SeriesInstanceUID = f"1.2.3.{next(numbers)}"

    text = is_refused(
        write_series(tmp_path / "a", counts((4, 4, 12)), edit), "holds 12 DICOM series"
    )
    assert re.search(r" and 4 more; choose", text)


def test_what_is_no_image_in_a_folder_does_not_count(tmp_path: Path) -> None:
    write_series(tmp_path / "cd", counts())
    report = dicom(counts()[:, :, 0].T, series=generate_uid())
    del report.Rows, report.PixelData
    report.save_as(tmp_path / "cd" / "report.dcm", enforce_file_format=True)
    is_right(read_image(tmp_path / "cd"), counts(), affine_of())
    is_refused(tmp_path / "cd" / "report.dcm", "there is no image in it")


def test_a_mask_may_be_a_series_among_several(run: Callable[..., Any], tmp_path: Path) -> None:
    folder, values = tmp_path / "cd", counts()
    inside = (values > 300).astype(np.int64)
    write_series(folder / "a", values, series="1.2.3.1")
    write_series(folder / "b", inside, series="1.2.3.2")
    write_series(tmp_path / "other", values, series="1.2.3.3")
    fitted = tmp_path / "a.oinr"
    chosen = ["--mask", folder, "--series", "1.2.3.2", "--series", "1.2.3.3"]
    run("fit", tmp_path / "other", "-o", fitted, "--preset", "exact", *chosen)
    scores = run("evaluate", fitted, "--image", tmp_path / "other", *chosen)
    assert scores["mse"] < 1e-3
    options = ["--labels", folder, "--series", "1.2.3.2"]
    told = run("features", fitted, "-o", tmp_path / "regions.csv", *options)
    assert told["labels"] == [1]


def test_parts_are_read_of_nifti_alone(refused: Callable[..., str], tmp_path: Path) -> None:
    folder = write_series(tmp_path / "a", counts())
    told = refused("fit", folder, "-o", tmp_path / "a.oinr", "--memory", 64)
    assert "must be NIfTI" in told
    assert "without --memory" in told
