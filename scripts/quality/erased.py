"""Small lesions that thick slices made fine may not show: writes docs/measured/erased.{csv,md,png}.

python -m scripts.quality.erased [--data DIR] [--run-nothing]

DIR may hold `volumes/` with MR_Gd.nii.gz and `open_ms/` with T1.nii.gz and T2.nii.gz, which the
repository does not ship. What was measured is kept in the CSV, and only what is missing there is
run: a broken-off run goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import matplotlib as mpl
import torch
from monai.data import MetaTensor
from scipy.ndimage import binary_erosion, gaussian_filter, gaussian_gradient_magnitude
from torch import Tensor

from oinr_monai import Grid, Restored, SuperResolveConfig, simulate_slices, super_resolve_trusted
from scripts.rivals.super_resolution import Stack, cubic
from scripts.shared.report import MEASURED, Report
from scripts.shared.rows import append_row, read_rows
from scripts.shared.told_cells import CROP, Cell, scenes

VOLUMES = ("MNI152", "MR_Gd", "T1", "T2")
KINDS = ((4.0, "boxcar"), (6.0, "boxcar"), (3.0, "boxcar"), (4.0, "gaussian"))

# Diameters of the balls over the thickness of a slice, and sizes of their contrasts over the range.
DIAMETERS, CONTRASTS = (0.7, 1.5), (0.15, 0.4)

# Slices and voxels from the middle of one ball to that of the next, and to the border of the head.
APART, MORE, BORDER = 2.2, 4.0, 4

# Places that are tried for balls.
TRIED = 1_500

# Below this part of its contrast a ball is erased; the part of places without one that is flagged.
ERASED, ALARMS = 0.5, 0.1
OURS = "hidden contrast"
METHODS = (OURS, "half width", "gradient of the answer", "spline less smoothed spline")

HEAD = """
Balls of {least:g} to {most:g} times the thickness of a slice and {low:.0f} to {high:.0f} % of the
range brighter or darker than what is there, at random phases to the slices, are planted in blocks
of {crop} voxels of volumes of about 1 mm; slices as thick as they are apart are simulated and made
fine at once (`steps=0`, no noise added). A ball is *erased* where the answer shows less than half
of its contrast: mean over the ball less mean over a shell 1 to 3 voxels around it, in the answer
with the balls less the answer without them, over the same of the truth.

A place is flagged where a map is above a threshold. The one of {alarms:.0f} % false alarms is that
which so many of the *same places without the balls* exceed: anatomy there is the same. The map is
`Restored.hidden()`, without its sign; beside it the half widths of 90 % intervals, the size of
the answer's gradient, and of the cubic spline less itself smoothed by half a slice. No setting was
chosen on these volumes, but on heads of random contrast.
"""


@dataclass(frozen=True)
class Row:
    """What one map flags in one stack.

    Args:
        balls: that were planted, and those of them that were erased.
        found: erased balls that are flagged at 10 % false alarms, and all balls that are.
        own_found: erased balls above what a tenth of the voxels of the map itself exceed.
        own_alarms: places without a ball above that.
    """

    volume: str
    factor: float
    profile: str
    method: str
    balls: int
    erased: int
    found: int
    found_all: int
    own_found: int
    own_alarms: int


@dataclass(frozen=True)
class Balls:
    """Balls in a volume: centres in voxels (N, 3), radii in voxels and contrasts (N,)."""

    centres: Tensor
    radii: Tensor
    contrasts: Tensor

    @classmethod
    def drawn(cls, head: Tensor, factor: float) -> Balls:
        """Balls well inside a head (X, Y, Z), apart from each other."""
        generator = torch.Generator().manual_seed(0)
        deep = binary_erosion(head.numpy(), iterations=BORDER, border_value=0)
        inside = torch.from_numpy(deep).nonzero()
        room = (inside >= factor) & (inside < torch.tensor(head.shape) - factor)
        inside = inside[room.all(dim=1)]
        order = torch.randperm(len(inside), generator=generator)[:TRIED]
        tried = inside[order].double() + torch.rand(len(order), 3, generator=generator) - 0.5
        kept: list[Tensor] = []
        for centre in tried:
            if all(float((centre - o).norm()) > APART * factor + MORE for o in kept):
                kept.append(centre)
        one, other, sign = torch.rand(3, len(kept), generator=generator)
        radii = factor * (DIAMETERS[0] + (DIAMETERS[1] - DIAMETERS[0]) * one) / 2
        sizes = CONTRASTS[0] + (CONTRASTS[1] - CONTRASTS[0]) * other
        return cls(torch.stack(kept), radii, torch.where(sign < 0.5, sizes, -sizes))

    def image(self, shape: Sequence[int]) -> Tensor:
        """All of them (*shape); border voxels take a part."""
        found = torch.zeros(*shape)
        for i, contrast in enumerate(self.contrasts.tolist()):
            box, away = self._around(i, shape)
            found[box] += contrast * (self.radii[i] - away + 0.5).clamp(0, 1)
        return found

    def contrast(self, values: Tensor) -> Tensor:
        """Mean of values (X, Y, Z) over each ball less that over a shell around it (N,)."""
        found = []
        for i, radius in enumerate(self.radii.tolist()):
            box, away = self._around(i, values.shape)
            ball, shell = away < radius, (away > radius + 1) & (away < radius + 3)
            found.append(values[box][ball].mean() - values[box][shell].mean())
        return torch.stack(found)

    def at(self, values: Tensor) -> Tensor:
        """Values (X, Y, Z) at the voxels of their centres (N,)."""
        return values[tuple(self.centres.round().long().T)]

    def _around(self, index: int, shape: Sequence[int]) -> tuple[tuple[slice, ...], Tensor]:
        reach = int(self.radii[index]) + 4
        middle = self.centres[index].round().long().tolist()
        box = tuple(
            slice(max(m - reach, 0), min(m + reach + 1, n))
            for m, n in zip(middle, shape, strict=True)
        )
        axes = [torch.arange(each.start, each.stop).double() for each in box]
        places = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
        return box, (places - self.centres[index]).norm(dim=-1).float()


def measure(cell: Cell, path: Path) -> None:
    """Measure what is not yet in the CSV."""
    stack = (cell.scene.name, cell.factor, cell.profile)
    done = {(r.volume, r.factor, r.profile) for r in read_rows(path, Row)}
    if stack in done:
        return
    balls, truth = Balls.drawn(cell.scene.head, cell.factor), cell.scene.image.as_tensor()
    planted = balls.image(truth.shape[1:])
    without, with_balls = (seen(cell, each) for each in (truth, truth + planted))
    shown = with_balls[0].answer.sample().as_tensor() - without[0].answer.sample().as_tensor()
    erased = balls.contrast(shown[0]) / balls.contrast(planted) < ERASED
    before, after = maps(cell, *without), maps(cell, *with_balls)
    for name in METHODS:
        there, not_there = balls.at(after[name]), balls.at(before[name])
        flagged = there > torch.quantile(not_there, 1 - ALARMS)
        own = torch.quantile(after[name].flatten()[::7], 1 - ALARMS)
        counts = [erased, flagged & erased, flagged, (there > own) & erased, not_there > own]
        row = Row(*stack, name, len(there), *(int(each.sum()) for each in counts))
        print(*asdict(row).values(), flush=True)
        append_row(path, row)


def seen(cell: Cell, values: Tensor) -> tuple[Restored, MetaTensor]:
    """What is made of slices of values (1, X, Y, Z), and the slices."""
    grid = Grid.from_image(cell.scene.image)
    profile = cell.across("as told")
    thick = simulate_slices(grid.to_image(values), cell.spacing, profile=profile)
    found = super_resolve_trusted(
        thick,
        SuperResolveConfig(steps=0, device="cpu"),
        spacing=grid.spacing.tolist(),
        slice_axis=2,
        profile=profile,
    )
    return found, thick


def maps(cell: Cell, found: Restored, thick: MetaTensor) -> dict[str, Tensor]:
    """What may tell where balls were erased, by its name (X, Y, Z)."""
    answer = found.answer.sample().as_tensor()[0].numpy()
    spline = cubic(Stack(thick, found.answer.grid, cell.across("as told")))[0].numpy()
    blobs = spline - gaussian_filter(spline, cell.factor / 2)
    each = (
        found.hidden().as_tensor()[0].abs(),
        found.half_width().as_tensor()[0],
        torch.from_numpy(gaussian_gradient_magnitude(answer, 1.0)),
        torch.from_numpy(blobs).abs(),
    )
    return dict(zip(METHODS, each, strict=True))


# ---- writing -------------------------------------------------------------------------------------


def part(count: int, whole: int) -> str:
    """Per cent, or nothing of nothing."""
    return f"{100 * count / whole:.0f}" if whole else ""


def summary(rows: Sequence[Row]) -> Iterator[list[object]]:
    """Over the stacks of each volume and over all."""
    for volume in [*dict.fromkeys(r.volume for r in rows), "all"]:
        cells = [r for r in rows if volume in ("all", r.volume)]
        ours = [r for r in cells if r.method == OURS]
        erased = sum(r.erased for r in ours)
        yield [
            volume, sum(r.balls for r in ours), erased,
            *(part(sum(r.found for r in cells if r.method == m), erased) for m in METHODS),
            part(sum(r.own_found for r in ours), erased),
            part(sum(r.own_alarms for r in ours), sum(r.balls for r in ours)),
        ]  # fmt: skip


def line(rows: Sequence[Row]) -> list[object]:
    """One stack."""
    known = {r.method: r for r in rows}
    ours = known[OURS]
    return [
        f"{ours.volume}, {ours.profile}", f"{ours.factor:g}", ours.balls, ours.erased,
        *(part(known[m].found, ours.erased) for m in METHODS), part(ours.found_all, ours.balls),
    ]  # fmt: skip


def write(folder: Path) -> None:
    """Write the page of all rows measured so far."""
    report = Report("erased", "Small lesions that an answer may not show, measured", folder)
    report.made(without=["--run-nothing"])
    (least, most), (low, high) = DIAMETERS, CONTRASTS
    report.text(
        HEAD.format(
            least=least, most=most, low=100 * low, high=100 * high, alarms=100 * ALARMS,
            crop=" x ".join(map(str, CROP)),
        )
    )  # fmt: skip
    rows = read_rows(report.path("csv"), Row)
    columns = [*(f"{name}, %" for name in METHODS)]
    report.heading("Erased balls that are flagged at 10 % false alarms")
    own = ["flagged above the map's own tenth, %", "false alarms there, %"]
    report.table(["", "balls", "erased", *columns, *own], summary(rows))
    report.text(
        "The last two columns need no places without balls: the threshold is what a tenth of the"
        " voxels of the hidden contrast itself exceed, blank ones too."
    )
    report.heading("Every stack")
    stacks = sorted({(r.volume, r.profile, r.factor) for r in rows})
    groups = [[r for r in rows if (r.volume, r.profile, r.factor) == each] for each in stacks]
    heads = ["", "x", "balls", "erased", *columns, "of all balls, %"]
    report.table(heads, map(line, groups))
    report.picture("Truth with balls, answer, hidden contrast")
    report.write()


def draw(path: Path, cell: Cell) -> None:
    """A sagittal plane through the most erased ball: truth, answer and hidden contrast."""
    mpl.use("agg")
    import matplotlib.pyplot as plt

    balls, truth = Balls.drawn(cell.scene.head, cell.factor), cell.scene.image.as_tensor()
    planted = balls.image(truth.shape[1:])
    (without, _), (found, _) = (seen(cell, each) for each in (truth, truth + planted))
    answer = found.answer.sample().as_tensor()[0]
    shown = answer - without.answer.sample().as_tensor()[0]
    kept = balls.contrast(shown) / balls.contrast(planted)
    worst = int(torch.where(balls.contrasts > 0, kept, torch.inf).argmin())
    x, y, z = balls.centres[worst].tolist()
    images = {
        "truth with balls": ((truth[0] + planted), "gray", 0.0, 1.1),
        f"{cell.factor:g}x thick, made fine": (answer, "gray", 0.0, 1.1),
        "hidden contrast": (found.hidden().as_tensor()[0], "RdBu_r", -0.4, 0.4),
    }
    figure, axes = plt.subplots(1, len(images), figsize=(9, 2.8), layout="constrained")
    for axis, (name, (values, colors, low, high)) in zip(axes, images.items(), strict=True):
        axis.set_title(name, fontsize=9)
        axis.imshow(values[round(x)].T, cmap=colors, vmin=low, vmax=high, origin="lower")
        axis.plot(y, z, "o", mfc="none", mec="yellow", ms=16)
        axis.set_axis_off()
    figure.savefig(path, dpi=90)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--output", type=Path, default=MEASURED)
    parser.add_argument("--run-nothing", action="store_true", help="write the page of the CSV")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = [] if arguments.run_nothing else list(scenes(arguments.data))
    found = [each for each in found if each.name in VOLUMES]
    for (factor, profile), each in product(KINDS, found):
        cell = Cell(each, factor, profile, 0.0, "as told").cropped()
        measure(cell, arguments.output / "erased.csv")
    picture = arguments.output / "erased.png"
    if found and not picture.is_file():
        shown = next((s for s in found if s.name == "MR_Gd"), found[0])
        draw(picture, Cell(shown, 4.0, "boxcar", 0.0, "as told").cropped())
    write(arguments.output)


if __name__ == "__main__":
    main()
