"""Clocks and memory of a process."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypedDict


def timed(work: Callable[[], object]) -> float:
    """Processor seconds of a piece of work."""
    started = time.process_time()
    work()
    return time.process_time() - started


def peak_mib() -> float:
    """Greatest memory that this process has had since it began, PyTorch itself included."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**10


class Taken(TypedDict):
    """What a fit took, as a row has it."""

    parameters: int
    steps: int
    seconds: float
    peak_mib: float
