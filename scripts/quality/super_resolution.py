"""Super-resolution of thick slices, measured: writes docs/measured/super_resolution.{csv,md,png}.

python -m scripts.quality.super_resolution [--data DIR] [--volume NAME] [--factor F] [--profile P]
    [--steps N] [--seconds S] [--eclare COMMAND] [--crop X Y Z] [--output FOLDER]

DIR may hold MR_Gd.nii.gz and CT_AVM.nii.gz, which the repository does not ship. What was measured
is kept in the CSV, and only what is missing there is run: a broken-off run goes on.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path

import matplotlib as mpl
import torch
from monai.data import MetaTensor
from torch import Tensor

from oinr_monai import Grid, fuse, simulate_slices
from oinr_monai.images.metrics import hfen, psnr, ssim
from oinr_monai.scanner.profiles import Boxcar, Gaussian
from oinr_monai.scanner.slices import SliceStack
from scripts.rivals.super_resolution import Stack, fused_splines, methods
from scripts.shared.lesions import LESIONS, Volume, contrast, volumes
from scripts.shared.report import MEASURED, Report
from scripts.shared.rows import append_row, read_rows

FACTORS = (2.0, 3.0, 3.5, 4.0, 5.0, 6.0)
PROFILES: dict[str, type[Boxcar | Gaussian]] = {"boxcar": Boxcar, "gaussian": Gaussian}
CROP = (128, 160, 128)
OURS, CUBIC, FUSED = "`super_resolve`", "cubic B-spline (SciPy)", "`fuse`, three stacks"
SPLINES, FUSED_AT = "mean of splines, three stacks", 4.0
DRAWN = (4.0, "boxcar")
SHOWN = ("linear", CUBIC, "cubic, back-projected", "SIREN", "ECLARE", OURS)


@dataclass(frozen=True)
class Row:
    """One method on one volume, thickness and profile."""

    volume: str
    factor: float
    profile: str
    method: str
    psnr: float
    psnr_head: float
    ssim: float
    ssim_head: float
    hfen: float
    contrast: float
    residual: float
    seconds: float


# ---- volumes and the lesions planted in them -----------------------------------------------------


# ---- measuring -----------------------------------------------------------------------------------


def stacks(volume: Volume, factor: float, profile: str, axes: Sequence[int]) -> list[MetaTensor]:
    spacing = (factor * Grid.from_image(volume.image).spacing).tolist()
    return [
        simulate_slices(
            volume.image, spacing[a], axis=a, profile=across(volume, factor, profile, a)
        )
        for a in axes
    ]


def across(volume: Volume, factor: float, profile: str, axis: int) -> Boxcar | Gaussian:
    return PROFILES[profile](factor * float(Grid.from_image(volume.image).spacing[axis]))


def scored(
    found: Tensor, volume: Volume, factor: float, profile: str, method: str, seconds: float
) -> Row:
    truth, head = volume.image.as_tensor(), volume.head
    (thick,) = stacks(volume, factor, profile, [2])
    fine = Grid.from_image(volume.image)
    model = SliceStack(fine, Grid.from_image(thick), 2, across(volume, factor, profile, 2))
    residual = (model.forward(found) - thick.as_tensor()).square().mean().sqrt()
    return Row(
        volume.name,
        factor,
        profile,
        method,
        psnr=short(psnr(found, truth)),
        psnr_head=short(psnr(found, truth, head)),
        ssim=short(ssim(found, truth)),
        ssim_head=short(ssim(found, truth, head)),
        hfen=short(hfen(found, truth, head)),
        contrast=short(contrast(found, volume)),
        residual=short(float(residual)),
        seconds=round(seconds, 1),
    )


def short(value: float) -> float:
    """The value to six digits."""
    return float(f"{value:.6g}")


def run_cell(
    volume: Volume, factor: float, profile: str, arguments: argparse.Namespace, draws: bool
) -> dict[str, tuple[Tensor, Row]]:
    """Answers and scores of the methods not yet in the CSV, or of all of them to draw them."""
    done = {
        row.method
        for row in read_rows(arguments.output / "super_resolution.csv", Row)
        if (row.volume, row.factor, row.profile) == (volume.name, factor, profile)
    }
    # Whole slices, and of the planes those whose cells lie within them: others have no answer.
    reach = int(volume.image.shape[3] / factor + 1e-6) * factor
    (thick,) = stacks(volume.cropped(math.ceil(reach - 1e-6)), factor, profile, [2])
    volume = volume.cropped(int(reach + 1e-6))
    fine = Grid.from_image(volume.image)
    stack = Stack(thick, fine, across(volume, factor, profile, 2))
    found: dict[str, tuple[Tensor, Row]] = {}
    work: dict[str, Callable[[], Tensor]] = {
        name: partial(method, stack)
        for name, method in methods(arguments.steps, arguments.seconds, arguments.eclare).items()
    }
    if factor == FUSED_AT:
        work |= three(volume, factor, profile)
    for name in (name for name in work if draws or name not in done):
        started = processor_seconds()
        answer = work[name]()
        row = scored(answer, volume, factor, profile, name, processor_seconds() - started)
        found[name] = (answer, row)
        if name not in done:
            append(arguments.output / "super_resolution.csv", row)
    return found


def processor_seconds() -> float:
    """What this process and the programs that it has run took so far."""
    return sum(os.times()[:4])


def three(volume: Volume, factor: float, profile: str) -> dict[str, Callable[[], Tensor]]:
    """What is made of three stacks that cross."""
    images = stacks(volume, factor, profile, range(3))
    profiles = [across(volume, factor, profile, axis) for axis in range(3)]
    fine = Grid.from_image(volume.image)
    each = [Stack(i, fine, p) for i, p in zip(images, profiles, strict=True)]

    def fused() -> Tensor:
        return fuse(images, axes=range(3), profiles=profiles, grid=fine).sample().as_tensor()

    return {SPLINES: lambda: fused_splines(each), FUSED: fused}


def append(path: Path, row: Row) -> None:
    print(
        ", ".join(f"{v:.4g}" if isinstance(v, float) else v for v in asdict(row).values()),
        flush=True,
    )
    append_row(path, row)


# ---- writing -------------------------------------------------------------------------------------

SUMMARY = (
    *("ours less", "cells", "PSNR: least, median, most"),
    *("SSIM: least, median", "lesions: least"),
)
HEAD = """
Volumes of about 1 mm, cropped to {crop} voxels at most and scaled to their 99.9th percentile, with
{lesions} bright balls of 2 to 4 mm radius planted at random places in the head. Slices along the
last axis are `factor` voxels apart and as thick, as a box or as a Gaussian of that full width at
half maximum. Every method that can be told the profile is told the true one. PSNR in dB over the
range of the truth, SSIM, both whole and inside the head mask; HFEN inside it (high-frequency error
norm, 0 is best); and the contrast of the planted balls to their surroundings, in per cent of the
truth's. CT_AVM is blank but for vessels, and counts whole. What is made of three stacks that cross
is not to be compared with what is made of one.
"""


def fill(report: Report, rows: list[Row]) -> None:
    """Write what the rows come to into the page."""
    report.table(SUMMARY, summary(rows))
    report.text(costs([r for r in rows if r.method == OURS]))
    for volume, profile in dict.fromkeys((r.volume, r.profile) for r in rows):
        group = [r for r in rows if (r.volume, r.profile) == (volume, profile)]
        report.heading(f"{volume}, {profile}")
        add_table(report, group, whole, "PSNR / SSIM")
        add_table(report, group, inside, "head: PSNR / SSIM / HFEN / lesions %")
    report.picture("Truth, slices and answers, with a detail below")


def whole(row: Row) -> str:
    return f"{row.psnr:.2f} / {row.ssim:.3f}"


def inside(row: Row) -> str:
    return f"{row.psnr_head:.2f} / {row.ssim_head:.3f} / {row.hfen:.3f} / {row.contrast:.0f}"


def add_table(report: Report, rows: list[Row], cell: Callable[[Row], str], title: str) -> None:
    """A line a method and a column a thickness."""
    factors = sorted({r.factor for r in rows})
    lines = []
    for method in dict.fromkeys(r.method for r in rows):
        known = {r.factor: cell(r) for r in rows if r.method == method}
        lines.append([method, *(known.get(f, "") for f in factors)])
    report.table([title, *(f"x {f:g}" for f in factors)], lines)


def summary(rows: list[Row]) -> Iterator[list[object]]:
    """How far ours is ahead of each rival, over all cells that both have."""
    cells = {(r.volume, r.factor, r.profile, r.method): r for r in rows}
    for rival in dict.fromkeys(r.method for r in rows if r.method not in (OURS, FUSED, SPLINES)):
        pairs = [
            (ours, cells[volume, factor, profile, rival])
            for (volume, factor, profile, method), ours in cells.items()
            if method == OURS and (volume, factor, profile, rival) in cells
        ]
        if pairs:
            yield [rival, len(pairs), *ahead(pairs)]


def ahead(pairs: list[tuple[Row, Row]]) -> list[str]:
    db = [ours.psnr - rival.psnr for ours, rival in pairs]
    likeness = [ours.ssim - rival.ssim for ours, rival in pairs]
    kept = [ours.contrast - rival.contrast for ours, rival in pairs]
    return [
        f"{min(db):+.2f}, {statistics.median(db):+.2f}, {max(db):+.2f}",
        f"{min(likeness):+.3f}, {statistics.median(likeness):+.3f}",
        f"{min(kept):+.1f}",
    ]


def costs(rows: list[Row]) -> str:
    if not rows:
        return ""
    return (
        f"Ours took {statistics.median(r.seconds for r in rows):.0f} s in the median cell. Its"
        f" slices, taken again, are off by {max(r.residual for r in rows):.1e} of the range at most"
        " (root mean square).\n"
    )


def draw(path: Path, volume: Volume, found: dict[str, tuple[Tensor, Row]]) -> None:
    """Coronal planes: truth, slices as they are, and answers, with a zoom of each."""
    mpl.use("agg")
    import matplotlib.pyplot as plt

    slices = next(iter(found.values()))[0].shape[3]
    truth = volume.cropped(slices).image.as_tensor()
    thick = truth.unflatten(3, (-1, round(DRAWN[0]))).mean(4).repeat_interleave(round(DRAWN[0]), 3)
    shown = {"truth": truth, "slices": thick} | {n: found[n][0] for n in SHOWN if n in found}
    centre = min(volume.lesions, key=lambda each: abs(each[0][2] - slices / 2))[0]
    row, half = round(centre[1]), 20
    x, z = (min(max(round(centre[d]), half), truth.shape[d + 1] - half) for d in (0, 2))
    figure, axes = plt.subplots(
        2, len(shown), figsize=(2.6 * len(shown), 5.4), layout="constrained"
    )
    for column, (name, image) in zip(axes.T, shown.items(), strict=True):
        score = f"\n{found[name][1].psnr:.2f} dB" if name in found else "\n"
        column[0].set_title(name.strip("`") + score, fontsize=9)
        plane = image[0, :, row].T.numpy()
        zoom = plane[z - half : z + half, x - half : x + half]
        for axis, part in zip(column, (plane, zoom), strict=True):
            axis.imshow(
                part, cmap="gray", vmin=0, vmax=1.1, origin="lower", interpolation="nearest"
            )
            axis.set_axis_off()
    figure.savefig(path, dpi=90)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--volume", help="only this one: MNI152, MR_Gd or CT_AVM")
    parser.add_argument("--factor", type=float, help="only this one")
    parser.add_argument("--profile", choices=PROFILES, help="only this one")
    parser.add_argument("--steps", type=int, help="of ours; its default if none")
    parser.add_argument("--seconds", type=float, default=60.0, help="of the SIREN")
    parser.add_argument("--eclare", metavar="COMMAND", help="such as .eclare/bin/run-eclare")
    parser.add_argument("--crop", type=int, nargs=3, default=CROP, metavar=("X", "Y", "Z"))
    parser.add_argument("--output", type=Path, default=MEASURED)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = volumes(arguments.data, arguments.crop)
    drawn = ("MR_Gd" if any(v.name == "MR_Gd" for v in found) else "MNI152", *DRAWN)
    picture = arguments.output / "super_resolution.png"
    chosen = (arguments.volume, arguments.factor, arguments.profile)
    for volume, profile, factor in product(found, PROFILES, FACTORS):
        cell = (volume.name, factor, profile)
        if all(w in (None, c) for w, c in zip(chosen, cell, strict=True)):
            draws = cell == drawn and not picture.is_file()
            answers = run_cell(volume, factor, profile, arguments, draws)
            if draws:
                draw(picture, volume, answers)
    write(arguments)


def write(arguments: argparse.Namespace) -> None:
    """Write the page of all rows measured so far."""
    name, title = "super_resolution", "Super-resolution of thick slices, measured"
    report = Report(name, title, arguments.output)
    report.made("seconds are those of the processor, for the machine may be shared.")
    crop = " x ".join(map(str, arguments.crop))
    report.text(HEAD.format(crop=crop, lesions=LESIONS))
    fill(report, read_rows(report.path("csv"), Row))
    report.write()


if __name__ == "__main__":
    main()
