"""Continuous kernels and Calderon-Zygmund operators: what their mathematics promises, measured.

Writes ``docs/measured/operators.md``: the error of a continuous kernel as its nodes come closer,
direct convolution against FFT, one operator for many resolutions, and the cost and quality of
wavelet operators. Everything runs on one thread, and its clock is processor time.
"""

from __future__ import annotations

import argparse
import math
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from monai.data import MetaTensor
from torch.nn.functional import conv3d, interpolate
from torch.utils.flop_counter import FlopCounterMode

from oinr_monai import CZOINR, CKConvOINR, ConvOINR, FitConfig, Grid, Representation, fit
from oinr_monai.images.metrics import psnr
from oinr_monai.operators.continuous_integral import ContinuousKernelIntegral, fft_convolve
from oinr_monai.operators.kernels import SIREN, MLPNet, RFNet
from oinr_monai.operators.multiplicative_kernels import FourierNet, GaborNet, MAGNet
from oinr_monai.operators.operator import LocalOperator
from scripts.shared.pictures import SIZES, on_canvas, picture
from scripts.shared.problem import make_problem
from scripts.shared.report import MEASURED, Report

KERNELS = (SIREN, MLPNet, RFNet, FourierNet, GaborNet, MAGNet)
STEPS = {"h": 1.0, "2h/3": 2 / 3, "h/2": 1 / 2, "h/4": 1 / 4, "h/8": 1 / 8, "h/16": 1 / 16}
TRAINED, UNSEEN = (128, 112, 96, 80, 64), (104, 88, 72)


def seconds_of(work: Callable[[], object], repeats: int = 3) -> float:
    """The least processor time of some repeats, after one that does not count."""
    work()
    times = []
    for _ in range(repeats):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return min(times)


# ---- continuous kernels -------------------------------------------------------------------------


@torch.no_grad()
def response(layer: ContinuousKernelIntegral, spacing: float) -> float:
    """The layer's answer at one place of a smooth wave in the plane, nodes ``spacing`` apart."""
    layer = layer.with_spacing((spacing, spacing))
    nodes = [spacing * torch.arange(-r, r + 1, dtype=torch.float64) for r in layer.radii]
    x, y = torch.meshgrid(*nodes, indexing="ij")
    return float(layer(torch.sin(0.3 + 0.5 * x + 0.8 * y)[None, None], [1, 1]))


def convergence(report: Report) -> None:
    """Error of the quadrature relative to its limit, for every kind of kernel."""
    table = report.table(["kernel", *STEPS, "order"])
    for kernel in KERNELS:
        torch.manual_seed(0)
        layer = ContinuousKernelIntegral(1, 1, kernel, 2.5, (1.0, 1.0)).double()
        layer.bias.data.zero_()
        limit = response(layer, 1 / 128)
        errors = [abs(response(layer, h) / limit - 1) for h in STEPS.values()]
        order = math.log2(errors[-2] / errors[-1])
        table.row(kernel.__name__, *[f"{error:.1e}" for error in errors], f"{order:.2f}")


def convolutions(report: Report) -> None:
    """Milliseconds of a convolution of 40^3 with 8 channels, directly and by FFT."""
    table = report.table(["nodes", "direct (ms)", "FFT (ms)", "relative difference"])
    for width in (3, 5, 7, 9, 13):
        u, weight = torch.randn(1, 8, 40, 40, 40), torch.randn(8, 8, width, width, width)
        direct, by_fft = conv3d(u, weight), fft_convolve(u, weight, [1, 1, 1])
        error = float((direct - by_fft).norm() / direct.norm())
        times = [
            seconds_of(partial(conv3d, u, weight)),
            seconds_of(partial(fft_convolve, u, weight, [1, 1, 1])),
        ]
        table.row(f"{width}³", *[f"{1000 * t:.1f}" for t in times], f"{error:.1e}")


def at_size(size: int) -> MetaTensor:
    """The camera picture at a size, low-passed, on the same canvas as all sizes."""
    whole = picture("camera")[None]
    image = interpolate(whole, (size, size), mode="bicubic", antialias=True)[0]
    return on_canvas(image)


def score(representation: Representation, size: int) -> str:
    """PSNR at a size, with the operator's nodes at its pixels."""
    image = at_size(size)
    grid = Grid.from_image(image)
    answer = representation.with_spacing(grid.spacing.tolist()).sample(grid)
    return f"{psnr(answer.as_tensor(), image.as_tensor()):.2f}"


def resolutions(seconds: float, report: Report) -> None:
    """One operator fitted at one size and at several, asked at sizes that neither has seen."""
    reach = 4 * SIZES[0] / TRAINED[0]
    operators: dict[str, Callable[..., LocalOperator]] = {
        "CKConvOINR": partial(CKConvOINR, channels=(32, 32), support=(reach, 0, 0)),
        "ConvOINR, width 1": partial(ConvOINR, channels=(32, 32), kernel_size=1),
    }
    unseen = [f"{n}², unseen" for n in UNSEEN]
    table = report.table(["operator", "fitted at", f"{TRAINED[0]}², seen", *unseen], text=2)
    for name, network in operators.items():
        for what, sizes in (("one", TRAINED[:1]), ("all", TRAINED)):
            config = FitConfig(preset="best", seconds=seconds, network=network)
            fitted = fit([at_size(size) for size in sizes], config)
            scores = [score(fitted, size) for size in (TRAINED[0], *UNSEEN)]
            table.row(name, what, *scores)


# ---- wavelet operators --------------------------------------------------------------------------


@torch.no_grad()
def cost(report: Report) -> None:
    """Multiply-adds and milliseconds of a wavelet operator as the volume grows."""
    network = CZOINR(3, 8, 1, channels=8, levels=3)
    table = report.table(["lattice", "MFLOP", "times the last", "ms"])
    last = 0.0
    for length in (24, 48, 96, 192):
        field = torch.randn(1, 8, length, 24, 24)
        with FlopCounterMode(display=False) as counter:
            network(field)
        flops = counter.get_total_flops() / 1e6
        spent = 1000 * seconds_of(partial(network, field))
        ratio = f"{flops / last:.3f}" if last else ""
        table.row(f"{length} x 24²", f"{flops:.0f}", ratio, f"{spent:.0f}")
        last = flops


def brain(budgets: list[float], report: Report) -> None:
    """A 64^3 block of MNI152 by a wavelet operator through ``fit``."""
    image = make_problem("mni152").image
    table = report.table(
        ["seconds", "parameters", "steps", "PSNR grid (dB)", "PSNR between (dB)"], text=0
    )
    for seconds in budgets:
        network = partial(CZOINR, channels=8, levels=3)
        info = fit(image, FitConfig(preset="best", seconds=seconds, network=network)).info
        scores = [f"{info[name]:.2f}" for name in ("psnr_grid", "psnr_between")]
        table.row(f"{seconds:.0f}", f"{info['parameters']:,}", f"{info['steps']}", *scores)


# ---- the report ---------------------------------------------------------------------------------

CONTINUOUS = """\
## Continuous kernels: the error as the nodes come closer

One layer, kernel half-width 2.5 mm, on a plane wave; error relative to the answer with nodes
1/128 mm apart. The weights integrate the piecewise linear interpolant exactly, so the order is 2,
wherever the kernel ends between two nodes. The last column is log2 of the last two errors' ratio.
"""

FOURIER = """\
## Direct convolution and FFT

8 channels in and out, 40³ places. A layer takes the FFT above 1,000 nodes.
"""

MANY = """\
## One operator for several resolutions

The camera picture on 256 mm, {seconds:g} s for each fit, PSNR in dB with the nodes at the pixels of
the size asked; kernels reach 4 of the largest picture's pixels. The smaller ones are low-passed:
they are not samples of the largest, and one function cannot be all of them. A fit to the largest
alone misses them by what the low-pass took, and a kernel integral by its quadrature too; a fit to
all serves the sizes between them, and pays for it at the largest.
"""

WAVELETS = """\
## Wavelet operators: cost

8 channels, 3 levels, forward; linear in the number of samples.
"""

BRAIN = """\
## Wavelet operators: a 64³ block of MNI152 at 1 mm

`fit` with `CZOINR(channels=8, levels=3)` over the preset's learned splines. Every step answers the
whole block, so steps are few; local operators reach more in the same time (core.md).
"""


def parse_arguments() -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10, help="for each fit of a picture")
    parser.add_argument("--budgets", type=float, nargs="+", default=[15, 60], help="64^3 block")
    parser.add_argument("--output", type=Path, default=MEASURED)
    return parser.parse_args()


def main() -> None:
    """Measure, and write the report."""
    arguments = parse_arguments()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
    report = Report("operators", "Operators beyond the discrete one", arguments.output)
    report.made("times are processor time.")
    parts: list[tuple[str, Callable[[Report], None]]] = [
        (CONTINUOUS, convergence),
        (FOURIER, convolutions),
        (MANY.format(seconds=arguments.seconds), partial(resolutions, arguments.seconds)),
        (WAVELETS, cost),
        (BRAIN, partial(brain, arguments.budgets)),
    ]
    for text, measure in parts:
        report.text(text)
        measure(report)
    report.write()


if __name__ == "__main__":
    main()
