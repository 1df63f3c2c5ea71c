"""What the world does to commands: full disks, bad subjects, numbers that no machine holds."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oinr_monai import Representation
from oinr_monai.cli import outputs
from oinr_monai.cli.app import main
from oinr_monai.cohort import cohort
from tests.cli.scans import FAST, blob, save_nifti
from tests.cli.test_cohort import fit_cohort, manifest, status

__all__ = ["manifest"]


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """As on a full disk: no file grows beyond ``size`` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("suffix", ["mha", "nrrd", "nii", "nii.gz"])
def test_an_image_on_a_full_disk(refused: Callable[..., str], fitted: Path, suffix: str) -> None:
    with room_for(4096):
        told = refused("sample", fitted, "-o", f"a.{suffix}", "--factor", 2)
    assert told == f"oinr: a.{suffix}: cannot be written (File too large); choose another place\n"


@pytest.mark.parametrize(
    ("command", "output"),
    [
        (["derive"], "maps"),
        (["features"], "a.npz"),
        (["mesh", "--level", "20", "--factor", "2"], "a.stl"),
    ],
)
def test_other_outputs_on_a_full_disk(
    refused: Callable[..., str], fitted: Path, command: list[str], output: str
) -> None:
    with room_for(4096):
        told = refused(command[0], fitted, *command[1:], "-o", output)
    assert told == f"oinr: {output}: cannot be written (File too large); choose another place\n"


def test_a_full_disk_costs_the_checkpoint_and_not_the_work(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    image = save_nifti(tmp_path / "a.nii.gz", blob((14, 12, 6)))
    output = tmp_path / "clean.nii.gz"
    command = ["denoise", str(image), "-o", str(output), "--sigma", "2", "--steps", "3"]
    with room_for(32_768):
        assert main([*command, "--json"]) == 0
    told = capfd.readouterr().err
    assert told.count("\n") == 1
    assert "going on without a checkpoint" in told
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.nii.gz", "clean.nii.gz"]


def test_an_interrupt_as_a_fit_is_saved_does_not_cost_it(
    tmp_path: Path, scan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = Representation.save

    def interrupted(self: Representation, path: Path, quality: object = None) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        save(self, path, quality)

    monkeypatch.setattr(Representation, "save", interrupted)
    output = tmp_path / "a.oinr"
    assert main(["fit", str(scan), "-o", str(output), *FAST, "--steps", "3", "--json"]) == 0
    assert Representation.load(output).info["steps"] == 3


def _folder(folder: Path) -> None:
    (folder / "s0.oinr").mkdir(parents=True)


def _damaged(folder: Path) -> None:
    folder.mkdir()
    (folder / "s0.oinr").write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{broken}")


@pytest.mark.parametrize(
    ("name", "prepare", "reason"),
    [
        ("s" * 252, Path.mkdir, "File name too long"),
        ("a\0b", Path.mkdir, "null"),
        ("s0", _folder, "Is a directory"),
        ("s0", _damaged, None),
    ],
)
def test_one_bad_subject_does_not_end_a_cohort(
    manifest: Path, name: str, prepare: Callable[[Path], Any], reason: str | None
) -> None:
    prepare(manifest.parent / "fits")
    manifest.write_text(manifest.read_text().replace("s0,", f"{name},"))
    code, folder = fit_cohort(manifest)
    rows = status(folder)
    assert [row["status"] for row in list(rows.values())[1:]] == ["done"] * 3
    first = next(iter(rows.values()))
    assert (code, first["status"]) == ((0, "done") if reason is None else (1, "failed"))
    assert (reason or "") in first["message"]


def test_a_cohort_on_a_full_disk_goes_on(manifest: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with room_for(2_000):
        code, folder = fit_cohort(manifest)
    rows = status(folder)
    assert (code, {row["status"] for row in rows.values()}) == (1, {"failed"})
    assert all("cannot be written" in row["message"] for row in rows.values())
    assert sorted(path.name for path in folder.iterdir()) == ["status.csv"]


def test_a_cohort_whose_status_cannot_be_written_says_so_once(
    manifest: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def full(*rows: object) -> None:
        raise OSError(28, "No space left on device", "status.csv")

    monkeypatch.setattr(cohort, "write_status", full)
    code, folder = fit_cohort(manifest)
    assert (code, len(list(folder.glob("*.oinr")))) == (1, 4)
    assert (
        capfd.readouterr().err
        == "oinr: status.csv: No space left on device; choose another place\n"
    )


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (["fit", "SCAN", "-o", "a.oinr", "--seed", f"{10**26}"], "--seed"),
        (["simulate", "SCAN", "-o", "a.nii.gz", "--spacing", "5", "--seed", f"{10**26}"], "--seed"),
        (["derive", "REP", "-o", "maps", "--sigma", "1e9"], "at most 10000"),
        (["evaluate", "REP", "--image", "far.nii.gz"], "far.nii.gz: grid must overlap"),
        (["cohort", "fit", "latin.csv", "-o", "fits"], "latin.csv: must be a table in UTF-8"),
        (["cohort", "features", "semicolons.csv", "-o", "a.csv"], "rows of 'subject;image'"),
        (
            ["cohort", "features", "latin.csv", "-o", "a.csv"],
            "latin.csv: must be a CSV file in UTF-8",
        ),
    ],
)
def test_the_reason_and_the_remedy(
    refused: Callable[..., str], fitted: Path, scan: Path, command: list[str], problem: str
) -> None:
    far = np.diag([1.0, 1.0, 1.0, 1.0])
    far[:3, 3] = 1e4
    save_nifti(Path("far.nii.gz"), blob((6, 5, 4)), far)
    Path("semicolons.csv").write_text("subject;image\na;b.nii.gz\n")
    Path("latin.csv").write_bytes("subject,image\nJosé,b.nii.gz\n".encode("latin-1"))
    places = {"REP": str(fitted), "SCAN": str(scan)}
    assert problem in refused(*(places.get(each, each) for each in command))


def test_a_mesh_of_several_labels_asks_which(refused: Callable[..., str], tmp_path: Path) -> None:
    labels = np.zeros((12, 11, 8), "u1")
    labels[2:5, 2:9, 2:6], labels[7:10, 2:9, 2:6] = 1, 2
    save_nifti(tmp_path / "l.nii.gz", labels)
    assert main(["fit", "l.nii.gz", "-o", "l.oinr", "--labels", *FAST, "--steps", "3"]) == 0
    assert "--label must be given, one of 1, 2" in refused("mesh", "l.oinr", "-o", "a.stl")


def test_an_existing_folder_is_asked_itself_and_not_the_one_it_lies_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []
    monkeypatch.setattr(
        outputs.tempfile, "TemporaryFile", lambda **at: asked.append(at["dir"]) or Open()
    )
    (tmp_path / "inner").mkdir()
    outputs.check_folder(tmp_path / "inner")
    outputs.check_folder(tmp_path / "other")
    assert asked == [tmp_path / "inner", tmp_path]


class Open:
    """A file that can be closed."""

    def close(self) -> None:
        """Close it."""
