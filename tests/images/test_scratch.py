"""Folders for files in the making leave nothing behind, whatever happens to their process."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from oinr_monai.images import scratch
from oinr_monai.images.replacing import replacing
from oinr_monai.images.scratch import Scratch
from oinr_monai.images.stored import open_image
from tests.cli.scans import blob, save_nifti


@pytest.fixture(autouse=True)
def _another_process() -> None:
    """Sweep again in a place where it was done."""
    scratch._sweep.cache_clear()


def holding(place: Path) -> int:
    """A process that holds a scratch folder in the midst of a file, until it is killed."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        folder = Scratch(place).path
        (folder / "half.bin").write_bytes(b"1")
        os.write(write, b"1")
        while True:
            time.sleep(60)
    os.read(read, 1)
    os.close(read)
    os.close(write)
    return child


def kill(child: int) -> None:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def test_what_a_killed_process_left_is_swept_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / ".oinr-settings").write_text("not ours: a file")
    (tmp_path / "images").mkdir()
    alive = holding(tmp_path)
    try:
        kill(holding(tmp_path))
        assert len(list(tmp_path.glob(".oinr-*"))) == 3
        with replacing(tmp_path / "a.txt") as temporary:
            temporary.write_text("done")
        assert len(list(tmp_path.rglob("half.bin"))) == 1
    finally:
        kill(alive)
    scratch._sweep.cache_clear()
    with Scratch(tmp_path):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == [".oinr-settings", "a.txt", "images"]


def test_a_place_without_locks_is_not_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object) -> None:
        raise OSError("no locks here")

    kill(holding(tmp_path))
    monkeypatch.setattr("fcntl.flock", unknown)
    with Scratch(tmp_path):
        pass
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_another_swept_before_it_was_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, swept = os.open, iter([True, False])

    def late(path: Path, flags: int) -> int:
        if next(swept):
            path.rmdir()
        return opened(path, flags)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", late)
        made = Scratch(tmp_path)
    assert list(tmp_path.iterdir()) == [made.path]
    made.close()
    assert not list(tmp_path.iterdir())


def test_unpacked_images_are_among_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    kill(holding(tmp_path / "temporary"))
    image = open_image(save_nifti(tmp_path / "a.nii.gz", blob((6, 5, 4))))
    np.testing.assert_allclose(image.read((0, 0, 0), (6, 5, 4))[0], blob((6, 5, 4)), rtol=1e-6)
    assert not list((tmp_path / "temporary").iterdir())
