"""What a DICOM header says of the patient goes no further than the reader."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from oinr_monai.cli.app import main
from tests.field.inputs import counts, write_series

SECRETS = {"PatientName": "Doe^Secret", "PatientID": "ID-SECRET", "AccessionNumber": "AC-SECRET"}


def _named(dataset: Dataset, k: int) -> None:
    for keyword, value in SECRETS.items():
        setattr(dataset, keyword, value)


def test_no_patient_in_what_is_said_and_written(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_series(tmp_path / "scans", counts(), _named)
    (tmp_path / "cohort.csv").write_text("subject,image\na,scans\nb,nothing\n")
    monkeypatch.chdir(tmp_path)
    for command, status in (
        ("fit scans -o a.oinr --preset fast --steps 3 --log-dir log", 0),
        ("denoise scans -o clean.nii.gz --sigma 9 --steps 2", 0),
        ("sample a.oinr -o samples.mha", 0),
        ("fit scans scans -o b.oinr --preset exact", 2),
        ("cohort fit cohort.csv -o fits --preset fast --steps 3", 1),
        ("info a.oinr", 0),
    ):
        assert main([*command.split(), "--device", "cpu"]) == status
    told = capfd.readouterr()
    written = [p for p in tmp_path.rglob("*") if p.is_file() and "scans" not in p.parts]
    assert {p.suffix for p in written} >= {".oinr", ".gz", ".mha", ".csv"}
    texts = [told.out.encode(), told.err.encode(), *(_bytes(path) for path in written)]
    assert not [text for text in texts if b"secret" in text.lower()]


def _bytes(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
