"""Registration in a shell: images, labels, points and transforms."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from PIL import Image

from oinr_monai import Motion
from oinr_monai.cli.app import main
from oinr_monai.cli.register import MOTION_SUFFIXES
from oinr_monai.motion import AffineMotion, exchange, rigid_about
from tests.cli.scans import load_values, save_nifti
from tests.motion.makers import texture
from tests.motion.test_registration import GRID, TURN

RIGID = ["--model", "rigid"]


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """fixed.nii.gz, moving.nii.gz, labels.nii.gz of the moving one, and mask.nii.gz."""
    folder = tmp_path_factory.mktemp("pair")
    beyond = GRID.pad(3)
    moving = texture(beyond.points())
    fixed = texture(TURN.at(GRID.points().flatten(0, -2))).view(GRID.shape)
    files = {"fixed": (fixed, GRID), "moving": (moving, beyond)}
    files["labels"] = ((moving > 1).float() * 3, beyond)
    files["mask"] = (torch.ones(GRID.shape), GRID)
    for name, (values, grid) in files.items():
        save_nifti(folder / f"{name}.nii.gz", values.numpy().astype("f4"), grid.affine.numpy())
    return folder


def test_everything_is_moved_and_kept(
    run: Callable[..., dict[str, Any]], scans: Path, tmp_path: Path
) -> None:
    points = tmp_path / "points.csv"
    points.write_text("name,x,y,z\na,1.5,-2,3\nb,-4,0,2.5\n")
    done = run(
        *("register", scans / "fixed.nii.gz", scans / "moving.nii.gz", *RIGID),
        *("-o", tmp_path / "moved.nii.gz", "--fixed-mask", scans / "mask.nii.gz"),
        *("--labels", scans / "labels.nii.gz", "--labels-output", tmp_path / "labels.nii.gz"),
        *("--points", points, "--points-output", tmp_path / "there.csv"),
        *("--transform", tmp_path / "there.tfm", "--inverse", tmp_path / "back.safetensors"),
    )
    assert done["folds"] == 0
    assert done["min_jacobian"] == pytest.approx(1, abs=1e-6)
    assert done["inverse_consistency_mm"] < 1e-6
    assert done["seconds"] > 0
    fixed, moved = load_values(scans / "fixed.nii.gz"), load_values(tmp_path / "moved.nii.gz")
    inner = (slice(3, -3),) * 3
    assert np.abs(fixed - moved)[inner].max() < 0.05
    labels = load_values(tmp_path / "labels.nii.gz")
    assert set(np.unique(labels)) == {0, 3}
    assert ((labels > 0) == (fixed > 1))[inner].mean() > 0.95
    with (tmp_path / "there.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["a", "b"]
    found = torch.tensor([[float(row[axis]) for axis in "xyz"] for row in rows]).double()
    asked = torch.tensor([[1.5, -2, 3], [-4, 0, 2.5]], dtype=torch.float64)
    assert float((found - TURN.at(asked)).norm(dim=1).max()) < 0.02
    transform = sitk.ReadTransform(str(tmp_path / "there.tfm"))
    there = np.array(transform.TransformPoint((-1.5, 2.0, 3.0))) * [-1, -1, 1]
    np.testing.assert_allclose(there, found[0].numpy(), atol=1e-5)
    back = Motion.load(tmp_path / "back.safetensors").at(found)
    assert float((back - asked).abs().max()) < 1e-4


def test_warp_does_again_what_register_did(
    run: Callable[..., dict[str, Any]], scans: Path, tmp_path: Path
) -> None:
    fixed, moving = scans / "fixed.nii.gz", scans / "moving.nii.gz"
    transform = tmp_path / "there.safetensors"
    run("register", fixed, moving, *RIGID, "-o", tmp_path / "a.nii.gz", "--transform", transform)
    like = ["--transform", transform, "--like", fixed]
    run("warp", moving, "-o", tmp_path / "b.nii.gz", *like)
    np.testing.assert_allclose(
        load_values(tmp_path / "a.nii.gz"), load_values(tmp_path / "b.nii.gz"), atol=1e-5
    )
    done = run("warp", scans / "labels.nii.gz", "-o", tmp_path / "l.nii.gz", "--labels", *like)
    assert done["shape"] == list(GRID.shape)
    labels: Any = nib.load(tmp_path / "l.nii.gz")
    assert labels.get_data_dtype().kind in "iu"


def test_a_motion_is_told_without_json(
    scans: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "moved.nii.gz"
    pair = [str(scans / name) for name in ("fixed.nii.gz", "moving.nii.gz")]
    assert main(["register", *pair, "-o", str(output), "--model", "affine"]) == 0
    told = capfd.readouterr().out
    assert "folds" in told
    assert "affine" in told


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--labels", "labels.nii.gz"], "--labels and --labels-output must go together"),
        (["--points-output", "p.csv"], "--points and --points-output must go together"),
        (["--transform", "t.csv"], "must end in"),
        (["--model", "elastic"], "--model"),
        (["--mutual-information"], "--similarity must be other than MutualInformation"),
        (["--fixed-mask", "empty.nii.gz"], "mask must hold at least one voxel"),
        (["--points", "wrong.csv", "--points-output", "p.csv"], "row 1 must be numbers of mm"),
        (["--points", "far.csv", "--points-output", "p.csv"], "row 1 must be numbers of mm"),
        (["--labels", "flat.png", "--labels-output", "l.nii.gz"], "--labels must have 3 dim"),
    ],
)
def test_register_refuses(
    refused: Callable[..., str], scans: Path, tmp_path: Path, options: list[str], reason: str
) -> None:
    save_nifti(tmp_path / "empty.nii.gz", np.zeros(GRID.shape, "f4"), GRID.affine.numpy())
    (tmp_path / "wrong.csv").write_text("x,y,z\n1,2,north\n")
    (tmp_path / "far.csv").write_text("x,y,z\n1,inf,3\n")
    Image.fromarray(np.ones((8, 8), "u1")).save(tmp_path / "flat.png")
    options = [str(scans / each) if each == "labels.nii.gz" else each for each in options]
    pair = [scans / "fixed.nii.gz", scans / "moving.nii.gz"]
    assert reason in refused("register", *pair, "-o", "moved.nii.gz", *options)


def test_warp_refuses(refused: Callable[..., str], scans: Path, tmp_path: Path) -> None:
    moving, fixed = scans / "moving.nii.gz", scans / "fixed.nii.gz"
    common = ["-o", "moved.nii.gz", "--like", fixed]
    assert "no such file" in refused("warp", moving, *common, "--transform", "none.tfm")
    (tmp_path / "wrong.tfm").write_text("nothing")
    assert "must be a motion" in refused("warp", moving, *common, "--transform", "wrong.tfm")
    flat = rigid_about(torch.tensor([0.1]), torch.zeros(2), torch.zeros(2))
    flat.save(tmp_path / "flat.safetensors")
    told = refused("warp", moving, *common, "--transform", "flat.safetensors")
    assert "must have as many dimensions as IMAGE" in told
    AffineMotion.identity(3).save(tmp_path / "still.safetensors")
    still = ["--transform", "still.safetensors", "--like", fixed]
    told = refused("warp", moving, "-o", "moved.jpg", "--labels", *still)
    assert "must end in" in told


def test_the_suffixes_of_motions_are_those_of_the_exchange() -> None:
    assert exchange.MOTION_SUFFIXES == MOTION_SUFFIXES


@pytest.mark.parametrize("command", ["register", "warp"])
def test_where_it_goes_is_found_out_before_the_work(
    unread: Callable[..., str], scans: Path, tmp_path: Path, command: str
) -> None:
    fixed, moving = scans / "fixed.nii.gz", scans / "moving.nii.gz"
    AffineMotion.identity(3).save(tmp_path / "still.safetensors")
    given: list[Any] = [command, fixed, moving]
    if command == "warp":
        given = [command, moving, "--transform", "still.safetensors", "--like", fixed]
    for output, reason in (
        ("moved.txt", "moved.txt: must end in"),
        ("none/moved.nii.gz", "none must be an existing folder"),
        (moving, "is an input; give --overwrite"),
        (fixed, "is an input; give --overwrite"),
    ):
        assert reason in unread(*given, "-o", output)
