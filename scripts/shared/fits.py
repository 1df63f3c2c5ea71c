"""Fits of a block as rows of a CSV and of tables, and the figure of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAN = float("nan")

# What presets of as many numbers are held against.
LEAST_SQUARES = "least-squares spline"


@dataclass(frozen=True)
class Cell:
    """One fit to make.

    Args:
        volume: which block.
        method: a key of ``RIVALS``, one shown the spline, the recipe, a preset of ours, or a key of
            ``CLOSED_FORMS``.
        seconds: budget; 0 where nothing is trained.
        rate: learning rate of a rival.
        parameters: what a rival's parameters are to match, or a codec's bytes, four for each; 0 is
            its authors' size.
    """

    volume: str
    method: str
    seconds: float = 0.0
    rate: float = 0.0
    parameters: int = 0


@dataclass(frozen=True)
class Row:
    """What a fit came to: PSNR in dB, relative RMS error of the gradient, peak process memory.

    What is kept is float32, unless its bytes say otherwise. ``truth`` is the PSNR against a finer
    volume that the block was made of.
    """

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
    bytes: int
    truth: float = field(default=NAN)

    @property
    def cell(self) -> Cell:
        """The fit that it is of."""
        return Cell(self.volume, self.method, self.budget, self.rate, self.matched)

    def bits(self, voxels: int) -> float:
        """Bits a voxel."""
        return 8 * self.bytes / voxels


# ---- tables --------------------------------------------------------------------------------------

HEAD = (
    *("method", "rate", "parameters", "steps", "seconds", "peak MiB"),
    *("PSNR grid (dB)", "PSNR between (dB)", "gradient error"),
)
SIZES = ("method", "bytes", "bits a voxel", "seconds", *HEAD[-3:])


def shown(value: float, digits: int) -> str:
    """A number for a table; none where there is none."""
    return "none" if value != value else f"{value:.{digits}f}"


def scores_of(each: Row) -> list[str]:
    """The scores of a row."""
    values = ((each.psnr_grid, 2), (each.psnr_between, 2), (each.gradient_error, 3))
    return [shown(*value) for value in values]


def cells_of(each: Row) -> list[str]:
    """A row of a table of what was trained."""
    rate = f"{each.rate:g}" if each.rate else ""
    cells = [each.method, rate, f"{each.parameters:,}", f"{each.steps:,}", f"{each.seconds:.1f}"]
    return [*cells, f"{each.peak_mib:.0f}", *scores_of(each)]


def sizes_of(each: Row, voxels: int) -> list[str]:
    """A row of a table of what is kept."""
    seconds = f"{each.seconds:.1f}" if each.budget else f"{each.seconds:.2f}"
    return [
        each.method,
        f"{each.bytes:,}",
        f"{each.bits(voxels):.2f}",
        seconds,
        *scores_of(each),
    ]


def gains(mine: Row, other: Row) -> str:
    """How much better one row is between samples, and its gradient error over the other's."""
    gain = mine.psnr_between - other.psnr_between
    return f"{gain:+.1f} dB, {mine.gradient_error / other.gradient_error:.2f}"


# ---- the figure ----------------------------------------------------------------------------------

SECONDS, BITS = (0.1, 1, 10, 100), (0.3, 1, 3, 10, 30, 100)


def draw(rows: Sequence[Row], volumes: Sequence[str], ours: str, voxels: int, path: Path) -> None:
    """PSNR between samples against bits a voxel, and against seconds, a column for each volume.

    Args:
        rows: what was measured.
        volumes: the columns.
        ours: what the names of our presets begin with.
        voxels: of a block.
        path: the picture.
    """
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, len(volumes), figsize=(5 * len(volumes), 9), squeeze=False)
    names = list(dict.fromkeys(each.method for each in rows if each.psnr_between > 0))
    styles = {name: style_of(name, k, ours) for k, name in enumerate(sorted(names))}
    for (rates, times), volume in zip(axes.T, volumes, strict=True):
        here = [each for each in rows if each.volume == volume and each.psnr_between > 0]
        for name, style in styles.items():
            each = [row for row in here if row.method == name]
            curve(rates, [(row.bits(voxels), row.psnr_between) for row in each], style)
            curve(times, [(row.seconds, row.psnr_between) for row in each], {**style, "ls": "none"})
        rates.set_title(volume)
        for axis, label, ticks in ((rates, "bits a voxel", BITS), (times, "seconds", SECONDS)):
            axis.set(xscale="log", xlabel=label, ylabel="PSNR between samples (dB)", ylim=(24, 76))
            axis.set_xticks(ticks, map(str, ticks))
            axis.minorticks_off()
            axis.grid(alpha=0.3)
        rates.set_xlim(0.25, 250)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), ncols=6, loc="upper center")
    figure.tight_layout(rect=(0, 0, 1, 0.9))
    figure.savefig(path, dpi=110)


def style_of(name: str, number: int, ours: str) -> dict[str, Any]:
    """How a method is drawn."""
    mine = name.startswith(ours)
    return {
        "color": mpl.color_sequences["tab20"][number % 20],
        "marker": "o" if mine else "s" if "spline" in name else "x",
        "lw": 2 if mine else 1,
        "label": name.replace("`", ""),
    }


def curve(axis: Axes, points: Sequence[tuple[float, float]], style: dict[str, Any]) -> None:
    """The best of what each abscissa has, as a line."""
    best = {x: max(y for other, y in points if other == x) for x, _ in points}
    axis.plot(*zip(*sorted(best.items()), strict=True) if best else ((), ()), **style)
