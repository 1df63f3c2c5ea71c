"""From a noisy image to a clean one in a shell."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from tests.cli.scans import SHAPE, blob, save_nifti


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    voxels = blob(SHAPE) + np.random.default_rng(0).normal(0, 3, SHAPE).astype("f4")
    return save_nifti(tmp_path_factory.mktemp("noisy") / "noisy.nii.gz", voxels)


def test_denoise_writes_a_nearer_image(
    run: Callable[..., Any], noisy: Path, tmp_path: Path
) -> None:
    output = tmp_path / "clean.nii.gz"
    done = run("denoise", noisy, "-o", output, "--steps", 60, "--sigma", 3, "--device", "cpu")
    assert (done["output"], done["sigma"], done["steps"]) == (str(output), [3.0], 60)
    clean, raw = nib.load(output), nib.load(noisy)
    assert np.allclose(clean.affine, raw.affine, atol=1e-4)
    before, after = (np.mean((x.get_fdata() - blob(SHAPE)) ** 2) for x in (raw, clean))
    assert after < 0.6 * before


def test_denoise_tells_what_it_found_of_the_noise(
    run: Callable[..., Any], noisy: Path, tmp_path: Path
) -> None:
    done = run("denoise", noisy, "-o", tmp_path / "clean.nii.gz", "--device", "cpu")
    assert done["sigma"] == [pytest.approx(3.0, rel=0.15)]
    assert done["smoothing"] == [0.0, 0.0, 0.0]
    told = ("--sigma", 2.5, "--smoothing", 0.5)
    done = run("denoise", noisy, "-o", tmp_path / "told.nii.gz", *told, "--device", "cpu")
    assert (done["sigma"], done["smoothing"]) == ([2.5], 0.5)


def test_denoise_takes_the_frames_of_a_series(run: Callable[..., Any], tmp_path: Path) -> None:
    frames = blob(SHAPE)[..., None] + np.random.default_rng(0).normal(0, 3, (*SHAPE, 6))
    series = save_nifti(tmp_path / "series.nii.gz", frames.astype("f4"))
    common = ("--steps", 3, "--device", "cpu")
    done = run("denoise", series, "-o", tmp_path / "all.nii.gz", *common)
    assert nib.load(tmp_path / "all.nii.gz").shape == (*SHAPE, 6)
    assert (done["frames"], done["steps"]) == (6, 18)
    assert done["sigma"] == pytest.approx([3.0] * 6, rel=0.1)
    done = run("denoise", series, "-o", tmp_path / "one.nii.gz", "--frame", 4, *common)
    assert nib.load(tmp_path / "one.nii.gz").shape == SHAPE
    one, every = (nib.load(tmp_path / f"{name}.nii.gz").get_fdata() for name in ("one", "all"))
    assert np.array_equal(one, every[..., 4])


def test_denoise_maps_its_errors(run: Callable[..., Any], tmp_path: Path) -> None:
    frames = blob(SHAPE)[..., None] + np.random.default_rng(0).normal(0, 3, (*SHAPE, 2))
    series = save_nifti(tmp_path / "series.nii.gz", frames.astype("f4"))
    common = ("--steps", 30, "--sigma", 3, "--device", "cpu", "--error-map")
    common = ("-o", tmp_path / "clean.nii.gz", *common, tmp_path / "map.nii.gz", "--samples", 2)
    run("denoise", series, *common)
    names = ("clean", "map", "clean-1", "clean-2")
    clean, widths, one, two = (nib.load(tmp_path / f"{n}.nii.gz").get_fdata() for n in names)
    assert one.shape == two.shape == clean.shape
    # They scatter about the answer as widely as the intervals say.
    assert 0.8 < (np.abs(np.stack([one, two]) - clean) <= widths).mean() < 0.97
    assert widths.shape == clean.shape
    inside = np.abs(clean - blob(SHAPE)[..., None]) <= widths
    assert 0.75 < inside.mean() <= 1


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--sigma", "-1"], "sigma must be positive"),
        (["--noise", "photon"], "--counts must be given"),
        (["--noise", "photon", "--sigma", "1"], "--sigma must go with"),
        (["--counts", "30"], "must go with --noise photon"),
        (["--steps", "2", "--seconds", "1"], "must not both be given"),
        (["--seconds", "0"], "seconds must be positive"),
        (["--frame", "1"], "--frame must be 0 to 0"),
    ],
)
def test_denoise_refuses(
    refused: Callable[..., str], noisy: Path, options: list[str], reason: str
) -> None:
    assert reason in refused("denoise", noisy, "-o", "clean.nii.gz", *options)


def test_denoise_keeps_the_function(
    run: Callable[..., Any], refused: Callable[..., str], noisy: Path, tmp_path: Path
) -> None:
    common = ("denoise", noisy, "--steps", 3, "--sigma", 3, "--device", "cpu", "-o")
    run(*common, tmp_path / "clean.oinr")
    run(*common, tmp_path / "clean.nii.gz")
    clean = run("sample", tmp_path / "clean.oinr", "-o", tmp_path / "sampled.nii.gz")["output"]
    wanted = nib.load(tmp_path / "clean.nii.gz").get_fdata()
    np.testing.assert_allclose(nib.load(clean).get_fdata(), wanted, atol=1e-3)
    series = save_nifti(tmp_path / "series.nii.gz", np.stack([blob(SHAPE)] * 2, -1).astype("f4"))
    assert "--frame must be given" in refused("denoise", series, "-o", tmp_path / "two.oinr")


def test_denoise_refuses_another_kind_of_file(refused: Callable[..., str], noisy: Path) -> None:
    assert "must end in" in refused("denoise", noisy, "-o", "clean.txt")


def test_a_map_replaces_neither_the_mask_nor_the_answer(
    refused: Callable[..., str], noisy: Path, tmp_path: Path
) -> None:
    mask = save_nifti(tmp_path / "mask.nii.gz", np.ones(SHAPE, "u1"))
    common = ("denoise", noisy, "-o", tmp_path / "clean.nii.gz", "--mask", mask, "--error-map")
    assert "is an input" in refused(*common, mask)
    assert "another file than -o" in refused(*common, tmp_path / "clean.nii.gz")
