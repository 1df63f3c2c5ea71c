"""Fits of one block by every kind of representation, closed forms first: fitting.{csv,md,png}.

python -m scripts.quality.fitting [--data DIR] [--volume NAME ...] [--seconds S ...] [--threads N]
    [--size N] [--run-nothing] [--output FOLDER]

DIR may hold MR_Gd.nii.gz and CT_AVM.nii.gz, which the repository does not ship. Each training runs
in a process of its own. What was measured is kept in the CSV, and only what is missing there is
run. A rival's clock counts its set-up and its steps, never the scoring. Ours counts the whole call
of ``fit`` in processor seconds, on one thread: as many steps as go into them by what the first
hundred cost. Rivals, and fits from random weights, which preset fast still is and the others were,
went by the wall, on two threads. Of a closed form the seconds are those of the processor, and of a
codec those of coding at the setting chosen, decoding and the spline; ours keeps every bit where
that takes no more bytes. Rates are tried at the shortest budget; the longer ones take the best
found there. What is trained keeps float32.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import lru_cache, partial
from pathlib import Path

import torch

from oinr_monai import FitConfig, Grid, fit
from oinr_monai.fitting.presets import PresetName
from scripts.paper.published import PublishedOINR3d
from scripts.rivals.baseline import CoordinateNetwork
from scripts.rivals.closed_forms import (
    CLOSED_FORMS,
    CODED,
    EVERYTHING,
    OUR_CODEC,
    SPERR,
    TRANSFORMS,
)
from scripts.rivals.fitting import RIVALS, SPLINE
from scripts.shared.fit_tables import AGAINST, BEFORE, CLOSED, LOW, OURS, SHORTER, Tables
from scripts.shared.fits import LEAST_SQUARES, Cell, Row, cells_of, draw
from scripts.shared.meters import Taken, peak_mib, timed
from scripts.shared.problem import PRESETS, Answers, Problem, make_coarse_problem, make_problem
from scripts.shared.report import MEASURED, Report, line
from scripts.shared.rows import append_row, read_rows

VOLUMES = ("MR_Gd", "MNI152", "CT_AVM")
# A block of half the resolution, and its voxels along each axis: as many as MR_Gd has room for.
COARSE, COARSE_SIZE = " at half the resolution", 72
RECIPE = "O-INR, published recipe"
FIGURE = "PSNR between samples against bits a voxel, and against seconds"
NOTES = """central {size}³ blocks, {voxels:,} voxels; the gradient error is
its root mean square over the gradient's."""
# Steps by which the cost of one is told.
SOME = 100
EARLY = (2.0, 5.0, 15.0)
# Bits a voxel at which codecs are compared, besides those of preset fast.
FEW_CODED = (OUR_CODEC, SPERR)
RATES = (0.4, 0.9, 1.4, 1.8)
# Fits of earlier code, which cannot be run again.
OLDER = [BEFORE.format(preset) for preset in PRESETS]


# ---- one fit, in a process of its own ------------------------------------------------------------


@lru_cache(maxsize=1)
def problem_of(volume: str, data: Path, size: int) -> Problem:
    """The central block of a volume."""
    name = volume.removesuffix(COARSE)
    source = "mni152" if name == "MNI152" else str(data / f"{name}.nii.gz")
    if volume.endswith(COARSE):
        return make_coarse_problem(source, COARSE_SIZE)
    return make_problem(source, size)


def measure(cell: Cell, arguments: argparse.Namespace) -> Row:
    """Make one fit and score it."""
    torch.set_num_threads(arguments.threads)
    problem = problem_of(cell.volume, arguments.data, arguments.size)
    if cell.method in CLOSED_FORMS:
        return closed_form(cell, problem)
    preset = preset_of(cell)
    found, taken = rival(cell, problem) if preset is None else ours(preset, cell.seconds, problem)
    return Row(
        cell.volume,
        cell.method,
        cell.seconds,
        cell.rate,
        cell.parameters,
        bytes=4 * taken["parameters"],
        **taken,
        **problem.scores(found),
    )


def closed_form(cell: Cell, problem: Problem) -> Row:
    """A closed form, of as many numbers or of as many bytes as are asked for."""
    kept = CLOSED_FORMS[cell.method](problem, cell.parameters or problem.volume.numel())
    return Row(
        cell.volume,
        cell.method,
        cell.seconds,
        cell.rate,
        cell.parameters,
        parameters=kept.parameters,
        steps=0,
        seconds=kept.seconds,
        peak_mib=peak_mib(),
        bytes=kept.bytes,
        **problem.scores(kept.answers),
    )


def preset_of(cell: Cell) -> PresetName | None:
    """The preset of a fit of ours, None of a rival."""
    return next((preset for preset in PRESETS if cell.method == OURS.format(preset)), None)


def ours(preset: PresetName, seconds: float, problem: Problem) -> tuple[Answers, Taken]:
    """A complete fit with a preset, of as many steps as fit into processor seconds."""
    fit(torch.rand(1, 12, 12, 12), FitConfig(preset="fast", steps=3))
    configs = [FitConfig(preset, steps=n) for n in (0, SOME)]
    none, some = (timed(partial(fit, problem.image, config)) for config in configs)
    steps = max(int((seconds - none) / (some - none) * SOME), 0)
    started = time.process_time()
    result = fit(problem.image, FitConfig(preset, steps=steps))
    taken: Taken = {
        "seconds": time.process_time() - started,
        "steps": steps,
        "parameters": result.parameters,
        "peak_mib": peak_mib(),
    }
    slopes, between = result.gradient_at(problem.points)[:, 0], result.at(problem.points)[:, 0]
    on_grid = result.sample().as_tensor()[0]
    finer = None if problem.finer is None else result.sample(Grid.from_image(problem.finer))
    return Answers(on_grid, between, slopes, None if finer is None else finer.as_tensor()[0]), taken


def rival(cell: Cell, problem: Problem) -> tuple[Answers, Taken]:
    """A rival, trained until its budget is spent, after a step on noise."""
    made_of(cell, torch.rand(1, 12, 12, 12), None).step(0.0)
    image = problem.image.as_tensor()
    size = RIVALS[cell.method].size(image, cell.parameters) if cell.parameters else None
    started = time.perf_counter()
    method = made_of(cell, image, size)
    elapsed, steps = time.perf_counter() - started, 0
    while elapsed < cell.seconds:
        started = time.perf_counter()
        method.step(elapsed / cell.seconds)
        elapsed += time.perf_counter() - started
        steps += 1
    taken: Taken = {
        "seconds": elapsed,
        "steps": steps,
        "parameters": method.parameters,
        "peak_mib": peak_mib(),
    }
    return answers_of(method, problem), taken


def answers_of(method: CoordinateNetwork | PublishedOINR3d, problem: Problem) -> Answers:
    """What a rival says."""
    on_grid = method.on_grid()[0]
    if not isinstance(method, CoordinateNetwork):
        return Answers(on_grid, None, None)
    slopes = problem.grid.gradient_to_world(method.gradient_at(problem.voxels).double())
    return Answers(on_grid, method.at(problem.voxels)[:, 0], slopes)


def made_of(
    cell: Cell, image: torch.Tensor, size: int | None
) -> CoordinateNetwork | PublishedOINR3d:
    """The rival of a cell, untrained."""
    if cell.method == RECIPE:
        return PublishedOINR3d(image)
    torch.manual_seed(0)
    return RIVALS[cell.method].begin(image, cell.rate, size)


# ---- which fits, and in what order ---------------------------------------------------------------


class Measured:
    """The rows of the CSV; what is missing is run and added to them."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments, self.path = arguments, arguments.output / "fitting.csv"
        self.rows = {row.cell: row for row in read_rows(self.path, Row)}

    def of(self, cell: Cell) -> Row:
        """The row of a cell.

        Raises:
            LookupError: if it is missing, and nothing is to be run, or it was another program's.
        """
        if cell not in self.rows:
            trains, gone = cell.method not in CLOSED_FORMS, cell.method in OLDER
            if self.arguments.run_nothing or gone or (trains and self.arguments.train_nothing):
                raise LookupError(f"{cell} must have been measured")
            self.rows[cell] = self._run(cell)
            append_row(self.path, self.rows[cell])
        return self.rows[cell]

    def best_rate(self, volume: str, method: str, seconds: float) -> float:
        """The rate with the best PSNR between samples."""
        name = method.removesuffix(SPLINE)
        tried = [self.of(Cell(volume, name, seconds, rate)) for rate in RIVALS[name].rates]
        return max(tried, key=lambda each: (each.psnr_between > 0, each.psnr_between)).rate

    def _run(self, cell: Cell) -> Row:
        if cell.method in CLOSED_FORMS:
            found = measure(cell, self.arguments)
            print(found, flush=True)
            return found
        options = self.arguments
        command = [sys.executable, "-m", "scripts.quality.fitting"]
        command += ["--cell", json.dumps(asdict(cell))]
        command += ["--data", str(options.data), "--size", str(options.size)]
        command += ["--threads", str(options.threads)]
        shown = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        found = Row(**json.loads(shown.splitlines()[-1]))
        print(line(cells_of(found)), flush=True)
        return found


def our_cells(volume: str, budget: float) -> Iterator[Cell]:
    """Every preset, as it is and as it was."""
    for preset in PRESETS:
        yield Cell(volume, OURS.format(preset), budget)
        yield Cell(volume, BEFORE.format(preset), budget)


def main_cells(measured: Measured, volume: str, budget: float, shortest: float) -> Iterator[Cell]:
    """Every method at its own size; those shown the spline at the shortest budget alone."""
    yield from our_cells(volume, budget)
    for name, each in RIVALS.items():
        if budget == shortest or not each.between:
            yield Cell(volume, name, budget, measured.best_rate(volume, name, shortest))
    if budget == shortest:
        yield Cell(volume, RECIPE, budget)


def equal_cells(measured: Measured, volume: str, shortest: float) -> Iterator[Cell]:
    """The rivals with as many parameters as ours with preset balanced."""
    same = Cell(volume, BEFORE.format("balanced"), shortest)
    yield Cell(volume, OURS.format("balanced"), shortest)
    yield same
    for name, each in RIVALS.items():
        if each.largest is not None:
            rate = measured.best_rate(volume, name, shortest)
            yield Cell(volume, name, shortest, rate, measured.of(same).parameters)


def closed_cells(measured: Measured, volume: str, budget: float) -> Iterator[Cell]:
    """Presets, and what keeps as many numbers without training, or as many bytes."""
    for preset in PRESETS:
        yield Cell(volume, OURS.format(preset), budget)
        before = Cell(volume, BEFORE.format(preset), budget)
        yield before
        numbers = measured.of(before).parameters
        for name in (LEAST_SQUARES, *TRANSFORMS, *(CODED if preset == "fast" else FEW_CODED)):
            yield Cell(volume, name, parameters=numbers)
    yield Cell(volume, EVERYTHING)


def coded_cells(volume: str, voxels: int) -> Iterator[Cell]:
    """Closed forms at low rates."""
    for bits in RATES:
        for name in (LEAST_SQUARES, *TRANSFORMS, *CODED):
            yield Cell(volume, name, parameters=round(bits * voxels / 32))


def coarse_cells(measured: Measured, volume: str) -> Iterator[Cell]:
    """The block of half the resolution, which has a truth."""
    yield Cell(volume + COARSE, EVERYTHING)
    for preset in PRESETS:
        mine = Cell(volume + COARSE, OURS.format(preset), EARLY[-1])
        yield mine
        yield Cell(volume + COARSE, LEAST_SQUARES, parameters=measured.of(mine).parameters)


def early_cells(measured: Measured, volume: str, shortest: float) -> Iterator[Cell]:
    """Our fits, the shortest first, and the splines that they are held against."""
    for seconds in (*EARLY, shortest):
        for cell in our_cells(volume, seconds):
            with suppress(LookupError):
                numbers = measured.of(cell).parameters
                measured.of(Cell(volume, LEAST_SQUARES, parameters=numbers))
                yield cell


def report_of(measured: Measured, plans: dict[str, dict[str, list[Cell]]]) -> Report:
    """The page: what was measured so far, of what was asked for."""
    options, voxels = measured.arguments, measured.arguments.size**3
    report = Report("fitting", "Fitting, beside closed forms and every peer", options.output)
    report.made(NOTES.format(size=options.size, voxels=voxels))
    for text in (__doc__ or "").split("\n\n")[2:]:
        report.text(text)
    report.picture(FIGURE)
    tables = Tables(report, measured.rows, voxels)
    for volume, parts in plans.items():
        for title, cells in parts.items():
            report.heading(f"{volume}, {title}")
            tables.add(title, cells)
    return report


def parse_arguments() -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--volume", nargs="*", choices=VOLUMES, default=list(VOLUMES))
    parser.add_argument("--seconds", type=float, nargs="+", default=[60.0, 180.0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--train-nothing", action="store_true", help="closed forms alone")
    parser.add_argument("--run-nothing", action="store_true", help="write what was measured")
    parser.add_argument("--cell", help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, default=MEASURED)
    return parser.parse_args()


def plan_of(measured: Measured, volume: str, seconds: Sequence[float]) -> dict[str, list[Cell]]:
    """Measure a volume's cells, the shortest budget first; the cells of each table."""
    shortest, *longer = sorted(seconds)
    tables = {
        CLOSED: closed_cells(measured, volume, shortest),
        LOW: coded_cells(volume, measured.arguments.size**3),
        AGAINST: coarse_cells(measured, volume),
        SHORTER: early_cells(measured, volume, shortest),
        f"{shortest:g} s": main_cells(measured, volume, shortest, shortest),
        f"{shortest:g} s, equal parameters": equal_cells(measured, volume, shortest),
        **{f"{s:g} s": main_cells(measured, volume, s, shortest) for s in longer},
    }
    plan: dict[str, list[Cell]] = {}
    for title, cells in tables.items():
        plan[title] = []
        with suppress(LookupError):  # of a rate that cannot be known yet
            for cell in cells:
                with suppress(LookupError):
                    measured.of(cell)
                    plan[title].append(cell)
    return {title: cells for title, cells in plan.items() if cells}


def main() -> None:
    """Measure what is missing, and write the page and the figure."""
    arguments = parse_arguments()
    if arguments.cell:
        print(json.dumps(asdict(measure(Cell(**json.loads(arguments.cell)), arguments))))
        return
    measured = Measured(arguments)
    kept = [v for v in VOLUMES if v in arguments.volume]
    there = [v for v in kept if v == "MNI152" or (arguments.data / f"{v}.nii.gz").is_file()]
    plans = {volume: plan_of(measured, volume, arguments.seconds) for volume in there}
    report = report_of(measured, plans)
    report.write()
    drawn = [volume for volume in there if plans[volume]]
    rows = [row for row in measured.rows.values() if not row.method.endswith(SPLINE)]
    draw(rows, drawn, OURS.format(""), arguments.size**3, report.path("png"))
    print(report)


if __name__ == "__main__":
    main()
