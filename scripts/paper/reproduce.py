"""The published systems beside oinr_monai: the same data, the same seconds, the same threads.

The published recipe trains for ``--seconds`` (``--full``: for its published number of steps), then
ours gets exactly the seconds that it took. Nobody's clock runs while a prediction is made for the
score. Rows that are not run again keep their last result in ``reproduction.csv``.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from oinr_monai import FitConfig, fit
from scripts.paper.cases import ROWS, SCORES, Case, Fitted, Options
from scripts.paper.published import PublishedOINR2d
from scripts.shared.pictures import Comparison
from scripts.shared.report import MEASURED, Report, line, setting
from scripts.shared.rows import read_rows


@dataclass(frozen=True)
class Outcome:
    """A line of the table; ``score`` names one of ``SCORES``."""

    row: str
    data: str
    method: str
    parameters: int
    score: str
    value: float
    steps: int
    published_steps: int | None
    seconds: float
    setting: str


# ---- the clock ----------------------------------------------------------------------------------


def train_published(case: Case, options: Options) -> tuple[Fitted, float]:
    """Set up and train the published recipe; return it with its seconds."""
    torch.manual_seed(0)
    started = time.perf_counter()
    baseline, steps = case.published(), 0
    limit = baseline.published_steps
    elapsed = time.perf_counter() - started
    while steps < limit and (options.full or elapsed < options.seconds):
        baseline.step(steps / limit)
        steps += 1
        elapsed = time.perf_counter() - started
    return Fitted(baseline.name, baseline.parameters, steps, limit, baseline.on_grid), elapsed


def train_ours(case: Case, seconds: float) -> tuple[Fitted, float]:
    """Fit ours with a budget; the seconds are those of the whole call."""
    started = time.perf_counter()
    fitted = case.ours(seconds)
    return fitted, time.perf_counter() - started


def warm_up() -> None:
    """Let both sides pay their one-time costs (imports, compiled kernels) off the clock."""
    PublishedOINR2d(torch.rand(1, 8, 8)).step(0.0)
    fit(torch.rand(1, 8, 8), FitConfig(preset="fast", steps=2))


# ---- measuring and reporting --------------------------------------------------------------------


def floor_of(case: Case) -> Fitted:
    """What one has without fitting, as an entry of the table."""
    method, prediction = case.floor
    return Fitted(method, 0, 0, None, lambda: prediction)


def run_row(name: str, options: Options, made: str, folder: Path) -> list[Outcome]:
    """Measure all cases of a row and draw them."""
    outcomes: list[Outcome] = []
    pictures = []
    for case in ROWS[name](options):
        published, seconds = train_published(case, options)
        ours, our_seconds = train_ours(case, seconds)
        answers = [(floor_of(case), 0.0), (published, seconds), (ours, our_seconds)]
        predictions = [fitted.predict() for fitted, _ in answers]
        for (fitted, spent), prediction in zip(answers, predictions, strict=True):
            outcomes.append(outcome_of(name, case, fitted, spent, prediction, made))
            print(line(cells_of(outcomes[-1])), flush=True)
        pictures.append(comparison_of(case, [fitted for fitted, _ in answers], predictions))
    Comparison.save(folder / f"reproduction_{name}.png", pictures)
    return outcomes


def outcome_of(
    row: str, case: Case, fitted: Fitted, seconds: float, prediction: Tensor, made: str
) -> Outcome:
    """Score a prediction."""
    return Outcome(
        row,
        case.data,
        fitted.method,
        fitted.parameters,
        case.score.name,
        case.score.of(prediction, case.truth),
        fitted.steps,
        fitted.published_steps,
        seconds,
        made,
    )


def comparison_of(case: Case, answers: list[Fitted], predictions: list[Tensor]) -> Comparison:
    """Return what the picture shows; a constant is not worth a panel."""
    shown = {
        f"{fitted.method}\n{case.score.text(case.score.of(prediction, case.truth))}": case.plane(
            prediction
        )
        for fitted, prediction in zip(answers, predictions, strict=True)
        if bool((prediction.flatten(1) != prediction.flatten(1)[:, :1]).any())
    }
    return Comparison(case.data, case.plane(case.truth), shown, case.crop)


def cells_of(outcome: Outcome) -> list[str]:
    """Return a table row."""
    of = f" of {outcome.published_steps:,}" if outcome.published_steps else ""
    return [
        outcome.row,
        outcome.data,
        outcome.method,
        f"{outcome.parameters:,}" if outcome.parameters else "",
        SCORES[outcome.score].text(outcome.value),
        f"{outcome.steps:,}{of}" if outcome.steps else "",
        f"{outcome.seconds:.1f}" if outcome.seconds else "",
    ]


def reading_of(outcomes: list[Outcome]) -> list[str]:
    """Say for each case what the difference is and how far from its end the recipe was."""
    cases = dict.fromkeys((outcome.row, outcome.data) for outcome in outcomes)
    lines = []
    for row, data in cases:
        floor, published, ours = [o for o in outcomes if (o.row, o.data) == (row, data)]
        hours = published.seconds / published.steps * (published.published_steps or 0) / 3600
        nothing = floor.method.removeprefix("the ")
        below = f", below the {nothing}" if published.value < floor.value else ""
        ahead = SCORES[ours.score].difference(ours.value - published.value)
        lines.append(
            f"- {row}, {data}: ours {ahead}. The published recipe "
            f"had {published.steps / (published.published_steps or 1):.1%} of its steps{below}; "
            f"at this pace all of them take {hours:.1f} h."
        )
    return lines


NOTES = """\
Each published recipe is rebuilt from the facts of the paper and of its released code
(`scripts/paper/published.py`, `scripts/paper/published_cz.py`) and run beside ours: the same data,
threads and wall-clock seconds, set-up included, scoring excluded. No number here is taken
from the paper.

PSNR is 10 log10(range² / MSE), range being that of the truth, in dB. The released code of the
denoising divides the maximum, not its square, by the MSE, and keeps the step that is best against
the clean picture; here the last step is scored. IoU is the intersection over union with the true
mask of what is above 0.5; pictures show what is cut there. Steps are "taken of published". The
first line of each case is what one has without fitting anything. The recipe completes the step it
is in when its seconds end, and ours gets the seconds that it took. Where `fit` is called, its
preset is the same for all data; `--preset` changes it.

The other systems have pages of their own: `docs/measured/sequences.md`, more series and blends, and
`docs/measured/weight_space.md`, what can be told from weights.
"""

READING = """\
These seconds are not the published budgets: a recipe far from its last step shows how fast it
starts on this machine, not how good it becomes. `--full` gives it all its steps, and ours the same
time.
"""


HEAD = ("row", "data", "method", "parameters", "score", "steps", "seconds")


def fill(report: Report, outcomes: list[Outcome]) -> None:
    """Write what was measured into the page."""
    report.text(NOTES)
    report.table(HEAD, map(cells_of, outcomes), text=3)
    report.heading("Reading")
    report.text(READING)
    report.text("\n".join(reading_of(outcomes)))
    report.heading("Made by")
    settings = dict.fromkeys((outcome.row, outcome.setting) for outcome in outcomes)
    report.text("\n".join(f"- {row}: {made}" for row, made in settings))
    report.heading("Pictures")
    report.text("Errors are shown from none (black) to 20 % of the range (bright).")
    for row in dict.fromkeys(outcome.row for outcome in outcomes):
        report.picture(f"{row}: truth, fits and errors", f"{report.name}_{row}")


def save(folder: Path, new: list[Outcome]) -> None:
    """Put ``new`` in the place of the same rows' last results; write table and report."""
    report = Report("reproduction", "The published systems, run again", folder)
    rows = {outcome.row for outcome in new}
    kept = [each for each in read_rows(report.path("csv"), Outcome) if each.row not in rows]
    outcomes = sorted([*kept, *new], key=lambda outcome: list(ROWS).index(outcome.row))
    fill(report, outcomes)
    report.write(outcomes)


def parse_arguments() -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=list(ROWS), default=list(ROWS), metavar="ROW")
    parser.add_argument("--seconds", type=float, default=30, help="for each method")
    parser.add_argument("--full", action="store_true", help="published steps instead of seconds")
    parser.add_argument("--size", type=int, default=256, help="side of the pictures, pixels")
    parser.add_argument("--preset", default="best", help="ours, where fit is called")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=MEASURED, help="folder of the report")
    return parser.parse_args()


def main() -> None:
    """Run the rows, each written as soon as it is measured."""
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    arguments.output.mkdir(parents=True, exist_ok=True)
    options = Options(arguments.seconds, arguments.full, arguments.size, arguments.preset)
    warm_up()
    for name in arguments.only:
        save(arguments.output, run_row(name, options, setting(), arguments.output))


if __name__ == "__main__":
    main()
