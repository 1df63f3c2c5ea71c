"""A cohort in a shell: files, a status for each subject, and going on where it stopped."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from oinr_monai import Representation
from oinr_monai.cli.app import main
from oinr_monai.cohort import (
    Cohort,
    LocalEngine,
    RayEngine,
    ReconstructTask,
    RegisterTask,
    Row,
)
from oinr_monai.cohort.status import write_status
from oinr_monai.fitting import objective as descent
from oinr_monai.fitting import single
from oinr_monai.motion.registration import RegisterConfig
from oinr_monai.motion.similarity import MutualInformation
from oinr_monai.restoration.reconstruction import ReconstructConfig
from tests.cli.scans import blob, save_nifti
from tests.cohort.test_bids import dataset, listed

__all__ = ["dataset", "listed"]

FAST = ["--preset", "fast", "--device", "cpu", "--steps", "8"]


@pytest.fixture(autouse=True)
def _fewer_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descent, "BETWEEN_PLACES", 1_000)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Four subjects of two shapes."""
    (tmp_path / "scans").mkdir()
    lines = ["subject,image,label"]
    for i, shape in enumerate([(12, 11, 5), (9, 8, 7), (12, 11, 5), (12, 11, 5)]):
        voxels = blob(shape) + 5 * np.random.default_rng(i).normal(0, 1, shape).astype("f4")
        save_nifti(tmp_path / "scans" / f"{i}.nii.gz", voxels)
        lines.append(f"s{i},scans/{i}.nii.gz,{i % 2}")
    path = tmp_path / "manifest.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def status(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "status.csv").open(newline="") as file:
        return {row["subject"]: row for row in csv.DictReader(file)}


def counts(done: dict[str, Any]) -> tuple[int, int, int]:
    return done["done"], done["skipped"], done["failed"]


def fit_cohort(manifest: Path, *options: object) -> tuple[int, Path]:
    folder = manifest.parent / "fits"
    command = ["cohort", "fit", manifest, "-o", folder, *FAST, *options, "--json"]
    return main(list(map(str, command))), folder


def test_every_subject_gets_the_fit_it_would_have_alone(
    run: Callable[..., Any], manifest: Path, tmp_path: Path
) -> None:
    done = run("cohort", "fit", manifest, "-o", tmp_path / "fits", *FAST)
    assert counts(done) == (4, 0, 0)
    rows = status(tmp_path / "fits")
    assert list(rows) == ["s0", "s1", "s2", "s3"]
    for i, (name, row) in enumerate(rows.items()):
        fitted = Representation.load(tmp_path / "fits" / f"{name}.oinr")
        alone = run("fit", tmp_path / f"scans/{i}.nii.gz", "-o", tmp_path / "one.oinr", *FAST)
        assert row["status"] == "done"
        assert float(row["psnr_grid"]) == pytest.approx(alone["psnr_grid"], abs=0.02)
        assert fitted.grid == Representation.load(tmp_path / "one.oinr").grid
        assert (row["steps"], row["message"]) == ("8", "")


def test_what_is_there_is_skipped_unless_settings_or_image_changed(
    run: Callable[..., Any], manifest: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "fits"
    first = ("cohort", "fit", manifest, "-o", folder)
    assert counts(run(*first, *FAST)) == (4, 0, 0)
    before, scores = (folder / "s1.oinr").read_bytes(), status(folder)
    assert counts(run(*first, *FAST)) == (0, 4, 0)
    assert (folder / "s1.oinr").read_bytes() == before
    assert {row["status"] for row in status(folder).values()} == {"skipped"}
    assert [r["psnr_grid"] for r in status(folder).values()] == [
        r["psnr_grid"] for r in scores.values()
    ]
    (folder / "s2.oinr").unlink()
    (folder / "s3.oinr").write_bytes(before[:50])
    assert counts(run(*first, *FAST)) == (2, 2, 0)
    later = (folder / "s0.oinr").stat().st_mtime + 10
    os.utime(tmp_path / "scans/0.nii.gz", (later, later))
    assert counts(run(*first, *FAST)) == (0, 4, 0)  # a copy of the same image is no other image
    assert counts(run(*first, *FAST, "--seed", 1)) == (4, 0, 0)
    start = ("--init", folder / "s0.oinr", "--overwrite")
    assert counts(run(*first, *FAST, "--seed", 1, *start)) == (4, 0, 0)


@pytest.mark.parametrize("change", ["path", "voxel", "affine"])
def test_another_image_is_fitted_anew_whatever_its_file_time(
    run: Callable[..., Any], manifest: Path, tmp_path: Path, change: str
) -> None:
    """As where a path in the manifest is corrected, to a file that is older than the fit."""
    folder, scan = tmp_path / "fits", tmp_path / "scans/0.nii.gz"
    assert counts(run("cohort", "fit", manifest, "-o", folder, *FAST)) == (4, 0, 0)
    if change == "path":
        manifest.write_text(manifest.read_text().replace("s0,scans/0", "s0,scans/2"))
    else:
        nifti: Any = nib.load(scan)
        values, affine = nifti.get_fdata(dtype=np.float32), nifti.affine.copy()
        if change == "voxel":
            values[3, 4, 2] += 1
        else:
            affine[0, 3] += 1
        nib.save(nib.Nifti1Image(values, affine), scan)
    for path in (tmp_path / "scans").iterdir():
        os.utime(path, (0, 0))
    assert counts(run("cohort", "fit", manifest, "-o", folder, *FAST)) == (1, 3, 0)
    assert {name: row["status"] for name, row in status(folder).items()} == {
        "s0": "done",
        "s1": "skipped",
        "s2": "skipped",
        "s3": "skipped",
    }


def test_a_bad_image_fails_its_row_alone(
    manifest: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "scans/0.nii.gz").write_bytes(b"no image")
    (tmp_path / "scans/1.nii.gz").unlink()
    save_nifti(tmp_path / "scans/2.nii.gz", np.full((12, 11, 5), 3, "f4"))
    code, folder = fit_cohort(manifest)
    assert code == 1
    assert "3 of 4 subjects failed; see" in capfd.readouterr().err
    rows = status(folder)
    assert [row["status"] for row in rows.values()] == ["failed", "failed", "failed", "done"]
    assert "image must vary" in rows["s2"]["message"]
    assert all("\n" not in row["message"] and row["message"] for row in list(rows.values())[:3])
    assert sorted(p.name for p in folder.iterdir()) == ["s3.oinr", "status.csv"]


def test_an_unfit_start_fails_the_rows(
    run: Callable[..., Any], manifest: Path, tmp_path: Path
) -> None:
    scan, start = tmp_path / "scans/0.nii.gz", tmp_path / "start.oinr"
    run("fit", scan, "-o", start, "--preset", "balanced", "--device", "cpu", "--steps", 1)
    code, folder = fit_cohort(manifest, "--init", start)
    assert code == 1
    assert "start must be of the kind" in status(folder)["s0"]["message"]
    assert [p.name for p in folder.iterdir()] == ["status.csv"]


def test_an_interrupt_keeps_what_is_whole(
    manifest: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the second group of images."""
    loss, calls = single.weighted_mse, iter(range(10**6))

    def patched(signal: object, label: object) -> object:
        if next(calls) == 2:
            raise KeyboardInterrupt
        return loss(signal, label)

    with monkeypatch.context() as patch:
        patch.setattr(single, "weighted_mse", patched)
        code, folder = fit_cohort(manifest)
    assert code == 130
    assert "repeat the command to go on" in capfd.readouterr().err
    rows = status(folder)
    assert [row["status"] for row in rows.values()] == ["done", "waiting", "done", "done"]
    code, folder = fit_cohort(manifest)
    assert code == 0
    assert [r["status"] for r in status(folder).values()] == [
        "skipped",
        "done",
        "skipped",
        "skipped",
    ]


def test_fit_takes_a_start(run: Callable[..., Any], manifest: Path, tmp_path: Path) -> None:
    scan, start, output = tmp_path / "scans/0.nii.gz", tmp_path / "a.oinr", tmp_path / "b.oinr"
    cold = run("fit", scan, "-o", start, *FAST[:4], "--steps", 200)
    warm = run("fit", scan, "-o", output, *FAST, "--init", start)
    assert warm["psnr_between"] > cold["psnr_between"] - 0.2
    assert warm["steps"] == 8
    known = run("info", output)
    assert known["scores"]["start"]


MANIFESTS = {
    "": "must have columns subject,image and at least one row",
    "subject,image\n": "at least one row",
    "who,image\na,b\n": "must have columns subject,image, got 'who', 'image'",
    "subject,image\na,b\na,c\n": "each subject must occur once, got 'a' again",
    "subject,image\na,b\n,c\n": "line 3 must have a subject and an image",
    "subject,image\na\n": "line 2 must have a subject and an image",
    "subject,image\n../a,b\n": "line 2: the subject must be able to name a file, got '../a'",
}


@pytest.mark.parametrize("text", MANIFESTS)
def test_bad_manifests(refused: Callable[..., str], tmp_path: Path, text: str) -> None:
    (tmp_path / "m.csv").write_text(text)
    assert MANIFESTS[text] in refused("cohort", "fit", "m.csv", "-o", "fits", *FAST)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--seconds", "3"], "must not both be given"),
        (["--init", "none.oinr"], "must be an existing .oinr file"),
        (["-o", "m.csv"], "m.csv: is a file; give the path of a folder"),
        (["-o", "none/fits"], "none must be an existing folder"),
    ],
)
def test_bad_options(
    refused: Callable[..., str], manifest: Path, options: list[str], reason: str
) -> None:
    manifest.rename(manifest.with_name("m.csv"))
    assert reason in refused("cohort", "fit", "m.csv", "-o", "fits", *FAST, *options)


def test_a_missing_manifest(refused: Callable[..., str]) -> None:
    assert "No such file" in refused("cohort", "fit", "none.csv", "-o", "fits", *FAST)


def test_not_a_text(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes(b"\xff\xfe\x00\x01")
    assert "must be a table in UTF-8" in refused("cohort", "fit", "m.csv", "-o", "fits")


@pytest.mark.parametrize(
    ("options", "engine"),
    [
        ([], LocalEngine(1, 1, 2)),
        (["--cpus", "3"], LocalEngine(1, 3, 2)),
        (["--workers", "2"], LocalEngine(2, 1, 2)),
        (["--workers", "2", "--cpus", "3.5", "--retries", "0"], LocalEngine(2, 3, 0)),
        (["--workers", "2", "--cpus", "0.5"], LocalEngine(2, 1, 2)),
        (
            ["--engine", "ray", "--address", "auto", "--gpus", "1", "--memory", "9", "--cpus", "2"],
            RayEngine("auto", 2, 1, 9, 2),
        ),
    ],
)
def test_the_engine_is_the_one_that_was_asked_for(
    options: list[str], engine: object, manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def watched(self: Cohort, task: object, output: Path, engine: object, **_: object) -> list[Row]:
        asked.append(engine)
        return [Row(each.name, "done") for each in self.subjects]

    monkeypatch.setattr(Cohort, "map", watched)
    assert fit_cohort(manifest, *options)[0] == 0
    assert asked == [engine]


@pytest.mark.parametrize(
    ("line", "task"),
    [
        (
            "register --fixed scans/0.nii.gz --model rigid --mutual-information --device cpu",
            RegisterTask(
                Path("scans/0.nii.gz"), RegisterConfig("rigid", MutualInformation(), device="cpu")
            ),
        ),
        (
            "reconstruct --slice-thickness 4 --spacing 2 --seconds 9",
            ReconstructTask(ReconstructConfig(spacing=2, seconds=9), 4),
        ),
    ],
)
def test_the_task_is_the_one_that_was_asked_for(
    line: str,
    task: RegisterTask | ReconstructTask,
    manifest: Path,
    run: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[object] = []

    def watched(self: Cohort, task: object, *_: object, **__: object) -> list[Row]:
        asked.append(task)
        return [Row(each.name, "done") for each in self.subjects]

    monkeypatch.setattr(Cohort, "map", watched)
    monkeypatch.chdir(manifest.parent)
    name, *options = line.split()
    assert run("cohort", name, "manifest.csv", "-o", "out", *options)["done"] == 4
    if isinstance(task, RegisterTask):
        task = replace(task, fixed=task.fixed.absolute())
    assert asked == [task]


def test_how_far_a_cohort_is(run: Callable[..., Any], tmp_path: Path) -> None:
    rows = [Row(f"s{i}", "done", seconds=2.0, ended=50.0 + 3 * i) for i in range(4)]
    rows += [Row("bad", "failed", message="why"), Row("w"), Row("v")]
    write_status(tmp_path / "status.csv", rows)
    told = run("cohort", "status", tmp_path)
    assert (told["subjects"], told["done"], told["failed"], told["waiting"]) == (7, 4, 1, 2)
    assert (told["scans_an_hour"], told["seconds_left"]) == (1_200.0, 6.0)
    assert told["processor_seconds_left"] == 4.0
    assert told["failures"] == {"bad": "why"}


@pytest.mark.parametrize(
    ("shard", "names", "table"),
    [
        ("1/2", ["s0", "s2"], "status-1-of-2.csv"),
        ("2/2", ["s1", "s3"], "status-2-of-2.csv"),
        ("4/4", ["s3"], "status-4-of-4.csv"),
    ],
)
def test_a_shard_is_every_nth_subject(
    shard: str, names: list[str], table: str, manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def watched(self: Cohort, *_: object, table: str, progress: bool) -> list[Row]:
        asked.append(([each.name for each in self.subjects], table, progress))
        return [Row(each.name, "failed") for each in self.subjects]

    monkeypatch.setattr(Cohort, "map", watched)
    assert fit_cohort(manifest, "--shard", shard)[0] == 1
    assert asked == [(names, table, False)]


@pytest.mark.usefixtures("listed")
def test_a_dataset_in_a_shell(
    run: Callable[..., Any], refused: Callable[..., str], dataset: Path, tmp_path: Path
) -> None:
    assert "--where must choose" in refused("cohort", "fit", dataset, "-o", "fits")
    assert "--where must be KEY=VALUE" in refused(
        "cohort", "fit", dataset, "-o", "f", "--where", "x"
    )
    done = run("cohort", "fit", dataset, "-o", "fits", "--where", "suffix=T1w", "--where", "ses=b")
    assert done["done"] == 1
    fit = Path("fits/sub-1/ses-b/anat/sub-1_ses-b_desc-fit_T1w.oinr")
    assert fit.is_file()
    assert not fit.with_suffix(".json").exists()  # which BIDS would not know


@pytest.mark.usefixtures("listed")
def test_folders_within_a_dataset_are_made(
    run: Callable[..., Any], refused: Callable[..., str], dataset: Path
) -> None:
    shutil.rmtree(dataset / "derivatives")
    asked = ("cohort", "fit", dataset, "--where", "ses=b")
    assert "existing folder" in refused(*asked, "-o", dataset.parent / "none" / "fits")
    done = run(*asked, "-o", dataset / "derivatives" / "fits")
    assert done["done"] == 1
    assert Path(done["output"]).is_dir()
