"""Segmentation from few labels: writes docs/measured/few_labels.{csv,md}.

python -m scripts.quality.few_labels --hippocampus DIR [--seeds N] [--longer S] [--only METHOD ...]

DIR holds images/ and labels/ of hippocampi, which the repository does not ship. What a method made
is kept under build/ as it comes, so that a run that was broken off goes on; --only measures some
methods, and writes no page.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from itertools import product
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from torch import Tensor

from oinr_monai import JetOINR
from oinr_monai.operators.jet_layers import Nodes
from scripts.shared.hippocampi import (
    CLASSES,
    SCANNERS,
    TURN,
    Scan,
    Subject,
    Subjects,
    subjects,
)
from scripts.shared.report import MEASURED, Report
from scripts.shared.segmenting import PaddedUNet, dice, learn
from scripts.shared.voxel_classifiers import mean_labels, on_jets

# Labelled subjects, and processor seconds to learn from them.
COUNTS, SECONDS = (3, 5, 10), 60.0

# Learning rates, each the better of those tried on the subjects that settings are chosen on.
UNET_RATE, JET_RATE = 2e-3, 1e-2

# The scanner that labels are learned from.
OWN = next(iter(SCANNERS))

Answer = Callable[[Subject, Scan], Tensor]


@dataclass(frozen=True)
class Row:
    """Dice of each subject by what one method made of so many labels, of one draw of them."""

    method: str
    labels: int
    seed: int
    budget: float
    scanner: str
    seconds: float
    steps: int
    dice: list[float]


@dataclass(frozen=True)
class Method:
    """How labels become answers: those of each name, with the steps that it took."""

    name: str
    learn: Callable[[list[Subject], float, int], tuple[dict[str, Answer], int]]
    scanners: Sequence[str] = tuple(SCANNERS)


def on_own_voxels(answer: Callable[[Tensor], Tensor]) -> Answer:
    """What looks at voxels of 1 mm alone is given a scan on them, by a cubic spline."""

    def asked(_: Subject, scan: Scan) -> Tensor:
        return answer(scan.brought)

    return asked


def unet(labelled: list[Subject], seconds: float, seed: int) -> tuple[dict[str, Answer], int]:
    """MONAI's UNet."""
    learned = learn(PaddedUNet, labelled, seconds, UNET_RATE, seed)
    answer = on_own_voxels(lambda image: learned.network(image[None]).argmax(1))
    return {"UNet": answer}, learned.steps


def jet(labelled: list[Subject], seconds: float, seed: int) -> tuple[dict[str, Answer], int]:
    """JetOINR, told of the voxels, and as the UNet is."""
    learned = learn(lambda: JetOINR(3, 1, CLASSES), labelled, seconds, JET_RATE, seed)
    network = learned.network
    assert isinstance(network, JetOINR)

    def told(subject: Subject, scan: Scan) -> Tensor:
        axes = subject.grid.axes_in(scan.grid)
        if axes is None:  # across: no rows of voxels lie along those that are asked for
            return alike(subject, scan)
        spacing = scan.grid.spacing.tolist()
        nodes = [Nodes(len(x), 1.0, float(x[0]) * h) for x, h in zip(axes, spacing, strict=True)]
        return network.with_spacing(spacing, scan.blur).at(scan.image[None], nodes).argmax(1)

    alike = on_own_voxels(lambda image: network(image[None]).argmax(1))
    return {"JetOINR": told, "JetOINR, resampled": alike}, learned.steps


def classifier(kind: str) -> Method:
    """A classifier of voxels by their jets and place."""

    def made(labelled: list[Subject], _: float, seed: int) -> tuple[dict[str, Answer], int]:
        return {kind: on_own_voxels(on_jets(kind, labelled, seed))}, 0

    return Method(kind, made, scanners=(OWN,))


def atlas(labelled: list[Subject], _: float, __: int) -> tuple[dict[str, Answer], int]:
    """The labels themselves, centred."""
    return {"mean of the labels": on_own_voxels(mean_labels(labelled))}, 0


METHODS = (
    Method("mean of the labels", atlas),
    classifier("linear, of jets"),
    classifier("perceptron, of jets"),
    Method("UNet", unet),
    Method("JetOINR", jet),
)

METHOD_NAMES = [method.name for method in METHODS]

# Those that learn step by step.
LEARNED = ("UNet", "JetOINR")

# Those that are asked what other scanners would see.
SHIFTED = ("mean of the labels", "UNet", "JetOINR", "JetOINR, resampled")


@dataclass(frozen=True)
class Cell:
    """Labelled subjects, which draw of them, and processor seconds to learn from them."""

    labels: int
    seed: int
    budget: float


def cells(seeds: int, longer: float | None) -> list[Cell]:
    """All that is measured of a method; with more time the first draw of fewest and most."""
    found = [Cell(count, seed, SECONDS) for seed in range(seeds) for count in COUNTS]
    more = [] if longer is None else [Cell(count, 0, longer) for count in (COUNTS[0], COUNTS[-1])]
    return [*found, *more]


def measured(
    who: Subjects, methods: Sequence[Method], asked: Sequence[Cell], kept: Path
) -> list[Row]:
    """Rows of every method and cell, those that are known read from files."""
    scans = cache(
        lambda: {name: [seen(each) for each in who.held] for name, seen in SCANNERS.items()}
    )
    kept.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for cell, method in product(asked, methods):
        name = f"{method.name} {cell.labels} {cell.seed} {cell.budget:g}.json"
        file = kept / name.replace(" ", "_")
        if cell.budget != SECONDS and method.name not in LEARNED:
            continue
        if not file.is_file():
            found = _rows(method, who, scans(), cell)
            file.write_text(json.dumps([asdict(row) for row in found]))
        rows += [Row(**row) for row in json.loads(file.read_text())]
    return rows


def _rows(method: Method, who: Subjects, scans: dict[str, list[Scan]], cell: Cell) -> list[Row]:
    started = time.process_time()
    labelled = who.labelled(cell.labels, cell.seed)
    answers, steps = method.learn(labelled, cell.budget, cell.seed)
    took = round(time.process_time() - started, 1)
    rows = []
    with torch.no_grad():
        for name, scanner in product(answers, method.scanners):
            pairs = zip(who.held, scans[scanner], strict=True)
            scores = [round(dice(answers[name](s, scan), s.labels), 4) for s, scan in pairs]
            known = cell.labels, cell.seed, cell.budget, scanner, took, steps
            rows.append(Row(name, *known, scores))
            print(name, *known, round(mean(scores), 4), flush=True)
    return rows


HEAD = """
Anterior and posterior part of hippocampi in T1-weighted MRI at 1 mm (Medical Segmentation
Decathlon, task 4). {held} subjects score; labels are those of {pool} others, {draws}; settings were
chosen on {chosen} that are neither: there learning rates of 1e-3, 2e-3 and 5e-3 were tried for the
UNet, of 3e-3, 1e-2 and 2e-2 for JetOINR, and three and four scales. Numbers are the mean Dice of
both parts, over subjects and draws. The networks learned for {seconds:g} processor seconds on one
thread, what augments the volumes counted, from volumes turned, stretched, smoothed and made noisy
alike. The UNet is MONAI's, of (16, 32, 64, 128) channels. The mean of the labels puts the middle of
each volume on that of the others; linear and perceptron are scikit-learn's, of jets and place of
single voxels.
"""

LONG = """
The first draw of the labels alone, in {longer:g} processor seconds instead of {seconds:g}.
"""

SHIFT = """
The same networks of {counts} labels, asked what other scanners would see: 3 mm slices and 2 mm
voxels, each the mean over itself, and a grid turned by {turn:g} degrees. Answers are compared on
the 1 mm voxels of the labels. All are given the scan on these voxels, by a cubic spline, but
JetOINR: it reads slices and larger voxels as they are, and is told how much more they have smoothed
than those of 1 mm. The row after it is the same network, given what the others are.
"""


def write(rows: list[Row], who: Subjects, folder: Path) -> None:
    """Write the page."""
    page = Report("few_labels", "Segmentation from few labels, measured", folder)
    page.made(without=("--hippocampus", "--kept"))
    told = {"held": len(who.held), "pool": len(who.pool), "chosen": len(who.chosen_on)}
    draws = len({row.seed for row in rows})
    page.text(
        HEAD.format(
            **told, draws=f"drawn {draws} times" if draws > 1 else "drawn once", seconds=SECONDS
        )
    )
    page.heading("How many labels")
    short = [row for row in rows if row.budget == SECONDS]
    own = [row for row in short if row.scanner == OWN]
    lines = [
        (name, *(_mean(own, method=name, labels=n) for n in COUNTS), _steps(own, name))
        for name in METHOD_NAMES
    ]
    page.table(("method", *(f"{n} labels" for n in COUNTS), "steps"), lines)
    page.text("\n".join(_differences(own)))
    if longer := [row for row in rows if row.budget != SECONDS]:
        page.heading("More time")
        page.text(LONG.format(longer=longer[0].budget, seconds=SECONDS))
        lines = []
        for count in (COUNTS[0], COUNTS[-1]):
            of = [row for row in longer if row.labels == count]
            lines += [(f"{n}, {count} labels", *_scanners(of, n), _steps(of, n)) for n in LEARNED]
        page.table(("method", *SCANNERS, "steps"), lines)
    page.heading("Other scanners")
    page.text(SHIFT.format(counts=COUNTS[-1], turn=TURN))
    most = [row for row in short if row.labels == COUNTS[-1]]
    page.table(("method", *SCANNERS), [(n, *_scanners(most, n)) for n in SHIFTED])
    page.write(rows)


def _mean(rows: list[Row], **chosen: object) -> str:
    of = [r.dice for r in rows if all(getattr(r, key) == value for key, value in chosen.items())]
    return f"{mean(mean(each) for each in of):.4f}"


def _scanners(rows: list[Row], name: str) -> list[str]:
    return [_mean(rows, method=name, scanner=scanner) for scanner in SCANNERS]


def _steps(rows: list[Row], name: str) -> str:
    steps = mean(row.steps for row in rows if row.method == name)
    return f"{steps:.0f}" if steps else ""


def _differences(rows: list[Row]) -> Iterator[str]:
    """How far JetOINR is ahead of the UNet, and within what the mean of subjects would lie."""
    for count in COUNTS:
        ours, theirs = (
            np.mean([r.dice for r in rows if (r.method, r.labels) == (name, count)], axis=0)
            for name in ("JetOINR", "UNet")
        )
        apart = ours - theirs
        half = 1.96 * apart.std(ddof=1) / len(apart) ** 0.5
        told = f"{apart.mean():+.3f}, give or take {half:.3f}"
        yield f"- {count} labels: JetOINR less the UNet is {told}"
    yield "\n(95 % intervals of the mean over subjects, draws averaged first.)"


def main() -> None:
    """Measure, and write the page unless some methods alone are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--hippocampus", type=Path, metavar="DIR", required=True)
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="draws of the labels")
    parser.add_argument("--longer", type=float, metavar="S", help="with so many seconds as well")
    parser.add_argument("--only", nargs="+", choices=METHOD_NAMES, metavar="METHOD")
    parser.add_argument("--kept", type=Path, default=Path("build/few_labels"), help="what is kept")
    parser.add_argument("--output", type=Path, default=MEASURED)
    options = parser.parse_args()
    torch.set_num_threads(1)
    who = subjects(options.hippocampus)
    chosen = [each for each in METHODS if each.name in (options.only or METHOD_NAMES)]
    rows = measured(who, chosen, cells(options.seeds, options.longer), options.kept)
    if not options.only:
        write(rows, who, options.output)


if __name__ == "__main__":
    main()
