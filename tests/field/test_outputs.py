"""What is written: never over an input, with its mode and link, refused before the work."""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from monai.data import MetaTensor
from numpy.typing import NDArray
from PIL import Image

from oinr_monai import Representation
from oinr_monai.cli.app import main
from oinr_monai.images.files import write_image
from tests.cli.scans import save_nifti
from tests.field.inputs import counts

AFFINE = np.diag([1.5, 1.25, 4.0, 1.0])
SMALL = ["--steps", "2"]


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    return save_nifti(tmp_path / "scan.nii.gz", counts((14, 12, 6)).astype("f4"), AFFINE)


@pytest.fixture
def fitted(scan: Path) -> Path:
    path = scan.with_name("scan.oinr")
    assert main(["fit", str(scan), "-o", str(path), "--preset", "exact"]) == 0
    return path


@pytest.fixture
def trained(scan: Path) -> Path:
    path = scan.with_name("trained.oinr")
    assert main(["fit", str(scan), "-o", str(path), "--preset", "fast", *SMALL]) == 0
    return path


# Inputs stay


Command = Callable[[Path, Path], list[object]]

OVER_INPUTS: dict[str, Command] = {
    "denoise": lambda scan, rep: ["denoise", scan, "-o", scan, "--sigma", 5, *SMALL],
    "super-resolve": lambda scan, rep: ["super-resolve", scan, "-o", scan, *SMALL],
    "simulate": lambda scan, rep: ["simulate", scan, "-o", scan, "--spacing", 8],
    "sample": lambda scan, rep: ["sample", rep, "-o", scan, "--like", scan],
    "fit": lambda scan, rep: ["fit", scan, "-o", rep, "--init", rep, "--preset", "fast", *SMALL],
    "interpolate": lambda scan, rep: [
        *("interpolate", scan, "-o", scan, "--axis", 2, "--factor", 2),
        *("--preset", "fast", *SMALL),
    ],
}


@pytest.mark.parametrize("name", OVER_INPUTS)
@pytest.mark.parametrize("how", ["itself", "by a link", "by another way"])
def test_an_input_is_not_replaced(
    name: str, how: str, refused: Callable[..., str], scan: Path, trained: Path
) -> None:
    command = OVER_INPUTS[name](scan, trained)
    where = command.index("-o") + 1
    out = Path(str(command[where]))
    if how == "by a link":
        (out.parent / f"link-{out.name}").symlink_to(out)
        command[where] = out.parent / f"link-{out.name}"
    elif how == "by another way":
        command[where] = out.parent / ".." / out.parent.name / out.name
    before = scan.read_bytes(), trained.read_bytes()
    assert "is an input; give --overwrite to replace it" in refused(*command)
    assert (scan.read_bytes(), trained.read_bytes()) == before
    if how == "itself":
        assert main([*map(str, command), "--overwrite"]) == 0
        assert (scan.read_bytes(), trained.read_bytes()) != before


def test_what_was_fitted_is_an_input_too(
    refused: Callable[..., str], fitted: Path, scan: Path, tmp_path: Path
) -> None:
    """The file alone says so: neither command names the scan, and a copy is the scan as well."""
    reason = "is the image that was fitted; give --overwrite to replace it"
    copy = tmp_path / "elsewhere.nii.gz"
    copy.write_bytes(scan.read_bytes())
    for out in (scan, copy):
        command = ["sample", fitted, "-o", out]
        assert reason in refused(*command)
        assert reason in refused("features", *command[1:])
    maps = scan.rename(scan.with_name("laplacian.nii.gz"))
    derive = ["derive", fitted, "-o", tmp_path, "--maps", "laplacian"]
    assert reason in refused(*derive)
    assert main([*map(str, derive), "--overwrite"]) == 0
    assert main(["sample", str(fitted), "-o", str(maps)]) == 0


def other(scan: Path, values: NDArray[Any], spacing: float = 4.0) -> Path:
    affine = np.diag([1.5, 1.25, spacing, 1.0])
    return save_nifti(scan.with_name(f"other-{spacing}.nii.gz"), values, affine)


# What is fitted, of which the last file named is asked about, and how it is sampled.
FITS: dict[str, tuple[Callable[[Path], list[object]], list[str]]] = {
    "on disk": (lambda scan: ["--memory", 64, scan], []),
    "in a mask": (lambda scan: ["--mask", other(scan, np.ones((14, 12, 6))), scan], []),
    "as labels": (
        lambda scan: ["--labels", other(scan, (counts((14, 12, 6)) > 300) * np.uint8(7))],
        ["--labels"],
    ),
    "with another": (
        lambda scan: ["--network", "CKConvOINR", scan, other(scan, counts((14, 12, 3)) + 0.5, 8)],
        [],
    ),
}


@pytest.mark.parametrize("name", FITS)
def test_so_it_is_however_it_was_fitted(
    name: str, refused: Callable[..., str], scan: Path, tmp_path: Path
) -> None:
    arguments, how = FITS[name][0](scan), FITS[name][1]
    command = ["fit", *arguments, "-o", tmp_path / "r.oinr", "--preset", "fast", *SMALL]
    assert main([*map(str, command)]) == 0
    told = refused("sample", tmp_path / "r.oinr", "-o", arguments[-1], *how)
    assert "is the image that was fitted" in told


def test_maps_do_not_replace_the_image_that_they_are_like(
    refused: Callable[..., str], fitted: Path, scan: Path
) -> None:
    like = scan.rename(scan.with_name("laplacian.nii.gz"))
    command = ["derive", fitted, "-o", scan.parent, "--maps", "laplacian", "--like", like]
    assert "laplacian.nii.gz: is an input" in refused(*command)
    assert main([*map(str, command), "--overwrite"]) == 0


def test_an_older_result_is_replaced(fitted: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out.nii.gz")
    assert main(["sample", str(fitted), "-o", out]) == 0
    assert main(["sample", str(fitted), "-o", out, "--factor", "2"]) == 0


def test_a_cohort_replaces_neither_its_table_nor_its_start(
    refused: Callable[..., str], scan: Path, trained: Path, tmp_path: Path
) -> None:
    (tmp_path / "status.csv").write_text(f"subject,image\ntrained,{scan.name}\n")
    command = ["cohort", "fit", tmp_path / "status.csv", "-o", tmp_path, *SMALL]
    assert "status.csv: is an input" in refused(*command, "--preset", "fast")
    table = (tmp_path / "status.csv").rename(tmp_path / "table.csv")
    command[2] = table
    started = ["--preset", "fast", "--init", trained]
    assert "trained.oinr: is an input" in refused(*command, *started)
    assert main([*map(str, command), *map(str, started), "--overwrite"]) == 0


# Modes and links


def replaced(path: Path, fitted: Path) -> None:
    if path.name.endswith(".nii.gz"):
        assert main(["sample", str(fitted), "-o", str(path)]) == 0
    elif path.suffix == ".oinr":
        Representation.load(fitted).save(path)
    else:
        write_image(path, MetaTensor(counts((8, 7, 1))[None].astype("f4")))


@pytest.mark.parametrize("name", ["a.nii.gz", "a.oinr", "a.nrrd", "a.mha"])
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444])
def test_modes_are_kept(name: str, mode: int, fitted: Path, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text("older")
    path.chmod(mode)
    replaced(path, fitted)
    assert path.stat().st_size > 100
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.parametrize("name", ["a.nii.gz", "a.oinr", "a.nrrd"])
@pytest.mark.parametrize("there", [True, False])
def test_links_stay_links(name: str, there: bool, fitted: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / f"target-{name}", tmp_path / name
    if there:
        target.write_text("older")
        target.chmod(0o600)
    link.symlink_to(target)
    replaced(link, fitted)
    assert link.is_symlink()
    assert target.stat().st_size > 100
    assert os.listdir(tmp_path / "elsewhere") == [target.name]
    if there:
        assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_maps_keep_modes_and_links(fitted: Path, tmp_path: Path) -> None:
    folder = tmp_path / "maps"
    folder.mkdir()
    (folder / "target.nii.gz").write_text("older")
    (folder / "target.nii.gz").chmod(0o600)
    (folder / "laplacian.nii.gz").symlink_to("target.nii.gz")
    assert main(["derive", str(fitted), "-o", str(folder), "--maps", "laplacian"]) == 0
    assert (folder / "laplacian.nii.gz").is_symlink()
    assert stat.S_IMODE((folder / "target.nii.gz").stat().st_mode) == 0o600
    assert (folder / "target.nii.gz").stat().st_size > 100


# What cannot be written or held is known before


def picture_of(folder: Path) -> Path:
    Image.fromarray(counts((12, 14, 1))[:, :, 0].astype("u1")).save(folder / "picture.png")
    return folder / "picture.png"


BEFOREHAND: dict[str, tuple[Command, str]] = {
    "a volume as PNG": (
        lambda scan, rep: ["denoise", scan, "-o", "a.png", "--sigma", 5, "--seconds", 60],
        r"image must have shape \(1 or 3, X, Y\) for PNG, got \(1, 14, 12, 6\)",
    ),
    "thick slices as JPEG": (
        lambda scan, rep: ["super-resolve", scan, "-o", "a.jpg", "--seconds", 60],
        r"image must have shape \(1 or 3, X, Y\) for JPEG",
    ),
    "floats as PNG": (
        lambda scan, rep: [
            *("denoise", save_nifti(scan.with_name("b.nii"), counts((9, 9, 1))[..., 0] + 0.5)),
            *("-o", "a.png", "--sigma", 5, "--seconds", 60),
        ],
        r"must have been 8 bits deep and positive for PNG.* channels of float64",
    ),
    "volumes as a film": (
        lambda scan, rep: ["interpolate", scan, scan, "-o", "a.gif", "--factor", 2],
        r"frames must have shape \(1 or 3, X, Y\) for a film, got \(1, 14, 12, 6\)",
    ),
    "frames as one picture": (
        lambda scan, rep: ["interpolate", scan, scan, "-o", "a.png", "--factor", 2],
        r"several frames need \.nii, \.nii\.gz, \.gif or \.mp4",
    ),
    "colours as NIfTI's time": (
        lambda scan, rep: [
            "interpolate",
            *[save_nifti(scan.with_name("c.nii"), np.ones((5, 5, 1, 3)))] * 2,
            *("-o", "a.nii", "--factor", 2),
        ],
        r"one channel in NIfTI",
    ),
    "super-resolve": (
        lambda scan, rep: ["super-resolve", scan, "-o", "a.nii", "--spacing", "1e-6"],
        r"must fit into memory, got shape \(21000000, 15000000, 24000000\).* GiB where this machi",
    ),
    "super-resolve along one axis": (
        lambda scan, rep: [
            "super-resolve",
            scan,
            "-o",
            "a.nii",
            "--spacing",
            "1.5",
            "1.25",
            "1e-4",
        ],
        r"at most 32767 voxels along each axis for NIfTI",
    ),
    "simulate": (
        lambda scan, rep: ["simulate", scan, "-o", "a.nrrd", "--spacing", "1e-7"],
        r"must fit into memory",
    ),
    "interpolate slices": (
        lambda scan, rep: [
            *("interpolate", scan, "-o", "a.nii", "--axis", 2, "--factor", 20_000),
            *("--preset", "fast", "--seconds", 60),
        ],
        r"at most 32767 voxels along each axis for NIfTI, got \(1, 14, 12, 100001\)",
    ),
    "interpolate frames": (
        lambda scan, rep: [
            *("interpolate", scan, scan, "-o", "a.nii", "--factor", 40_000),
            *("--preset", "fast", "--seconds", 60),
        ],
        r"at most 32767 voxels along each axis for NIfTI, got \(40001, 14, 12, 6\)",
    ),
    "sample": (
        lambda scan, rep: ["sample", rep, "-o", "a.nii", "--factor", 20_000],
        r"at most 32767 voxels along each axis",
    ),
    "sample, in another format": (
        lambda scan, rep: ["sample", rep, "-o", "a.nrrd", "--factor", 2_000],
        r"must fit into memory, got shape \(26001, 22001, 10001\) and 1 channels, 2.13e\+04 GiB",
    ),
    "derive": (
        lambda scan, rep: ["derive", rep, "-o", "maps", "--factor", 2_000],
        r"must fit into memory",
    ),
    "features": (
        lambda scan, rep: ["features", rep, "-o", "a.npz", "--spacing", "0.001"],
        r"must have hidden layers for features, got an image in closed form",
    ),
    "a grid beside the image": (
        lambda scan, rep: [
            *("sample", rep, "-o", "a.nii", "--like"),
            save_nifti(scan.with_name("far.nii"), np.ones((4, 4, 4)), AFFINE + np.eye(4)[3] * 900),
        ],
        r"must overlap with the representation, got a grid beside it",
    ),
    "memory without end": (
        lambda scan, rep: ["fit", scan, "-o", "a.oinr", "--memory", "inf"],
        r"memory must be finite",
    ),
    "seconds without end": (
        lambda scan, rep: ["fit", scan, "-o", "a.oinr", "--seconds", "inf"],
        r"seconds must be finite",
    ),
    "times without end": (
        lambda scan, rep: [
            *("interpolate", scan, scan, "-o", "a.nii", "--factor", 2, "--times", "0,inf"),
            *("--preset", "fast", *SMALL),
        ],
        r"times must be finite and rise",
    ),
    "a slice as thick as a country": (
        lambda scan, rep: [
            *("simulate", scan, "-o", "a.nii", "--spacing", 8, "--slice-thickness", "1e9"),
        ],
        r"must be positive and below 10000 mm",
    ),
}


@pytest.mark.parametrize("name", BEFOREHAND)
def test_what_cannot_be_is_refused_before_the_work(
    name: str, refused: Callable[..., str], scan: Path, fitted: Path
) -> None:
    command, reason = BEFOREHAND[name]
    arguments, started = command(scan, fitted), time.monotonic()
    assert re.search(reason, refused(*arguments))
    assert time.monotonic() - started < 5


# Only what counts must be finite


@pytest.fixture
def padded(tmp_path: Path) -> tuple[Path, Path]:
    """A map with NaN outside of its mask."""
    values = counts((14, 12, 6)).astype("f4")
    inside = values > 200
    image = save_nifti(tmp_path / "map.nii.gz", np.where(inside, values, np.nan), AFFINE)
    return image, save_nifti(tmp_path / "mask.nii.gz", inside.astype("u1"), AFFINE)


@pytest.mark.parametrize("preset", [["exact"], ["fast", "--steps", "20"]])
def test_what_lies_outside_the_mask_may_be_anything(
    preset: list[str], padded: tuple[Path, Path], run: Callable[..., Any], tmp_path: Path
) -> None:
    image, mask = padded
    rep, out = tmp_path / "a.oinr", tmp_path / "out.nii.gz"
    done = run("fit", image, "-o", rep, "--mask", mask, "--preset", *preset)
    assert np.isfinite(done["psnr_grid"])
    run("sample", rep, "-o", out, "--like", image)
    written: Any = nib.load(out)
    assert np.isfinite(written.get_fdata()).all()
    scores = run("evaluate", rep, "--image", image, "--mask", mask)
    near = 1e-3 if preset[0] == "fast" else 6  # dB, of rounding in a few boxes and everywhere
    assert scores["psnr"] == pytest.approx(done["psnr_grid"], abs=near)
    assert scores["ssim"] is None


def test_denoise_inside_a_mask(
    padded: tuple[Path, Path], run: Callable[..., Any], tmp_path: Path
) -> None:
    image, mask = padded
    options = ["--mask", mask, "--sigma", 5, *SMALL]
    run("denoise", image, "-o", tmp_path / "out.nii.gz", *options)
    written: Any = nib.load(tmp_path / "out.nii.gz")
    inside = np.isfinite(nib.load(image).get_fdata())
    assert np.isfinite(written.get_fdata()[inside]).all()


def test_what_counts_must_be_finite(
    padded: tuple[Path, Path], refused: Callable[..., str], fitted: Path, tmp_path: Path
) -> None:
    image, _ = padded
    everything = save_nifti(tmp_path / "all.nii.gz", np.ones((14, 12, 6), "u1"), AFFINE)
    reason = "NaN"
    for options in ([], ["--mask", everything]):
        assert reason in refused("fit", image, "-o", "a.oinr", "--preset", "exact", *options)
        assert reason in refused("denoise", image, "-o", "a.nii", "--sigma", 5, *options)
        assert reason in refused("evaluate", fitted, "--image", image, *options)
    assert reason in refused("fit", everything, "-o", "a.oinr", "--mask", image)
    assert reason in refused("evaluate", fitted, "--image", everything, "--mask", image)
