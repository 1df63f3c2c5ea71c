"""Held-out frames and slices: one operator for a series against interpolation along time.

python -m scripts.quality.sequences [--data DIR] [--only SERIES ...] [--methods METHOD ...]

Every third frame or slice is kept, as published, and those between are predicted. Real series: the
functional scan and the EPI volume that nibabel ships, the MNI152 template that nilearn ships, and,
where DIR holds them, pcasl, MR_Gd and CT_AVM. Writes docs/measured/sequences.{csv,md,png} and
blends.png beside it; a row that is not measured again stays as it is.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor
from torch import Tensor

from oinr_monai import FitConfig, fit_family
from oinr_monai.fitting.presets import PresetName
from oinr_monai.images.metrics import psnr, ssim
from scripts.paper.published import PublishedSequence
from scripts.shared.report import MEASURED, Report
from scripts.shared.rows import read_rows
from scripts.shared.series import GAP, SLICES, SMALL, Real, cubic, linear, real_series


@dataclass(frozen=True)
class Outcome:
    """One row of the table."""

    series: str
    frames: str
    method: str
    psnr: float
    ssim: float
    seconds: float


# ---- methods ------------------------------------------------------------------------------------


def ours(motion: bool) -> Callable[[Real, FitConfig], Tensor]:
    """Fit one operator to the kept frames, and ask it at the times of the others."""

    def method(series: Real, config: FitConfig) -> Tensor:
        frames = [MetaTensor(series.frames[i]) for i in series.kept]
        times = [float(i) for i in series.kept]
        family = fit_family(frames, config, times=times, motion=motion)
        found = [family.at_time(float(i)).sample().as_tensor() for i in series.held_out]
        return torch.stack(found)

    return method


def published(bands: int) -> Callable[[Real, FitConfig], Tensor]:
    """Train the published recipe for its 200 passes; with waves in time instead of the offset."""

    def method(series: Real, _: FitConfig) -> Tensor:
        recipe = PublishedSequence(series.frames[series.kept], bands)
        for step in range(recipe.published_steps):
            recipe.step(step / recipe.published_steps)
        last = series.kept[-1]
        return torch.stack([recipe.at_time(i / last) for i in series.held_out])

    return method


METHODS: dict[str, Callable[[Real, FitConfig], Tensor]] = {
    "linear in time": linear,
    "cubic in time": cubic,
    "fit_family without motion": ours(motion=False),
    "fit_family": ours(motion=True),
}
# Seconds a step on anything larger: only on the smallest series.
RECIPES = {
    "published recipe, offset": published(0),
    "published recipe, waves in time": published(4),
}


# What the picture shows of a slice.
DRAWN = ["linear in time", "fit_family"]


def measure(
    series: Real, preset: PresetName, methods: Sequence[str]
) -> Iterator[tuple[Outcome, Tensor]]:
    """Run methods on one series."""
    truth = series.frames[series.held_out]
    tiny = series.frames[0].numel() < 1_000
    small = series.frames[series.kept].numel() < 300_000
    for name, method in {**METHODS, **(RECIPES if tiny else {})}.items():
        if name not in methods:
            continue
        started = time.process_time()
        found = method(series, SMALL if small else FitConfig(preset=preset))
        seconds = time.process_time() - started
        score = psnr(found.transpose(0, 1), series.whole.transpose(0, 1)[:, series.held_out])
        # Slices and thin volumes are scored slice by slice.
        planes = [
            ssim(a, b)
            for a, b in zip(_planes(found), _planes(truth), strict=True)
            if float(b.max()) > float(b.min())
        ]
        frames = f"{len(series.held_out)} {series.kind} from {len(series.kept)}"
        outcome = Outcome(series.name, frames, name, score, float(np.mean(planes)), seconds)
        print(outcome, flush=True)
        yield outcome, found


def _planes(frames: Tensor) -> Tensor:
    # (T, C, X, Y[, Z]) to (planes, C, X, Y)
    return frames if frames.ndim == 4 else frames.movedim(-1, 1).flatten(0, 1)


# ---- what is written ----------------------------------------------------------------------------

NOTES = f"""\
Every {GAP}rd frame or slice is kept, as published; PSNR (over the range of the held-out ones) and
SSIM are of those between. `fit_family` finds how neighbours move into each other, and blends their
input functions there; without motion it interpolates linearly in time, through the operator. Small
series have knots at every voxel (4 numbers a voxel), the others are fitted with {{preset}}.

The published recipe is trained for its 200 passes, on the smallest series only: a step on 8 frames
of 197 x 233 takes a minute here. Of volumes, the middle {SLICES} slices.
"""


HEAD = ("series", "predicted", "method", "PSNR (dB)", "SSIM", "seconds")


def write(outcomes: list[Outcome], preset: str, report: Report) -> None:
    """Write page and CSV, these outcomes in the place of the last ones of series and method."""
    rows = {(o.series, o.method): o for o in read_rows(report.path("csv"), Outcome)}
    rows |= {(o.series, o.method): o for o in outcomes}
    outcomes = list(rows.values())
    report.made("seconds of the process, in several runs.", without=["--only", "--methods"])
    report.text(NOTES.format(preset=preset))
    report.table(HEAD, map(cells_of, outcomes), text=3)
    report.heading("Reading")
    report.text("\n".join(reading(outcomes)))
    report.picture("A slice between two kept ones: truth, linear, ours, and their errors")
    report.picture("Between two slices 8 mm apart: truth, cross-fade, and blends", "blends")
    report.write(outcomes)


def cells_of(outcome: Outcome) -> list[str]:
    """Return a row of the table."""
    numbers = [f"{outcome.psnr:.2f}", f"{outcome.ssim:.3f}", f"{outcome.seconds:.1f}"]
    return [outcome.series, outcome.frames, outcome.method, *numbers]


def reading(outcomes: list[Outcome]) -> list[str]:
    """Return a line for each series: how far ours is ahead of linear interpolation, or behind."""
    found = {(o.series, o.method): o.psnr for o in outcomes}
    lines = []
    for series in dict.fromkeys(o.series for o in outcomes):
        gains = {
            name: found[series, method] - found[series, "linear in time"]
            for name, method in (("with", "fit_family"), ("without", "fit_family without motion"))
        }
        told = ", ".join(f"{gain:+.2f} dB {name} motion" for name, gain in gains.items())
        lines.append(f"- {series}, against linear in time: {told}.")
    return lines


def draw(path: Path, rows: dict[str, tuple[Real, dict[str, Tensor]]]) -> None:
    """Draw a slice in the middle between two kept ones, as it is and as it is predicted."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = DRAWN
    figure, axes = plt.subplots(len(rows), 5, figsize=(11, 2.6 * len(rows)), squeeze=False)
    for row, (series, found) in zip(axes, rows.values(), strict=True):
        middle = len(series.held_out) // 2
        truth = series.frames[series.held_out[middle], 0]
        low, high = float(truth.min()), float(truth.quantile(0.999))
        images = [truth, *(found[name][middle, 0] for name in names)]
        for axis, image, title in zip(row, images, ["held out", *names], strict=False):
            axis.imshow(image.T.flip(0), cmap="gray", vmin=low, vmax=high)
            axis.set_title(title if series is next(iter(rows.values()))[0] else "", fontsize=9)
        for axis, name in zip(row[3:], names, strict=True):
            error = (found[name][middle, 0] - truth).abs()
            axis.imshow(error.T.flip(0), cmap="magma", vmin=0, vmax=0.3 * (high - low))
            axis.set_title(f"error, {name}" if row[0] is axes[0][0] else "", fontsize=9)
        row[0].set_ylabel(series.name, fontsize=9)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def draw_blends(path: Path, preset: PresetName) -> None:
    """Draw what lies between two slices of MNI152 8 mm apart: truth, cross-fade and blends."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from nilearn.datasets import load_mni152_template

    template = torch.from_numpy(load_mni152_template(resolution=1).get_fdata(dtype=np.float32))
    slices = template[None, ..., 78:87].movedim(-1, 0)
    shares = [0.0, 0.25, 0.5, 0.75, 1.0]
    family = fit_family([slices[0], slices[-1]], FitConfig(preset=preset), times=[0.0, 1.0])
    rows = {
        "truth": [slices[round(8 * a)] for a in shares],
        "cross-fade": [(1 - a) * slices[0] + a * slices[-1] for a in shares],
        "blend of fields": [family.at_time(a).sample().as_tensor() for a in shares],
    }
    figure, axes = plt.subplots(3, 5, figsize=(11, 8))
    for row, (name, images) in zip(axes, rows.items(), strict=True):
        for axis, image, share, truth in zip(row, images, shares, rows["truth"], strict=True):
            axis.imshow(image[0, 20:177, 20:213].T.flip(0), cmap="gray", vmin=0, vmax=1)
            score = "" if name == "truth" else f", {psnr(image, truth):.1f} dB"
            axis.set_title(f"{name} at {8 * share:g} mm{score}", fontsize=8)
            axis.set_axis_off()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Run all series and write what came out."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder of the optional volumes")
    parser.add_argument("--preset", default="balanced")
    parser.add_argument("--only", nargs="+", help="parts of names of series")
    known = [*METHODS, *RECIPES]
    parser.add_argument("--methods", nargs="+", choices=known, default=known)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=MEASURED)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    outcomes: list[Outcome] = []
    shown: dict[str, tuple[Real, dict[str, Tensor]]] = {}
    for series in real_series(arguments.data):
        if arguments.only and not any(part in series.name for part in arguments.only):
            continue
        found = {}
        for outcome, prediction in measure(series, arguments.preset, arguments.methods):
            outcomes.append(outcome)
            found[outcome.method] = prediction
            report = Report("sequences", "Held-out frames and slices", arguments.output)
            write(outcomes, arguments.preset, report)
        if series.kind == "slices" and found.keys() >= set(DRAWN):
            shown[series.name] = (series, found)
    if shown:
        draw(arguments.output / "sequences.png", shown)
        draw_blends(arguments.output / "blends.png", arguments.preset)


if __name__ == "__main__":
    main()
