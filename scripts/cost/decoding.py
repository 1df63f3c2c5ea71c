"""Decoding a volume against the bare convolutions in it, on the same lattice.

``Representation.sample`` encodes, tiles, scales and gathers. Beside it stands a stack of
``torch.nn.Conv3d`` of the same channels and kernels, with sines in between, that reads features
which are in memory already: at once or by slabs that a cache holds, whichever is faster. The two
take turns, and the clock is the processor's own. Writes ``docs/measured/decoding.md``.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from oinr_monai import ConvOINR, FitConfig, FourierEncoding, Grid, Representation
from oinr_monai.fitting.presets import PresetName
from oinr_monai.fitting.start import build_field
from oinr_monai.images.intensity import IntensityScale
from oinr_monai.representation.continuous_field import ContinuousField
from oinr_monai.representation.neural_field import NeuralField
from scripts.shared.meters import timed
from scripts.shared.problem import PRESETS
from scripts.shared.report import MEASURED, Report

DENSE = "kernels of 3, 32-32-32"
BANDS = 8
# Slabs of the bare stack hold so many numbers in one layer; nothing larger was faster.
SLAB_NUMBERS = (1 << 17, 1 << 19, 1 << 22)
NOTES = """processor time, medians by turns, the ratio with its least and greatest. Bare is the
faster of the whole volume and slabs."""


class Bare(nn.Module):
    """The convolutions of ``network`` and its sines, without halo, tiles or encoding.

    Args:
        network: operator whose channels, kernels and weights are taken.
        shape: lattice it answers.
        dilation: how many times finer that lattice is than the nodes' spacing.
    """

    def __init__(self, network: ConvOINR, shape: tuple[int, ...], dilation: int) -> None:
        super().__init__()
        widths = (network.in_channels, *network.channels, network.out_channels)
        self.layers = nn.ModuleList(
            nn.Conv3d(before, after, size, dilation=dilation)
            for (before, after), size in zip(pairwise(widths), network.kernel_size, strict=True)
        )
        self.halo = dilation * sum(k // 2 for k in network.kernel_size)
        self.widest = max(network.channels)
        if self.halo == 0:  # one long axis, which can be cut anywhere
            shape = (shape[0] * shape[1], 1, shape[2])
        self.features = torch.randn(1, widths[0], *[n + 2 * self.halo for n in shape])

    def rows(self, numbers: int) -> int:
        """Rows of the first axis whose widest layer holds about so many numbers."""
        return max(numbers // (self.widest * self.features[0, 0, 0].numel()), 1)

    def forward(self, u: Tensor) -> Tensor:
        """Features (1, E, *shape with halo) to a signal (1, 1, *shape)."""
        for layer in self.layers[:-1]:
            u = layer(u).sin_()
        return self.layers[-1](u)

    def by_slabs(self, step: int) -> Tensor:
        """The answer, ``step`` rows of the first axis at a time."""
        rows = self.features.shape[2] - 2 * self.halo
        slabs = (
            self(self.features[:, :, start : start + step + 2 * self.halo])
            for start in range(0, rows, step)
        )
        return torch.cat(list(slabs), dim=2)


@dataclass(frozen=True)
class Ratio:
    """Seconds of ours and of the bare stack, turn by turn."""

    operator: str
    lattice: str
    ours: list[float]
    bare: list[float]

    @property
    def ratios(self) -> list[float]:
        """Ours over bare, for each turn, the least first."""
        return sorted(a / b for a, b in zip(self.ours, self.bare, strict=True))

    def cells(self) -> list[str]:
        """A row of the table."""
        ours, bare = statistics.median(self.ours), statistics.median(self.bare)
        low, high = min(self.ratios), max(self.ratios)
        spread = f"{statistics.median(self.ratios):.2f} ({low:.2f} to {high:.2f})"
        return [self.operator, self.lattice, f"{ours:.3f}", f"{bare:.3f}", spread]


def of_preset(preset: PresetName, grid: Grid) -> ContinuousField:
    """What a fit with ``preset`` starts from."""
    return build_field(grid, 1, FitConfig(preset=preset))


def dense(grid: Grid) -> NeuralField:
    """Kernels of 3 in every layer, of the Fourier encoding."""
    encoding = FourierEncoding(grid.extent.tolist(), grid.spacing.tolist(), bands=BANDS)
    network = ConvOINR(3, encoding.channels, 1, channels=(32, 32, 32), kernel_size=3)
    return NeuralField(encoding, network, grid.spacing.tolist())


OPERATORS: dict[str, Callable[[Grid], ContinuousField]] = {
    **{preset: partial(of_preset, preset) for preset in PRESETS},
    DENSE: dense,
}


def representation_of(operator: str, size: int) -> Representation:
    """An untrained representation of a volume of ``size`` voxels along each axis."""
    torch.manual_seed(0)
    image = torch.rand(1, size, size, size)
    grid = Grid.from_image(image)
    return Representation(OPERATORS[operator](grid), grid, IntensityScale.of(image))


def fastest(bare: Bare) -> Callable[[], Tensor]:
    """The bare stack at once or by slabs: the way that takes the least time."""
    ways: list[Callable[[], Tensor]] = [lambda: bare(bare.features)]
    # Slabs thinner than their halo do several times the work.
    steps = [step for step in map(bare.rows, SLAB_NUMBERS) if step > bare.halo]
    ways += [partial(bare.by_slabs, step) for step in steps]
    for way in ways:
        way()
    return min(ways, key=lambda way: min(timed(way) for _ in range(2)))


@torch.no_grad()
def compare(operator: str, size: int, factor: int, repeats: int) -> Ratio:
    """Time both by turns on a grid of ``size`` voxels an axis, ``factor`` times as fine."""
    representation = representation_of(operator, size)
    quarter = representation.grid.crop((0, 0, 0), (size // 2, size // 2, size))
    grid = representation.grid if factor == 1 else quarter.refine(factor)
    network = representation.field.network
    assert isinstance(network, ConvOINR), f"{operator} must be of convolutions, got {network}"
    bare = fastest(Bare(network, grid.shape, factor))
    ours, other = [], []
    for _ in range(repeats):
        ours.append(timed(lambda: representation.sample(grid)))
        other.append(timed(bare))
    shape = "x".join(map(str, grid.shape))
    return Ratio(operator, f"{shape}{'' if factor == 1 else ', twice as fine'}", ours, other)


def main() -> None:
    """Run every comparison and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--dense-size", type=int, default=64, help="for kernels of 3")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=MEASURED, help="folder of the table")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    report = Report("decoding", "Decoding against bare convolutions", arguments.output)
    report.made(NOTES)
    table = report.table(["operator", "lattice", "sample, s", "bare, s", "ratio"], text=2)
    for operator in OPERATORS:
        size = arguments.dense_size if operator == DENSE else arguments.size
        for factor in (1, 2):
            table.row(*compare(operator, size, factor, arguments.repeats).cells())
    report.write()


if __name__ == "__main__":
    main()
