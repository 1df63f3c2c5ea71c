"""Many digits at once against one after another: throughput to the same PSNR, and its growth.

The published recipe fits a few 28 x 28 digits with all its steps, and its PSNR is followed. What
``fit_many`` and ``fit`` take to the same PSNR is measured beside it, each with the least number of
steps of a ladder whose result reaches it. Everything runs on one thread in one process, and the
clock is the processor's own, so that other work on the machine counts little. Writes the section
``throughput`` of ``docs/measured/cohort.md``, and ``docs/measured/cohort.png``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from oinr_monai import FitConfig, fit, fit_many
from oinr_monai.images.metrics import psnr
from scripts.paper.published import PublishedOINR2d
from scripts.shared.digits import MNIST, load_digits
from scripts.shared.inputs import splines
from scripts.shared.meters import timed
from scripts.shared.report import MEASURED, Report, Table

# One knot a pixel and one hidden layer: a digit has 784 pixels, and its edges are sharp.
CONFIG = FitConfig(encoding=splines(1, 8), channels=(16,), places=784)
LADDER = (20, 40, 60, 80, 100, 140, 200, 400, 800, 1_100, 1_600, 2_200)
# Steps of the plot of throughput against the number of digits at once.
PLOTTED = 100
# Steps of the published recipe between two looks at its PSNR.
EVERY = 10

HEAD = (
    *("PSNR (dB)", "published (s a digit)", "`fit` (s)", "`fit_many` (s)", "steps"),
    *("against published", "against `fit`"),
)
NOTES = """
The published 2-D recipe (318,528 parameters, Adam 1e-3, 1,000 steps) on {few} digits, `fit` on the
same ones, `fit_many` on {many} in its default batches. Ours has one knot a pixel x 8 channels and
16 hidden channels (7,361 parameters, more than a digit's 784 pixels), 784 places a step. PSNR on
the grid, mean over digits; below its final PSNR the published recipe is taken at its best so far.
Our seconds include set-up and scores.
"""


@dataclass(frozen=True)
class Course:
    """How the published recipe goes on, as the mean over digits.

    Args:
        seconds: processor seconds per digit up to each look, without the looks.
        last: PSNR at each look, in dB.
        best: the best PSNR up to each look.
    """

    seconds: Tensor
    last: Tensor
    best: Tensor

    def seconds_to(self, level: float) -> float:
        """Seconds until the best PSNR so far first reaches ``level``."""
        return float(self.seconds[(self.best >= level).nonzero()[0, 0]])


def published(digits: Sequence[Tensor]) -> Course:
    """All steps of the published recipe on each digit."""
    torch.manual_seed(0)
    seconds, scores = zip(*[published_one(digit) for digit in digits], strict=True)
    every = torch.tensor(scores)
    best = every.cummax(dim=1).values
    return Course(torch.tensor(seconds).cumsum(1).mean(0), every.mean(0), best.mean(0))


def published_one(digit: Tensor) -> tuple[list[float], list[float]]:
    """Seconds between looks, and PSNR at each."""
    recipe = PublishedOINR2d(digit)
    seconds: list[float] = []
    scores: list[float] = []

    def go_on() -> None:
        for _ in range(EVERY):
            recipe.step(0)

    for done in range(0, recipe.published_steps, EVERY):
        seconds.append(timed(go_on))
        scores.append(psnr(recipe.on_grid(), digit))
        if done == 0:
            print(f"published: {seconds[0] / EVERY:.4f} s a step", flush=True)
    return seconds, scores


@dataclass(frozen=True)
class Rung:
    """What a number of steps comes to, per digit."""

    steps: int
    seconds: float
    psnr: float


def rung(digits: Sequence[Tensor], steps: int) -> Rung:
    """All digits at once with so many steps; the seconds are of everything, the scores included."""
    config = replace(CONFIG, steps=steps)
    scores: list[float] = []

    def work() -> None:
        scores.extend(found.info["psnr_grid"] for found in fit_many(digits, config))

    seconds = timed(work) / len(digits)
    return Rung(steps, seconds, sum(scores) / len(scores))


def one_after_another(digits: Sequence[Tensor], steps: int) -> float:
    """Seconds per digit of ``fit``."""
    config = replace(CONFIG, steps=steps)
    return timed(lambda: [fit(digit, config) for digit in digits]) / len(digits)


def to_the_same_psnr(
    table: Table, course: Course, rungs: Sequence[Rung], few: Sequence[Tensor]
) -> dict[str, float]:
    """Rows of what each takes; the speedup at the highest PSNR that ours reaches."""
    levels = {"30": 30.0, "40": 40.0, "50": 50.0, "final": float(course.last[-1])}
    highest: dict[str, float] = {}
    for name, level in levels.items():
        reached = next((each for each in rungs if each.psnr >= level), None)
        if reached is None or not bool((course.best >= level).any()):
            table.row(f"{name} {level:.1f}", "", "", "not reached", "", "", "")
            continue
        theirs = float(course.seconds[-1]) if name == "final" else course.seconds_to(level)
        single = one_after_another(few, reached.steps)
        ratio = theirs / reached.seconds
        highest = {"speedup": ratio, "at_psnr": level}
        label = f"{level:.1f}, its final" if name == "final" else f"{level:.0f}"
        seconds = (f"{theirs:.2f}", f"{single:.3f}", f"{reached.seconds:.4f}", reached.steps)
        table.row(label, *seconds, f"{ratio:.0f} x", f"{single / reached.seconds:.1f} x")
    return highest


def growth(digits: Sequence[Tensor], steps: int) -> dict[int, float]:
    """Digits per second for every number of digits at once, all of them in one program."""
    config, rates = replace(CONFIG, steps=steps), {}
    sizes = [2**k for k in range(10) if 2**k <= len(digits)]
    for size in sizes:
        chosen = list(digits[:size])
        rates[size] = size / timed(lambda: fit_many(chosen, config, memory=1e6))  # noqa: B023
        print(f"{size} at once: {rates[size]:.2f} digits a second", flush=True)
    return rates


def draw(rates: dict[int, float], single: float, theirs: float, path: Path) -> None:
    """The plot of throughput against the number of digits at once."""
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(5.2, 3.4), layout="constrained")
    axes.loglog(list(rates), list(rates.values()), "o-", label="fit_many, B at once")
    axes.axhline(single, color="gray", ls="--", label="fit, one after another")
    axes.axhline(theirs, color="firebrick", ls=":", label="published recipe, to the same PSNR")
    axes.set_xticks(list(rates), [str(size) for size in rates])
    axes.set(xlabel="digits at once, B", ylabel="digits per second")
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="center right")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def write_section(path: Path, name: str, lines: Sequence[str]) -> None:
    """Replace one section of a document, from its heading to the next, or add it at the end."""
    text = path.read_text() if path.is_file() else "# Many fits at once, and where they begin\n"
    head, *sections = text.split("\n## ")
    kept = {each.split("\n", 1)[0]: each for each in sections}
    kept[name] = "\n".join([name, "", *lines, ""])
    path.write_text("\n## ".join([head, *kept.values()]).rstrip() + "\n")


def ladder(digits: Sequence[Tensor], level: float) -> list[Rung]:
    """More and more steps, until all digits together reach ``level``."""
    rungs: list[Rung] = []
    for steps in LADDER:
        rungs.append(rung(digits, steps))
        print(rungs[-1], flush=True)
        if rungs[-1].psnr >= level:
            break
    return rungs


def measure(report: Report, digits: Sequence[Tensor], few: Sequence[Tensor]) -> dict[str, float]:
    """Everything on all digits and on a few: the parts of the page, and what --json prints."""
    fit_many(few, replace(CONFIG, steps=3))
    course = published(few)
    rungs = ladder(digits, float(course.last[-1]))
    report.text(NOTES.format(few=len(few), many=len(digits)))
    speedup = to_the_same_psnr(report.table(HEAD), course, rungs, few)
    rates = growth(digits, PLOTTED)
    single = 1 / one_after_another(few, PLOTTED)
    reached = next(each.psnr for each in rungs if each.steps == PLOTTED)
    draw(rates, single, 1 / course.seconds_to(reached), report.path("png"))
    report.picture(f"Digits per second with {PLOTTED} steps")
    told = ", ".join(f"{rate:.1f} at B = {size}" for size, rate in rates.items())
    told += f"; `fit` one after another {single:.2f}"
    report.text(f"Digits per second with {PLOTTED} steps: {told}.")
    best = {"digits_per_second": max(rates.values()), "published_psnr": float(course.last[-1])}
    return {**speedup, **best}


def main() -> None:
    """Measure, and write table and plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--digits", type=int, default=256, help="digits that are fitted at once")
    parser.add_argument("--published", type=int, default=6, help="digits for one after another")
    parser.add_argument("--data", type=Path, default=Path("data"), help=f"may hold {MNIST}")
    parser.add_argument("--output", type=Path, default=MEASURED)
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    source, digits = load_digits(arguments.data, arguments.digits)
    report = Report("cohort", "Many fits at once, and where they begin", arguments.output)
    report.made(f"{source}, processor seconds.")
    told = measure(report, digits, digits[: arguments.published])
    report.write_section("Throughput")
    if arguments.json:
        print(json.dumps(told))


if __name__ == "__main__":
    main()
