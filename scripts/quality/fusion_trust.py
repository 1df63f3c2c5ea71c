"""Error bars of fused stacks against the truth: writes docs/measured/fusion_trust.{csv,md}.

python -m scripts.quality.fusion_trust [--data DIR] [--run-nothing]

DIR may hold `volumes/` with MR_Gd.nii.gz, which the repository does not ship. What was measured is
kept in the CSV, and only what is missing there is run.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import torch

from oinr_monai import GaussianNoise, Grid, fuse, fuse_trusted, simulate_slices
from scripts.shared.coverage import Coverage
from scripts.shared.report import MEASURED, Report
from scripts.shared.rows import append_row, read_rows
from scripts.shared.told_cells import Scene, scenes

VOLUMES, CROP = ("MNI152", "MR_Gd"), (48, 48, 48)
STACKS, FACTORS, NOISES = (3, 2), (4.0, 3.0), (0.0, 0.02)

HEAD = """
The middle {crop} voxels of volumes of about 1 mm, over their 99.9th percentile, seen as two or
three stacks that cross, of slices as thick as they are apart, with Gaussian noise of so many per
cent of the bright end, and fused. That the prior is rougher where the answer is was decided after
MNI152 had been seen without (tissues 77 to 96 %, correlation .08); how much, on a head of random
contrast.

Intervals of 90 % at every voxel of the head: the part of the voxels whose truth they hold, in per
cent; the least and the most of three tissues and of five parts by intensity; rank correlation of
width and absolute error; mean half width, and over one width for all that holds as much. The truth
of noise 0 holds the noise of the volume itself. Seconds are those of the processor, of `fuse`
and of `fuse_trusted`.
"""


@dataclass(frozen=True)
class Fused:
    """Stacks of a volume."""

    volume: str
    stacks: int
    factor: float
    noise: float


@dataclass(frozen=True)
class Row(Coverage, Fused):
    """Intervals of what was made of them."""

    gap: float
    seconds: float
    seconds_trust: float


def middle(scene: Scene) -> Scene:
    """The middle of a scene, and the head in it."""
    grid = Grid.from_image(scene.image)
    start = [(n - m) // 2 for n, m in zip(grid.shape, CROP, strict=True)]
    box = tuple(slice(a, a + m) for a, m in zip(start, CROP, strict=True))
    grid = grid.crop(start, [a + m for a, m in zip(start, CROP, strict=True)])
    image = grid.to_image(scene.image.as_tensor()[(slice(None), *box)].contiguous())
    return Scene(scene.name, image, scene.head[box])


def measure(scene: Scene, path: Path) -> None:
    """Measure what is not yet in the CSV."""
    done = {(r.volume, r.stacks, r.factor, r.noise) for r in read_rows(path, Row)}
    truth, head = scene.image.as_tensor(), scene.head
    grid = Grid.from_image(scene.image)
    for factor, noise, stacks in product(FACTORS, NOISES, STACKS):
        if (scene.name, stacks, factor, noise) in done:
            continue
        images = [
            simulate_slices(
                scene.image,
                factor * float(grid.spacing[axis]),
                axis=axis,
                noise=GaussianNoise(noise) if noise else None,
                seed=axis,
            )
            for axis in range(stacks)
        ]
        times = [sum(os.times()[:2])]
        fuse(images, grid=grid)
        times.append(sum(os.times()[:2]))
        found = fuse_trusted(images, grid=grid)
        width = found.half_width().as_tensor()
        times.append(sum(os.times()[:2]))
        scores = Coverage.of(truth, found.answer.sample().as_tensor() - truth, width, head)
        row = Row(
            scene.name, stacks, factor, noise, **asdict(scores),
            gap=found.answer.info["trust"]["gap"],
            seconds=round(times[1] - times[0], 1), seconds_trust=round(times[2] - times[1], 1),
        )  # fmt: skip
        print(*asdict(row).values(), flush=True)
        append_row(path, row)


def line(row: Row) -> list[object]:
    """One set of stacks."""
    return [
        row.volume, row.stacks, f"{row.factor:g}", f"{100 * row.noise:g}", f"{row.coverage:.1f}",
        f"{row.tissue_least:.0f} to {row.tissue_most:.0f}",
        f"{row.bright_least:.0f} to {row.bright_most:.0f}", f"{row.correlation:.2f}",
        f"{row.width:.3f}", f"{row.width / row.constant:.2f}", f"{row.gap:.2f}",
        f"{row.seconds:.0f}, {row.seconds_trust:.0f}",
    ]  # fmt: skip


def write(folder: Path) -> None:
    """Write the page of all rows measured so far."""
    report = Report("fusion_trust", "Error bars of fused stacks, measured", folder)
    report.made(without=["--run-nothing"])
    report.text(HEAD.format(crop=" x ".join(map(str, CROP))))
    rows: Sequence[Row] = read_rows(report.path("csv"), Row)
    columns = [
        *("", "stacks", "x", "noise %", "coverage %", "tissues", "by intensity", "correlation"),
        *("width", "over constant", "gap", "seconds"),
    ]
    order = sorted(rows, key=lambda r: (r.volume, -r.stacks, r.factor, r.noise))
    report.table(columns, map(line, order))
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
            measure(middle(scene), arguments.output / "fusion_trust.csv")
    write(arguments.output)


if __name__ == "__main__":
    main()
