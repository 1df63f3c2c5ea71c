"""Measure registration: writes docs/measured/registration.md.

python -m scripts.quality.registration --data DIR [--rivals PYTHON] [--parts PART ...]

DIR holds hippocampus/, lung/ and volumes/, which the repository does not ship; PYTHON is that of an
environment with antspyx, convexadam and picsl-greedy, without which those rows are left out. Each
part is a section of the page; those that are not asked for stay as they are.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor
from torch import Tensor

from oinr_monai import Grid, Motion, RegisterConfig, register
from oinr_monai.images.files import read_image
from oinr_monai.images.labels import read_labels
from oinr_monai.images.metrics import dice
from oinr_monai.motion import (
    AffineMotion,
    quality_of,
    warp_image,
    warp_labels,
)
from scripts.rivals.registration import Answer, Scan, affine, demons, elsewhere, seeded
from scripts.shared.known_motions import BLOCK, block, known_flow, motions, template, volumes
from scripts.shared.report import MEASURED, Report

# Of the 60 hippocampi in an order drawn once, pairs of the first 21 chose the settings.
DRAWN, TUNED, PAIRS = 7, 21, 50

# Pairs that packages elsewhere are asked for.
FEW = 20

TRUTH = """Blocks of {size} voxels a side are moved by a known motion, through the cubic spline of
the volume, and the motion is sought from the two images. Error of the place in voxels, where the
image is brighter than a tenth of its maximum, four voxels off the border; there and back in mm.
The flow has knots 16 voxels apart; it is sought with the default settings, whose knots are 3 voxels
apart.
"""

HIPPOCAMPUS = """{pairs} pairs of cropped T1 MRI of 39 people, none of whom is among the 21 whose
pairs chose the settings. The motion is found from the images alone; the labels of the moving one
are then taken to the fixed one. Mean Dice of anterior and posterior, seconds of the process (one
thread; of ConvexAdam those after the affine), folds at voxels. Packages that run elsewhere have the
first {few} pairs alone; the last row is what `register` made of those.
"""

LUNG = """Breathing: 51 landmarks of a chest CT at two times, inside the lung mask of the fixed
image. Distance in mm between where the motion takes them and where they are marked.
With stiffness 1 mm², which was the default until this pair had been looked at, and the square of
the distance between places since: the last row; no other setting has seen these lungs. The packages
are given no mask. Seconds of the process, and on the clock; threads: {threads}.
"""


CAPTURE = """The head of MNI152 at 4 mm under flows that are known, with noise of 2 % of its
maximum: how far the places move on average, where the head is brighter than a fifth of its maximum,
and by how much they are missed, in mm. `register` begins with the places as they are, and ends with
knots 12 mm apart; the demons begin with an affine motion.
"""

ALONE = """`register` by itself, deformable, on the first {few} of the pairs of hippocampi and on
the lungs: what the tables above would say of it, measured again whenever it changed.
"""

DICE = ["", "pairs", "Dice", "worst label", "folds", "least det", "there and back, mm", "s a pair"]

# Distances between the knots of the flows of the capture range, and how far they move, in mm.
APART, FAR = (40.0, 20.0), (5.0, 10.0, 20.0, 30.0)


@dataclass(frozen=True)
class Row:
    """What came of one pair."""

    dice: float
    worst: float
    seconds: float
    folds: int
    least: float
    back: float


def truth(report: Report, folder: Path, _: str | None) -> None:
    report.text(TRUTH.format(size=BLOCK))
    head = ["volume", "motion", "largest", "mean error", "95 %", "max", "folds", "bound", "back"]
    table = report.table([*head, "s"], text=2)
    for name, volume in volumes(folder):
        fixed_grid = Grid.from_image(block(volume))
        h = float(fixed_grid.spacing.min())
        for kind, motion, config in motions(fixed_grid):
            fixed = warp_image(volume, motion, fixed_grid)
            started = time.process_time()
            found = register(fixed, volume, config)
            spent = time.process_time() - started
            inner = (slice(4, -4),) * 3
            counted = (fixed.as_tensor()[0] > 0.1 * float(fixed.max()))[inner]
            points = fixed_grid.points()[inner][counted][::7]
            there = motion.at(points)
            error = (found.at(points) - there).norm(dim=1) / h
            moved = (there - points).norm(dim=1) / h
            quality = quality_of(found, fixed_grid)
            table.row(
                name, kind, f"{moved.max():.1f}", f"{error.mean():.4f}",
                f"{error.quantile(0.95):.4f}", f"{error.max():.4f}", quality.folds,
                f"{quality.least_anywhere:.3f}", f"{quality.inverse_consistency_mm:.1e}",
                f"{spent:.0f}",
            )  # fmt: skip


def hippocampi(folder: Path) -> list[tuple[str, str]]:
    names = sorted(path.name for path in (folder / "images").glob("*.nii.gz"))
    order = np.random.default_rng(DRAWN).permutation(len(names))[TUNED:]
    count = len(order)
    pairs = [(order[i], order[(i + step) % count]) for step in (1, 2) for i in range(count)]
    return [(names[a], names[b]) for a, b in pairs[:PAIRS]]


Pair = tuple[MetaTensor, MetaTensor]


def each(way: Callable[[MetaTensor, MetaTensor], Motion], pairs: list[Pair]) -> list[Answer]:
    found = []
    for pair in pairs:
        started = time.process_time()
        motion = way(*pair)
        found.append(Answer(motion, time.process_time() - started))
    return found


def rival(way: Callable[[Scan, Scan], Motion], pairs: list[Pair]) -> list[Answer]:
    return each(lambda *pair: way(*map(scan, pair)), pairs)


def ours(config: RegisterConfig, pairs: list[Pair]) -> list[Answer]:
    return each(lambda fixed, moving: register(fixed, moving, config), pairs)


def scan(image: MetaTensor) -> Scan:
    return Scan(image[0].numpy(), image.affine.numpy())


def centred(fixed: MetaTensor, moving: MetaTensor) -> Motion:
    return AffineMotion.of(torch.eye(3), _middle(moving) - _middle(fixed))


OURS = "`register`"

WAYS: dict[str, Callable[[list[Pair]], list[Answer]]] = {
    "nothing but the centres": partial(each, centred),
    "SimpleITK, affine": partial(rival, affine),
    "`register`, affine": partial(ours, RegisterConfig("affine")),
    "SimpleITK, demons": partial(rival, demons),
    OURS: partial(ours, RegisterConfig()),
}

ELSEWHERE = {
    "greedy, correlation": "greedy",
    "SimpleITK's affine, then ConvexAdam": "convex_adam",
    "ANTs, SyN by correlation": "ants",
}


def ways(python: str | None) -> dict[str, Callable[[list[Pair]], list[Answer]]]:
    def run(way: str, pairs: list[Pair]) -> list[Answer]:
        return elsewhere(str(python), way, [(scan(a), scan(b)) for a, b in pairs])

    others = {} if python is None else ELSEWHERE
    return WAYS | {name: partial(run, way) for name, way in others.items()}


def _middle(image: MetaTensor) -> Tensor:
    grid = Grid.from_image(image)
    return grid.to_world((torch.tensor(grid.shape) - 1) / 2)


def measured(folder: Path, names: tuple[str, str], answer: Answer) -> Row:
    wanted, known = (read_labels(folder / "labels" / name) for name in names)
    grid, motion = Grid.from_image(wanted), answer.motion
    found = dice(warp_labels(known, motion, grid), wanted)
    determinants = torch.linalg.det(motion.jacobian_on(grid))
    points = grid.points().flatten(0, -2)[::97]
    back = (motion.inverse().at(motion.at(points)) - points).norm(dim=1).max()
    scores = [value for value in found.values() if value is not None]
    return Row(
        float(np.mean(scores)), min(scores), answer.seconds, int((determinants <= 0).sum()),
        float(determinants.min()), float(back),
    )  # fmt: skip


def hippocampus(report: Report, data: Path, python: str | None) -> None:
    folder = data / "hippocampus"
    names = hippocampi(folder)
    pairs = [tuple(read_image(folder / "images" / name) for name in pair) for pair in names]
    report.text(HIPPOCAMPUS.format(pairs=len(pairs), few=FEW))
    table = report.table(DICE)
    found: dict[str, list[Row]] = {}
    for name, way in ways(python).items():
        asked = pairs[:FEW] if name in ELSEWHERE else pairs
        answers = way(asked)  # type: ignore[arg-type]
        told = zip(names, answers, strict=False)
        found[name] = [measured(folder, *each) for each in told]
    if python is not None:
        found[f"{OURS}, of those"] = found[OURS][:FEW]
    for name, rows in found.items():
        table.row(name, *in_short(rows))


def in_short(rows: list[Row]) -> list[object]:
    return [
        len(rows), f"{np.mean([row.dice for row in rows]):.3f}",
        f"{min(row.worst for row in rows):.3f}", sum(row.folds for row in rows),
        f"{min(row.least for row in rows):.3f}", f"{max(row.back for row in rows):.1e}",
        f"{np.mean([row.seconds for row in rows]):.1f}",
    ]  # fmt: skip


def landmarks(path: Path) -> Tensor:
    points = torch.from_numpy(np.loadtxt(path, skiprows=2))
    return points * torch.tensor([-1.0, -1.0, 1.0], dtype=points.dtype)


def best_affine(here: Tensor, there: Tensor) -> Motion:
    """The affine motion of least squares between landmarks."""
    known = torch.cat([here, torch.ones_like(here[:, :1])], dim=1)
    matrix = torch.linalg.lstsq(known, there).solution.T
    return AffineMotion.of(matrix[:, :3], matrix[:, 3])


def lungs(folder: Path) -> tuple[MetaTensor, MetaTensor, Tensor, Tensor, Tensor]:
    """Fixed and moving, the mask of the fixed one, and the landmarks of both."""
    fixed, moving, mask = (
        read_image(folder / f"3DCT_lung_{name}.mha")
        for name in ("baseline", "followup", "baseline_mask")
    )
    here, there = (landmarks(folder / f"{name}_points.txt") for name in ("baseline", "followup"))
    return fixed, moving, mask[0] > 0, here, there


def lung(report: Report, data: Path, python: str | None) -> None:
    report.text(LUNG.format(threads=torch.get_num_threads()))
    fixed, moving, mask, here, there = lungs(data / "lung")
    table = report.table(["", "mean", "median", "max", "folds", "bound", "s", "wall s"])

    def row(name: str, motion: Motion, *times: float) -> None:
        error = (motion.at(here) - there).norm(dim=1)
        quality = quality_of(motion, Grid.from_image(fixed))
        table.row(
            name, f"{error.mean():.2f}", f"{error.median():.2f}", f"{error.max():.2f}",
            quality.folds, f"{quality.least_anywhere:.3f}",
            *([f"{each:.0f}" for each in times] or ["", ""]),
        )  # fmt: skip

    row("as they are", AffineMotion.identity(3))
    row("the landmarks' mean shift", AffineMotion.of(torch.eye(3), (there - here).mean(0)))
    row("the landmarks' best affine", best_affine(here, there))
    for name, way in lung_ways(mask, python).items():
        wall = time.perf_counter()
        (answer,) = way([(fixed, moving)])
        row(name, answer.motion, answer.seconds, time.perf_counter() - wall)


def lung_ways(mask: Tensor, python: str | None) -> dict[str, Callable[[list[Pair]], list[Answer]]]:
    def ours(config: RegisterConfig, pairs: list[Pair]) -> list[Answer]:
        return each(lambda fixed, moving: register(fixed, moving, config, mask=mask), pairs)

    models = {"rigid": RegisterConfig("rigid"), "affine": RegisterConfig("affine")}
    models |= {"deformable": RegisterConfig()}
    models |= {"deformable, 1 mm²": RegisterConfig(stiffness=1.0)}
    told = {f"{OURS}, {name}": partial(ours, config) for name, config in models.items()}
    others = ways(python)
    rivals = [name for name in others if name.startswith("SimpleITK, ")]
    return {name: others[name] for name in rivals} | told


def capture(report: Report, _: Path, __: str | None) -> None:
    report.text(CAPTURE)
    moving = template(4)
    grid, bright = Grid.from_image(moving), 0.2 * float(moving.max())
    table = report.table(["knots", "moved", "largest", "", "mean error", "median", "95 %", "s"])
    for apart, far in product(APART, FAR):
        truth = known_flow(grid, grid.points()[moving.as_tensor()[0] > bright][::101], apart, far)
        still = warp_image(moving, truth, grid)
        noise = torch.randn(still.shape, generator=torch.Generator().manual_seed(1))
        fixed = grid.to_image(still.as_tensor() + bright / 10 * noise)
        points = grid.points()[fixed.as_tensor()[0] > bright][::11]
        there = truth.at(points)
        moved = (there - points).norm(dim=1)
        for name, way in CAPTURED.items():
            (answer,) = way([(fixed, moving)])
            error = (answer.motion.at(points) - there).norm(dim=1)
            table.row(
                f"{apart:.0f}", f"{moved.mean():.1f}", f"{moved.max():.0f}", name,
                f"{error.mean():.2f}", f"{error.median():.2f}", f"{error.quantile(0.95):.1f}",
                f"{answer.seconds:.0f}",
            )  # fmt: skip


def straight(fixed: MetaTensor, moving: MetaTensor) -> Motion:
    return register(fixed, moving, start=AffineMotion.identity(3))


CAPTURED: dict[str, Callable[[list[Pair]], list[Answer]]] = {
    "SimpleITK, demons": partial(rival, demons),
    OURS: partial(each, straight),
}


def alone(report: Report, data: Path, _: str | None) -> None:
    report.text(ALONE.format(few=FEW))
    folder = data / "hippocampus"
    names = hippocampi(folder)[:FEW]
    pairs = [tuple(read_image(folder / "images" / name) for name in pair) for pair in names]
    answers = ours(RegisterConfig(), pairs)  # type: ignore[arg-type]
    rows = [measured(folder, *each) for each in zip(names, answers, strict=True)]
    table = report.table(DICE)
    table.row("hippocampi", *in_short(rows))
    fixed, moving, mask, here, there = lungs(data / "lung")
    started = time.process_time()
    error = (register(fixed, moving, mask=mask).at(here) - there).norm(dim=1)
    spent = time.process_time() - started
    report.text(
        f"Lungs: mean {error.mean():.2f} mm, median {error.median():.2f}, largest"
        f" {error.max():.2f}, in {spent:.0f} s."
    )


PARTS: dict[str, Callable[[Report, Path, str | None], None]] = {
    "Hippocampi": hippocampus,
    "Lungs": lung,
    "A motion that is known": truth,
    "Capture range": capture,
    "Alone": alone,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rivals", metavar="PYTHON")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--output", type=Path, default=MEASURED)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for part in arguments.parts:
        seeded()
        report = Report("registration", "Registration, measured", arguments.output)
        report.made("one run, of a CPU that others used too; seconds are those of the process.")
        PARTS[part](report, arguments.data, arguments.rivals)
        report.write_section(part)


if __name__ == "__main__":
    main()
