"""Killed, ended or interrupted at any moment: files whole or as they were, nothing left, and on.

A process is forked for each trial, after all imports; ``--kills N`` takes N moments for each signal
in place of the usual 20 of ``make test-slow``.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from oinr_monai import Representation
from oinr_monai.cli.app import main
from oinr_monai.cli.leaving import INTERRUPTED, leave
from oinr_monai.fitting.handlers import Checkpoint
from oinr_monai.images import scratch
from tests.cli.scans import FAST, blob, load_values, save_nifti

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)


@dataclass(frozen=True)
class Command:
    """A command, the file or folder it writes, and whether it can be resumed."""

    line: str
    output: str
    resumable: bool = True


COMMANDS = {
    "exact": Command("fit IN/a.nii.gz", "a.oinr", resumable=False),
    "fit": Command("fit IN/a.nii.gz --preset fast --steps 60", "a.oinr"),
    "sample": Command("sample IN/a.oinr --factor 4", "a.nii.gz", resumable=False),
    "denoise": Command("denoise IN/a.nii.gz --sigma 2 --steps 6", "a.nii.gz"),
    "super-resolve": Command("super-resolve IN/a.nii.gz --steps 8", "a.nii.gz"),
    "interpolate": Command(
        "interpolate IN/series.nii.gz --factor 2 --no-motion --preset fast --steps 25", "a.nii.gz"
    ),
    "cohort": Command("cohort fit IN/cohort.csv --preset fast --steps 12", "fits", resumable=False),
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    noise = np.random.default_rng(0).normal(0, 2, (16, 14, 5))
    thick = save_nifti(folder / "a.nii.gz", blob((16, 14, 5)) + noise, np.diag([1.0, 1, 3, 1]))
    frames = [blob((12, 11, 5)) * (1 + 0.1 * i) for i in range(3)]
    save_nifti(folder / "series.nii.gz", np.stack(frames, axis=-1))
    save_nifti(folder / "b.nii.gz", blob((9, 8, 7)))
    (folder / "cohort.csv").write_text("subject,image\na,a.nii.gz\nb,b.nii.gz\nc,a.nii.gz\n")
    arguments = ["fit", str(thick), "-o", str(folder / "a.oinr"), *FAST, "--steps", "3", "--json"]
    assert main(arguments) == 0
    return folder


@pytest.fixture(autouse=True)
def _checkpoints_at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Checkpoint, "_maybe", lambda checkpoint, engine: checkpoint.save())


def started(arguments: list[str], log: Path) -> int:
    """The command in a process of its own, which begins where the imports have ended."""
    held = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    child = os.fork()
    if not child:
        _become_the_command(arguments, log)
    signal.pthread_sigmask(signal.SIG_SETMASK, held)
    return child


def _become_the_command(arguments: list[str], log: Path) -> None:
    status = 70
    try:
        told = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(told, 1)
        os.dup2(told, 2)
        scratch._sweep.cache_clear()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, leave)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        status = main(arguments)
    finally:
        os._exit(status)


def ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def arguments_of(command: Command, inputs: Path, output: Path, *more: str) -> list[str]:
    words = command.line.replace("IN/", f"{inputs}/").split()
    device = [] if words[0] in ("sample",) else ["--device", "cpu"]
    return [*words, "-o", str(output), *device, "--json", *more]


def content(path: Path) -> dict[str, Any]:
    """What a command wrote, but for times and dates."""
    if path.is_dir():
        files = sorted(path.glob("*.oinr"))
        return {f"{each.name}/{k}": v for each in files for k, v in content(each).items()}
    if path.suffix == ".oinr":
        loaded = Representation.load(path)
        return {"values": loaded.sample().as_tensor(), **loaded.field.state_dict()}
    return {"values": torch.from_numpy(load_values(path))}


def same(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@dataclass(frozen=True)
class Whole:
    """A command that nobody disturbed: what it wrote, and how long it took."""

    command: Command
    content: dict[str, Any]
    seconds: float


@pytest.fixture(scope="module")
def whole(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Whole]:
    known: dict[str, Whole] = {}

    def make(name: str) -> Whole:
        if name not in known:
            folder, command = tmp_path_factory.mktemp("whole"), COMMANDS[name]
            begun = time.monotonic()
            child = started(arguments_of(command, inputs, folder / command.output), folder / "log")
            assert ended(child) == 0, (folder / "log").read_text()
            seconds = time.monotonic() - begun
            known[name] = Whole(command, content(folder / command.output), seconds)
        return known[name]

    return make


def check_trial(whole: Whole, inputs: Path, folder: Path, number: int, after: float) -> None:
    """Disturb a command once, look at what is there, and let it go on."""
    command, log = whole.command, folder.with_suffix(".log")
    folder.mkdir()
    output = folder / command.output
    if "." in command.output:
        output.write_bytes(b"older")
    child = started(arguments_of(command, inputs, output), log)
    time.sleep(after)
    os.kill(child, number)
    status = ended(child)
    told = log.read_text()
    assert status in ((-signal.SIGKILL, 0) if number == signal.SIGKILL else (INTERRUPTED, 0)), told
    assert "Traceback" not in told
    if output.is_file() and output.read_bytes() != b"older":
        found = content(output)
        # a fit that was interrupted keeps the best so far
        assert command.output.endswith(".oinr") or same(found, whole.content)
    elif output.is_dir():
        found = content(output)
        assert all(torch.equal(found[name], whole.content[name]) for name in found)
    more = ["--resume"] if command.resumable else []
    assert ended(started(arguments_of(command, inputs, output, *more), log)) == 0, log.read_text()
    assert same(content(output), whole.content)
    assert [path.name for path in folder.iterdir()] == [command.output]
    left = {"status.csv", "a.oinr", "b.oinr", "c.oinr"}
    assert not output.is_dir() or {path.name for path in output.iterdir()} == left
    shutil.rmtree(folder)


def check_trials(
    whole: Callable[[str], Whole], inputs: Path, folder: Path, number: int, count: int
) -> None:
    chance = random.Random(number)
    for trial in range(count):
        one = whole(list(COMMANDS)[(trial + number) % len(COMMANDS)])
        check_trial(one, inputs, folder / f"{trial}", number, chance.uniform(0, one.seconds))


@pytest.mark.parametrize("number", SIGNALS)
def test_a_few_moments(
    whole: Callable[[str], Whole], inputs: Path, tmp_path: Path, number: signal.Signals
) -> None:
    check_trials(whole, inputs, tmp_path, number, 2)


@pytest.mark.slow
@pytest.mark.parametrize("number", SIGNALS)
def test_many_moments(
    whole: Callable[[str], Whole],
    inputs: Path,
    tmp_path: Path,
    number: signal.Signals,
    pytestconfig: pytest.Config,
) -> None:
    check_trials(whole, inputs, tmp_path, number, pytestconfig.getoption("--kills"))
