"""Ctrl-C while the program loads, and what becomes of signals around a command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from oinr_monai.cli import leaving
from oinr_monai.cli.leaving import interruptible, is_program, leave, leave_when_asked

OINR = "from oinr_monai.cli import main; import sys; sys.exit(main())"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("python -m oinr_monai sample a.oinr", True),
        ("python -X dev -u -m oinr_monai", True),
        ("python -Xdev -m oinr_monai", True),
        ("python /usr/bin/oinr fit", True),
        ("python C:/Scripts/oinr.exe fit", True),
        ("python -m pytest -m oinr_monai", False),
        ("python train.py oinr", False),
        ("python -c 1", False),
        ("python", False),
    ],
)
def test_the_program_is_told_from_those_that_use_the_package(line: str, told: bool) -> None:
    assert is_program(line.split()) == told


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="no /proc to look into")
@pytest.mark.parametrize(
    ("number", "after", "entry"),
    [
        (signal.SIGINT, 0.0, "module"),
        (signal.SIGINT, 0.8, "script"),
        (signal.SIGTERM, 0.4, "script"),
    ],
)
def test_ctrl_c_as_the_program_loads(
    tmp_path: Path, number: signal.Signals, after: float, entry: str
) -> None:
    script = tmp_path / "oinr"
    script.write_text(OINR)
    command = ["-m", "oinr_monai"] if entry == "module" else [str(script)]
    process = subprocess.Popen(
        [sys.executable, *command, "info", "a.oinr"], stderr=subprocess.PIPE, text=True
    )
    maps = Path(f"/proc/{process.pid}/maps")
    while "numpy" not in maps.read_text():
        time.sleep(0.01)
    time.sleep(after)
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert (process.returncode, told) == (130, "")


def test_the_package_leaves_the_signals_of_other_programs_alone() -> None:
    before = signal.getsignal(signal.SIGINT)
    leave_when_asked()
    assert signal.getsignal(signal.SIGINT) is before


def test_signals_around_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "oinr_monai"])
    try:
        leave_when_asked()
        assert signal.getsignal(signal.SIGINT) is signal.getsignal(signal.SIGTERM) is leave
        for number in (signal.SIGINT, signal.SIGTERM):
            with pytest.raises(KeyboardInterrupt), interruptible():
                signal.raise_signal(number)
        assert signal.getsignal(signal.SIGINT) is leave
    finally:
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
            signal.signal(number, handler)


def test_what_ignores_signals_still_does() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interruptible():
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert leaving.INTERRUPTED == 130
