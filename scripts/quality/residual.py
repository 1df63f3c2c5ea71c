"""Two tries to beat a codec and the cubic spline at equal bytes: residual.{csv,md}.

python -m scripts.quality.residual [--data DIR] [--bits B ...] [--seconds S]

*An operator on a coarse closed form.* The block is coded at a low rate; an operator, 3
nodes wide in its first layer, reads what comes out and adds what it finds missing. Its own weights
are trained on this very block, stored as 16-bit floats and paid for: the codec gets so many bytes
less. Shared weights are trained on other scans, the blocks of open_ms at the same rate, and cost
nothing.

*A hierarchy of quantised splines.* Coefficients on knots every 1, 2, 4 and 8 voxels begin as the
pyramid of the block, and are trained with noise for the quantisation, under squared error plus
lambda times the bits that a small network says they take: it tells each coefficient's Laplace
distribution from the coefficients before it and those of the next coarser level. A small network of
their sums is added to the sum of all levels. Bits are those of an ideal coder, and 16 for each
weight.

Seconds are those of the processor, on one thread. Each try is held against the codec of the
package and the spline at as many bytes; ``fitting.md`` says how the scores are meant, and has other
codecs.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from oinr_monai import ConvOINR
from scripts.rivals.closed_forms import Kept, answers_of, our_codec, through
from scripts.shared.problem import Problem, make_problem
from scripts.shared.report import MEASURED, Report
from scripts.shared.rows import append_row, read_rows

VOLUMES, OTHERS = ("MR_Gd", "MNI152", "CT_AVM"), ("T1", "T2", "FLAIR")
OWN, SHARED, PYRAMID = "operator, own weights", "operator, shared weights", "quantised splines"
# Voxels along each axis of what an operator sees in a step; all of these are chosen by hand.
PATCH, RATE, LEVELS, PYRAMID_RATE = 40, 1e-2, 4, 5e-3


@dataclass(frozen=True)
class Row:
    """What a try came to, and what the codec has in as many bytes."""

    volume: str
    method: str
    asked: float
    bits: float
    seconds: float
    psnr_grid: float
    psnr_between: float
    gradient_error: float
    codec_grid: float
    codec_between: float
    codec_error: float


# ---- an operator on a coarse closed form ---------------------------------------------------------


def operator() -> ConvOINR:
    """The operator, which adds nothing at first."""
    torch.manual_seed(0)
    made = ConvOINR(3, 1, 1, channels=(16, 16), kernel_size=(3, 1, 1), padding="same")
    with torch.no_grad():
        made.last.weight.zero_()
    return made


def trained(pairs: Sequence[tuple[Tensor, Tensor]], seconds: float) -> ConvOINR:
    """The operator that makes the second of each pair, standardised blocks, of the first."""
    network = operator()
    groups = [{"params": p, "peak": RATE / gain} for p, gain in network.leverages()]
    optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99))
    generator, started = torch.Generator().manual_seed(0), time.process_time()
    while (done := (time.process_time() - started) / seconds) < 1:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * 0.5 * (1 + math.cos(math.pi * done))
        coarse, truth = pairs[int(torch.randint(len(pairs), (), generator=generator))]
        size = min(PATCH, *coarse.shape)
        first = [int(torch.randint(n - size + 1, (), generator=generator)) for n in coarse.shape]
        part = tuple(slice(a, a + size) for a in first)
        found = coarse[part] + network(coarse[part][None, None])[0, 0]
        inner = (slice(1, -1),) * 3
        optimizer.zero_grad()
        (found - truth[part])[inner].square().mean().backward()
        optimizer.step()
    return network


def numbers_of(bits: float, problem: Problem) -> int:
    """As many float32 as take so many bits a voxel."""
    return round(bits * problem.volume.numel() / 32)


def coded(problem: Problem, bits: float) -> Kept:
    """What the codec keeps at a rate."""
    return our_codec(problem, numbers_of(bits, problem))


def pair_of(problem: Problem, kept: Kept) -> tuple[Tensor, Tensor]:
    """What came out of the codec and what went in, standardised by the former."""
    coarse = kept.answers.on_grid.float()
    mean, std = coarse.mean(), coarse.std()
    return (coarse - mean) / std, (problem.volume - mean) / std


@torch.no_grad()
def improved(problem: Problem, kept: Kept, network: ConvOINR) -> Tensor:
    """The block that an operator makes of a coded one."""
    coarse, _ = pair_of(problem, kept)
    on_grid = kept.answers.on_grid.float()
    return on_grid + on_grid.std() * network(coarse[None, None])[0, 0]


def own_operator(problem: Problem, bits: float, seconds: float) -> tuple[Tensor, float]:
    """The block by its own operator, and its bits a voxel."""
    voxels = problem.volume.numel()
    weights = 16 * sum(p.numel() for p in operator().parameters()) / voxels
    kept = coded(problem, bits - weights)
    network = trained([pair_of(problem, kept)], seconds).half().float()
    return improved(problem, kept, network), 8 * kept.bytes / voxels + weights


def shared_operator(
    problem: Problem, bits: float, others: Sequence[Problem], seconds: float
) -> tuple[Tensor, float]:
    """The block by an operator of other scans, and its bits a voxel."""
    network = trained([pair_of(each, coded(each, bits)) for each in others], seconds)
    kept = coded(problem, bits)
    return improved(problem, kept, network), 8 * kept.bytes / problem.volume.numel()


# ---- a hierarchy of quantised splines ------------------------------------------------------------


def along(u: Tensor, filter_: Tensor, stride: int, up: bool) -> Tensor:
    """A filter along each axis of (1, 1, *spatial), to every second place or from it."""
    for axis in range(3):
        shape, steps, pads = [1, 1, 1], [1, 1, 1], [0, 0, 0]
        shape[axis], steps[axis], pads[axis] = len(filter_), stride, len(filter_) // 2
        weight = filter_.view(1, 1, *shape)
        if up:
            more = [stride - 1 if d == axis else 0 for d in range(3)]
            u = F.conv_transpose3d(u, weight, stride=steps, padding=pads, output_padding=more)
        else:
            u = F.conv3d(u, weight, stride=steps, padding=pads)
    return u


# A cubic B-spline on knots twice as far apart, in those of the finer knots.
TWICE = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 8


class Pyramid(nn.Module):
    """Coefficients of all levels, in steps of the quantisation, and the networks that read them.

    Args:
        block: standardised, each axis a multiple of 8.
        step: of the quantisation.
    """

    def __init__(self, block: Tensor, step: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.step, low = step, [block[None, None]]
        for _ in range(LEVELS - 1):
            low.append(along(low[-1], TWICE / 2, 2, up=False))
        levels = [a - along(b, TWICE, 2, up=True) for a, b in pairwise(low)]
        self.levels = nn.ParameterList([each / step for each in [*levels, low[-1]]])
        self.entropy = nn.ModuleList(nn.Conv3d(15, 12, 1) for _ in range(LEVELS))
        self.scales = nn.ModuleList(nn.Conv3d(12, 2, 1) for _ in range(LEVELS))
        last = nn.Conv3d(12, 1, 1)
        nn.init.zeros_(last.weight)
        self.mixed = nn.Sequential(nn.Conv3d(LEVELS, 12, 1), nn.GELU(), last)

    @property
    def weights(self) -> list[nn.Parameter]:
        """Numbers of the networks."""
        return [p for name, p in self.named_parameters() if not name.startswith("levels")]

    def forward(self, quantised: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """The block (*spatial), and the bits of the coefficients."""
        sums, bits, total = [], torch.zeros(()), torch.zeros(())
        for number in reversed(range(LEVELS)):
            here = quantised[number]
            above = along(total, TWICE, 2, up=True) if number < LEVELS - 1 else here * 0
            parent = quantised[number + 1] if number < LEVELS - 1 else quantised[number] * 0
            if number < LEVELS - 1:
                parent = F.interpolate(parent.abs(), scale_factor=2.0)
            bits = bits + self._bits(number, here, parent)
            total = above + here
            sums.append(total)
        whole = [self._whole(each) for each in sums]
        added = self.mixed(self.step * torch.cat(whole, dim=1))
        return (self.step * total + added)[0, 0], bits

    def _whole(self, u: Tensor) -> Tensor:
        while u.shape[-1] < self.levels[0].shape[-1]:
            u = along(u, TWICE, 2, up=True)
        return u

    def _bits(self, number: int, here: Tensor, parent: Tensor) -> Tensor:
        # Thirteen neighbours come before a place in the order of coding.
        padded = F.pad(here, [1] * 6)
        shifts = [(i, j, k) for i in range(3) for j in range(3) for k in range(3)][:13]
        n = here.shape[2:]
        before = [padded[:, :, i : i + n[0], j : j + n[1], k : k + n[2]] for i, j, k in shifts]
        size = torch.cat(before, dim=1).abs().mean(1, keepdim=True)
        told = torch.cat([*before, size.log1p(), parent.log1p()], dim=1)
        mean, scale = self.scales[number](F.gelu(self.entropy[number](told))).split(1, dim=1)
        b = F.softplus(scale) + 0.05
        upper, lower = ((here + half - mean) / b for half in (0.5, -0.5))
        return -(_laplace(upper) - _laplace(lower)).clamp_min(1e-6).log2().sum()


def _laplace(x: Tensor) -> Tensor:
    half = 0.5 * (-x.abs()).exp()
    return torch.where(x > 0, 1 - half, half)


def pyramid(problem: Problem, decibels: float, seconds: float) -> tuple[Tensor, float]:
    """The block by quantised splines, about so good, and its bits a voxel."""
    volume = problem.volume
    mean, std, peak = volume.mean(), volume.std(), volume.max() - volume.min()
    wanted = float(peak / std) * 10 ** (-decibels / 20)
    step = wanted * math.sqrt(12)
    model, z = Pyramid((volume - mean) / std, step), (volume - mean) / std
    # At high rates a bit less costs 6 dB: the slope of squared error against bits there.
    price = 2 * math.log(2) * wanted**2
    optimizer = torch.optim.Adam(
        [
            {"params": model.levels.parameters(), "peak": 10 * PYRAMID_RATE},
            {"params": model.weights, "peak": PYRAMID_RATE},
        ]
    )
    started = time.process_time()
    while (done := (time.process_time() - started) / seconds) < 1:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * 0.5 * (1 + math.cos(math.pi * done))
        noisy = [each + torch.rand_like(each) - 0.5 for each in model.levels]
        found, bits = model(noisy)
        optimizer.zero_grad()
        ((found - z).square().mean() + price * bits / z.numel()).backward()
        optimizer.step()
    with torch.no_grad():
        for weight in model.weights:
            weight.copy_(weight.half())
        found, bits = model([each.round() for each in model.levels])
    return mean + std * found, float(bits + 16 * sum(p.numel() for p in model.weights)) / z.numel()


# ---- the page ------------------------------------------------------------------------------------


def source_of(name: str, data: Path) -> str:
    """Where a volume is read."""
    folder = data.parent / "open_ms" if name in OTHERS else data
    return "mni152" if name == "MNI152" else str(folder / f"{name}.nii.gz")


def measure(volume: str, method: str, bits: float, arguments: argparse.Namespace) -> Row:
    """Make one try, and the codec at as many bytes."""
    problem, started = make_problem(source_of(volume, arguments.data), 96), time.process_time()
    if method == OWN:
        found, taken = own_operator(problem, bits, arguments.seconds)
    elif method == SHARED:
        others = [make_problem(source_of(name, arguments.data), 96) for name in OTHERS]
        found, taken = shared_operator(problem, bits, others, arguments.seconds)
    else:
        reached = problem.psnr(coded(problem, bits).answers.on_grid, problem.volume)
        found, taken = pyramid(problem, reached, arguments.seconds)
    seconds = time.process_time() - started
    scores = problem.scores(answers_of(through(found), problem))
    rival = problem.scores(coded(problem, taken).answers)
    kept = [scores["psnr_grid"], scores["psnr_between"], scores["gradient_error"]]
    theirs = [rival["psnr_grid"], rival["psnr_between"], rival["gradient_error"]]
    return Row(volume, method, bits, taken, seconds, *kept, *theirs)


HEAD = (
    *("volume", "method", "bits a voxel", "seconds"),
    *("PSNR grid (dB)", "PSNR between (dB)", "gradient error"),
    *("less the codec's: grid (dB)", "between (dB)", "error, times"),
)


def cells_of(row: Row) -> list[str]:
    """A row of the table."""
    cells = [row.volume, row.method, f"{row.bits:.3f}", f"{row.seconds:.0f}"]
    cells += [f"{row.psnr_grid:.2f}", f"{row.psnr_between:.2f}", f"{row.gradient_error:.3f}"]
    ahead = (row.psnr_grid - row.codec_grid, row.psnr_between - row.codec_between)
    times = f"{row.gradient_error / row.codec_error:.2f}"
    return [*cells, *(f"{each:+.2f}" for each in ahead), times]


def main() -> None:
    """Measure what is missing, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"), help="open_ms lies beside it")
    parser.add_argument("--bits", type=float, nargs="*", default=[0.4])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--output", type=Path, default=MEASURED)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    report = Report("residual", "Operators against a codec, at equal bytes", arguments.output)
    report.made("Central 96³ blocks.")
    for text in (__doc__ or "").split("\n\n")[2:]:
        report.text(text)
    table, path = report.table(HEAD, text=2), report.path("csv")
    rows = {(row.volume, row.method, row.asked): row for row in read_rows(path, Row)}
    for bits in arguments.bits:
        for method in (OWN, SHARED, PYRAMID):
            for volume in VOLUMES:
                if (volume, method, bits) not in rows:
                    rows[volume, method, bits] = measure(volume, method, bits, arguments)
                    append_row(path, rows[volume, method, bits])
                row = rows[volume, method, bits]
                table.row(*cells_of(row))
    report.write()


if __name__ == "__main__":
    main()
