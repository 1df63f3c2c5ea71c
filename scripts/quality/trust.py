"""Error bars of super-resolution against the truth: writes docs/measured/trust.{csv,md,png}.

python -m scripts.quality.trust [--data DIR] [--volume NAME] [--factor F] [--profile P] [--noise N]

DIR may hold `volumes/` with MR_Gd.nii.gz and CT_AVM.nii.gz, and `open_ms/` with T1.nii.gz and
T2.nii.gz, which the repository does not ship. What was measured is kept in the CSV, and only what
is missing there is run: a broken-off run goes on.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from typing import TypeVar

import matplotlib as mpl
import torch
from monai.data import MetaTensor
from torch import Tensor

from oinr_monai import (
    Grid,
    Restored,
    SuperResolveConfig,
    super_resolve,
    super_resolve_trusted,
)
from scripts.rivals.super_resolution import Stack, cubic
from scripts.shared.coverage import Coverage
from scripts.shared.report import MEASURED, Report
from scripts.shared.rows import append_row, read_rows
from scripts.shared.told_cells import CROP, PROFILES, WRONG, Cell, Scene, scenes

FACTORS, NOISES = (4.0, 2.0, 6.0, 3.0, 5.0), (0.0, 0.05, 0.02)
# Factors that noise is tried with.
NOISY = (4.0, 2.0, 6.0)
LEVEL = 0.9

# Where mirror images are answered as well, and the steps of an ensemble.
MIRRORED, STEPS = ("MNI152", "MR_Gd"), 300
OURS = "trust"

T = TypeVar("T")

HEAD = """
Blocks of {crop} voxels of volumes of about 1 mm; slices along the last axis, so many voxels apart
and as thick, with Gaussian noise of so many per cent of the bright end; the shipped operator at
once (`steps=0`). It learned from the open-MS scans T1 and T2, of their slices, and saw nothing of
the others; no setting of the intervals was chosen on any of these volumes, but on heads of random
contrast and on hippocampi. The truth of noise 0 holds the noise of the volume itself.

Intervals of 90 % at every voxel of the head (of CT_AVM, which is blank but for vessels: at those
and 2 voxels around): the part of the voxels whose truth they hold, in per cent, and the least and
the most of three tissues (thresholds of Otsu on the truth) and of five parts of equal size by
intensity; rank correlation of width and absolute error; and mean width over that of others that
cover as much: one width for all (constant), and widths in proportion to the cubic spline's distance
from the answer, to the spread of mirrored answers, and to that of five operators that each learned
from nothing for {steps} steps with a seed of its own.
"""


@dataclass(frozen=True)
class Map:
    """A map, and the stack that it is of."""

    volume: str
    factor: float
    profile: str
    noise: float
    told: str
    method: str


@dataclass(frozen=True)
class Row(Coverage, Map):
    """How far one map is true."""

    gap: float
    seconds: float
    seconds_trust: float


def measure(cell: Cell, path: Path) -> None:
    """Measure what is not yet in the CSV."""
    key = (cell.scene.name, cell.factor, cell.profile, cell.noise, cell.told)
    done = {
        r.method
        for r in read_rows(path, Row)
        if (r.volume, r.factor, r.profile, r.noise, r.told) == key
    }
    cell = cell.cropped()
    maps = rivals(cell) if cell.told == "as told" else {}
    if done >= {OURS, *maps}:
        return
    thick = cell.thick()
    asked = partial(answered, cell, thick, told=cell.told)
    started = processor_seconds()
    if maps.keys() - {"cubic"}:
        asked(super_resolve)
    between = processor_seconds()
    found = asked(super_resolve_trusted)
    alone, both = between - started, processor_seconds() - between
    truth, answer = cell.scene.image.as_tensor(), found.answer.sample().as_tensor()
    width = found.half_width(LEVEL).as_tensor()
    ours = scored(cell, OURS, answer - truth, width, found, (alone, both))
    keep(path, ours, done)
    for name, spread in maps.items():
        if name not in done:
            wide = spread(found, thick)
            fair = wide * scale_to(ours.coverage / 100, wide, answer - truth, cell.scene.head)
            keep(path, scored(cell, name, answer - truth, fair, found, (alone, both)), done)


def keep(path: Path, row: Row, done: set[str]) -> None:
    if row.method not in done:
        print(*asdict(row).values(), flush=True)
        append_row(path, row)


def scored(
    cell: Cell,
    method: str,
    error: Tensor,
    width: Tensor,
    found: Restored,
    seconds: tuple[float, float],
) -> Row:
    truth = cell.scene.image.as_tensor()
    return Row(
        cell.scene.name, cell.factor, cell.profile, cell.noise, cell.told, method,
        **asdict(Coverage.of(truth, error, width, cell.scene.head)),
        gap=found.answer.info["trust"]["gap"],
        seconds=round(seconds[0], 1), seconds_trust=round(seconds[1], 1),
    )  # fmt: skip


def scale_to(coverage: float, width: Tensor, error: Tensor, head: Tensor) -> float:
    """What makes widths cover a part of the voxels of the head."""
    ratios = (error.abs() / width.clamp_min(1e-9))[0][head].sort().values
    return float(ratios[min(int(coverage * len(ratios)), len(ratios) - 1)])


def processor_seconds() -> float:
    return sum(os.times()[:4])


# ---- rivals --------------------------------------------------------------------------------------


Spread = Callable[[Restored, MetaTensor], Tensor]


def rivals(cell: Cell) -> dict[str, Spread]:
    found: dict[str, Spread] = {"cubic": partial(cubic_distance, cell)}
    if cell.scene.name in MIRRORED and cell.factor == 4 and not cell.noise:
        found["mirrors"] = partial(mirrored, cell)
    if cell.many:
        found["ensemble"] = partial(ensemble, cell)
    return found


def cubic_distance(cell: Cell, found: Restored, thick: MetaTensor) -> Tensor:
    """How far the cubic spline is from the answer."""
    grid = Grid.from_image(cell.scene.image)
    spline = cubic(Stack(thick, grid, cell.across("as told")))
    return (found.answer.sample().as_tensor() - spline).abs() + 1e-4


def mirrored(cell: Cell, found: Restored, thick: MetaTensor) -> Tensor:
    """Standard deviation of what is made of the slices and of their mirror images."""
    answers = [found.answer.sample().as_tensor()]
    for axis in (1, 2, 3):
        image = Grid.from_image(thick).to_image(thick.as_tensor().flip(axis))
        answers.append(again(cell, image, seed=0, steps=0).flip(axis))
    return torch.stack(answers).std(dim=0) + 1e-4


def ensemble(cell: Cell, found: Restored, thick: MetaTensor) -> Tensor:
    """Standard deviation of five operators that learn from nothing, each with its own seed."""
    answers = [again(cell, thick, seed, STEPS) for seed in range(5)]
    return torch.stack(answers).std(dim=0) + 1e-4


def answered(
    cell: Cell,
    thick: MetaTensor,
    method: Callable[..., T],
    told: str = "as told",
    config: SuperResolveConfig | None = None,
) -> T:
    return method(
        thick,
        config or SuperResolveConfig(steps=0, device="cpu"),
        spacing=Grid.from_image(cell.scene.image).spacing.tolist(),
        slice_axis=2,
        profile=cell.across(told),
    )


def again(cell: Cell, thick: MetaTensor, seed: int, steps: int) -> Tensor:
    given = {} if steps == 0 else {"start": None}
    config = SuperResolveConfig(steps=steps, seed=seed, device="cpu", **given)
    return answered(cell, thick, super_resolve, config=config).sample().as_tensor()


# ---- writing -------------------------------------------------------------------------------------


def line(rows: Sequence[Row]) -> list[object]:
    """One stack: ours, and the widths of others that cover as much over ours."""
    known = {r.method: r for r in rows}
    ours = known[OURS]
    others = [
        f"{ours.width / known[name].width:.2f}" if name in known else ""
        for name in ("cubic", "mirrors", "ensemble")
    ]
    return [
        f"{ours.volume}, {ours.profile}", f"{ours.factor:g}", f"{100 * ours.noise:g}",
        f"{ours.coverage:.1f}", f"{ours.tissue_least:.0f} to {ours.tissue_most:.0f}",
        f"{ours.bright_least:.0f} to {ours.bright_most:.0f}", f"{ours.correlation:.2f}",
        f"{ours.width:.3f}", f"{ours.width / ours.constant:.2f}", *others, f"{ours.gap:.2f}",
        f"{ours.seconds_trust / ours.seconds:.1f}" if ours.seconds > 0.1 else "",
    ]  # fmt: skip


def summary(rows: Sequence[Row]) -> Iterator[list[object]]:
    """Over the cells of each volume, without and with noise."""
    for volume, noisy in product(dict.fromkeys(r.volume for r in rows), (False, True)):
        cells = [r for r in rows if r.volume == volume and bool(r.noise) == noisy]
        if cells:
            each = [r.coverage for r in cells]
            good = sum(88 <= r.coverage <= 92 for r in cells)
            tissues = sum(r.tissue_least >= 85 and r.tissue_most <= 95 for r in cells)
            ranks = [r.correlation for r in cells]
            yield [
                f"{volume}, {'noise of 2 and 5 %' if noisy else 'no noise added'}", len(cells),
                f"{min(each):.1f}, {median(each):.1f}, {max(each):.1f}", good, tissues,
                f"{min(ranks):.2f}, {median(ranks):.2f}",
                f"{median(r.width / r.constant for r in cells):.2f}",
            ]  # fmt: skip


def fill(report: Report, rows: list[Row]) -> None:
    told = [r for r in rows if r.told == "as told"]
    head = [
        *("", "cells", "coverage: least, median, most", "88 to 92", "tissues 85 to 95"),
        *("correlation: least, median", "width over constant"),
    ]
    report.table(head, summary([r for r in told if r.method == OURS]))
    report.heading("Every stack")
    columns = [
        *("", "x", "noise %", "coverage %", "tissues", "by intensity", "correlation", "width"),
        *("over constant", "over cubic's", "over mirrors'", "over ensemble's", "gap", "seconds"),
    ]
    stacks = dict.fromkeys((r.volume, r.profile, r.factor, r.noise) for r in told)
    groups = [[r for r in told if key(r) == each] for each in sorted(stacks)]
    report.table(columns, [line(each) for each in groups])
    report.text(
        "Seconds are those with intervals over those without, of the processor, at once; an"
        " operator that goes on learning takes as much longer, whatever its steps."
    )
    report.heading("Told wrongly")
    lines = [
        [f"{r.volume}, {r.profile}", f"{r.factor:g}", r.told, f"{r.coverage:.1f}", f"{r.width:.3f}"]
        for r in rows
        if r.told != "as told"
    ]
    report.table(["", "x", "told", "coverage %", "width"], lines)
    report.picture(
        "Answer, its error, the half width of 90 % intervals, and the share of the operator"
    )


def key(row: Row) -> tuple[str, str, float, float]:
    return row.volume, row.profile, row.factor, row.noise


def draw(path: Path, cell: Cell) -> None:
    """A sagittal plane: truth, answer, absolute error, half width and the operator's share."""
    mpl.use("agg")
    import matplotlib.pyplot as plt

    cell = cell.cropped()
    found = answered(cell, cell.thick(), super_resolve_trusted)
    truth, answer = cell.scene.image.as_tensor()[0], found.answer.sample().as_tensor()[0]
    shown: dict[str, tuple[Tensor, str, float]] = {
        "truth": (truth, "gray", 1.1),
        f"{cell.factor:g}x thick, made fine": (answer, "gray", 1.1),
        "absolute error": ((answer - truth).abs(), "magma", 0.2),
        "half width, 90 %": (found.half_width().as_tensor()[0], "magma", 0.2),
        "the operator's share": (found.share().as_tensor()[0], "viridis", 1.0),
    }
    figure, axes = plt.subplots(1, len(shown), figsize=(3 * len(shown), 2.8), layout="constrained")
    for axis, (name, (values, colors, top)) in zip(axes, shown.items(), strict=True):
        axis.set_title(name, fontsize=9)
        plane = values[len(values) // 2].T.numpy()
        axis.imshow(plane, cmap=colors, vmin=0, vmax=top, origin="lower", interpolation="nearest")
        axis.set_axis_off()
    figure.savefig(path, dpi=90)


def write(folder: Path) -> None:
    report = Report("trust", "Error bars of super-resolution, measured", folder)
    report.made("seconds are those of the processor, for the machine may be shared.")
    report.text(HEAD.format(crop=" x ".join(map(str, CROP)), steps=STEPS))
    fill(report, read_rows(report.path("csv"), Row))
    report.write()


def cells(found: Sequence[Scene]) -> Iterator[Cell]:
    for factor, noise, profile, each in product(FACTORS, NOISES, PROFILES, found):
        if not noise or factor in NOISY:
            yield Cell(each, factor, profile, noise, "as told")
        if noise == NOISES[-1] and factor == FACTORS[0] and profile == "boxcar":
            yield from (Cell(each, factor, profile, 0.0, told) for told in list(WRONG)[1:])
    for factor, noise, profile, each in product(FACTORS, NOISES, PROFILES, found):
        if not noise or factor in NOISY:
            yield Cell(each, factor, profile, noise, "as told", many=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--volume", help="only this one: MNI152, MR_Gd, CT_AVM, T1 or T2")
    parser.add_argument("--factor", type=float, help="only this one")
    parser.add_argument("--profile", choices=PROFILES, help="only this one")
    parser.add_argument("--noise", type=float, help="only this one")
    parser.add_argument("--output", type=Path, default=MEASURED)
    parser.add_argument("--run-nothing", action="store_true", help="write the page of the CSV")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    chosen = (arguments.volume, arguments.factor, arguments.profile, arguments.noise)
    found = [] if arguments.run_nothing else list(scenes(arguments.data))
    for cell in cells(found):
        named = (cell.scene.name, cell.factor, cell.profile, cell.noise)
        if all(w in (None, c) for w, c in zip(chosen, named, strict=True)):
            measure(cell, arguments.output / "trust.csv")
    picture = arguments.output / "trust.png"
    if found and not picture.is_file():
        shown = next((s for s in found if s.name == "MR_Gd"), found[0])
        draw(picture, Cell(shown, 4.0, "boxcar", 0.0, "as told"))
    write(arguments.output)


if __name__ == "__main__":
    main()
