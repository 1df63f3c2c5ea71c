"""Quality against time on one block of a brain: SIREN, oinr_monai, the published 3-D O-INR.

All methods run one after the other on the same threads. A baseline's clock counts its set-up and
its training steps, never the scoring; ours counts the whole call of ``fit``. PSNR takes the
reference's own range. Between the samples the truth is the cubic B-spline interpolant.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from scripts.paper.published import PublishedOINR3d
from scripts.rivals.baseline import Baseline, Siren
from scripts.shared.problem import (
    PLACES,
    PRESETS,
    Problem,
    make_problem,
)
from scripts.shared.report import MEASURED, Report, line

if TYPE_CHECKING:
    from oinr_monai import Representation
    from oinr_monai.fitting.presets import PresetName

LADDER_START = 0.5
HEAD = ("method", "parameters", "steps", "seconds", "PSNR grid (dB)", "PSNR between (dB)")
SETTING = f"""
Volume: central {{shape}} block of {{volume}}. PSNR with the block's range as peak; between the
samples against the cubic B-spline interpolant at {PLACES:,} places. A baseline's seconds are set-up
and steps; ours are the whole call of `fit`. The block's mean alone has {{mean:.2f}} dB.
"""


@dataclass(frozen=True)
class Score:
    """One measurement: a method after ``seconds`` of wall time. PSNR in dB."""

    part: str
    method: str
    parameters: int
    steps: int
    seconds: float
    psnr_grid: float
    psnr_between: float | None


def score_baseline(
    problem: Problem, baseline: Baseline, part: str, steps: int, seconds: float
) -> Score:
    """Measure ``baseline`` as it is now."""
    between = baseline.at(problem.voxels)
    return Score(
        part,
        baseline.name,
        baseline.parameters,
        steps,
        seconds,
        problem.psnr(baseline.on_grid()[0], problem.volume),
        None if between is None else problem.psnr(between[:, 0], problem.between),
    )


def curve_of_baseline(
    problem: Problem, method: Callable[[Tensor], Baseline], seconds: float, marks: int
) -> list[Score]:
    """Train for ``seconds``, measuring at ``marks`` equal intervals while the clock stands."""
    torch.manual_seed(0)
    started = time.perf_counter()
    baseline = method(problem.image.as_tensor())
    elapsed, steps = time.perf_counter() - started, 0
    curve: list[Score] = []
    while elapsed < seconds:
        started = time.perf_counter()
        baseline.step(elapsed / seconds)
        elapsed += time.perf_counter() - started
        steps += 1
        if elapsed >= seconds or elapsed * marks >= seconds * (len(curve) + 1):
            curve.append(score_baseline(problem, baseline, "curve", steps, elapsed))
            print(line(cells_of(curve[-1])), flush=True)
    return curve


def parameters_of(representation: Representation) -> int:
    """Return the number of trained numbers in ``representation``."""
    return representation.parameters


def steps_of(representation: Representation) -> int:
    """Return the number of training steps that made ``representation``."""
    return int(representation.info["steps"])


def run_ours(problem: Problem, preset: PresetName, seconds: float, part: str) -> Score:
    """Fit with a preset and a budget; the time is that of the whole call."""
    import oinr_monai

    config = oinr_monai.FitConfig(preset=preset, seconds=seconds)
    started = time.perf_counter()
    representation = oinr_monai.fit(problem.image, config)
    elapsed = time.perf_counter() - started
    on_grid = representation.sample(representation.grid).as_tensor()[0]
    between = representation.at(problem.points)[:, 0]
    score = Score(
        part,
        f"oinr_monai, {preset}",
        parameters_of(representation),
        steps_of(representation),
        elapsed,
        problem.psnr(on_grid, problem.volume),
        problem.psnr(between, problem.between),
    )
    print(line(cells_of(score)), flush=True)
    return score


def ladder_of_ours(problem: Problem, target: float, limit: float) -> list[Score]:
    """Double the budget of the fast preset until a complete fit exceeds ``target`` on the grid."""
    rungs: list[Score] = []
    budget = LADDER_START
    while budget <= limit and (not rungs or rungs[-1].psnr_grid <= target):
        rungs.append(run_ours(problem, "fast", budget, "ladder"))
        budget *= 2
    return rungs


def warm_up(problem: Problem, ours: bool) -> None:
    """Let every method pay its one-time costs (imports, compiled kernels) off the clock."""
    Siren(problem.image.as_tensor()).step(0.0)
    PublishedOINR3d(torch.ones(1, 8, 8, 8)).step(0.0)
    if ours:
        run_ours(problem, "fast", LADDER_START, "warm-up")


def decibel(value: float | None) -> str:
    """Return a PSNR for a table."""
    return "none" if value is None else f"{value:.2f}"


def cells_of(score: Score) -> list[str]:
    """Return a table row: method, parameters, steps, seconds, PSNR on grid and between."""
    quality = [decibel(score.psnr_grid), decibel(score.psnr_between)]
    return [
        score.method,
        f"{score.parameters:,}",
        f"{score.steps:,}",
        f"{score.seconds:.1f}",
        *quality,
    ]


def verdict(ours: Score, other: Score) -> str:
    """Say in one line by how much ours wins or loses at the same time budget."""
    pairs = [("grid", ours.psnr_grid, other.psnr_grid)]
    if ours.psnr_between is not None and other.psnr_between is not None:
        pairs.append(("between", ours.psnr_between, other.psnr_between))
    words = [
        f"{place} {a - b:+.2f} dB ({'win' if a > b else 'loss' if a < b else 'tie'})"
        for place, a, b in pairs
    ]
    return f"- {ours.method} against {other.method}: {', '.join(words)}"


def time_to_match(published: Score, rungs: list[Score], psnr_of_mean: float) -> str:
    """Say how long ours takes to exceed the published recipe's best, and the ratio of times."""
    goal = f"The published recipe's best is {published.psnr_grid:.2f} dB after "
    goal += f"{published.seconds:.1f} s ({published.steps} steps)."
    if published.psnr_grid <= psnr_of_mean:
        goal += " That is below the block's mean alone: give it longer before reading the ratio."
    if not rungs:
        return f"{goal} Ours was not run."
    if rungs[-1].psnr_grid <= published.psnr_grid:
        return f"{goal} Ours did not exceed it in any budget tried: a loss."
    ours = rungs[-1]
    ratio = published.seconds / ours.seconds
    return (
        f"{goal} The smallest complete fit of the fast preset that exceeds it takes "
        f"{ours.seconds:.2f} s ({ours.psnr_grid:.2f} dB): {ratio:.1f} times "
        f"{'faster' if ratio >= 1 else 'as fast: a loss'}."
    )


def setting_of(problem: Problem, volume: str) -> str:
    """Say how the numbers were made."""
    shape = "x".join(str(size) for size in problem.volume.shape)
    return SETTING.format(shape=shape, volume=Path(volume).name, mean=problem.psnr_of_mean)


def report_of(problem: Problem, arguments: argparse.Namespace, scores: list[Score]) -> Report:
    """Return the page."""
    report = Report("core", "Quality against time", arguments.output)
    report.made()
    report.text(setting_of(problem, arguments.volume))
    table = [score for score in scores if score.part == "table"]
    ours = [score for score in table if score.method.startswith("oinr_monai")]
    curve = [score for score in scores if score.part == "curve"]
    rungs = [score for score in scores if score.part == "ladder"]
    best = max(curve, key=lambda score: score.psnr_grid)
    report.table(HEAD, map(cells_of, table))
    report.text("\n".join(verdict(score, table[0]) for score in ours))
    report.heading("The published recipe")
    report.text(time_to_match(best, rungs, problem.psnr_of_mean))
    report.table(HEAD, map(cells_of, [*curve, *rungs]))
    return report


def bench(problem: Problem, arguments: argparse.Namespace) -> list[Score]:
    """Run everything, the rows of the main table first."""
    warm_up(problem, ours=bool(arguments.presets))
    siren = curve_of_baseline(problem, Siren, arguments.seconds, marks=1)
    ours = [run_ours(problem, preset, arguments.seconds, "table") for preset in arguments.presets]
    published = curve_of_baseline(problem, PublishedOINR3d, arguments.published_seconds, marks=20)
    best = max(score.psnr_grid for score in published)
    limit = arguments.published_seconds if arguments.presets else 0.0
    rungs = ladder_of_ours(problem, best, limit)
    table = [as_row(siren[-1]), *ours, as_row(published[-1])]
    return [*table, *published, *rungs]


def as_row(score: Score) -> Score:
    """Return ``score`` as a row of the main table."""
    return Score(**{**asdict(score), "part": "table"})


def parse_arguments() -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--volume", default="mni152", help="mni152 or an image file")
    parser.add_argument("--seconds", type=float, default=60, help="budget of SIREN and of ours")
    parser.add_argument("--published-seconds", type=float, default=300)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--presets", nargs="*", default=list(PRESETS), help="none: baselines only")
    parser.add_argument("--output", type=Path, default=MEASURED, help="folder of the tables")
    return parser.parse_args()


def main() -> None:
    """Run the benchmark, write its tables and print them."""
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    problem = make_problem(arguments.volume)
    scores = bench(problem, arguments)
    report = report_of(problem, arguments, scores)
    report.write(scores)
    print(report)


if __name__ == "__main__":
    main()
