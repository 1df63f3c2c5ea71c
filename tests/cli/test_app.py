"""From image to maps in a shell; what is wrong takes one line and leaves nothing behind."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from scipy.spatial.transform import Rotation

from oinr_monai import Grid, Representation
from oinr_monai.analysis.derivatives import DEFAULT_MAPS, MAPS
from oinr_monai.cli import options as arguments
from oinr_monai.cli.app import main
from oinr_monai.images import files as images
from tests.cli.scans import FAST, SHAPE, blob, load_values, oblique_affine, save_nifti

# The main job


def test_fit_reports_what_it_made(run: Callable[..., Any], scan: Path, tmp_path: Path) -> None:
    output = tmp_path / "new.oinr"
    output.write_text("an older file")
    done = run("fit", scan, "-o", output, *FAST, "--steps", 20, "--seed", 3)
    assert done["representation"] == str(output)
    assert (done["preset"], done["steps"], done["device"]) == ("fast", 20, "cpu")
    assert done["seconds"] > 0
    assert done["psnr_grid"] > 10
    assert done["psnr_between"] > 10
    assert done["parameters"] == Representation.load(output).parameters
    assert done["interrupted"] is False
    assert os.listdir(tmp_path) == ["new.oinr"]


def test_a_mask_and_a_log(run: Callable[..., Any], scan: Path, tmp_path: Path) -> None:
    inside = save_nifti(tmp_path / "mask.nii.gz", (blob(SHAPE) > 20).astype("f4"))
    log = tmp_path / "log"
    options = ["--mask", inside, "--log-dir", log]
    run("fit", scan, "-o", tmp_path / "a.oinr", *FAST, "--steps", 20, *options)
    assert any(log.iterdir())
    scores = run("evaluate", tmp_path / "a.oinr", "--image", scan, "--mask", inside)
    assert scores["psnr"] > 10


def test_info(run: Callable[..., Any], fitted: Path) -> None:
    known = run("info", fitted)
    assert known["shape"] == list(SHAPE)
    np.testing.assert_allclose(known["spacing"], [0.9, 1.1, 2.5], rtol=1e-6)
    np.testing.assert_allclose(known["affine"], oblique_affine(), rtol=1e-6)
    assert known["channels"] == 1
    assert known["classes"]["network"] == "ConvOINR"
    assert known["compression"] == np.prod(SHAPE) / known["parameters"]
    assert known["scores"]["steps"] == known["settings"]["steps"] == 60
    assert known["bytes"] == fitted.stat().st_size


@pytest.mark.parametrize(
    ("options", "shape", "spacing"),
    [
        ([], SHAPE, [0.9, 1.1, 2.5]),
        (["--factor", 2], (35, 31, 17), [0.45, 0.55, 1.25]),
        (["--spacing", 0.9, 0.55, 5], (18, 31, 5), [0.9, 0.55, 5]),
        (["--spacing", 1], (16, 17, 21), [1, 1, 1]),
    ],
)
def test_sample(
    run: Callable[..., Any],
    fitted: Path,
    tmp_path: Path,
    options: list[object],
    shape: tuple[int, ...],
    spacing: list[float],
) -> None:
    # the file comes last: --spacing takes the numbers that follow it and no more
    done = run("sample", "-o", tmp_path / "out.nii.gz", *options, fitted)
    assert done["output"] == str(tmp_path / "out.nii.gz")
    assert done["shape"] == list(shape)
    np.testing.assert_allclose(done["spacing"], spacing, rtol=1e-6)
    written: Any = nib.load(done["output"])
    assert written.shape == shape
    np.testing.assert_allclose(written.affine[:3, 3], oblique_affine()[:3, 3], atol=1e-4)
    np.testing.assert_allclose(written.header.get_zooms(), spacing, rtol=1e-5)
    directions = oblique_affine()[:3, :3] / [0.9, 1.1, 2.5]
    np.testing.assert_allclose(written.affine[:3, :3] / spacing, directions, atol=1e-5)


def test_sample_like_a_rotated_image(run: Callable[..., Any], fitted: Path, tmp_path: Path) -> None:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("z", 25, degrees=True).as_matrix() * 1.3
    center = oblique_affine() @ [*(np.array(SHAPE) - 1) / 2, 1]
    affine[:3, 3] = center[:3] - affine[:3, :3] @ [4.5, 5, 3.5]
    like = save_nifti(tmp_path / "like.nii.gz", blob((10, 11, 8)), affine)
    done = run("sample", fitted, "-o", tmp_path / "out.nii.gz", "--like", like)
    written: Any = nib.load(done["output"])
    np.testing.assert_allclose(written.affine, affine, atol=1e-4)
    points = Grid((10, 11, 8), torch.from_numpy(affine)).points().reshape(-1, 3)
    expected = Representation.load(fitted).at(points)[:, 0].reshape(10, 11, 8)
    np.testing.assert_allclose(written.get_fdata(), expected, atol=1e-2)
    assert np.ptp(written.get_fdata()) > 20


def test_evaluate_on_the_fitted_and_on_a_finer_grid(
    run: Callable[..., Any], fitted: Path, scan: Path, tmp_path: Path
) -> None:
    scores = run("evaluate", fitted, "--image", scan)
    assert set(scores) == {"psnr", "ssim", "mse"}
    known = run("info", fitted)["scores"]
    np.testing.assert_allclose(scores["psnr"], known["psnr_grid"], atol=1e-3)
    finer = run("sample", fitted, "-o", tmp_path / "finer.nii.gz", "--factor", 2)["output"]
    assert run("evaluate", fitted, "--image", finer)["mse"] < 1e-6


def test_derive(run: Callable[..., Any], fitted: Path, tmp_path: Path) -> None:
    done = run("derive", fitted, "-o", tmp_path / "maps", "--factor", 2)
    assert set(done["maps"]) == set(DEFAULT_MAPS)
    maps: dict[str, Any] = {name: nib.load(path) for name, path in done["maps"].items()}
    assert maps["gradient"].shape == (35, 31, 17, 3)
    assert maps["hessian"].shape == (35, 31, 17, 6)
    grid = Representation.load(fitted).grid.refine(2)
    for written in maps.values():
        np.testing.assert_allclose(written.affine, grid.affine, atol=1e-4)
    values = {name: written.get_fdata() for name, written in maps.items()}
    length = np.linalg.norm(values["gradient"], axis=-1)
    np.testing.assert_allclose(values["gradient_magnitude"], length, atol=1e-4)
    trace = values["hessian"][..., [0, 3, 5]].sum(-1)
    np.testing.assert_allclose(values["laplacian"], trace, atol=1e-3)
    assert b"intensity/mm" in maps["gradient"].header["descrip"].tobytes()
    assert b"intensity/mm^2" in maps["hessian"].header["descrip"].tobytes()


def test_derive_at_a_scale(run: Callable[..., Any], fitted: Path, tmp_path: Path) -> None:
    done = run("derive", fitted, "-o", tmp_path / "a", "--maps", ",".join(MAPS), "--sigma", 1.5)
    assert done["sigma"] == [1.5]
    maps: dict[str, Any] = {name: nib.load(path) for name, path in done["maps"].items()}
    values = {name: written.get_fdata() for name, written in maps.items()}
    smoothed = Representation.load(fitted).smoothed(1.5)
    wanted = smoothed.gradient().movedim(0, -1).numpy()
    np.testing.assert_allclose(values["gradient"], wanted, atol=1e-4)
    eigenvalues = values["hessian_eigenvalues"]
    np.testing.assert_allclose(eigenvalues.sum(-1), values["laplacian"], atol=1e-3)
    assert (np.diff(eigenvalues, axis=-1) <= 0).all()
    for name in ("vesselness", "vesselness_dark", "sheetness", "sheetness_dark"):
        assert values[name].min() >= 0
        assert values[name].max() <= 1
    assert b"sigma 1.5 mm" in maps["structure_tensor"].header["descrip"].tobytes()
    several = run(
        "derive", fitted, "-o", tmp_path / "b", "--maps", "vesselness", "--sigma", 1.5, 2, 3
    )
    widest = nib.load(several["maps"]["vesselness"]).get_fdata()
    assert (widest >= values["vesselness"] - 1e-6).all()
    assert (widest > values["vesselness"] + 1e-3).any()


def test_derive_refuses(refused: Callable[..., str], fitted: Path, tmp_path: Path) -> None:
    out = ["-o", tmp_path / "maps"]
    assert "one number" in refused("derive", fitted, *out, "--sigma", 1, 2)
    assert "widths in mm" in refused("derive", fitted, *out, "--sigma", "-1")
    assert "vesselness" in refused("derive", fitted, *out, "--maps", "vessels")
    assert not (tmp_path / "maps").exists()


def test_an_exact_fit(run: Callable[..., Any], scan: Path, tmp_path: Path) -> None:
    done = run("fit", scan, "-o", tmp_path / "exact.oinr", "--preset", "exact")
    assert done["steps"] == 0
    assert done["psnr_grid"] > 90
    assert run("info", tmp_path / "exact.oinr")["settings"]["preset"] == "exact"


def test_derive_adds_to_a_folder(run: Callable[..., Any], fitted: Path, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine")
    run("derive", fitted, "-o", tmp_path, "--maps", "laplacian, gradient")
    assert sorted(os.listdir(tmp_path)) == ["gradient.nii.gz", "laplacian.nii.gz", "note.txt"]


def test_features(run: Callable[..., Any], fitted: Path, tmp_path: Path) -> None:
    done = run("features", fitted, "-o", tmp_path / "features.nii.gz")
    written: Any = nib.load(done["output"])
    assert written.shape == (*SHAPE, done["features"])
    arrays = np.load(run("features", fitted, "-o", tmp_path / "f.npz", "--layer", 2)["output"])
    np.testing.assert_allclose(arrays["features"], np.moveaxis(written.get_fdata(), -1, 0))
    np.testing.assert_allclose(arrays["affine"], oblique_affine(), atol=1e-5)
    np.testing.assert_allclose(arrays["spacing"], [0.9, 1.1, 2.5], rtol=1e-6)
    first = run("features", fitted, "-o", tmp_path / "f.npz", "--layer", 1)
    assert first["layer"] == 1
    assert not np.allclose(np.load(first["output"])["features"], arrays["features"])


def test_a_colour_picture(run: Callable[..., Any], tmp_path: Path) -> None:
    channel = blob((20, 24)).T
    pixels = np.stack([channel + 60, 120 - channel, 2 * channel + 40], axis=-1).astype("u1")
    Image.fromarray(pixels).save(tmp_path / "small.png")
    run("fit", tmp_path / "small.png", "-o", tmp_path / "a.oinr", *FAST, "--steps", 300)
    assert run("info", tmp_path / "a.oinr")["channels"] == 3
    done = run("sample", tmp_path / "a.oinr", "-o", tmp_path / "x2.png", "--factor", 2)
    with Image.open(done["output"]) as picture:
        assert (picture.size, picture.mode) == ((39, 47), "RGB")
        error = np.asarray(picture).astype(float)[::2, ::2] - pixels
    assert np.abs(error).mean() < 4
    assert run("evaluate", tmp_path / "a.oinr", "--image", tmp_path / "small.png")["ssim"] > 0.8
    done = run("sample", tmp_path / "a.oinr", "-o", tmp_path / "s.png", "--spacing", 1, 0.5)
    assert done["shape"] == [20, 47]
    maps = run("derive", tmp_path / "a.oinr", "-o", tmp_path / "maps")["maps"]
    shapes = {name: nib.load(path).shape for name, path in maps.items()}  # type: ignore[attr-defined]
    assert shapes["gradient"] == (20, 24, 1, 6)
    assert shapes["hessian"] == (20, 24, 1, 9)
    assert shapes["gradient_magnitude"] == shapes["laplacian"] == (20, 24, 1, 3)


def test_a_deep_picture(run: Callable[..., Any], tmp_path: Path) -> None:
    pixels = (400 * blob((24, 20)) + 6_000).astype("u2")
    Image.fromarray(pixels).save(tmp_path / "deep.png")
    run("fit", tmp_path / "deep.png", "-o", tmp_path / "a.oinr", *FAST, "--steps", 300)
    assert run("info", tmp_path / "a.oinr")["scores"]["stored_dtype"] == "uint16"
    done = run("sample", tmp_path / "a.oinr", "-o", tmp_path / "b.png")
    with Image.open(done["output"]) as picture:
        assert picture.mode == "I;16"
        error = np.asarray(picture).astype(float) - pixels
    assert np.abs(error).mean() < 0.02 * np.ptp(pixels)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_one_slice_of_a_volume(run: Callable[..., Any], tmp_path: Path, axis: int) -> None:
    """Sagittal, coronal and axial."""
    voxels = np.expand_dims(blob((14, 16)) + 20, axis).astype("u1")
    scan = save_nifti(tmp_path / "slice.nii.gz", voxels)
    fitted = tmp_path / "a.oinr"
    run("fit", scan, "-o", fitted, *FAST, "--steps", 300)
    assert run("evaluate", fitted, "--image", scan)["psnr"] > 25
    done = run("sample", fitted, "-o", tmp_path / "a.jpg", "--factor", 2)
    shape, spacing = [27, 31], [0.9, 1.1, 2.5]
    shape.insert(axis, 1)
    assert done["shape"] == shape
    assert done["spacing"][axis] == pytest.approx(spacing[axis])
    with Image.open(done["output"]) as picture:
        assert (picture.size, picture.mode) == ((27, 31), "L")
        sampled = np.asarray(picture).astype(float)[::2, ::2].T
    assert np.abs(sampled - voxels.squeeze(axis)).mean() < 5
    run("derive", fitted, "-o", tmp_path / "maps", "--maps", "gradient")
    gradient = load_values(tmp_path / "maps/gradient.nii.gz")
    across = oblique_affine()[:3, axis]
    in_plane = np.delete(oblique_affine()[:3, :3], axis, 1)
    assert np.abs(gradient @ across).max() < 1e-3
    assert np.abs(gradient @ in_plane).max() > 1


def test_people_read_plain_lines(capfd: pytest.CaptureFixture[str], fitted: Path) -> None:
    assert main(["info", str(fitted)]) == 0
    shown = capfd.readouterr()
    assert re.search(r"^shape +18 16 9$", shown.out, re.MULTILINE)
    assert shown.err == ""


@pytest.mark.parametrize("command", ["fit", "info", "sample", "evaluate", "derive", "features"])
def test_help(capfd: pytest.CaptureFixture[str], command: str) -> None:
    assert main([command, "--help"]) == 0
    assert f"Usage: oinr {command}" in capfd.readouterr().out


def test_the_bare_command_shows_the_commands(capfd: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "evaluate" in capfd.readouterr().out


# What is wrong


def write_bad_image(kind: str) -> str:
    voxels, path = blob((6, 5, 4)), Path(f"{kind}.nii.gz")
    if kind == "text":
        path.write_text("not an image")
    elif kind == "truncated":
        save_nifti(path, voxels)
        path.write_bytes(path.read_bytes()[:120])
    elif kind == "singular":
        nifti: Any = nib.Nifti1Image(voxels, None)
        nifti.header.set_sform(np.diag([1.0, 1, 0, 1]), code=1)
        nib.save(nifti, path)
    elif kind == "five":
        save_nifti(path, np.stack([np.stack([voxels, voxels], -1)] * 2, -1))
    elif kind != "missing":
        voxels[0, 0, 0] = {"nan": np.nan, "infinite": np.inf}.get(kind, 0)
        changed = {"empty": voxels[:0], "constant": np.zeros_like(voxels)}
        save_nifti(path, changed.get(kind, voxels))
    return str(path)


@pytest.mark.parametrize(
    "kind",
    [
        "missing", "text", "truncated", "nan", "infinite", "empty", "constant", "five", "singular",
    ],
)  # fmt: skip
def test_bad_images(refused: Callable[..., str], fitted: Path, kind: str) -> None:
    path = write_bad_image(kind)
    assert path in refused("fit", path, "-o", "out.oinr", *FAST)
    assert path in refused("evaluate", fitted, "--image", path)
    if kind not in {"constant", "nan", "infinite"}:  # of a reference the grid alone counts
        assert path in refused("sample", fitted, "-o", "out.nii.gz", "--like", path)


@pytest.mark.parametrize("kind", ["missing", "text", "truncated", "version", "tensors", "weight"])
def test_bad_representations(
    refused: Callable[..., str], fitted: Path, scan: Path, kind: str
) -> None:
    path = Path(f"{kind}.oinr")
    if kind == "text":
        path.write_text("not a representation")
    elif kind == "truncated":
        path.write_bytes(fitted.read_bytes()[:-500])
    elif kind == "tensors":
        save_file({"weight": torch.zeros(3)}, path)
    elif kind in ("version", "weight"):
        with safe_open(fitted, framework="pt") as file:
            header = json.loads(file.metadata()["oinr"])
            state = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        del header["crc32"]
        if kind == "weight":
            state["network.layers.0.bias"][0] = math.nan
        else:
            header["format_version"] = 99
        save_file(state, path, {"oinr": json.dumps(header)})
    assert f"{kind}.oinr" in refused("info", path)
    assert f"{kind}.oinr" in refused("fit", scan, "-o", "out.oinr", *FAST, "--init", path)
    message = refused("sample", path, "-o", "out.nii.gz")
    refused("derive", path, "-o", "maps")
    refused("features", path, "-o", "out.npz")
    if kind == "version":
        assert "upgrade" in message


@pytest.mark.parametrize(
    ("output", "problem"),
    [
        ("out.txt", "must end in .oinr"),
        ("nowhere/out.oinr", "must be an existing folder"),
        ("folder.oinr", "is a folder"),
        ("/proc/out.oinr", "cannot be written"),
    ],
)
def test_unwritable_outputs(
    refused: Callable[..., str], scan: Path, output: str, problem: str
) -> None:
    Path("folder.oinr").mkdir()
    if output.startswith("/proc") and not Path("/proc").is_dir():
        pytest.skip("no /proc here")
    # the scan's steps would take minutes: the output is looked at first
    message = refused("fit", scan, "-o", output, *FAST, "--steps", 1_000_000)
    assert output in message
    assert problem in message


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["sample", "REP", "-o", "out.gif"], "out.gif: must end in"),
        (["sample", "REP", "-o", "out.png"], "out.png: image must have shape"),
        (["sample", "REP", "-o", "out.nii.gz", "--factor", "0"], "--factor"),
        (["sample", "REP", "-o", "out.nii.gz", "--factor", "5000"], "at most 32767 voxels"),
        (
            ["sample", "REP", "-o", "out.nii.gz", "--spacing", "1", "2"],
            "--spacing must be positive, one number or 3",
        ),
        (["sample", "REP", "-o", "out.nii.gz", "--spacing", "0"], "positive"),
        (["sample", "REP", "-o", "out.nii.gz", "--spacing", "fine"], "number of mm per axis"),
        (["sample", "REP", "-o", "out.nii.gz", "--spacing", "1", "--factor", "2"], "choose one"),
        (["sample", "REP"], "Missing option"),
        (
            ["sample", "REP", "-o", "out.nii.gz", "--like", "flat.nii.gz"],
            "flat.nii.gz: grid must have 3",
        ),
        (["evaluate", "REP", "--image", "pair.nii.gz"], "must have 1 channels"),
        (["derive", "REP", "-o", "maps", "--maps", "gradient,curl"], "--maps must be among"),
        (["derive", "REP", "-o", "flat.nii.gz"], "is a file"),
        (["features", "REP", "-o", "out.nii"], "must end in .nii.gz or .npz"),
        (["features", "REP", "-o", "out.npz", "--layer", "7"], "layer must be 1 to 2"),
        (["info"], "Missing argument"),
        (["curl"], "No such command"),
        (["info", "REP", "--device", "tpu"], "'tpu' is not one of"),
        (["fit", "SCAN", "-o", "a.oinr", "--preset", "slow"], "'slow' is not one of"),
        (["fit", "SCAN", "-o", "a.oinr", "--steps", "5", "--seconds", "5"], "choose one budget"),
        (["fit", "SCAN", "-o", "a.oinr", "--seconds", "-1"], "seconds must be positive"),
        (["fit", "SCAN", "-o", "a.oinr", "--mask", "flat.nii.gz"], "flat.nii.gz: the mask must"),
        (["fit", "SCAN", "-o", "a.oinr", "--mask", "moved.nii.gz"], "image's affine"),
    ],
)
def test_bad_usage(
    refused: Callable[..., str], fitted: Path, scan: Path, arguments: list[str], problem: str
) -> None:
    save_nifti(Path("flat.nii.gz"), blob((6, 5)), np.eye(4))
    save_nifti(Path("pair.nii.gz"), np.stack([blob(SHAPE)] * 2, -1))
    save_nifti(Path("moved.nii.gz"), blob(SHAPE), np.eye(4))
    places = {"REP": str(fitted), "SCAN": str(scan)}
    assert problem in refused(*(places.get(each, each) for each in arguments))


@pytest.mark.skipif(
    torch.cuda.is_available(), reason="a machine without CUDA is what this is about"
)
def test_cuda_without_cuda(refused: Callable[..., str], fitted: Path, scan: Path) -> None:
    assert "CUDA" in refused("fit", scan, "-o", "a.oinr", "--device", "cuda")
    assert "CUDA" in refused("sample", fitted, "-o", "a.nii.gz", "--device", "cuda")


def test_a_failed_write_leaves_nothing(
    refused: Callable[..., str], fitted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "second.nii.gz")

    writing = images.write_image
    monkeypatch.setattr(
        images,
        "write_image",
        lambda path, *rest: (full if "hess" in str(path) else writing)(path, *rest),
    )
    assert "No space left" in refused("derive", fitted, "-o", "maps")


def test_suffixes_are_those_that_can_be_written() -> None:
    assert tuple(sorted(images._WRITERS)) == arguments.IMAGE_SUFFIXES


# As a process


def start(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "oinr_monai", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        # a shell's background jobs, and so what they start, ignore interrupts unless told not to
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )


def test_a_process_says_one_line_and_exits_with_2(tmp_path: Path) -> None:
    process = start("fit", tmp_path / "no.nii.gz", "-o", tmp_path / "no.oinr")
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (2, "")
    assert re.fullmatch(r"oinr: [^\n]*no\.nii\.gz[^\n]*\n", err)


def test_an_interrupted_fit_is_saved_and_goes_on(
    run: Callable[..., Any], capfd: pytest.CaptureFixture[str], scan: Path, tmp_path: Path
) -> None:
    output, log = tmp_path / "a.oinr", tmp_path / "log"
    # in steps, not seconds: TensorBoard alone may take seconds to open
    arguments = ["fit", scan, "-o", output, *FAST, "--steps", 1_500]
    process = start(*arguments, "--log-dir", log, "--json")
    while not (log.is_dir() and any(log.iterdir())) and process.poll() is None:
        time.sleep(0.05)
    time.sleep(0.5)  # the log opens just before the first step
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert re.fullmatch(r"oinr: interrupted[^\n]*--resume[^\n]*\n", err)
    stopped = json.loads(out)
    assert stopped["interrupted"] is True
    assert run("info", output)["scores"]["steps"] == stopped["steps"]
    checkpoint = tmp_path / "a.oinr.checkpoint"
    shutil.copy(checkpoint, tmp_path / "kept")
    done = run(*arguments, "--resume")
    assert done["steps"] == 1_500 > stopped["steps"]
    assert done["seconds"] > stopped["seconds"]
    assert done["psnr_between"] > stopped["psnr_between"] - 1
    assert not checkpoint.exists()
    # other settings are no continuation of that fit
    shutil.move(tmp_path / "kept", checkpoint)
    assert main([*map(str, arguments[:-2]), "--steps", "9", "--resume"]) == 2
    assert "same settings" in capfd.readouterr().err


def test_nothing_to_resume_starts_anew(
    capfd: pytest.CaptureFixture[str], scan: Path, tmp_path: Path
) -> None:
    output = tmp_path / "a.oinr"
    capfd.readouterr()
    assert main(["fit", str(scan), "-o", str(output), *FAST, "--steps", "5", "--resume"]) == 0
    assert "nothing to resume" in capfd.readouterr().err
    (tmp_path / "a.oinr.checkpoint").write_text("stale")
    assert main(["fit", str(scan), "-o", str(output), *FAST, "--steps", "5"]) == 0
    assert os.listdir(tmp_path) == ["a.oinr"]
