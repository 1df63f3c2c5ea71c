"""Fits of one block by every kind of representation, under one clock: fitting.{csv,md,png}.

python -m scripts.quality.fitting [--data DIR] [--volume NAME ...] [--seconds S ...] [--threads N]
    [--size N] [--run-nothing] [--output FOLDER]

DIR may hold MR_Gd.nii.gz and CT_AVM.nii.gz, which the repository does not ship. Each fit runs in a
process of its own. What was measured is kept in the CSV, and only what is missing there is run. A
rival's clock counts its set-up and its steps, never the scoring; ours counts the whole call of
``fit``. Rates are tried at the shortest budget; the longer ones take the best found there.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import matplotlib as mpl
import torch

from oinr_monai import FitConfig, fit
from oinr_monai.fitting.presets import PresetName
from scripts.paper.published import PublishedOINR3d
from scripts.rivals.baseline import CoordinateNetwork
from scripts.rivals.fitting import RIVALS, SPLINE
from scripts.shared.meters import Taken, peak_mib
from scripts.shared.problem import PRESETS, Answers, Problem, make_problem
from scripts.shared.report import MEASURED, Report, line
from scripts.shared.rows import append_row, read_rows

VOLUMES = ("MR_Gd", "MNI152", "CT_AVM")
OURS, RECIPE = "`fit`, {}", "O-INR, published recipe"
FIGURE = "PSNR between samples against seconds, and against parameters"
NOTES = """fits: {threads} threads. Central {size}³ blocks, {voxels:,} voxels; the gradient error is
its root mean square over the gradient's."""
EARLY, TICKS = (2.0, 5.0, 15.0), (2, 5, 15, 60, 180)


@dataclass(frozen=True)
class Cell:
    """One fit to make.

    Args:
        volume: which block.
        method: a key of ``RIVALS``, one shown the spline, the recipe, or a preset of ours.
        seconds: budget.
        rate: learning rate of a rival.
        parameters: what a rival's parameters are to match; 0 is its authors' size.
    """

    volume: str
    method: str
    seconds: float
    rate: float = 0.0
    parameters: int = 0


@dataclass(frozen=True)
class Row:
    """What a fit came to: PSNR in dB, relative RMS error of the gradient, peak process memory."""

    volume: str
    method: str
    budget: float
    rate: float
    matched: int
    parameters: int
    steps: int
    seconds: float
    psnr_grid: float
    psnr_between: float
    gradient_error: float
    peak_mib: float

    @property
    def cell(self) -> Cell:
        """The fit that it is of."""
        return Cell(self.volume, self.method, self.budget, self.rate, self.matched)


# ---- one fit, in a process of its own ------------------------------------------------------------


def problem_of(volume: str, arguments: argparse.Namespace) -> Problem:
    """The central block of a volume."""
    source = "mni152" if volume == "MNI152" else str(arguments.data / f"{volume}.nii.gz")
    return make_problem(source, arguments.size)


def measure(cell: Cell, arguments: argparse.Namespace) -> Row:
    """Make one fit and score it."""
    torch.set_num_threads(arguments.threads)
    problem = problem_of(cell.volume, arguments)
    preset = preset_of(cell)
    found, taken = rival(cell, problem) if preset is None else ours(preset, cell.seconds, problem)
    return Row(
        cell.volume,
        cell.method,
        cell.seconds,
        cell.rate,
        cell.parameters,
        **taken,
        **problem.scores(found),
    )


def preset_of(cell: Cell) -> PresetName | None:
    """The preset of a fit of ours, None of a rival."""
    return next((preset for preset in PRESETS if cell.method == OURS.format(preset)), None)


def ours(preset: PresetName, seconds: float, problem: Problem) -> tuple[Answers, Taken]:
    """A complete fit with a preset, after one of noise that pays what is paid once."""
    fit(torch.rand(1, 12, 12, 12), FitConfig(preset="fast", steps=3))
    config = FitConfig(preset=preset, seconds=seconds)
    started = time.perf_counter()
    result = fit(problem.image, config)
    taken: Taken = {
        "seconds": time.perf_counter() - started,
        "steps": result.info["steps"],
        "parameters": result.parameters,
        "peak_mib": peak_mib(),
    }
    slopes, between = result.gradient_at(problem.points)[:, 0], result.at(problem.points)[:, 0]
    return Answers(result.sample().as_tensor()[0], between, slopes), taken


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
            LookupError: if it is missing, and nothing is to be run.
        """
        if cell not in self.rows:
            if self.arguments.run_nothing:
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
        options = self.arguments
        command = [sys.executable, "-m", "scripts.quality.fitting"]
        command += ["--cell", json.dumps(asdict(cell))]
        command += ["--data", str(options.data), "--size", str(options.size)]
        command += ["--threads", str(options.threads)]
        shown = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        found = Row(**json.loads(shown.splitlines()[-1]))
        print(line(cells_of(found)), flush=True)
        return found


def main_cells(measured: Measured, volume: str, budget: float, shortest: float) -> Iterator[Cell]:
    """Every method at its own size; those shown the spline at the shortest budget alone."""
    for preset in PRESETS:
        yield Cell(volume, OURS.format(preset), budget)
    for name, each in RIVALS.items():
        if budget == shortest or not each.between:
            yield Cell(volume, name, budget, measured.best_rate(volume, name, shortest))
    if budget == shortest:
        yield Cell(volume, RECIPE, budget)


def equal_cells(measured: Measured, volume: str, shortest: float) -> Iterator[Cell]:
    """The rivals with as many parameters as ours with preset balanced."""
    same = Cell(volume, OURS.format("balanced"), shortest)
    yield same
    for name, each in RIVALS.items():
        if each.largest is not None:
            rate = measured.best_rate(volume, name, shortest)
            yield Cell(volume, name, shortest, rate, measured.of(same).parameters)


def early_cells(volume: str) -> Iterator[Cell]:
    """Our shorter fits, for the curve."""
    for seconds in EARLY:
        for preset in PRESETS:
            yield Cell(volume, OURS.format(preset), seconds)


# ---- what is written -----------------------------------------------------------------------------

HEAD = (
    *("method", "rate", "parameters", "steps", "seconds", "peak MiB"),
    *("PSNR grid (dB)", "PSNR between (dB)", "gradient error"),
)


def shown(value: float, digits: int) -> str:
    """A number for a table; none where there is none."""
    return "none" if value != value else f"{value:.{digits}f}"


def cells_of(each: Row) -> list[str]:
    """A row of a table."""
    rate = f"{each.rate:g}" if each.rate else ""
    cells = [each.method, rate, f"{each.parameters:,}", f"{each.steps:,}", f"{each.seconds:.1f}"]
    cells += [f"{each.peak_mib:.0f}", shown(each.psnr_grid, 2), shown(each.psnr_between, 2)]
    return [*cells, shown(each.gradient_error, 3)]


def verdict_of(report: Report, rows: Sequence[Row]) -> None:
    """By how much ours are ahead of each rival, or behind: PSNR between, times gradient error."""
    mine = [each for each in rows if each.method.startswith("`fit`")]
    others = [each for each in rows if each not in mine and each.psnr_between > 0]
    if not others:
        return
    report.text("Ours less the rival's PSNR between samples, and ours over its gradient error:")
    lines = [[other.method, *(ahead(each, other) for each in mine)] for other in others]
    report.table(["", *(each.method for each in mine)], lines)


def ahead(mine: Row, other: Row) -> str:
    """How much better one row is between samples, and its gradient error over the other's."""
    gain = mine.psnr_between - other.psnr_between
    return f"{gain:+.1f} dB, {mine.gradient_error / other.gradient_error:.2f}"


def report_of(measured: Measured, plans: dict[str, dict[str, list[Cell]]]) -> Report:
    """The page: what was measured so far, of what was asked for."""
    options = measured.arguments
    report = Report("fitting", "Fitting, beside every peer", options.output)
    report.made(NOTES.format(size=options.size, voxels=options.size**3, threads=options.threads))
    report.text((__doc__ or "").split("\n\n")[-1])
    report.picture(FIGURE)
    for volume, parts in plans.items():
        for title, cells in parts.items():
            rows = [measured.rows[cell] for cell in cells if cell in measured.rows]
            report.heading(f"{volume}, {title}")
            report.table(HEAD, map(cells_of, rows))
            verdict_of(report, rows)
    return report


def draw(measured: Measured, volumes: Sequence[str], shortest: float, path: Path) -> None:
    """PSNR between samples against seconds, and against parameters, a column for each volume."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, len(volumes), figsize=(5 * len(volumes), 8), squeeze=False)
    names = [
        *[OURS.format(preset) for preset in PRESETS],
        *[n for n, r in RIVALS.items() if not r.between],
    ]
    colours = dict(zip(names, mpl.color_sequences["tab10"], strict=False))
    for column, volume in zip(axes.T, volumes, strict=True):
        for name in names:
            rows = [r for r in measured.rows.values() if (r.volume, r.method) == (volume, name)]
            best = best_of([r for r in rows if not r.matched])
            mine = name.startswith("`fit`")
            style = {
                "color": colours[name],
                "marker": "o" if mine else "x",
                "label": name.replace("`", ""),
            }
            column[0].plot(*zip(*best, strict=True), lw=2 if mine else 1, **style)
            some = [r for r in rows if r.budget == shortest]
            sizes = sorted({(r.parameters, top_of(some, r.parameters)) for r in some})
            column[1].plot(*zip(*sizes, strict=True), ls="none", **style)
        column[0].set(title=volume, xscale="log", xlabel="seconds of a complete fit")
        column[0].set_xticks(TICKS, map(str, TICKS))
        column[0].minorticks_off()
        column[1].set(xscale="log", xlabel=f"parameters, {shortest:g} s")
        for each in column:
            each.set_ylabel("PSNR between samples (dB)")
            each.grid(alpha=0.3)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, ncols=5, loc="upper center")
    figure.tight_layout(rect=(0, 0, 1, 0.93))
    figure.savefig(path, dpi=110)


def best_of(rows: Sequence[Row]) -> list[tuple[float, float]]:
    """Budget and best PSNR between samples of complete fits, by budget."""
    budgets = sorted({each.budget for each in rows})
    return [(b, max(each.psnr_between for each in rows if each.budget == b)) for b in budgets]


def top_of(rows: Sequence[Row], parameters: int) -> float:
    """Best PSNR between samples among the rows of one size."""
    return max(each.psnr_between for each in rows if each.parameters == parameters)


def parse_arguments() -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--volume", nargs="*", choices=VOLUMES, default=list(VOLUMES))
    parser.add_argument("--seconds", type=float, nargs="+", default=[60.0, 180.0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--run-nothing", action="store_true", help="write what was measured")
    parser.add_argument("--cell", help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, default=MEASURED)
    return parser.parse_args()


def plan_of(measured: Measured, volume: str, seconds: Sequence[float]) -> dict[str, list[Cell]]:
    """Measure a volume's cells, the shortest budget first; the cells of each table."""
    shortest, *longer = sorted(seconds)
    tables = {
        f"{shortest:g} s": main_cells(measured, volume, shortest, shortest),
        "our shorter fits": early_cells(volume),
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
    draw(measured, drawn, min(arguments.seconds), report.path("png"))
    print(report)


if __name__ == "__main__":
    main()
