"""What a page says of how it was made: the command line and the machine."""

from __future__ import annotations

import platform
import shlex
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).parents[2]
# Where benches write their pages.
MEASURED = ROOT / "docs" / "measured"


def cpu_model() -> str:
    """Return the name of the processor."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def machine() -> str:
    """Return processor, threads and torch version."""
    return f"{cpu_model()}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def command() -> str:
    """Return the command line as anyone may repeat it, without the folders of this machine."""
    script, *told = sys.argv
    module = Path(script).resolve().relative_to(ROOT).with_suffix("")
    if "--output" in told:
        at = told.index("--output")
        del told[at : at + 2]
    if "--data" in told:
        told[told.index("--data") + 1] = "DIR"
    return shlex.join(["python", "-m", ".".join(module.parts), *told])
