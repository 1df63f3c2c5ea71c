"""Thick slices, made and undone in a shell."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from test_cli import blob, load_values, oblique_affine, refused, run, save_nifti

__all__ = ["refused", "run"]  # the fixtures

SHAPE = (18, 16, 14)


@pytest.fixture(scope="module")
def fine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Voxels of 0.9 x 1.1 x 0.9 mm."""
    affine = oblique_affine()
    affine[:3, 2] *= 0.9 / 2.5
    return save_nifti(tmp_path_factory.mktemp("fine") / "fine.nii.gz", blob(SHAPE), affine)


# simulate


def test_simulate_averages_slabs(run: Callable[..., Any], fine: Path, tmp_path: Path) -> None:
    output = tmp_path / "thick.nii.gz"
    done = run("simulate", fine, "-o", output, "--spacing", 0.9 * 3.5)
    assert (done["output"], done["shape"]) == (str(output), [18, 16, 4])
    assert done["spacing"] == pytest.approx([0.9, 1.1, 3.15])
    truth = blob(SHAPE)
    wanted = (truth[..., :3].sum(axis=-1) + truth[..., 3] / 2) / 3.5
    np.testing.assert_allclose(load_values(output)[..., 0], wanted, rtol=1e-5, atol=1e-5)
    # Its first face is that of the volume.
    written: Any = nib.load(output)
    first = [written.affine @ [0, 0, -0.5, 1], nib.load(fine).affine @ [0, 0, -0.5, 1]]
    np.testing.assert_allclose(*first, atol=1e-5)


def test_simulate_along_another_axis_with_gap_and_noise(
    run: Callable[..., Any], fine: Path, tmp_path: Path
) -> None:
    common = ["simulate", fine, "--axis", 0, "--spacing", 3.6, "--slice-thickness", 1.8]
    run(*common, "-o", tmp_path / "clean.nii.gz")
    clean = load_values(tmp_path / "clean.nii.gz")
    np.testing.assert_allclose(clean[0], blob(SHAPE)[1:3].mean(axis=0), rtol=1e-5)
    noisy = [tmp_path / "noisy.nii.gz", tmp_path / "same.nii.gz"]
    for path in noisy:
        run(*common, "--noise", "rician", "--sigma", 2, "--seed", 5, "-o", path)
    first, second = map(load_values, noisy)
    assert np.array_equal(first, second)
    bright = clean > 20
    assert np.std((first - clean)[bright]) == pytest.approx(2, rel=0.1)


def test_simulate_gaussian_slices(run: Callable[..., Any], fine: Path, tmp_path: Path) -> None:
    boxes, bells = tmp_path / "boxes.nii.gz", tmp_path / "bells.nii.gz"
    run("simulate", fine, "-o", boxes, "--spacing", 3.6)
    run("simulate", fine, "-o", bells, "--spacing", 3.6, "--slice-profile", "gaussian")
    assert not np.allclose(load_values(boxes), load_values(bells), atol=0.1)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ([], "--spacing"),
        (["--spacing", "0"], "must be positive"),
        (["--spacing", "99"], "at most 12.6 mm"),
        (["--spacing", "3", "--slice-thickness", "-1"], "must be positive"),
        (["--spacing", "3", "--slice-profile", "triangle"], "triangle"),
        (["--spacing", "3", "--axis", "3"], "--axis"),
        (["--spacing", "3", "--noise", "rician"], "--noise and --sigma must go together"),
        (["--spacing", "3", "--sigma", "2"], "--noise and --sigma must go together"),
        (["--spacing", "3", "--noise", "gaussian", "--sigma", "-2"], "sigma must be positive"),
    ],
)
def test_simulate_refuses(
    refused: Callable[..., str], fine: Path, options: list[str], reason: str
) -> None:
    assert reason in refused("simulate", fine, "-o", "thick.nii.gz", *options)


def test_simulate_refuses_what_is_no_image(refused: Callable[..., str], fine: Path) -> None:
    assert "must end in" in refused("simulate", fine, "-o", "thick.oinr", "--spacing", "3")
    assert "no such file" in refused("simulate", "no.nii", "-o", "thick.nii", "--spacing", "3")
