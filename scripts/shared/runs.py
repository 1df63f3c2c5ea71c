"""Cohorts of small scans, and the processes that work on them."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np

from scripts.shared.report import ROOT

# What marks a process of a run: everything that it begins inherits it.
MARK = "OINR_RUN"
# Ray says nothing of GPUs, and its workers come no later in line than the program itself.
OURS = {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_worker_niceness": "0"}


def make_scans(folder: Path, count: int, shape: tuple[int, ...] = (32, 32, 32)) -> list[Path]:
    """Smooth noise, another for each subject, as NIfTI files."""
    folder.mkdir(parents=True)
    paths = [folder / f"s{i:04d}.nii" for i in range(count)]
    for i, path in enumerate(paths):
        wave = np.random.default_rng(i).normal(size=shape)
        spectrum = np.fft.fftn(wave)
        for axis, size in enumerate(shape):
            steep = np.exp(-((np.fft.fftfreq(size) * 8) ** 2))
            spectrum *= np.expand_dims(steep, [k for k in range(len(shape)) if k != axis])
        values = np.fft.ifftn(spectrum).real
        nibabel.save(nibabel.Nifti1Image((1e3 * values).astype("f4"), np.eye(4)), path)
    return paths


def bits_of(folder: Path, ending: str) -> dict[str, str]:
    """A digest of each result, by its name."""
    files = sorted(folder.glob(f"*{ending}"))
    return {each.name: hashlib.blake2b(each.read_bytes()).hexdigest() for each in files}


@dataclass(frozen=True)
class Process:
    """A process as the system tells of it."""

    pid: int
    command: str
    seconds: float
    mib: float

    def kill(self) -> bool:
        """End it at once; whether it was there."""
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True


def marked(mark: str) -> list[Process]:
    """All processes that have the mark, without zombies."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes():
                found.append(_process(folder))
        except (OSError, ValueError):  # it has just gone
            continue
    return [each for each in found if each.command]


def _process(folder: Path) -> Process:
    command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    numbers = (folder / "stat").read_text().rpartition(") ")[2].split()
    ticks = sum(int(each) for each in numbers[11:15])
    pages = int((folder / "statm").read_text().split()[1])
    seconds = ticks / os.sysconf("SC_CLK_TCK")
    return Process(int(folder.name), command, seconds, pages * os.sysconf("SC_PAGE_SIZE") / 2**20)


def wait_for(what: Callable[[], object], seconds: float) -> bool:
    """Whether it comes true before so many seconds have passed."""
    ends = time.monotonic() + seconds
    while not what():
        if time.monotonic() > ends:
            return False
        time.sleep(0.05)
    return True


@contextmanager
def begun(arguments: Sequence[object], log: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """An ``oinr`` command in a process of its own, and its mark."""
    mark = uuid.uuid4().hex
    own = OURS | {MARK: mark, "PYTHONPATH": str(ROOT)}
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "oinr_monai", *map(str, arguments)],
            env=os.environ | own, stdout=file, stderr=file, cwd=log.parent,
        )  # fmt: skip
        try:
            yield process, mark
        finally:
            process.kill()
            process.wait()
