"""Cost against voxels: seconds of a fit and of sampling for volumes of 32^3 to 256^3.

A fit looks at each voxel a fixed number of times, or takes a least number of steps where that is
more; its cost per voxel is that of one look. The clock is the processor's own, and the sizes take
turns, of which the median counts, so that other work on the machine counts little. Writes
``docs/measured/scaling.md`` and ``docs/measured/scaling.csv``.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from oinr_monai import FitConfig, Grid, Representation, fit
from oinr_monai.fitting.objective import ImageObjective
from oinr_monai.fitting.presets import PresetName, places_of
from oinr_monai.fitting.single import ImageFit
from oinr_monai.images.scans import checked_scans
from scripts.shared.meters import timed
from scripts.shared.phantom import phantom
from scripts.shared.problem import PRESETS
from scripts.shared.report import MEASURED, Report, line

# Sizes up to which twice as fine a grid is sampled too: its answer has eight times as many voxels.
FINER = 128
# Untimed steps before the timed ones.
WARM = 5


@dataclass(frozen=True)
class Cost:
    """What one preset costs on one volume.

    Args:
        preset: quality preset.
        size: voxels along each axis.
        places: places of a step.
        step_ms: milliseconds of a step.
        fit_ns: nanoseconds of one look at one place while fitting.
        setup_s: seconds of a fit without steps: spline, scores, their samples.
        sample_s: seconds of sampling the volume's own grid.
        sample_ns: the same for a voxel, in nanoseconds.
        finer_ns: nanoseconds for a voxel of the grid twice as fine; none for large volumes.
    """

    preset: str
    size: int
    places: int
    step_ms: float
    fit_ns: float
    setup_s: float
    sample_s: float
    sample_ns: float
    finer_ns: float | None


class Subject:
    """One preset on one volume, measured in turns with others."""

    def __init__(self, preset: PresetName, size: int) -> None:
        self.preset, self.size = preset, size
        self.config = FitConfig(preset=preset, steps=0, device="cpu")
        image = phantom(size)
        self.places = places_of(Grid.from_image(image), self.config)
        self.fitted: list[Representation] = []
        self.setup = timed(lambda: self.fitted.append(fit(image, self.config)))
        objective = ImageObjective(checked_scans([image], None), self.config)
        self.descent = ImageFit(objective, None, time.monotonic())
        self.step_s: list[float] = []
        self.sample_s: list[float] = []
        self.finer_s: list[float] = []
        self.take(WARM)

    def take(self, steps: int) -> None:
        """Take steps of a fit."""
        with self.descent.threads():
            for _ in range(steps):
                self.descent.step(next(self.descent.batches()))

    def turn(self, steps: int) -> None:
        """Time some steps and a sampling or two."""
        self.step_s.append(timed(lambda: self.take(steps)) / steps)
        representation = self.fitted[0]
        self.sample_s.append(timed(representation.sample))
        if self.size <= FINER:
            grid = representation.grid.refine(2)
            seconds = timed(lambda: representation.sample(grid))
            self.finer_s.append(seconds / math.prod(grid.shape))

    def cost(self) -> Cost:
        """Medians of the turns."""
        step, sample = statistics.median(self.step_s), statistics.median(self.sample_s)
        return Cost(
            self.preset,
            self.size,
            self.places,
            1e3 * step,
            1e9 * step / self.places,
            self.setup,
            sample,
            1e9 * sample / self.size**3,
            1e9 * statistics.median(self.finer_s) if self.finer_s else None,
        )


def slope(costs: list[Cost], seconds: Callable[[Cost], float]) -> float:
    """Slope of log seconds over log voxels, by least squares: 1 is linear."""
    x = [math.log(cost.size**3) for cost in costs]
    return float(np.polyfit(x, [math.log(seconds(cost)) for cost in costs], 1)[0])


def slopes_of(costs: list[Cost]) -> Iterator[list[str]]:
    """Yield what tells the slopes of each preset."""
    for preset in dict.fromkeys(cost.preset for cost in costs):
        of = [cost for cost in costs if cost.preset == preset]
        fitting = slope(of, lambda cost: cost.fit_ns * cost.size**3)
        sampling = slope(of, lambda cost: cost.sample_s)
        yield [preset, f"{fitting:.3f}", f"{sampling:.3f}"]


def cells_of(cost: Cost) -> list[str]:
    """Return a row of the table."""
    finer = "" if cost.finer_ns is None else f"{cost.finer_ns:.0f}"
    cells = [cost.preset, f"{cost.size}³", f"{cost.places:,}"]
    cells += [f"{cost.step_ms:.2f}", f"{cost.fit_ns:.0f}", f"{cost.setup_s:.2f}"]
    return [*cells, f"{cost.sample_s:.4f}", f"{cost.sample_ns:.0f}", finer]


HEAD = (
    *("preset", "volume", "places", "ms a step", "fit, ns a look", "set-up and scores, s"),
    *("sample, s", "sample, ns a voxel", "twice as fine, ns a voxel"),
)
NOTES = """processor time, a phantom. A look is one place of one step; set-up and scores are a whole
fit of no steps. Medians of turns. Slopes of log seconds over log voxels, 1 is linear:"""


def report_of(costs: list[Cost], folder: Path) -> Report:
    """Return the page."""
    report = Report("scaling", "Cost against voxels", folder)
    report.made(NOTES)
    report.table(["preset", "fit, per look at all voxels", "sample"], slopes_of(costs))
    report.table(HEAD, map(cells_of, costs))
    return report


def parse_arguments() -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    sizes = [32, 48, 64, 96, 128, 192, 256]
    parser.add_argument("--sizes", type=int, nargs="+", default=sizes)
    parser.add_argument("--presets", nargs="+", default=list(PRESETS))
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--steps", type=int, default=30, help="steps of a turn")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=MEASURED, help="folder of the tables")
    return parser.parse_args()


def main() -> None:
    """Measure every preset on every volume, write the tables and print them."""
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    costs = []
    Subject("fast", 16)  # pays what is paid once
    for preset in arguments.presets:
        subjects = [Subject(preset, size) for size in arguments.sizes]
        for _ in range(arguments.turns):
            for subject in subjects:
                subject.turn(arguments.steps)
        costs += [subject.cost() for subject in subjects]
        print(*(line(cells_of(cost)) for cost in costs[-len(subjects) :]), sep="\n", flush=True)
    report = report_of(costs, arguments.output)
    report.write(costs)
    print(report)


if __name__ == "__main__":
    main()
