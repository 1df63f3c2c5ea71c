"""What the benches share: the machine that they ran on."""

from __future__ import annotations

import platform
from pathlib import Path

import torch


def cpu_model() -> str:
    """Return the name of the processor."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def machine() -> str:
    """Return processor, threads and torch version."""
    return f"{cpu_model()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
