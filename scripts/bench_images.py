"""2-D images: the presets against their competitors, and what each choice is worth.

Everything runs on one thread, and its clock is the thread's own processor time, so that other work
on the machine does not count. Writes the tables ``docs/images.md``.
"""

from __future__ import annotations

import argparse
import math
import shlex
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from baselines import adam_step, dyadic_encoding, grid_points, siren_network
from bench_choices import Choice, fourier, splines
from bench_core import load_image, machine
from monai.data import MetaTensor
from torch import Tensor, nn

from oinr_monai import FitConfig, fit
from oinr_monai.metrics import psnr

PICTURES = ("camera", "astronaut", "chelsea", "mni152")
OCTAVES = 10


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


def train(step: Callable[[float], None], seconds: float) -> int:
    """Take steps for ``seconds`` of processor time and return their number."""
    started, steps = time.process_time(), 0
    while (elapsed := time.process_time() - started) < seconds:
        step(elapsed / seconds)
        steps += 1
    return steps


def siren(image: Tensor, seconds: float) -> tuple[int, int, float]:
    """SIREN 256x3 on random pixels: parameters, steps and PSNR on the grid."""
    network = siren_network(256, 3, 30.0, image.ndim - 1, len(image))
    mean, std = image.flatten(1).mean(dim=1), image.flatten(1).std(dim=1)
    places = grid_points(tuple(image.shape[1:])).flatten(0, -2)
    target = (image.flatten(1).T - mean) / std
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-4)

    def step(progress: float) -> None:
        optimizer.param_groups[0]["lr"] = 5e-4 * (1 - progress)
        chosen = torch.randint(len(places), (16_384,))
        adam_step(optimizer, F.mse_loss(network(places[chosen]), target[chosen]))

    steps = train(step, seconds)
    with torch.no_grad():
        answer = torch.cat([network(chunk) for chunk in places.split(65_536)]) * std + mean
    return numbers(network), steps, psnr(answer.T.reshape(image.shape), image)


def published(image: Tensor, seconds: float) -> tuple[int, int, float]:
    """The published 2-D recipe on the whole image: parameters, steps and PSNR on the grid.

    Five 3x3 convolutions without bias, zero padding, PyTorch's start, Adam at 1e-3, target in
    [0, 1].
    """
    channels = (4 * OCTAVES, 64, 128, 128, 64, len(image))
    layers = nn.ModuleList(
        nn.Conv2d(before, after, 3, padding=1, bias=False) for before, after in pairwise(channels)
    )
    field = dyadic_encoding(tuple(image.shape[1:]), OCTAVES)
    low, high = image.min(), image.max()
    optimizer = torch.optim.Adam(layers.parameters(), lr=1e-3)

    def signal() -> Tensor:
        values = field
        for layer in layers[:-1]:
            values = torch.sin(layer(values))
        return layers[-1](values)[0] * (high - low) + low

    def step(_: float) -> None:
        adam_step(optimizer, F.mse_loss(signal(), image) / (high - low) ** 2)

    steps = train(step, seconds)
    with torch.no_grad():
        return numbers(layers), steps, psnr(signal(), image)


def numbers(network: nn.Module) -> int:
    """Number of trained numbers."""
    return sum(parameter.numel() for parameter in network.parameters())


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


def quality(names: Iterable[str], presets: Iterable[str]) -> list[str]:
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
        for method, title in ((siren, "SIREN 256x3"), (published, "O-INR, published 2-D recipe")):
            torch.manual_seed(0)
            count, steps, score = method(image, seconds)
            cells = (f"{count:,}", f"{steps:,}", f"{seconds:.0f}", f"{score:.2f}", "")
            lines.append(row(what, title, *cells))
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
        "splines 2 pixels x 4, 32-32 (best)": replace(
            start, channels=(32, 32), encoding=splines(2, 4)
        ),
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
        f"`python {shlex.join(sys.argv)}`: {machine()}; seconds are those of the processor.",
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
