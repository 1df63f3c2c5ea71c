"""What each choice in the core is worth at equal time: input function, kernel width, places.

Every row is one call of ``fit`` with the same seconds on the same block and threads. Writes the
table ``docs/choices.md``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from measuring import command, machine, make_problem

from oinr_monai import CoordinateField, FitConfig, FourierEncoding, Grid, SplineField, fit
from oinr_monai.fields.field import Field
from oinr_monai.fields.joint import JointField


@dataclass(frozen=True)
class Choice:
    """One row: what it is, and the settings that make it."""

    name: str
    config: FitConfig


def splines(knots: float, channels: int, halo: int = 0) -> Callable[[Grid], Field]:
    """Learned spline field with knots every ``knots`` voxels and a halo in voxels."""

    def make(grid: Grid) -> Field:
        spacing = grid.spacing
        margin = (spacing * halo).tolist()
        return SplineField(grid.extent.tolist(), (spacing * knots).tolist(), channels, margin)

    return make


def fourier(bands: int | None) -> Callable[[Grid], Field]:
    """Fourier encoding in mm, all harmonics or ``bands`` of them."""
    return lambda grid: FourierEncoding(grid.extent.tolist(), grid.spacing.tolist(), bands=bands)


def coordinates(grid: Grid) -> Field:
    """Plain coordinates: the network is a SIREN."""
    return CoordinateField(grid.extent.tolist())


def coordinates_and_fourier(grid: Grid) -> Field:
    """Plain coordinates beside all harmonics."""
    return JointField([coordinates(grid), fourier(None)(grid)])


def splines_and_fourier(grid: Grid) -> Field:
    """Learned splines beside eight bands of the Fourier encoding."""
    return JointField([splines(3, 4)(grid), fourier(8)(grid)])


def choices() -> list[Choice]:
    """The rows, grouped by what they vary."""
    wide, slim = (128, 128, 128), (16, 16)
    start = FitConfig(preset="fast", channels=slim, encoding=splines(3, 4))
    rows = {
        "f(x) = x, 128-128-128 (a SIREN)": replace(start, channels=wide, encoding=coordinates),
        "Fourier, 8 bands, 128-128-128": replace(start, channels=wide, encoding=fourier(8)),
        "Fourier, all harmonics, 128-128-128": replace(
            start, channels=wide, encoding=fourier(None)
        ),
        "x and all harmonics, 128-128-128": replace(
            start, channels=wide, encoding=coordinates_and_fourier
        ),
        "Fourier, kernel 3 in the first layer": replace(
            start, channels=wide, encoding=fourier(8), kernel_size=(3, 1, 1, 1)
        ),
        "Fourier, 32-32-32, kernel 3 in every layer": replace(
            start, channels=(32, 32, 32), encoding=fourier(8), kernel_size=3
        ),
        "splines 3 voxels x 4, 16-16": start,
        "splines and Fourier, 16-16": replace(start, encoding=splines_and_fourier),
        "splines, kernel 3 in the first layer": replace(
            start, encoding=splines(3, 4, halo=1), kernel_size=(3, 1, 1)
        ),
        "splines, kernel 3 in every layer": replace(
            start, encoding=splines(3, 4, halo=3), kernel_size=3
        ),
        "splines, 32-32": replace(start, channels=(32, 32)),
        "splines, 32-32-32": replace(start, channels=(32, 32, 32)),
        "splines 4 voxels x 8, 32-32": replace(start, channels=(32, 32), encoding=splines(4, 8)),
        "splines 3 voxels x 8, 32-32": replace(start, channels=(32, 32), encoding=splines(3, 8)),
        "splines 2 voxels x 4, 32-32": replace(start, channels=(32, 32), encoding=splines(2, 4)),
        "4,096 places a step": replace(start, places=4_096),
        "16,384 places a step": replace(start, places=16_384),
        "32,768 places a step": replace(start, places=32_768),
    }
    return [Choice(name, config) for name, config in rows.items()]


def main() -> None:
    """Run every row and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--volume", default="mni152")
    parser.add_argument("--only", default="", help="rows whose name holds this")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("docs"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    problem = make_problem(arguments.volume)
    lines = [
        f"`{command()}`: {arguments.seconds:g} s a row, {machine()}.",
        "",
        "| choice | parameters | steps | PSNR grid (dB) | PSNR between (dB) |",
        "|---|---:|---:|---:|---:|",
    ]
    for choice in (row for row in choices() if arguments.only in row.name):
        info = fit(problem.image, replace(choice.config, seconds=arguments.seconds)).info
        lines.append(
            f"| {choice.name} | {info['parameters']:,} | {info['steps']:,} "
            f"| {info['psnr_grid']:.2f} | {info['psnr_between']:.2f} |"
        )
        print(lines[-1], flush=True)
    (arguments.output / "choices.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
