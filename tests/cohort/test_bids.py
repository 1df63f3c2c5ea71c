"""Datasets of BIDS: scans that are found, and derivatives that keep their entities."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oinr_monai import DenoiseConfig, FitConfig
from oinr_monai.cohort import Cohort, DenoiseTask, FitTask, Subject, Task, bids, read_dataset
from oinr_monai.images.files import read_image, write_image
from oinr_monai.report import cohorts
from oinr_monai.representation.info import Info
from tests.cli.scans import blob, save_nifti


def write_json(path: Path, told: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(told))


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Two subjects, two sessions of one, three stacks of another, and what is no raw scan."""
    root = tmp_path / "raw"
    write_json(root / "dataset_description.json", {"Name": "toy", "BIDSVersion": "1.10.0"})
    write_json(root / "T1w.json", {"MagneticFieldStrength": 3, "RepetitionTime": 2.3})
    write_json(root / "sub-1/ses-a/anat/sub-1_ses-a_T1w.json", {"RepetitionTime": 2.4})
    names = [
        *(f"sub-1/ses-{ses}/anat/sub-1_ses-{ses}_T1w" for ses in "ab"),
        *(f"sub-2/anat/sub-2_{what}_T2w" for what in ("acq-ax_run-1", "acq-ax_run-2", "acq-cor")),
        "derivatives/other/sub-1/anat/sub-1_desc-x_T1w",
    ]
    for i, name in enumerate(names):
        path = root / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_nifti(path, blob((7, 6, 5)) + i, np.eye(4))
    return root


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ancpbids would find."""

    def images(dataset: Path) -> list[Path]:
        return [each.relative_to(dataset) for each in dataset.glob("sub-*/**/*.nii.gz")]

    monkeypatch.setattr(bids, "_images", images)


class Copy(Task):
    """Writes the image anew."""

    @property
    def suffix(self) -> str:
        return ".nii.gz"

    def settings(self) -> dict[str, Any]:
        return {"copy": {}}

    def make(self, subject: Subject, output: Path) -> Info:
        write_image(output, read_image(subject.image))
        return Info()


def test_ancpbids_finds_the_raw_images(dataset: Path) -> None:
    pytest.importorskip("ancpbids")
    expected = {each.relative_to(dataset) for each in dataset.glob("sub-*/**/*.nii.gz")}
    assert len(expected) == 5
    assert set(bids._images(dataset)) == expected


@pytest.mark.parametrize(
    ("where", "together", "names"),
    [
        ({"suffix": "T1w"}, False, ["sub-1_ses-a_T1w", "sub-1_ses-b_T1w"]),
        ({"sub": "1"}, False, ["sub-1_ses-a_T1w", "sub-1_ses-b_T1w"]),
        ({"suffix": "T1w", "ses": "b"}, True, ["sub-1_ses-b_T1w"]),
        ({"suffix": "T2w", "datatype": "anat"}, True, ["sub-2_T2w"]),
        ({"acq": "ax"}, False, ["sub-2_acq-ax_run-1_T2w", "sub-2_acq-ax_run-2_T2w"]),
    ],
)
@pytest.mark.usefixtures("listed")
def test_scans_are_chosen_by_their_entities(
    dataset: Path, where: dict[str, str], together: bool, names: list[str]
) -> None:
    found = read_dataset(dataset, where, together=together)
    assert [each.name for each in found] == names
    assert all(each.image.is_file() for each in found)
    if names == ["sub-2_T2w"]:
        assert [each.name[6:12] for each in (found[0].image, *found[0].more)] == [
            *("acq-ax", "acq-ax", "acq-co"),
        ]
        assert found[0].place("x") == "sub-2/anat/sub-2_desc-x_T2w"


@pytest.mark.parametrize("where", [{}, {"suffix": "bold"}, {"sub": "3"}])
@pytest.mark.usefixtures("listed")
def test_what_is_there_is_said_where_nothing_can_be_chosen(
    dataset: Path, where: dict[str, str]
) -> None:
    with pytest.raises(ValueError, match=r"scans of one suffix.*there are 2 T1w, 3 T2w"):
        read_dataset(dataset, where)


@pytest.mark.usefixtures("listed")
def test_sidecars_are_inherited_the_nearest_last(dataset: Path) -> None:
    first, second = (each.scan for each in read_dataset(dataset, {"suffix": "T1w"}))
    assert first is not None
    assert second is not None
    assert first.metadata == {"MagneticFieldStrength": 3, "RepetitionTime": 2.4}
    assert second.metadata == {"MagneticFieldStrength": 3, "RepetitionTime": 2.3}
    (dataset / "T1w.json").write_text("[]")
    with pytest.raises(ValueError, match="must be an object of JSON, got list"):
        read_dataset(dataset, {"suffix": "T1w"})


@pytest.mark.usefixtures("listed")
def test_derivatives_keep_entities_and_say_what_they_are_made_of(
    dataset: Path, tmp_path: Path
) -> None:
    out = tmp_path / "made"
    cohort = Cohort.of(dataset, {"suffix": "T1w"})
    assert [row.status for row in cohort.map(Copy(), out)] == ["done"] * 2
    sidecar = out / "sub-1/ses-a/anat/sub-1_ses-a_desc-copy_T1w.json"
    told = json.loads(sidecar.read_text())
    assert told["Sources"] == ["bids:raw:sub-1/ses-a/anat/sub-1_ses-a_T1w.nii.gz"]
    assert (told["RepetitionTime"], told["SkullStripped"]) == (2.4, False)
    described = json.loads((out / "dataset_description.json").read_text())
    assert described["DatasetType"] == "derivative"
    assert (out / described["DatasetLinks"]["raw"]).resolve() == dataset.resolve()
    # A sidecar that went, or says something else, is a result that is not there.
    assert [row.status for row in cohort.map(Copy(), out)] == ["skipped"] * 2
    sidecar.unlink()
    assert [row.status for row in cohort.map(Copy(), out)] == ["done", "skipped"]
    write_json(dataset / "sub-1/ses-a/anat/sub-1_ses-a_T1w.json", {"RepetitionTime": 9})
    again = Cohort.of(dataset, {"suffix": "T1w"})
    assert [row.status for row in again.map(Copy(), out)] == ["done", "skipped"]
    assert [row.status for row in again.shard(2, 2).map(Copy(), out)] == ["skipped"]


@pytest.mark.usefixtures("listed")
def test_a_page_on_derivatives_shows_them(dataset: Path, tmp_path: Path) -> None:
    cohort = Cohort.of(dataset, {"suffix": "T1w"})
    cohort.map(Copy(), tmp_path / "out")
    assert cohorts._picture(tmp_path / "out", "sub-1_ses-b_T1w") is not None
    assert cohorts._picture(tmp_path / "out", "sub-1_ses-c_T1w") is None
    assert cohorts._picture(tmp_path / "out", "sub-1_ses-*_T1w") is None


@pytest.mark.usefixtures("listed")
def test_no_derivative_goes_among_raw_scans(dataset: Path) -> None:
    cohort = Cohort.of(dataset, {"suffix": "T1w"})
    with pytest.raises(ValueError, match="must be no raw dataset"):
        cohort.map(Copy(), dataset)
    assert [row.status for row in cohort.map(Copy(), dataset / "derivatives" / "made")] == [
        *("done", "done"),
    ]


def test_what_is_chosen_must_be_of_a_dataset(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="where must go with a BIDS dataset"):
        Cohort.of(tmp_path / "m.csv", {"suffix": "T1w"})


def test_a_dataset_needs_the_extra(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ancpbids", None)
    with pytest.raises(ValueError, match=r"pip install oinr-monai\[bids\]"):
        read_dataset(dataset, {})


@pytest.mark.slow
@pytest.mark.usefixtures("listed")
def test_derivatives_are_valid(dataset: Path, tmp_path: Path) -> None:
    validator = shutil.which("bids-validator-deno")
    if validator is None:
        pytest.skip("bids-validator-deno is not installed")
    for task in (FitTask(FitConfig(preset="exact")), DenoiseTask(DenoiseConfig(steps=2))):
        out = tmp_path / task.word
        Cohort.of(dataset, {"suffix": "T1w"}).map(task, out)
        told = subprocess.run([validator, out, "--json"], capture_output=True, text=True)
        issues = json.loads(told.stdout)["issues"]["issues"]
        assert [each for each in issues if each["severity"] == "error"] == []
