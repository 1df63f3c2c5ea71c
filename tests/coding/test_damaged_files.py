"""Thousands of damaged files of coded samples: each is refused in one line, or read in bounds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.coding.damage import battery


def test_100_damaged_files(tmp_path: Path) -> None:
    counts = battery(tmp_path, seed=1, count=100)
    assert counts["refused"] > 60


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_2000_damaged_files_do_not_end_the_process(seed: int) -> None:
    program = [sys.executable, "-m", "tests.coding.damage", str(seed), "2000"]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
