"""2-D images: the presets against their competitors, and what each choice is worth.

Everything runs on one thread, and its clock is the thread's own processor time, so that other work
on the machine does not count. Writes the tables ``docs/measured/images.md``.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from monai.data import MetaTensor
from torch import Tensor

from oinr_monai import FitConfig, fit
from oinr_monai.fitting.presets import PresetName
from oinr_monai.images.metrics import psnr
from scripts.paper.published import PublishedOINR2d
from scripts.rivals.baseline import Baseline, Siren
from scripts.shared.inputs import Choice, fourier, splines
from scripts.shared.problem import load_image
from scripts.shared.report import MEASURED, Report, Table

PICTURES = ("camera", "astronaut", "chelsea", "mni152")
SCORES = ("PSNR grid (dB)", "PSNR between (dB)")
QUALITY = ("image", "method", "parameters", "steps", "time (s)", *SCORES)
WORTH = ("choice", "parameters", "steps", *SCORES)


def load_picture(name: str) -> Tensor:
    """Return a picture of scikit-image (C, X, Y), or the middle axial slice of MNI152 at 1 mm."""
    if name == "mni152":
        volume = load_image("mni152").float()
        return torch.as_tensor(volume[..., volume.shape[-1] // 2]).contiguous()
    from skimage import data

    pixels = torch.from_numpy(getattr(data, name)().copy()).float()
    return (pixels[..., None] if pixels.ndim == 2 else pixels).permute(2, 1, 0).contiguous()


def plain(image: Tensor) -> Tensor:
    """The values alone."""
    return image.as_tensor() if isinstance(image, MetaTensor) else image


def train(baseline: Baseline, seconds: float) -> int:
    """Take steps for ``seconds`` of processor time and return their number."""
    started, steps = time.process_time(), 0
    while (elapsed := time.process_time() - started) < seconds:
        baseline.step(elapsed / seconds)
        steps += 1
    return steps


def competitors(image: Tensor) -> list[Baseline]:
    """SIREN, and the published recipe with the image in [0, 1]."""
    return [Siren(image, width=256), PublishedOINR2d(unit(image))]


def unit(image: Tensor) -> Tensor:
    """The image in [0, 1]."""
    return (image - image.min()) / (image.max() - image.min())


def timed_fit(image: Tensor, config: FitConfig) -> tuple[dict[str, Any], float]:
    """What a fit says of itself, and its processor time in seconds."""
    started = time.process_time()
    info = fit(image, config).info
    return info, time.process_time() - started


def steps_within(image: Tensor, config: FitConfig, seconds: float) -> int:
    """Steps that take about ``seconds``, by the difference of two short fits."""
    short, long = (timed_fit(image, replace(config, steps=n))[1] for n in (20, 220))
    return round(seconds * 200 / (long - short))


def quality(table: Table, names: Iterable[str], presets: Iterable[PresetName]) -> None:
    """The presets, and the competitors in the time of each picture's ``balanced``."""
    for name in names:
        image, seconds = plain(load_picture(name)), math.nan
        what = f"{name} {'x'.join(map(str, image.shape))}"
        for preset in presets:
            info, took = timed_fit(image, FitConfig(preset=preset))
            seconds = took if preset == "balanced" else seconds
            scores = (f"{info['psnr_grid']:.2f}", f"{info['psnr_between']:.2f}")
            count, steps = info["parameters"], info["steps"]
            table.row(what, preset, f"{count:,}", f"{steps:,}", f"{took:.0f}", *scores)
        torch.manual_seed(0)
        for baseline in competitors(image):
            steps = train(baseline, seconds)
            score = psnr(baseline.on_grid(), image if isinstance(baseline, Siren) else unit(image))
            cells = (f"{baseline.parameters:,}", f"{steps:,}", f"{seconds:.0f}", f"{score:.2f}", "")
            table.row(what, baseline.name, *cells)


def choices() -> list[Choice]:
    """The rows, grouped by what they vary."""
    start = FitConfig(channels=(16, 16), encoding=splines(3, 4))
    rows = {
        "splines 3 pixels x 4, 16-16 (fast)": start,
        "splines 4 pixels x 8, 16-16": replace(start, encoding=splines(4, 8)),
        "splines 6 pixels x 16, 16-16": replace(start, encoding=splines(6, 16)),
        "splines 2 pixels x 2, 16-16": replace(start, encoding=splines(2, 2)),
        "splines 1.5 pixels x 1, 16-16": replace(start, encoding=splines(1.5, 1)),
        "splines 3 pixels x 8, 16-16 (balanced in 3-D)": replace(start, encoding=splines(3, 8)),
        "splines 2 pixels x 4, 16-16 (balanced)": replace(start, encoding=splines(2, 4)),
        "splines 2 pixels x 4, 32-32": replace(start, channels=(32, 32), encoding=splines(2, 4)),
        "splines 3 pixels x 4, 32-32": replace(start, channels=(32, 32)),
        "splines 3 pixels x 4, 64": replace(start, channels=(64,)),
        "splines 3 pixels x 4, 16-16, kernel 3 first": replace(
            start, encoding=splines(3, 4, halo=1), kernel_size=(3, 1, 1)
        ),
        "Fourier, all harmonics, 64-64": replace(start, channels=(64, 64), encoding=fourier(None)),
        "4,096 places a step": replace(start, places=4_096),
        "16,384 places a step": replace(start, places=16_384),
    }
    return [Choice(name, config) for name, config in rows.items()]


def worth(table: Table, name: str, seconds: float, only: str) -> None:
    """Every choice on one picture at equal time."""
    image = plain(load_picture(name))
    for choice in (each for each in choices() if only in each.name):
        steps = steps_within(image, choice.config, seconds)
        info = fit(image, replace(choice.config, steps=steps)).info
        scores = (f"{info['psnr_grid']:.2f}", f"{info['psnr_between']:.2f}")
        table.row(choice.name, f"{info['parameters']:,}", f"{steps:,}", *scores)


def main() -> None:
    """Run both tables and write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", nargs="*", default=PICTURES)
    parser.add_argument("--presets", nargs="*", default=("fast", "balanced"))
    parser.add_argument("--choices-on", nargs="*", default=("camera", "mni152"))
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--only", default="", help="choices whose name holds this")
    parser.add_argument("--output", type=Path, default=MEASURED)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    report = Report("images", "Pictures", arguments.output)
    report.made("seconds are those of the processor. The competitors get the time of `balanced`.")
    quality(report.table(QUALITY, text=2), arguments.pictures, arguments.presets)
    for name in arguments.choices_on:
        report.text(f"{name}, {arguments.seconds:g} s a row:")
        worth(report.table(WORTH), name, arguments.seconds, arguments.only)
    report.write()


if __name__ == "__main__":
    main()
