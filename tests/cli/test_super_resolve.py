"""Thick slices, made and undone in a shell."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from oinr_monai import simulate_slices
from oinr_monai.cli.app import main
from tests.cli.scans import blob, load_values, oblique_affine, save_nifti
from tests.restoration.test_carried_operator import operator

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


# super-resolve

QUICK = ("--steps", 3, "--device", "cpu")


@pytest.fixture(scope="module")
def thick(fine: Path) -> list[Path]:
    """Slices across each axis, 2.7 to 3.3 mm thick."""
    paths = [fine.with_name(f"across{axis}.nii.gz") for axis in range(3)]
    for axis, (path, spacing) in enumerate(zip(paths, (2.7, 3.3, 2.7), strict=True)):
        options = ["--axis", axis, "--spacing", spacing]
        assert main([str(x) for x in ("simulate", fine, "-o", path, *options)]) == 0
    return paths


@pytest.fixture(scope="module")
def axial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five slices of 24 x 24 voxels, 3.6 mm apart."""
    affine = oblique_affine()
    affine[:3, :3] *= [1, 0.9 / 1.1, 3.6 / 2.5]
    path = tmp_path_factory.mktemp("axial") / "axial.nii.gz"
    return save_nifti(path, blob((24, 24, 5)), affine)


@pytest.mark.parametrize(
    ("options", "shape", "spacing"),
    [
        ([], (24, 24, 20), [0.9, 0.9, 0.9]),
        (["--spacing", 1.2], (18, 18, 15), [1.2, 1.2, 1.2]),
        (["--spacing", 0.9, 0.9, 1.8], (24, 24, 10), [0.9, 0.9, 1.8]),
        (["--slice-profile", "gaussian", "--slice-thickness", 3], (24, 24, 20), [0.9] * 3),
    ],
)
def test_super_resolve_fills_the_cells_of_the_slices(
    run: Callable[..., Any],
    axial: Path,
    tmp_path: Path,
    options: list[object],
    shape: tuple[int, ...],
    spacing: list[float],
) -> None:
    output = tmp_path / "fine.nii.gz"
    done = run("super-resolve", "-o", output, *QUICK, *options, axial)
    assert done["output"] == str(output)
    assert (done["shape"], done["steps"]) == (list(shape), 3)
    assert done["spacing"] == pytest.approx(spacing)
    written, stack = nib.load(output), nib.load(axial)
    assert written.shape == shape
    corners = [image.affine @ [-0.5, -0.5, -0.5, 1] for image in (written, stack)]
    np.testing.assert_allclose(*corners, atol=1e-5)


def test_super_resolve_keeps_the_slices(
    run: Callable[..., Any], axial: Path, tmp_path: Path
) -> None:
    run("super-resolve", axial, "-o", tmp_path / "fine.nii.gz", *QUICK)
    again = load_values(tmp_path / "fine.nii.gz").reshape(24, 24, 5, 4).mean(axis=3)
    np.testing.assert_allclose(again, load_values(axial), atol=0.05)


def test_super_resolve_fuses_stacks(
    run: Callable[..., Any], fine: Path, thick: list[Path], tmp_path: Path
) -> None:
    output = tmp_path / "fused.nii.gz"
    done = run("super-resolve", *thick[::-1], "-o", output)
    assert (done["stacks"], done["shape"]) == (3, [18, 16, 12])
    truth = load_values(fine)[..., :12]  # four slices of three voxels; two are left over
    assert np.abs(load_values(output) - truth).mean() < 0.2
    done = run("super-resolve", *thick[::-1], "-o", output, "--spacing", 1.8)
    assert done["spacing"] == pytest.approx([1.8] * 3)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--steps", "2", "--seconds", "1"], "must not both be given"),
        (["--seconds", "-1"], "seconds must be positive"),
        (["--spacing", "0"], "--spacing must be positive"),
        (["--spacing", "1", "2"], "--spacing must be positive, one number or 3"),
        (["--slice-thickness", "0"], "must be positive"),
        (["--slice-profile", "triangle"], "triangle"),
        (["--axis", "4"], "--axis"),
        (["--sigma", "2"], "--sigma must go with --noise gaussian or rician"),
        (["--noise", "rician", "--sigma", "-1"], "sigma must be positive"),
        (["--noise", "rician", "--error-map", "e.nii"], "--noise must be left out with"),
        (["--noise", "photon"], "photon"),
    ],
)
def test_super_resolve_refuses(
    refused: Callable[..., str], axial: Path, options: list[str], reason: str
) -> None:
    assert reason in refused("super-resolve", axial, "-o", "fine.nii.gz", *options)


def test_super_resolve_keeps_the_function(
    run: Callable[..., Any], axial: Path, tmp_path: Path
) -> None:
    common = ("super-resolve", axial, "--steps", 2, "--device", "cpu", "-o")
    run(*common, tmp_path / "fine.oinr")
    run(*common, tmp_path / "fine.nii.gz")
    run("sample", tmp_path / "fine.oinr", "-o", tmp_path / "sampled.nii.gz")
    sampled, wanted = (load_values(tmp_path / f"{n}.nii.gz") for n in ("sampled", "fine"))
    np.testing.assert_allclose(sampled, wanted, atol=1e-3)


def test_super_resolve_begins_with_an_operator(
    run: Callable[..., Any], refused: Callable[..., str], axial: Path, tmp_path: Path
) -> None:
    start, output = tmp_path / "start.safetensors", tmp_path / "fine.nii.gz"
    operator().save(start)
    common = ("super-resolve", axial, "--start", start, "--device", "cpu", "-o", output)
    assert run(*common, "--steps", 0)["steps"] == 0
    assert run(*common, "--steps", 2, "--overwrite")["steps"] == 2
    start.write_bytes(b"no operator")
    assert "start must be an operator" in refused(*common, "--overwrite")
    start.unlink()
    assert "no such file" in refused(*common, "--overwrite")
    assert run("super-resolve", axial, "-o", output, "--overwrite", "--steps", 0)["steps"] == 0


def test_super_resolve_refuses_stacks_apart(
    refused: Callable[..., str], axial: Path, thick: list[Path], tmp_path: Path
) -> None:
    far = oblique_affine()
    far[:3, 3] += 900
    elsewhere = save_nifti(tmp_path / "far.nii.gz", blob((9, 9, 4)), far)
    reason = refused("super-resolve", thick[2], elsewhere, "-o", "fine.nii.gz")
    assert "must all reach the volume" in reason
    assert "must end in" in refused("super-resolve", axial, "-o", "fine.txt")
    assert "no such file" in refused("super-resolve", axial, "no.nii", "-o", "fine.nii")


def test_super_resolve_maps_its_errors(
    run: Callable[..., Any], refused: Callable[..., str], axial: Path, thick: list[Path]
) -> None:
    output, errors = axial.with_name("fine.nii.gz"), axial.with_name("errors.nii.gz")
    shares, hidden = axial.with_name("shares.nii.gz"), axial.with_name("hidden.nii.gz")
    maps = ("--error-map", errors, "--share", shares, "--hidden", hidden)
    done = run("super-resolve", axial, "-o", output, *QUICK, *maps)
    assert done["trust"]["gap"] > 0
    widths = load_values(errors)
    assert widths.shape == load_values(output).shape
    assert widths.min() > 0
    parts = load_values(shares)
    assert parts.shape == load_values(hidden).shape == widths.shape
    assert 0 <= parts.min() < parts.max() < 1
    twice = (*maps[:2], "--share", errors)
    reason = refused("super-resolve", axial, "-o", output.with_name("new.nii.gz"), *twice)
    assert "--share must be another file" in reason
    np.testing.assert_allclose(nib.load(errors).affine, nib.load(output).affine, atol=1e-6)
    same = ("super-resolve", axial, "-o", "same.nii.gz", "--error-map", "same.nii.gz")
    assert "--error-map must be another file" in refused(*same)
    assert "must end in" in refused(*same[:-1], "map.txt")
    assert "is an input" in refused(*same[:-1], axial)
    many = ("super-resolve", *thick, "-o", "fused.nii.gz", "--share", "map.nii.gz")
    assert "--share must go with one stack" in refused(*many)


def test_stacks_are_fused_with_error_bars(
    run: Callable[..., Any], thick: list[Path], tmp_path: Path
) -> None:
    output, errors = tmp_path / "fused.nii.gz", tmp_path / "errors.nii.gz"
    done = run("super-resolve", *thick, "-o", output, "--error-map", errors, "--samples", 1)
    assert done["stacks"] == 3
    assert done["trust"]["learned_from"].startswith("each stack")
    widths, answer = load_values(errors), load_values(output)
    assert widths.shape == answer.shape == load_values(tmp_path / "fused-1.nii.gz").shape
    assert widths.min() > 0


def test_super_resolve_draws_what_the_truth_may_be(
    run: Callable[..., Any], refused: Callable[..., str], axial: Path, thick: list[Path]
) -> None:
    output = axial.with_name("likely.nii.gz")
    run("super-resolve", axial, "-o", output, *QUICK, "--samples", 2)
    answer, one, two = (
        load_values(output.with_name(name))
        for name in ("likely.nii.gz", "likely-1.nii.gz", "likely-2.nii.gz")
    )
    assert answer.shape == one.shape == two.shape
    assert not np.allclose(one, two)
    # Each would have been seen as the slices: what they differ by is gone in them.
    seen = [
        simulate_slices(MetaTensor(torch.from_numpy(v)[None], affine=nib.load(output).affine), 3.6)
        for v in (answer, one, two)
    ]
    away = (one - two).std()
    inner = (slice(None), *[slice(2, -2)] * 2, slice(1, -1))
    assert float((seen[1] - seen[2])[inner].std()) < 0.5 * away
    assert "--samples must go with" in refused(
        "super-resolve", axial, "-o", "fine.oinr", "--samples", 2
    )
    same = ("super-resolve", axial, "-o", "fine.nii.gz", "--samples", 1, "--error-map")
    assert "another file than -o, its samples" in refused(*same, "fine-1.nii.gz")


def test_super_resolve_is_told_of_noise(
    run: Callable[..., Any], refused: Callable[..., str], axial: Path, thick: list[Path]
) -> None:
    common = ("super-resolve", axial, "-o", axial.with_name("told.nii.gz"), "--overwrite")
    at_once = (*common, "--steps", 0, "--device", "cpu")
    assert run(*at_once, "--noise", "none").get("noise") is None
    exact = load_values(axial.with_name("told.nii.gz"))
    told = run(*at_once, "--noise", "rician", "--sigma", 0.5)
    assert told["noise"] == {"model": "RicianNoise", "sigma": 0.5, "smoothing": None}
    assert np.abs(load_values(axial.with_name("told.nii.gz")) - exact).max() > 1e-3
    many = ("super-resolve", *thick, "-o", "fused.nii.gz", "--noise", "gaussian")
    assert "--noise must go with one stack" in refused(*many)
