"""Numbers, units, times and spaces of the field: as they were meant, whichever door they take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.data import MetaTensor
from monai.transforms import Flip, LoadImage
from numpy.typing import NDArray

from oinr_monai import (
    FitConfig,
    FitOINR,
    Grid,
    Representation,
    fit,
    fuse,
    isosurface,
    simulate_slices,
)
from oinr_monai.cli.app import main
from oinr_monai.images.files import read_image, write_image
from oinr_monai.images.notes import ImageNote
from oinr_monai.images.series import Series, read_series, write_series
from oinr_monai.images.stored import open_image
from tests.field import inputs
from tests.field.inputs import counts

AFFINE = np.array([[-1.5, 0, 0, 30], [0, 1.25, 0, -20], [0, 0, 4.0, 5], [0, 0, 0, 1.0]])
EXACT = ["--preset", "exact"]

Edit = Callable[[bytearray], None]


def save(
    path: Path,
    values: NDArray[Any],
    *,
    slope: float = 1.0,
    intercept: float = 0.0,
    edit: Edit | None = None,
) -> Path:
    """A NIfTI file in mm, whose header may be edited byte by byte."""
    nifti = nib.Nifti1Image(values, AFFINE, dtype=values.dtype)
    nifti.header.set_xyzt_units("mm")
    if (slope, intercept) != (1, 0):
        nifti.header.set_slope_inter(slope, intercept)
    nib.save(nifti, path)
    if edit is not None:
        raw = bytearray(path.read_bytes())
        edit(raw)
        path.write_bytes(raw)
    return path


def put(at: int, values: NDArray[Any]) -> Edit:
    """What overwrites a field of the header."""

    def edit(raw: bytearray) -> None:
        raw[at : at + values.nbytes] = values.tobytes()

    return edit


def loaded(path: Path) -> Any:
    return nib.load(path)


def sampled(path: Path, *options: str) -> Any:
    """What comes of fitting an image, exactly where nothing else is asked, and sampling the fit."""
    fitted, out = path.with_name("fit.oinr"), path.with_name("sampled.nii.gz")
    assert main(["fit", str(path), "-o", str(fitted), *(options or EXACT)]) == 0
    assert main(["sample", str(fitted), "-o", str(out)]) == 0
    return loaded(out)


# Scaling and precision


OFFSETS = {
    "a scanner's frequency": (123_250_000 + 0.25 * counts(), np.float64),
    "the same in whole Hz": (123_250_000 + counts() // 4, np.int32),
    "microseconds since 1970": (1_700_000_000_000_000 + counts(), np.int64),
    "below zero": (-5e7 + 0.125 * counts(), np.float64),
}


@pytest.mark.parametrize("name", OFFSETS)
def test_a_small_contrast_around_a_large_offset(name: str, tmp_path: Path) -> None:
    values, dtype = OFFSETS[name]
    written = sampled(save(tmp_path / "a.nii", values.astype(dtype))).get_fdata()
    assert np.abs(written - values).max() < 1e-3 * np.ptp(values)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_it_stays_so_in_any_format(suffix: str, tmp_path: Path) -> None:
    values = 123_250_000 + 0.25 * counts()
    sitk.WriteImage(sitk.GetImageFromArray(values.T), str(tmp_path / f"a{suffix}"))
    image = read_image(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(image.numpy()[0], values)


def test_a_trained_fit_of_it(tmp_path: Path) -> None:
    values = 123_250_000 + 0.25 * counts()
    plain, moved = (MetaTensor(torch.tensor(v)[None]) for v in (0.25 * counts(), values))
    config = FitConfig("fast", steps=20)
    one, other = fit(plain, config), fit(moved, config)
    apart = other.sample().as_tensor() - 123_250_000 - one.sample().as_tensor()
    assert float(apart.abs().max()) < 1e-3 * np.ptp(values)
    assert other.info["psnr_grid"] == pytest.approx(one.info["psnr_grid"], abs=0.01)


def test_its_surface_is_where_that_of_the_contrast_alone_is() -> None:
    plain, moved = (torch.tensor(v)[None] for v in (0.25 * counts(), 123_250_000 + 0.25 * counts()))
    one, other = (fit(MetaTensor(each), FitConfig("exact")) for each in (plain, moved))
    wanted, found = isosurface(one, 100.0), isosurface(other, 123_250_100.0)
    assert found.volume == pytest.approx(wanted.volume, rel=1e-4)
    assert len(found.vertices) == len(wanted.vertices)


def test_ordinary_images_are_in_float32(tmp_path: Path) -> None:
    for values in (counts() * 0.37, counts() - 1024.3, np.full((4, 4, 4), 0.1), counts() + 0.0):
        image = read_image(save(tmp_path / "a.nii", values.astype(np.float64)))
        assert image.dtype == torch.float32
    assert loaded(save(tmp_path / "b.nii", counts() * 0.37)).get_data_dtype() == np.float64
    assert sampled(tmp_path / "b.nii").get_data_dtype() == np.float32


@pytest.mark.parametrize(
    ("unit", "reason"),
    [(1e-200, "must vary by 1.2e-38 or more, got 0.0 to"), (1e200, "must lie within 3.4e+38 of 0")],
)
def test_what_float32_cannot_hold_is_told_as_it_is(
    unit: float, reason: str, run: Callable[..., Any], refused: Callable[..., str], tmp_path: Path
) -> None:
    image = save(tmp_path / "far.nii", counts() * unit)
    np.testing.assert_array_equal(read_image(image).numpy()[0], counts() * unit)
    for options in (EXACT, ["--memory", 64, "--steps", 2]):
        assert reason in refused("fit", image, "-o", tmp_path / "far.oinr", *options)
    for command in ("denoise", "super-resolve"):
        assert reason in refused(command, image, "-o", tmp_path / "out.nii")
    run("fit", save(tmp_path / "near.nii", counts()), "-o", tmp_path / "near.oinr", *EXACT)
    assert reason in refused("evaluate", tmp_path / "near.oinr", "--image", image)


# The same values by every door


DOORS: dict[str, tuple[NDArray[Any], dict[str, float]]] = {
    "plain": (counts().astype(np.int16), {}),
    "cancelling": ((2**30 + counts()).astype(np.int32), {"slope": 1.0, "intercept": -(2.0**30)}),
    "slope of floats": ((1e7 + counts()).astype(np.float32), {"slope": 1.0, "intercept": -1e7}),
    "big-endian": (counts().astype(">i2"), {"slope": 0.5, "intercept": -100.0}),
    "frequency": (123_250_000 + 0.25 * counts(), {}),
}


@pytest.mark.parametrize("name", DOORS)
def test_parts_of_a_file_are_those_of_the_whole(name: str, tmp_path: Path) -> None:
    values, scaling = DOORS[name]
    path = save(tmp_path / "a.nii", values, **scaling)
    wanted = values.astype(np.float64) * scaling.get("slope", 1) + scaling.get("intercept", 0)
    stored, whole = open_image(path, memory=64), read_image(path)
    box = stored.read((0, 0, 0), stored.grid.shape)
    for found in (whole.numpy(), box.numpy()):
        assert np.abs(found[0] - wanted).max() <= 1e-6 * np.ptp(wanted)
    fast = ["--preset", "fast", "--steps", "150"]
    found = sampled(path, *fast, "--memory", "64").get_fdata()
    assert np.sqrt(np.mean((found - wanted) ** 2)) < 0.1 * np.ptp(wanted)
    assert abs(found.mean() - wanted.mean()) < 0.02 * np.ptp(wanted)


COMPLEX = (counts() * np.exp(1j * counts() / 100)).astype(np.complex64)
COLOUR = np.zeros((6, 5, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])
UNUSABLE: dict[str, tuple[NDArray[Any], Edit | None, str]] = {
    "complex": (COMPLEX, None, "the voxels are complex64; save real numbers"),
    "colour": (COLOUR, None, "the voxels are [('R', 'u1'), ('G', 'u1'), ('B', 'u1')]; save real"),
    "intercept NaN": (
        counts().astype(np.int16),
        put(112, np.array([2, np.nan], "<f4")),
        "Valid slope but invalid intercept nan",
    ),
    "empty": (np.zeros((4, 0, 4)), None, "is empty"),
    "no affine": (counts().astype(np.int16), put(280, np.zeros(12, "<f4")), "is not invertible"),
}


@pytest.mark.parametrize("name", UNUSABLE)
@pytest.mark.parametrize("door", [[], ["--memory", "64"]])
def test_every_door_has_the_same_checks(
    name: str, door: list[str], refused: Callable[..., str], tmp_path: Path
) -> None:
    values, edit, reason = UNUSABLE[name]
    path = save(tmp_path / "a.nii", values, edit=edit)
    assert reason in refused("fit", path, "-o", tmp_path / "a.oinr", *door)
    if not door:
        assert reason in refused("denoise", path, "-o", tmp_path / "a.nii.gz")
        assert reason in refused("fit", path, "-o", tmp_path / "a.oinr", "--labels")


def test_scale_factors_that_say_nothing_change_nothing(tmp_path: Path) -> None:
    edit = put(112, np.array([np.nan, np.nan], "<f4"))
    path = save(tmp_path / "a.nii", counts().astype(np.int16), edit=edit)
    np.testing.assert_array_equal(sampled(path).get_fdata().round(), counts())


# Units and forms


@pytest.mark.parametrize(
    ("code", "told"), [(4, "taken for mm"), (7, "taken for mm"), (2 | 56, "no unit of time")]
)
@pytest.mark.parametrize("door", [read_image, open_image])
def test_unit_codes_that_name_nothing(
    code: int, told: str, door: Callable[[Path], Any], tmp_path: Path
) -> None:
    path = save(tmp_path / "a.nii", counts().astype(np.int16), edit=put(123, np.uint8([code])))
    with pytest.warns(ImageNote, match=told):
        image = door(path)
    np.testing.assert_allclose(image.affine, AFFINE)


def test_quaternions_that_rounding_made_too_long(tmp_path: Path) -> None:
    def edit(raw: bytearray) -> None:
        put(252, np.array([1, 0], "<i2"))(raw)
        put(76, np.array([1], "<f4"))(raw)
        put(256, np.array([0.6, 0.8, 0.003, 1, 2, 3], "<f4"))(raw)

    path = save(tmp_path / "a.nii", counts().astype(np.int16), edit=edit)
    with pytest.warns(ImageNote, match=r"the quaternion's length is 1\.000004\d*; taken for 1"):
        image = read_image(path)
    axes = image.affine[:3, :3].numpy() / [1.5, 1.25, 4.0]
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-6)
    x, y = 0.6, 0.8  # half a turn about (x, y, 0)
    turn = [[2 * x * x - 1, 2 * x * y, 0], [2 * x * y, 2 * y * y - 1, 0], [0, 0, -1]]
    np.testing.assert_allclose(axes, turn, atol=0.01)
    np.testing.assert_allclose(image.affine[:3, 3], [1, 2, 3])


def test_forms_that_lack_or_disagree_are_told(tmp_path: Path) -> None:
    nifti = nib.Nifti1Image(counts().astype(np.int16), AFFINE)
    moved = AFFINE.copy()
    moved[:3, 3] += [9, 0, 0]
    nifti.set_sform(moved, 2)
    nifti.set_qform(AFFINE, 1)
    nib.save(nifti, tmp_path / "a.nii")
    with pytest.warns(ImageNote, match="sform and qform differ by up to 9 mm; the sform is taken"):
        np.testing.assert_allclose(read_image(tmp_path / "a.nii").affine, moved)
    bare = nib.Nifti1Image(counts().astype(np.int16), None)
    bare.header.set_zooms((1.5, 1.25, 4.0))
    nib.save(bare, tmp_path / "b.nii")
    with pytest.warns(ImageNote, match="neither sform nor qform; centred"):
        affine = read_image(tmp_path / "b.nii").affine
    np.testing.assert_allclose(affine, bare.header.get_base_affine())


def nrrd(path: Path, *fields: str) -> Path:
    head = ["NRRD0004", "type: float", "dimension: 3", "sizes: 11 9 6", "encoding: raw"]
    text = "\n".join([*head, "endian: little", *fields]) + "\n\n"
    path.write_bytes(text.encode() + counts().astype("<f4").tobytes(order="F"))
    return path


MICRONS = "space directions: (25,0,0) (0,25,0) (0,0,50)"


@pytest.mark.parametrize(
    ("fields", "spacing"),
    [
        (["space: left-posterior-superior", MICRONS, 'space units: "um" "um" "um"'], 1e-3),
        (["space: left-posterior-superior", MICRONS, 'space units: "microns" "um" ""'], None),
        (["space: left-posterior-superior", MICRONS, 'space units: "mm" "mm" "mm"'], 1.0),
        (["space: left-posterior-superior", MICRONS], 1.0),
        (["spacings: 25 25 50", 'units: "um" "um" "um"'], 1e-3),
        (["spacings: 25 25 50", 'units: "cm" "cm" "cm"'], 10.0),
    ],
)
def test_nrrd_in_other_units(fields: list[str], spacing: float | None, tmp_path: Path) -> None:
    path = nrrd(tmp_path / "a.nrrd", *fields)
    if spacing is None:
        with pytest.raises(ValueError, match=r"a\.nrrd: lengths must be in one unit, such as um"):
            read_image(path)
        return
    np.testing.assert_allclose(read_image(path).pixdim, np.array([25, 25, 50]) * spacing)


def test_metaimage_in_other_units(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(counts().T.astype("f4")), str(tmp_path / "a.mha"))
    raw = (tmp_path / "a.mha").read_bytes()
    (tmp_path / "a.mha").write_bytes(
        raw.replace(b"ElementType", b"DistanceUnits = um\nElementType", 1)
    )
    assert read_image(tmp_path / "a.mha").pixdim.tolist() == pytest.approx([1e-3] * 3)


# Times


def film(path: Path, step: float, unit: str, start: float = 0.0) -> Path:
    """Six volumes in time."""
    b = counts((8, 7, 5))
    values = np.stack([b * (1 + 0.1 * np.sin(t)) for t in range(6)], -1).astype(np.float32)
    nifti = nib.Nifti1Image(values, AFFINE)
    nifti.header.set_xyzt_units("mm", unit)
    nifti.header["pixdim"][4], nifti.header["toffset"] = step, start
    nib.save(nifti, path)
    return path


def times_of(path: Path) -> tuple[float, str, float]:
    header = loaded(path).header
    step, start = float(header["pixdim"][4]), float(header["toffset"])
    return round(step, 5), header.get_xyzt_units()[1], round(start, 5)


TIMES = [(2.2, "sec", 0.0), (2200.0, "msec", 500.0), (0.5, "hz", 0.0), (3.0, "unknown", 1.0)]


@pytest.mark.parametrize(("step", "unit", "start"), TIMES)
def test_times_are_kept(step: float, unit: str, start: float, tmp_path: Path) -> None:
    path, out = film(tmp_path / "a.nii", step, unit, start), tmp_path / "out.nii.gz"
    kept = (step, unit, start)
    sampled(path)
    assert times_of(tmp_path / "sampled.nii.gz") == kept
    assert main(["simulate", str(path), "-o", str(out), "--spacing", "8"]) == 0
    assert times_of(out) == kept
    assert main(["denoise", str(path), "-o", str(out), "--sigma", "3", "--steps", "2"]) == 0
    assert times_of(out) == kept
    fast = ["--preset", "fast", "--steps", "2", "--no-motion"]
    family = str(tmp_path / "family.oinr")
    options = [*fast, "--save", family]
    assert main(["interpolate", str(path), "-o", str(out), "--factor", "2", *options]) == 0
    assert times_of(out) == (step / 2, unit, start)
    second = {"sec": 2.2, "msec": 2.2}.get(unit, step)
    at = ["--at", f"{second},{2 * second}"]
    assert main(["interpolate", family, "-o", str(out), *at]) == 0
    assert times_of(out) == (step, unit, round(start + step, 5))


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_times_are_kept_in_other_formats(suffix: str, tmp_path: Path) -> None:
    series = read_series([film(tmp_path / "a.nii", 2200, "msec", 500)])
    image = read_image(tmp_path / "a.nii")
    write_image(tmp_path / f"a{suffix}", image)
    again = read_series([tmp_path / f"a{suffix}"])
    assert again.times == pytest.approx(series.times)
    assert torch.equal(again.frames[4].as_tensor(), series.frames[4].as_tensor())
    np.testing.assert_allclose(again.frames[0].affine, AFFINE, atol=1e-6)


def test_uneven_times_are_none(tmp_path: Path) -> None:
    series = read_series([film(tmp_path / "a.nii", 2.2, "sec")])
    write_series(tmp_path / "b.nii", Series(series.frames[:3], (0.0, 2.2, 3.0)))
    assert times_of(tmp_path / "b.nii") == (1.0, "unknown", 0.0)


def test_frames_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for t in range(1, 13):
        save(folder / f"t{t}.nii.gz", (counts((4, 4, 3)) + 100 * t).astype(np.float32))
    means = [float(frame.mean()) for frame in read_series([folder]).frames]
    assert np.diff(means) == pytest.approx([100.0] * 11, abs=0.01)


# Spaces and arrays


def oblique(space: str) -> MetaTensor:
    """The same image, as one of MONAI's readers leaves it in RAS and another in LPS."""
    affine = torch.tensor(
        [[0.9, 0.4, 0, 30], [-0.5, 1.1, 0.2, -20], [0.1, 0, 3.0, 5], [0, 0, 0, 1]]
    ).double()
    if space == "LPS":
        affine[:2] *= -1
    values = torch.from_numpy(counts((9, 8, 7)))[None].float()
    return MetaTensor(values, affine=affine, meta={"space": space})


def test_images_in_lps_answer_as_in_ras() -> None:
    config = FitConfig("exact")
    ras, lps = (FitOINR(config)(oblique(space)) for space in ("RAS", "LPS"))
    torch.testing.assert_close(ras.grid.affine, lps.grid.affine)
    points = ras.grid.to_world(torch.tensor([[3.0, 4, 2], [1, 5, 5]]))
    torch.testing.assert_close(ras.gradient_at(points), lps.gradient_at(points))
    assert lps.sample().meta["space"] == "RAS"
    torch.testing.assert_close(ras.sample(ras.grid).affine, lps.sample().affine)


def test_the_history_of_an_image_in_lps_is_not_that_of_its_answer(tmp_path: Path) -> None:
    """Undone on an answer in RAS, it would lead to the mirror image's place."""
    folder = inputs.write_series(tmp_path / "ct", counts())
    options: dict[str, Any] = {"reader": "PydicomReader", "ensure_channel_first": True}
    for lps, kept in ((True, False), (False, True)):
        image = Flip(0)(LoadImage(affine_lps_to_ras=not lps, **options)(folder))
        answer = FitOINR(FitConfig("exact"))(image).sample()
        assert bool(answer.applied_operations) is kept
        assert ("original_affine" in answer.meta) is kept


def test_images_in_lps_are_written_in_their_place(tmp_path: Path) -> None:
    write_image(tmp_path / "a.nii", oblique("LPS"))
    torch.testing.assert_close(
        read_image(tmp_path / "a.nii").affine, oblique("RAS").affine, rtol=0, atol=1e-5
    )


def test_a_reader_of_monai_that_leaves_lps(tmp_path: Path) -> None:
    folder = inputs.write_series(tmp_path / "ct", counts())
    options: dict[str, Any] = {"reader": "PydicomReader", "ensure_channel_first": True}
    image = LoadImage(affine_lps_to_ras=False, **options)(folder)
    assert image.meta["space"] == "LPS"
    fitted = FitOINR(FitConfig("exact"))(image)
    ours = read_image(folder)
    points = Grid.from_image(ours).to_world(torch.tensor([[3.0, 4, 2], [9, 1, 4]]))
    wanted = fit(ours, FitConfig("exact")).at(points)
    torch.testing.assert_close(fitted.at(points), wanted, rtol=1e-4, atol=1e-2)


def test_a_space_of_another_name_is_refused() -> None:
    image = oblique("RAS")
    image.meta["space"] = "LAS"
    with pytest.raises(ValueError, match='meta\\["space"\\] must be "RAS" or "LPS", got \'LAS\''):
        fit(image, FitConfig("exact"))


ARRAYS = {
    "flipped": counts()[None, ::-1, :, ::-1],
    "big-endian": counts()[None].astype(">f4"),
    "read-only": np.frombuffer(counts().astype("f4").tobytes(), "f4").reshape(1, *counts().shape),
    "unsigned": counts()[None].astype(np.uint32),
    "half": counts()[None].astype(np.float16),
    "long double": counts()[None].astype(np.longdouble),
}

TAKES: dict[str, Callable[[NDArray[Any]], Any]] = {
    "fit": lambda image: fit(image, FitConfig("exact")).sample(),
    "simulate_slices": lambda image: simulate_slices(image, 1.0),
    "fuse": lambda image: fuse([image, image]).sample(),
    "a mask": lambda image: fit(
        torch.from_numpy(counts())[None].float(), FitConfig("exact"), mask=image
    ).sample(),
}


@pytest.mark.parametrize("array", ARRAYS)
@pytest.mark.parametrize("function", TAKES)
def test_arrays_of_any_layout_are_taken(array: str, function: str) -> None:
    plain = torch.from_numpy(ARRAYS[array].astype(np.float32).copy())
    found, wanted = TAKES[function](ARRAYS[array]), TAKES[function](plain)
    torch.testing.assert_close(found.as_tensor().float(), wanted.as_tensor(), rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("function", TAKES)
@pytest.mark.parametrize("kind", ["array", "tensor"])
def test_complex_arrays_are_refused(function: str, kind: str) -> None:
    values: Any = COMPLEX[None] if kind == "array" else torch.from_numpy(COMPLEX)[None]
    with pytest.raises(ValueError, match=r"must hold real numbers, got .*complex64; take its mag"):
        TAKES[function](values)


def test_representations_of_films_keep_times_in_their_file(tmp_path: Path) -> None:
    sampled(film(tmp_path / "a.nii", 2200, "msec", 500))
    known = Representation.load(tmp_path / "fit.oinr").info["time_axis"]
    assert known == {"step": 2200.0, "start": 500.0, "unit": "msec"}
