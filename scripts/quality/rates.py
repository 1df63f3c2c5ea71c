"""Bytes against quality, by our codec and its rivals: rates.{csv,md,png}.

python -m scripts.quality.rates [--data DIR] [--volume NAME ...] [--run-nothing] [--output FOLDER]

DIR may hold MR_Gd.nii.gz and CT_AVM.nii.gz, which the repository does not ship. Each volume is
coded whole, and its central 96³ block by itself. Ours is asked for a peak signal-to-noise ratio
over the range of the samples, which its file keeps, header and checksums included; the others are
coded at several settings, and their bytes at that ratio are read off the straight line between the
two settings around it, of the logarithm of the bytes against decibels. SPERR's settings lie 2 dB
apart. Seconds are those of the processor, of coding and of decoding, on one thread; ours checks
what it wrote within the former. What was measured is kept in the CSV, and only what is missing
there is run.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import torch
from torch import Tensor

from scripts.rivals.codecs import CODECS, OURS, Samples
from scripts.shared.problem import load_image
from scripts.shared.report import MEASURED, Report
from scripts.shared.rows import append_row, read_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

VOLUMES = ("MR_Gd", "MNI152", "CT_AVM")
BLOCK, BLOCK_SIZE = ", central block", 96
# What ours is asked for.
DECIBELS = (35.0, 40.0, 45.0, 50.0, 60.0)
# SPERR's settings, those of the others, and the ratio after which no more are tried.
OF_SPERR, OTHERS, MOST = np.arange(10.0, 70.0, 2.0).tolist(), 15, 62.0
YARDSTICK = "SPERR"


@dataclass(frozen=True)
class Row:
    """A volume coded once: ``asked`` is the setting, ``decibels`` what came of it."""

    volume: str
    codec: str
    asked: float
    decibels: float
    bytes: int
    voxels: int
    coding: float
    decoding: float

    @property
    def bits(self) -> float:
        """Bits a voxel."""
        return 8 * self.bytes / self.voxels


def volume_of(name: str, data: Path) -> Tensor:
    """A volume, or its central block, between 0 and 1."""
    source = name.removesuffix(BLOCK)
    path = "mni152" if source == "MNI152" else str(data / f"{source}.nii.gz")
    image = load_image(path).as_tensor()[0].float()
    if name.endswith(BLOCK):
        firsts = [(n - BLOCK_SIZE) // 2 for n in image.shape]
        image = image[tuple(slice(a, a + BLOCK_SIZE) for a in firsts)]
    low, high = image.aminmax()
    return ((image - low) / (high - low)).contiguous()


def measure(volume: str, codec: str, setting: float, samples: Samples) -> Row:
    """Code a volume at a setting."""
    started = time.process_time()
    data = CODECS[codec].encode(samples, setting)
    coded = time.process_time()
    found = CODECS[codec].decode(data, samples.shape)
    decoded = time.process_time()
    square = float(np.square(found.astype(np.float64) - samples).mean())
    decibels = -10 * math.log10(square) if square else math.inf
    times = (coded - started, decoded - coded)
    return Row(volume, codec, setting, decibels, len(data), samples.size, *times)


def settings_of(name: str) -> list[float]:
    """The settings at which a codec is tried, from the coarsest on."""
    low, high = CODECS[name].settings
    if name == OURS:
        return list(DECIBELS)
    if name == YARDSTICK:
        return OF_SPERR
    return np.linspace(low, high, OTHERS).tolist()


class Measured:
    """The rows of the CSV; what is missing is run and added to them."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments, self.path = arguments, arguments.output / "rates.csv"
        self.rows = {(row.volume, row.codec, row.asked): row for row in read_rows(self.path, Row)}

    def of(self, volume: str) -> dict[str, list[Row]]:
        """What every codec makes of a volume, the coarsest first."""
        samples = lru_cache(lambda: volume_of(volume, self.arguments.data).numpy())
        return {name: list(self._each(volume, name, samples)) for name in CODECS}

    def _each(self, volume: str, codec: str, samples: Callable[[], Samples]) -> Iterator[Row]:
        for setting in settings_of(codec):
            key = volume, codec, setting
            if key not in self.rows and not self.arguments.run_nothing:
                self.rows[key] = measure(volume, codec, setting, samples())
                append_row(self.path, self.rows[key])
                print(self.rows[key], flush=True)
            if key in self.rows:
                yield self.rows[key]
                if self.rows[key].decibels > MOST:
                    return


def bytes_at(rows: Sequence[Row], decibels: float) -> float:
    """Bytes at a ratio, NaN where no two settings lie around it."""
    points = sorted({(row.decibels, math.log(row.bytes)) for row in rows})
    for (low, fewer), (high, more) in pairwise(points):
        if low <= decibels <= high and low < high:
            return math.exp(fewer + (more - fewer) * (decibels - low) / (high - low))
    return math.nan


# ---- what is written -----------------------------------------------------------------------------


def table_of(report: Report, found: dict[str, list[Row]]) -> None:
    """The bytes of all codecs at the ratios of ours."""
    others = [name for name in CODECS if name != OURS]
    head = (
        "asked (dB)",
        "reached",
        "ours, bits a voxel",
        *others,
        f"ours / {YARDSTICK}",
        "seconds",
    )
    table = report.table(head, text=0)
    for mine in found[OURS]:
        at = {name: bytes_at(found[name], mine.decibels) for name in others}
        bits = (f"{8 * at[name] / mine.voxels:.3f}" for name in others)
        taken = f"{mine.coding:.2f} + {mine.decoding:.2f}"
        ratio = f"{mine.bytes / at[YARDSTICK]:.3f}"
        table.row(
            f"{mine.asked:g}", f"{mine.decibels:.2f}", f"{mine.bits:.3f}", *bits, ratio, taken
        )


def draw(found: dict[str, dict[str, list[Row]]], path: Path) -> None:
    """Ratio against bits a voxel: whole volumes above, their blocks below."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    columns = list(dict.fromkeys(name.removesuffix(BLOCK) for name in found))
    figure, axes = plt.subplots(2, len(columns), figsize=(5 * len(columns), 9), squeeze=False)
    for (whole, block), name in zip(axes.T, columns, strict=True):
        for axis, volume in ((whole, name), (block, name + BLOCK)):
            curves(axis, found[volume])
            axis.set(title=volume, xscale="log", xlabel="bits a voxel", ylabel="PSNR (dB)")
            axis.set(xlim=(0.02, 12), ylim=(30, MOST))
            axis.grid(alpha=0.3)
    axes[0, 0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


MINE: dict[str, Any] = {"lw": 2.5, "marker": "o", "color": "black", "zorder": 3}


def curves(axis: Axes, found: dict[str, list[Row]]) -> None:
    """A curve for each codec."""
    for name, rows in found.items():
        points = sorted((row.bits, row.decibels) for row in rows)
        style = MINE if name == OURS else {}
        axis.plot(*zip(*points, strict=True), label=name, **style)


def main() -> None:
    """Measure what is missing, and write the page and the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--volume", nargs="*", choices=VOLUMES, default=list(VOLUMES))
    parser.add_argument("--run-nothing", action="store_true", help="write what was measured")
    parser.add_argument("--output", type=Path, default=MEASURED)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    measured = Measured(arguments)
    kept = [v for v in VOLUMES if v in arguments.volume]
    there = [v for v in kept if v == "MNI152" or (arguments.data / f"{v}.nii.gz").is_file()]
    found = {name: measured.of(name) for v in there for name in (v, v + BLOCK)}
    report = Report("rates", "Bytes against quality, beside other codecs", arguments.output)
    report.made()
    for text in (__doc__ or "").split("\n\n")[2:]:
        report.text(text)
    report.picture("PSNR against bits a voxel, by our codec and its rivals")
    for name, rows in found.items():
        report.heading(name)
        table_of(report, rows)
    report.write()
    draw(found, report.path("png"))
    print(report)


if __name__ == "__main__":
    main()
