"""Any command line, on any files, ends with a status that is documented, and leaves nothing."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oinr_monai.cli.app import main
from oinr_monai.cohort import read_manifest
from oinr_monai.images.files import read_image
from oinr_monai.images.notes import ImageNote
from tests.cli.scans import FAST, blob, save_nifti
from tests.strategies import arguments, flips, manifests

FILES = (
    "scan.nii.gz", "flat.nii", "labels.nii.gz", "series.nii.gz", "slice.png", "fit.oinr",
    "occupancy.oinr", "cut.nii.gz", "cut.oinr", "text.txt", "cohort.csv", "folder", "missing.nii",
    "missing.oinr", "", "a\0b.nii",
)  # fmt: skip

once = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
often = settings(once, max_examples=1_000)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    scan = save_nifti(folder / "scan.nii.gz", blob((9, 8, 5)))
    save_nifti(folder / "flat.nii", np.full((9, 8, 5), 3.0, "f4"))
    labels = np.zeros((9, 8, 5), "u1")
    labels[1:4, 2:6, 1:4], labels[5:8, 2:6, 1:4] = 1, 7
    save_nifti(folder / "labels.nii.gz", labels)
    save_nifti(folder / "series.nii.gz", np.stack([blob((6, 5, 4)) * i for i in (1, 2, 3)], -1))
    import imageio.v3 as imageio

    imageio.imwrite(folder / "slice.png", np.arange(64, dtype="u1").reshape(8, 8))
    fits = {"fit.oinr": [str(scan)], "occupancy.oinr": [str(folder / "labels.nii.gz"), "--labels"]}
    for name, image in fits.items():
        command = ["fit", *image, "-o", str(folder / name), *FAST, "--steps", "3", "--json"]
        assert main(command) == 0
    (folder / "cut.nii.gz").write_bytes(scan.read_bytes()[:200])
    (folder / "cut.oinr").write_bytes((folder / "fit.oinr").read_bytes()[:-50])
    (folder / "text.txt").write_text("no image\n")
    (folder / "cohort.csv").write_text("subject,image,label\na,scan.nii.gz,x\nb,flat.nii,y\n")
    (folder / "folder").mkdir()
    return folder


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """What is read here may be refused, in one line that names the file."""
    try:
        yield
    except ValueError as error:
        if str(path) not in str(error) or "\n" in str(error):
            raise


def check_command(line: list[str], files: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Run a command in a folder of its own, and see that it keeps its manners."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "work"
        shutil.copytree(files, folder)
        before = {path: path.stat().st_size for path in folder.rglob("*")}
        started = Path.cwd()
        os.chdir(folder)
        capfd.readouterr()
        try:
            status = main(line)
        finally:
            os.chdir(started)
        told = capfd.readouterr()
        assert status in (0, 1, 2, 130), told.err
        after = {path: path.stat().st_size for path in folder.rglob("*")}
        if status == 2:
            assert re.fullmatch(r"(oinr: [^\n]+\n)+", told.err)
            assert after == before
        assert "Traceback" not in told.err
        assert not [path for path in after if path.name.startswith(".oinr-")]
        assert all(after[path] == size for path, size in before.items())


@once
@given(line=arguments(FILES))
def test_commands_keep_their_manners(
    line: list[str], files: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    check_command(line, files, capfd)


@pytest.mark.slow
@often
@given(line=arguments(FILES))
def test_many_commands_keep_their_manners(
    line: list[str], files: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    check_command(line, files, capfd)


@settings(once, max_examples=200)
@given(text=manifests())
def test_manifests_are_read_or_refused_in_a_line(
    text: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "manifest.csv"
    path.write_bytes(text)
    with refusing(path), warnings.catch_warnings():
        warnings.simplefilter("ignore", ImageNote)
        subjects = read_manifest(path)
        names = [each.name for each in subjects]
        assert len(set(names)) == len(names) > 0
        assert all(name and Path(name).name == name for name in names)


@settings(once, max_examples=200)
@given(places=flips(352), packed=st.booleans())
def test_damaged_headers_are_read_or_refused_in_a_line(
    places: list[tuple[int, int]], packed: bool, files: Path, recwarn: pytest.WarningsRecorder
) -> None:
    header = bytearray(gzip.decompress((files / "scan.nii.gz").read_bytes()))
    for place, value in places:
        header[place] = value
    path = files.with_name("damaged.nii.gz" if packed else "damaged.nii")
    path.write_bytes(gzip.compress(header, 1) if packed else header)
    with refusing(path):
        assert bool(read_image(path).isfinite().all())
