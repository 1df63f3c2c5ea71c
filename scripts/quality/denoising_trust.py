"""Error bars of denoising against the truth: writes docs/measured/denoising_trust.{csv,md}.

python -m scripts.quality.denoising_trust [--data DIR] [--run-nothing]

DIR may hold `volumes/` with MR_Gd.nii.gz and CT_AVM.nii.gz, which the repository does not ship.
What was measured is kept in the CSV, and only what is missing there is run.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from oinr_monai import DenoiseConfig, GaussianNoise, NoiseModel, RicianNoise, denoise_trusted
from scripts.shared.coverage import Coverage
from scripts.shared.report import MEASURED, Report
from scripts.shared.rows import append_row, read_rows
from scripts.shared.told_cells import Scene, scenes

KINDS: dict[str, type[GaussianNoise | RicianNoise]] = {
    "Gaussian": GaussianNoise,
    "Rician": RicianNoise,
}
LEVELS = (0.05, 0.02)
# Levels at which it is told wrongly as well.
WRONGLY = (0.05,)
CROP = (64, 64, 48)
VOLUMES = ("MNI152", "MR_Gd", "CT_AVM")
FOUND, RIGHT, LESS, MORE, OTHER = (
    "size looked for", "as it is", "sigma 20 % less", "sigma 20 % more", "of the other kind",
)  # fmt: skip
TOLD = (RIGHT, FOUND, LESS, MORE, OTHER)

# Of a constant width that is less than this, none is needed: most of the answer is exact.
NOTHING = 1e-6

HEAD = """
The middle {crop} voxels of volumes of about 1 mm, over their 99.9th percentile, with white noise of
so many per cent of that; `denoise_trusted` by default, with the operator that is shipped, which has
seen none of them. It is told kind and size as they are; or the kind alone, and looks for the size;
or wrongly, a size that is 20 % off, or the other of the two kinds, of the right size. No setting of
the intervals was chosen on any of these volumes.

Intervals of 90 % at every voxel of the head (of CT_AVM, which is blank but for vessels: at those
and 2 voxels around): the part of the voxels whose truth they hold, in per cent; the least and the
most of three tissues and of five parts by intensity; rank correlation of width and absolute error;
mean half width, over sigma, and over that of a constant width that holds as much. The truth holds
the noise of the volume itself, which is taken out as well.
"""


@dataclass(frozen=True)
class Told:
    """A noisy volume, and what is told of its noise."""

    volume: str
    noise: str
    level: float
    told: str


@dataclass(frozen=True)
class Row(Coverage, Told):
    """Intervals of one noisy volume."""

    seconds: float


def model(kind: str, level: float, told: str) -> NoiseModel:
    """The noise, as it is told."""
    if told == OTHER:
        (kind,) = set(KINDS) - {kind}
    size = {LESS: 0.8 * level, MORE: 1.2 * level, FOUND: None}.get(told, level)
    return KINDS[kind](size)


def middle(scene: Scene) -> tuple[Tensor, Tensor]:
    """The middle of a scene (1, *CROP), and the head in it (*CROP)."""
    values = scene.image.as_tensor()
    box = tuple(
        slice((n - m) // 2, (n + m) // 2) for n, m in zip(values.shape[1:], CROP, strict=True)
    )
    return values[(slice(None), *box)].contiguous(), scene.head[box]


def measure(scene: Scene, path: Path) -> None:
    """Measure what is not yet in the CSV."""
    done = {(r.volume, r.noise, r.level, r.told) for r in read_rows(path, Row)}
    truth, head = middle(scene)
    for level, kind, told in product(LEVELS, KINDS, TOLD):
        wrong = told not in (RIGHT, FOUND)
        if (scene.name, kind, level, told) in done or (wrong and level not in WRONGLY):
            continue
        noisy = KINDS[kind](level).add(truth, torch.Generator().manual_seed(0))
        began = sum(os.times()[:2])
        found = denoise_trusted(noisy, DenoiseConfig(model(kind, level, told), device="cpu"))
        width = found.half_width().as_tensor()
        seconds = round(sum(os.times()[:2]) - began, 1)
        error = found.answer.sample().as_tensor() - truth
        scores = asdict(Coverage.of(truth, error, width, head))
        row = Row(scene.name, kind, level, told, **scores, seconds=seconds)
        print(*asdict(row).values(), flush=True)
        append_row(path, row)


# ---- writing -------------------------------------------------------------------------------------


def summary(rows: Sequence[Row]) -> Iterator[list[object]]:
    """Over the cells of each way of telling."""
    for told in TOLD:
        cells = [r for r in rows if r.told == told]
        if cells:
            each = [r.coverage for r in cells]
            ranks = [r.correlation for r in cells]
            yield [
                told, len(cells), f"{min(each):.1f}, {median(each):.1f}, {max(each):.1f}",
                sum(88 <= r.coverage <= 92 for r in cells),
                sum(r.tissue_least >= 85 and r.tissue_most <= 95 for r in cells),
                f"{min(ranks):.2f}, {median(ranks):.2f}",
                f"{median(r.width / r.constant for r in cells):.2f}",
            ]  # fmt: skip


def line(row: Row) -> list[object]:
    """One noisy volume."""
    return [
        f"{row.volume}, {row.noise}", f"{100 * row.level:g}", row.told, f"{row.coverage:.1f}",
        f"{row.tissue_least:.0f} to {row.tissue_most:.0f}",
        f"{row.bright_least:.0f} to {row.bright_most:.0f}", f"{row.correlation:.2f}",
        f"{row.width / row.level:.2f}",
        f"{row.width / row.constant:.2f}" if row.constant > NOTHING else "", f"{row.seconds:.0f}",
    ]  # fmt: skip


def write(folder: Path) -> None:
    """Write the page of all rows measured so far."""
    report = Report("denoising_trust", "Error bars of denoising, measured", folder)
    report.made("seconds are those of the processor.", without=["--run-nothing"])
    report.text(HEAD.format(crop=" x ".join(map(str, CROP))))
    rows = read_rows(report.path("csv"), Row)
    told = ["told", "cells", "coverage: least, median, most", "88 to 92", "tissues 85 to 95"]
    report.table([*told, "correlation: least, median", "width over constant"], summary(rows))
    report.heading("Every cell")
    columns = ["", "noise, %", "told", "coverage %", "tissues", "by intensity", "correlation"]
    order = sorted(rows, key=lambda r: (r.volume, r.noise, r.level, TOLD.index(r.told)))
    report.table([*columns, "width over sigma", "over constant", "seconds"], map(line, order), 3)
    report.write()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--output", type=Path, default=MEASURED)
    parser.add_argument("--run-nothing", action="store_true", help="write the page of the CSV")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for scene in () if arguments.run_nothing else scenes(arguments.data):
        if scene.name in VOLUMES:
            measure(scene, arguments.output / "denoising_trust.csv")
    write(arguments.output)


if __name__ == "__main__":
    main()
