"""Milliseconds of a training step on one thread and on all, alone and beside other work.

Writes the table ``docs/measured/threads.md``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from oinr_monai import FitConfig, Grid
from oinr_monai.fitting.presets import PresetName, places_of
from oinr_monai.fitting.samplers import LatticeSampler
from oinr_monai.fitting.start import build_field
from oinr_monai.grids.splines import CubicInterpolant
from scripts.shared.problem import PRESETS
from scripts.shared.report import MEASURED, Report


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Other work: ``processes`` endless loops."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def step_time(preset: PresetName, threads: int, steps: int) -> float:
    """Median milliseconds of a step of ``preset`` on a 64^3 volume of noise."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    config, image = FitConfig(preset=preset), torch.rand(1, 64, 64, 64)
    grid = Grid.from_image(image)
    field = build_field(grid, 1, config)
    generator = torch.Generator().manual_seed(0)
    sampler = LatticeSampler(
        CubicInterpolant(image),
        grid.shape,
        (1.0,) * 3,
        places_of(grid, config),
        False,
        None,
        generator,
    )
    seconds = []
    for _ in range(steps):
        started = time.perf_counter()
        batch: dict[str, Any] = sampler.draw()
        field.zero_grad()
        ((field(batch["image"])[0] - batch["label"][0]) ** 2).mean().backward()
        seconds.append(time.perf_counter() - started)
    return 1e3 * sorted(seconds)[steps // 2]


def main() -> None:
    """Time every combination and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--output", type=Path, default=MEASURED)
    arguments = parser.parse_args()
    cores = torch.get_num_threads()
    report = Report("threads", "Threads beside other work", arguments.output)
    report.made(f"median ms of {arguments.steps} steps in float32.")
    table = report.table(["preset", "other work", "1 thread", f"{cores} threads"])
    for preset in PRESETS:
        for load in (0, 1, cores):
            with busy(load):
                one, many = (step_time(preset, n, arguments.steps) for n in (1, cores))
            table.row(preset, f"{load} processes", f"{one:.1f}", f"{many:.1f}")
    report.write()


if __name__ == "__main__":
    main()
