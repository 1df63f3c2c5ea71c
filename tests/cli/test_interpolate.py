"""``oinr interpolate``: between two images, frames of a scan and slices, in a shell."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from tests.cli.scans import load_values, save_nifti

Run = Callable[..., dict[str, Any]]
QUICK = ["--preset", "fast", "--steps", "40", "--device", "cpu"]


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    x, y, z, t = np.meshgrid(*[np.arange(n) for n in (14, 12, 6, 3)], indexing="ij")
    values = 100 * np.exp(-((x - 5 - t) ** 2 + (y - 6) ** 2 + (z - 3) ** 2) / 8)
    return save_nifti(tmp_path_factory.mktemp("series") / "series.nii.gz", values.astype("f4"))


def picture(path: Path, shift: int) -> Path:
    x, y = np.meshgrid(np.arange(20), np.arange(16))
    Image.fromarray((200 * np.exp(-((x - 8 - shift) ** 2 + (y - 8) ** 2) / 12)).astype("u1")).save(
        path
    )
    return path


def test_between_two_pictures(run: Run, tmp_path: Path) -> None:
    a, b = picture(tmp_path / "a.png", 0), picture(tmp_path / "b.png", 3)
    shown = run("interpolate", a, b, "-o", tmp_path / "m.png", "--at", "0.5", *QUICK)
    assert shown["times"] == [0.5]
    with Image.open(tmp_path / "m.png") as middle:
        assert (middle.size, middle.mode) == ((20, 16), "L")


def test_frames_between_frames(run: Run, series: Path, tmp_path: Path) -> None:
    kept = tmp_path / "family.oinr"
    out = tmp_path / "out.nii.gz"
    shown = run("interpolate", series, "-o", out, "--factor", "2", "--save", kept, *QUICK)
    assert shown["times"] == pytest.approx([0, 0.5, 1, 1.5, 2])
    assert load_values(out).shape == (14, 12, 6, 5)
    assert np.allclose(nib.load(out).affine, nib.load(series).affine, atol=1e-4)
    again = tmp_path / "again.nii.gz"
    run("interpolate", kept, "-o", again, "--at", "0.5,1.5")
    assert np.allclose(load_values(again), load_values(out)[..., [1, 3]], atol=1e-4)
    run("sample", kept, "-o", tmp_path / "mean.nii.gz")  # the equal blend


def test_frames_are_brought_onto_the_first(run: Run, series: Path, tmp_path: Path) -> None:
    out, poses = tmp_path / "out.nii.gz", tmp_path / "poses.csv"
    asked = ["--at", "0,2", *QUICK]
    done = run("interpolate", series, "-o", out, "--realign", "--poses", poses, *asked)
    # Each frame is a voxel of 1 mm ahead of the one before; a lone hill in six slices tells it
    # roughly.
    assert done["framewise_displacement_mm"] == pytest.approx(1.0, abs=0.2)
    assert done["mean_displacement_mm"] == pytest.approx(1.0, abs=0.2)
    with poses.open() as file:
        assert len(list(csv.DictReader(file))) == 3
    realigned = load_values(out)
    run("interpolate", series, "-o", out, *asked)
    moving = load_values(out)
    apart = [
        float(np.abs(each[..., 1] - each[..., 0])[2:-4].mean()) for each in (realigned, moving)
    ]
    assert apart[0] < 0.3 * apart[1]


def test_slices_between_slices(run: Run, tmp_path: Path) -> None:
    volume = save_nifti(tmp_path / "v.nii.gz", np.random.default_rng(0).random((9, 8, 5), "f4"))
    out, page = tmp_path / "out.nii.gz", tmp_path / "page.html"
    asked = ["--axis", "1", "--factor", "3", "--report", page, *QUICK]
    shown = run("interpolate", volume, "-o", out, *asked)
    assert shown["shape"] == [9, 22, 5]
    assert "v.nii.gz, filled in" in page.read_text(encoding="utf-8")
    assert np.allclose(load_values(out)[:, ::3], load_values(volume), atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--at or --factor must be given"),
        (["--at", "0.5", "--factor", "2"], "--at or --factor must be given"),
        (["--at", "7"], "--at must be times from 0 to 2, got '7'"),
        (["--at", "0.5", "--steps", "3", "--seconds", "3"], "--steps and --seconds must not both"),
        (["--at", "half"], "--at must be numbers"),
        (["--axis", "1", "--at", "0.5"], "--axis must go with --factor"),
        (["--axis", "1", "--factor", "2", "--realign"], "--realign must go with frames"),
        (["--at", "0.5", "--poses", "p.csv"], "--realign must go with frames"),
        (["--at", "0.5", "--realign", "--poses", "p.txt"], "must end in .csv"),
        (["--at", "0.5", "--times", "0,1"], "times must be 3, one for each image, got 2"),
    ],
)
def test_bad_usage(
    options: list[str],
    message: str,
    series: Path,
    refused: Callable[..., str],
    tmp_path: Path,
) -> None:
    out = tmp_path / "out.nii.gz"
    quick = [*QUICK[:3], "2", *QUICK[4:]]
    assert message in refused("interpolate", series, "-o", out, *options, *quick)
    assert not out.exists()


def test_several_frames_are_no_picture(series: Path, refused: Callable[..., str]) -> None:
    said = refused("interpolate", series, "-o", "out.png", "--factor", "2")
    assert "several frames need .nii, .nii.gz, .gif or .mp4" in said


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["-o", "out.txt"], "out.txt: must end in"),
        (["-o", "none/out.nii.gz"], "none must be an existing folder"),
        (["-o", "{series}"], "is an input; give --overwrite"),
        (["-o", "out.nii.gz", "--save", "family.nii"], "family.nii: must end in .oinr"),
    ],
)
def test_where_it_goes_is_found_out_before_the_work(
    unread: Callable[..., str], series: Path, options: list[str], reason: str
) -> None:
    given = [each.format(series=series) for each in options]
    assert reason in unread("interpolate", series, *given, "--factor", "2")
