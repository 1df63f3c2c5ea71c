"""What the tests of all commands share: a scan, its fit, and ways to run a command."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oinr_monai.cli.app import main
from tests.cli.scans import FAST, SHAPE, blob, save_nifti


@pytest.fixture(scope="session")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_nifti(tmp_path_factory.mktemp("scan") / "scan.nii.gz", blob(SHAPE))


@pytest.fixture(scope="session")
def fitted(scan: Path) -> Path:
    path = scan.with_name("scan.oinr")
    assert main(["fit", str(scan), "-o", str(path), *FAST, "--steps", "60", "--json"]) == 0
    return path


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    """Run a command that must do its work, saying nothing but one JSON object."""

    def invoke(*arguments: object) -> dict[str, Any]:
        capfd.readouterr()
        status = main([*map(str, arguments), "--json"])
        shown = capfd.readouterr()
        assert (status, shown.err) == (0, "")
        return json.loads(shown.out)

    return invoke


@pytest.fixture
def refused(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    """Run a command that must refuse: exit 2, one line, and every folder as it was."""
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: object) -> str:
        before = sorted(tmp_path.rglob("*"))
        capfd.readouterr()
        assert main([*map(str, arguments)]) == 2
        shown = capfd.readouterr()
        assert shown.out == ""
        assert re.fullmatch(r"oinr: [^\n]+\n", shown.err)
        assert sorted(tmp_path.rglob("*")) == before
        return shown.err

    return invoke


@pytest.fixture
def unread(refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run a command that must refuse before it reads an image or a representation."""

    def invoke(*arguments: object) -> str:
        with monkeypatch.context() as patch:
            for each in (
                "images.files.open_raw",
                "representation.representation.Representation.load",
                "images.series.read_series",
            ):
                patch.setattr(f"oinr_monai.{each}", lambda *_: pytest.fail("it was read"))
            return refused(*arguments)

    return invoke
