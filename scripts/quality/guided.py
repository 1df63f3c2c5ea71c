"""Thick slices guided by another contrast: writes docs/measured/guided.{csv,md}.

python -m scripts.quality.guided --data DIR

DIR holds labelmaps/ and open_ms/, which the repository does not ship. What was measured is kept in
the CSV, and only what is missing there is run: a broken-off run goes on.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from monai.data import MetaTensor
from torch import Tensor

from oinr_monai import Grid, SuperResolveConfig, simulate_slices, super_resolve
from oinr_monai.images.files import read_image
from oinr_monai.images.metrics import psnr, ssim
from oinr_monai.restoration.guide import local_slope
from oinr_monai.scanner.profiles import Boxcar
from scripts.rivals.super_resolution import Stack, back_projection, cubic
from scripts.shared.anatomies import random_scan
from scripts.shared.report import MEASURED, Report
from scripts.shared.rows import append_row, read_rows

# Anatomies that nothing of the guide was found on, and the one whose scans guide those of others.
ANATOMIES, STRANGER = (3, 5, 6), 1
FACTOR, CROP, SHIFT = 5, (96, 96, 100), 3

# The most noise that scans of label maps get, over their range.
NOISE = 0.02

# Width in voxels of the windows of the guided filter; chosen by hand.
WINDOW = 2.0

HEAD = """
Slices {factor} voxels of 1 mm apart and as thick, of {crop} voxels of each volume, along the last
axis. Two scans of a label map have random contrasts, textures, bias and noise of their own; those
of open-MS are one person's, and the shipped operator has seen them: what counts there is the
difference to ours alone. The guided filter adds to the cubic spline what the guide loses by being
thick, times the local slope of both (He, Sun and Tang): the simplest way to use a guide. PSNR in
dB / SSIM / processor seconds; ours answers at once, `steps=0`. The last column is the part of what
ours alone misses that the guide gave on the scan's own sharp axes.
"""


@dataclass(frozen=True)
class Row:
    """One method on one stack with one guide."""

    image: str
    guide: str
    method: str
    psnr: float
    ssim: float
    seconds: float
    guided: float


@dataclass(frozen=True)
class Case:
    """A truth and a guide, on one grid."""

    image: str
    guide: str
    truth: MetaTensor
    other: MetaTensor


def middle(image: MetaTensor) -> MetaTensor:
    """The middle of a volume, as an image of voxels of 1 mm."""
    starts = [max((n - c) // 2, 0) for n, c in zip(image.shape[1:], CROP, strict=True)]
    box = tuple(slice(a, a + c) for a, c in zip(starts, CROP, strict=True))
    values = image.as_tensor()[(slice(None), *box)].float()
    whole = values.shape[3] // FACTOR * FACTOR
    return MetaTensor(values[..., :whole].contiguous(), affine=torch.eye(4).double())


def scans(data: Path, number: int) -> list[MetaTensor]:
    """Two scans of one anatomy."""
    labels = read_image(data / "labelmaps" / f"anatomy_{number:02d}.nii.gz")
    seeds = (torch.Generator().manual_seed(10 * number + k) for k in range(2))
    return [middle(random_scan(labels, seed, NOISE)) for seed in seeds]


def cases(data: Path) -> Iterator[Case]:
    """Right guides, and wrong ones."""
    stranger = scans(data, STRANGER)[1]
    for number in ANATOMIES:
        truth, other = scans(data, number)
        name = f"label map {number}"
        yield Case(name, "another contrast", truth, other)
        yield Case(name, f"the same, {SHIFT} mm away", truth, away(other))
        yield Case(name, "another head", truth, stranger)
    folder = data / "open_ms"
    one = {name: middle(read_image(folder / f"{name}.nii.gz")) for name in ("FLAIR", "T1", "T2")}
    for name in ("FLAIR", "T2"):
        yield Case(name, "T1", one[name], one["T1"])
        yield Case(name, f"T1, {SHIFT} mm away", one[name], away(one["T1"]))


def away(guide: MetaTensor) -> MetaTensor:
    """The guide as if the head had moved along the first axis."""
    return MetaTensor(guide.as_tensor().roll(SHIFT, dims=1), affine=guide.affine)


def guided_filter(stack: Stack, guide: MetaTensor) -> Tensor:
    """The cubic spline and what the guide loses, by their local slope."""
    seen = simulate_slices(guide, FACTOR, axis=2, profile=stack.profile)
    spline, soft = cubic(stack), cubic(Stack(seen, stack.fine, stack.profile))
    return spline + local_slope(spline, soft, WINDOW) * (guide.as_tensor() - soft)


def ours(stack: Stack, guide: MetaTensor | None) -> tuple[Tensor, float]:
    """The shipped operator, and the part that the guide gave."""
    config = SuperResolveConfig(steps=0, device="cpu")
    found = super_resolve(stack.image, config, slice_axis=2, profile=stack.profile, guide=guide)
    return found.sample(stack.fine).as_tensor(), found.info.guided or 0.0


Method = Callable[[Stack, MetaTensor], tuple[Tensor, float]]

METHODS: dict[str, Method] = {
    "cubic": lambda stack, _: (cubic(stack), 0.0),
    "back-projected": lambda stack, _: (back_projection(stack), 0.0),
    "guided filter": lambda stack, guide: (guided_filter(stack, guide), 0.0),
    "ours alone": lambda stack, _: ours(stack, None),
    "ours, guided": ours,
}


def measure(case: Case, path: Path) -> None:
    """Measure what is not yet in the CSV."""
    known = {(r.image, r.guide, r.method) for r in read_rows(path, Row)}
    across = Boxcar(float(FACTOR))
    thick = simulate_slices(case.truth, FACTOR, axis=2, profile=across)
    stack, truth = Stack(thick, Grid.from_image(case.truth), across), case.truth.as_tensor()
    for name, method in METHODS.items():
        if (case.image, case.guide, name) in known:
            continue
        started = sum(os.times()[:4])
        found, part = method(stack, case.other)
        seconds = round(sum(os.times()[:4]) - started, 1)
        scores = round(psnr(found, truth), 3), round(float(ssim(found, truth)), 4)
        row = Row(case.image, case.guide, name, *scores, seconds, round(part, 3))
        print(*asdict(row).values(), flush=True)
        append_row(path, row)


def write(folder: Path) -> None:
    """Write the page."""
    page = Report("guided", "Thick slices with a guide, measured", folder)
    page.made("seconds are those of the processor, for the machine may be shared.")
    page.text(HEAD.format(factor=FACTOR, crop=" x ".join(map(str, CROP))))
    rows = read_rows(page.path("csv"), Row)
    lines = []
    for image, guide in dict.fromkeys((r.image, r.guide) for r in rows):
        found = {r.method: r for r in rows if (r.image, r.guide) == (image, guide)}
        cells = [f"{r.psnr:.2f} / {r.ssim:.3f} / {r.seconds:.0f}" for r in found.values()]
        ours, alone = found["ours, guided"], found["ours alone"]
        lines.append([image, guide, *cells, f"{ours.psnr - alone.psnr:+.2f}", f"{ours.guided:.2f}"])
    page.table(["image", "guide", *METHODS, "gain, dB", "given"], lines, text=2)
    page.write()


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--output", type=Path, default=MEASURED)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.data is None:
        raise SystemExit("--data must name the folder that holds labelmaps/ and open_ms/")
    for case in cases(arguments.data):
        measure(case, arguments.output / "guided.csv")
    write(arguments.output)


if __name__ == "__main__":
    main()
