"""Scans in object stores: brought to what works on them, and told from later ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest

from oinr_monai import FitConfig
from oinr_monai.cohort import Cohort, FitTask, Subject, find_images, read_manifest
from oinr_monai.cohort import remote as module
from tests.cli.scans import blob, save_nifti

EXACT = FitTask(FitConfig(preset="exact"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Path]:
    """Two scans, here and at memory://scans."""
    memory = fsspec.filesystem("memory")
    for i, name in enumerate("ab"):
        path = save_nifti(tmp_path / f"{name}.nii.gz", blob((7, 6, 5)) + i, np.eye(4))
        memory.pipe_file(f"/scans/{name}/t1.nii.gz", path.read_bytes())
    yield tmp_path
    memory.rm("/scans", recursive=True)


def test_what_lies_elsewhere_is_fitted_as_what_lies_here(store: Path) -> None:
    table = store / "m.csv"
    table.write_text("subject,image\na,memory://scans/a/t1.nii.gz\nb,b.nii.gz\nc,memory://none\n")
    Cohort.of(f"{store}/*.nii.gz").map(EXACT, store / "here")
    rows = Cohort.of(table).map(EXACT, store / "there")
    assert [row.status for row in rows] == ["done", "done", "failed"]
    assert "none" in rows[2].message
    for name in "ab":
        found = (store / f"there/{name}.oinr").read_bytes()
        assert found == (store / f"here/{name}.oinr").read_bytes()
    assert {each.name for each in (store / "there").iterdir()} == {"a.oinr", "b.oinr", "status.csv"}


def test_it_is_not_brought_again_unless_it_changed(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort = Cohort.of("memory://scans/*/t1.nii.gz")
    assert [each.name for each in cohort.subjects] == ["a", "b"]
    assert [row.status for row in cohort.map(EXACT, store / "out")] == ["done"] * 2
    with monkeypatch.context() as patch:
        patch.setattr(type(fsspec.filesystem("memory")), "get_file", None)
        assert [row.status for row in cohort.map(EXACT, store / "out")] == ["skipped"] * 2
    fsspec.filesystem("memory").pipe_file(
        "/scans/b/t1.nii.gz", (store / "a.nii.gz").read_bytes() + b"\0"
    )
    assert [row.status for row in cohort.map(EXACT, store / "out")] == ["skipped", "done"]


def test_files_are_here_as_long_as_they_are_worked_on(store: Path) -> None:
    urls = {"image": "memory://scans/a/t1.nii.gz", "labels": "memory://scans/b/t1.nii.gz"}
    subject = Subject("s", Path("t1.nii.gz"), labels=Path("t1.nii.gz"), remote=urls)
    assert subject.files() == []
    with module.at_hand(subject) as here:
        assert here.labels is not None
        assert here.image.read_bytes() == (store / "a.nii.gz").read_bytes()
        assert here.labels.read_bytes() == (store / "b.nii.gz").read_bytes()
        assert here.files() == [here.image, here.labels]
    assert not here.image.exists()


def test_what_no_store_has_or_knows_is_said(store: Path) -> None:
    with pytest.raises(ValueError, match="must match a file"):
        find_images("memory://scans/*.mgz")
    with pytest.raises(ValueError, match="must have a protocol that fsspec can use"):
        find_images("nothing://scans/*.nii")
    table = store / "m.csv"
    table.write_text("subject,image\na,memory://x.nii|memory://y.nii\n")
    with pytest.raises(ValueError, match="line 2: files elsewhere must be one a cell"):
        read_manifest(table)
