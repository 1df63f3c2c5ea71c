"""2-D images: the presets against their competitors, and what each choice is worth.

Everything runs on one thread, and its clock is the thread's own processor time, so that other work
on the machine does not count. Writes the tables ``docs/images.md``.
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
from baselines import Baseline, Siren
from bench_choices import Choice, fourier, splines
from measuring import command, load_image, machine
from monai.data import MetaTensor
from published import PublishedOINR2d
from torch import Tensor

from oinr_monai import FitConfig, fit
from oinr_monai.fitting.presets import PresetName
from oinr_monai.images.metrics import psnr

PICTURES = ("camera", "astronaut", "chelsea", "mni152")


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


def row(*cells: object) -> str:
    """One line of a table, also shown."""
    line = f"| {' | '.join(str(cell) for cell in cells)} |"
    print(line, flush=True)
    return line


def quality(names: Iterable[str], presets: Iterable[PresetName]) -> list[str]:
    """The presets, and the competitors in the time of each picture's ``balanced``."""
    lines = [
        "| image | method | parameters | steps | time (s) | PSNR grid (dB) | PSNR between (dB) |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for name in names:
        image, seconds = plain(load_picture(name)), math.nan
        what = f"{name} {'x'.join(map(str, image.shape))}"
        for preset in presets:
            info, took = timed_fit(image, FitConfig(preset=preset))
            seconds = took if preset == "balanced" else seconds
            scores = (f"{info['psnr_grid']:.2f}", f"{info['psnr_between']:.2f}")
            count, steps = info["parameters"], info["steps"]
            lines.append(row(what, preset, f"{count:,}", f"{steps:,}", f"{took:.0f}", *scores))
        torch.manual_seed(0)
        for baseline in competitors(image):
            steps = train(baseline, seconds)
            score = psnr(baseline.on_grid(), image if isinstance(baseline, Siren) else unit(image))
            cells = (f"{baseline.parameters:,}", f"{steps:,}", f"{seconds:.0f}", f"{score:.2f}", "")
            lines.append(row(what, baseline.name, *cells))
    return lines


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


def worth(name: str, seconds: float, only: str) -> list[str]:
    """Every choice on one picture at equal time."""
    image = plain(load_picture(name))
    lines = [
        "| choice | parameters | steps | PSNR grid (dB) | PSNR between (dB) |",
        "|---|---:|---:|---:|---:|",
    ]
    for choice in (each for each in choices() if only in each.name):
        steps = steps_within(image, choice.config, seconds)
        info = fit(image, replace(choice.config, steps=steps)).info
        scores = (f"{info['psnr_grid']:.2f}", f"{info['psnr_between']:.2f}")
        lines.append(row(choice.name, f"{info['parameters']:,}", f"{steps:,}", *scores))
    return lines


def main() -> None:
    """Run both tables and write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", nargs="*", default=PICTURES)
    parser.add_argument("--presets", nargs="*", default=("fast", "balanced"))
    parser.add_argument("--choices-on", nargs="*", default=("camera", "mni152"))
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--only", default="", help="choices whose name holds this")
    parser.add_argument("--output", type=Path, default=Path("docs"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    lines = [
        f"`{command()}`: {machine()}; seconds are those of the processor.",
        "The competitors get the time of `balanced`.",
        "",
        *quality(arguments.pictures, arguments.presets),
    ]
    for name in arguments.choices_on:
        title = f"{name}, {arguments.seconds:g} s a row:"
        lines += ["", title, "", *worth(name, arguments.seconds, arguments.only)]
    (arguments.output / "images.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
