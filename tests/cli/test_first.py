"""``oinr doctor`` and ``oinr demo``: what a newcomer does first."""

from __future__ import annotations

import json
import re
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from monai.data import MetaTensor
from torch import Tensor

from oinr_monai import Grid, Representation, names
from oinr_monai.cli import demo, doctor
from oinr_monai.cli.app import main
from tests.cli.scans import blob, save_nifti


def test_all_is_right_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["verdict"] == "all is right"
    assert said["torch"] == metadata.version("torch")
    assert set(doctor.CHECKS) < set(said)


def test_a_wrong_answer_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> float:
        raise ImportError("no such\nmodule")

    monkeypatch.setattr(doctor, "CHECKS", {"far off": lambda: 0.1, "broken": broken})
    assert main(["doctor", "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["far off"].startswith("WRONG: within 0.1 of the range")
    assert said["broken"] == "WRONG: ImportError: no such module"
    assert said["verdict"] == "2 wrong, see above"


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("what", ["values", "slopes", "files"])
def test_one_number_that_is_off_is_found(
    what: str, axis: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if what == "slopes":
        slopes = Representation.gradient_at

        def bent(self: Representation, points: Tensor) -> Tensor:
            found = slopes(self, points)
            found[..., axis] += 30.0
            return found

        monkeypatch.setattr(Representation, "gradient_at", bent)
    else:
        calls, sample = [], Representation.sample

        def spotted(self: Representation, *box: Grid) -> MetaTensor:
            found, place = sample(self, *box), [0, 3, 7, 5]
            place[1 + axis] = 0
            if not box and not calls:
                calls.append(found[tuple(place)].add_(30.0))
            return found

        monkeypatch.setattr(Representation, "sample", spotted)
    off = doctor.CHECKS[what]()
    assert off == pytest.approx(0.03, abs=doctor.TOLERANCE)
    assert doctor.checked(lambda: off).startswith("WRONG: within 0.03 of the range")


def test_an_answer_that_is_far_from_its_slices_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve = names.super_resolve

    def worse(*given: Any, **more: Any) -> Any:
        fine = resolve(*given, **more)
        sample = fine.sample
        fine.sample = lambda *a: sample(*a) + 50.0
        return fine

    monkeypatch.setattr(names, "super_resolve", worse, raising=False)
    assert doctor.checked(doctor.CHECKS["thick slices"]).startswith("WRONG: within 0.05 of")


def test_what_is_missing_or_too_old_is_told_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = ["numpy>=999", "nowhere-to-be-found", "scipy", "neither-there; extra == 'dicom'"]
    monkeypatch.setattr(metadata, "requires", lambda _: asked)
    needed, extras = doctor.requirements()
    assert needed["numpy"] == (f"WRONG: {metadata.version('numpy')}; pip install 'numpy>=999'")
    assert needed["nowhere-to-be-found"].startswith("WRONG: not installed; pip install")
    assert needed["scipy"] == metadata.version("scipy")
    assert extras["dicom"] == "without neither-there; pip install 'oinr-monai[dicom]'"


def test_every_command_of_the_tour_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    scan = blob((14, 12, 16)).round().astype(np.int16)
    monkeypatch.setattr(demo, "_write_scan", lambda path: save_nifti(path, scan))
    assert main(["demo", "-o", str(tmp_path / "first")]) == 0
    said = capsys.readouterr().out
    assert said.count("$ oinr ") == len(demo.TOUR)
    left_out = said.count("(left out: ")
    assert len(re.findall(r"^\d+\.\d s$", said, re.MULTILINE)) == len(demo.TOUR) - left_out
    assert {"scan.oinr", "maps", "fine.oinr", "report.html"} <= {
        path.name for path in (tmp_path / "first").iterdir()
    }
    assert main(["demo", "-o", str(tmp_path / "first")]) == 2
    assert "is not an empty folder" in capsys.readouterr().err


def test_a_tour_that_fails_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(demo, "TOUR", (("", "fit nowhere.nii.gz -o a.oinr"),))
    monkeypatch.setattr(demo, "_write_scan", lambda path: None)
    assert main(["demo", "-o", str(tmp_path / "first")]) == 2


def test_the_head_is_small_and_its_licence_lies_beside_it() -> None:
    assert demo.HEAD.stat().st_size < 300_000
    assert "Copyright" in demo.HEAD.with_suffix(".txt").read_text()
    head = Representation.load(demo.HEAD)
    assert head.grid.shape == (154, 188, 96)
    assert head.grid.spacing.tolist() == [1, 1, 1]
