"""Thick slices of all kinds, with noise and without: writes docs/measured/thick_slices.{csv,md}.

python -m scripts.quality.thick_slices [--data DIR] [--factors F ...] [--steps N ...]
    [--seconds S] [--run-nothing]

DIR holds volumes/ (MR_Gd, CT_AVM) and open_ms/ (FLAIR and GOLD), which the repository does not
ship. What was measured is kept in the CSV, and only what is missing there is run, for S processor
seconds: a broken-off run goes on.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import median

import torch
from monai.data import MetaTensor
from scipy.ndimage import binary_dilation
from torch import Tensor

from oinr_monai import DenoiseConfig, Grid, SuperResolveConfig, denoise, simulate_slices
from oinr_monai import super_resolve as made_finer
from oinr_monai.images.files import read_image
from oinr_monai.images.metrics import psnr, ssim
from oinr_monai.scanner.noise import GaussianNoise, RicianNoise
from oinr_monai.scanner.profiles import Boxcar, Gaussian
from scripts.rivals.super_resolution import Stack, back_projection, cubic
from scripts.shared.lesions import Volume, contrast, prepared, volumes
from scripts.shared.mixture import Mixture
from scripts.shared.report import MEASURED, Report
from scripts.shared.rows import append_row, read_rows

FACTORS = (4, 6, 3, 5)
PROFILES: dict[str, type[Boxcar | Gaussian]] = {"boxcar": Boxcar, "gaussian": Gaussian}
NOISES = (0.0, 0.05, 0.02)
CROP = (72, 72, 60)
SEEN, BLANK = "FLAIR", "CT_AVM"
CUBIC, BACK, NOISY = "cubic", "back-projected", "cubic, noise left in"
CLASSES = 3

# Voxels around a lesion that count as its surroundings: from one to the other.
SHELL = (1, 3)

HEAD = """
The middle {crop} voxels of each volume of about 1 mm (of FLAIR, those about its lesions), over
their 99.9th percentile, with bright balls planted as in [super_resolution.md](super_resolution.md);
slices along the last axis are so many voxels apart and as thick. The shipped operators saw nothing
of MNI152, MR_Gd and CT_AVM, but they have seen FLAIR of open-MS. Noise has so many per cent of that
range: Rician, of CT_AVM Gaussian. Where there is noise, the rivals get the slices denoised by
`denoise`, which is told kind and size; ours finds both, by default settings but for the steps.
Cells that are not shown have not been run. What ECLARE makes of a stack is in
[eclare/super_resolution.md](eclare/super_resolution.md).
"""


@dataclass(frozen=True)
class Row:
    """One method on one stack; errors and contrasts in per cent, None where there is nothing."""

    volume: str
    factor: int
    profile: str
    noise: float
    method: str
    psnr: float
    ssim: float
    balls: float
    tissues: float | None
    lesions: float | None
    sigma: float | None
    seconds: float


@dataclass(frozen=True)
class Case:
    """A volume, how it is seen, and where its own lesions are."""

    volume: Volume
    lesions: Tensor | None
    factor: int
    profile: str
    noise: float

    @property
    def model(self) -> GaussianNoise | RicianNoise | None:
        """The noise."""
        kind = GaussianNoise if self.volume.name == BLANK else RicianNoise
        return kind(self.noise) if self.noise else None

    def stack(self) -> Stack:
        """The slices."""
        image, across = self.volume.image, PROFILES[self.profile]
        fine = Grid.from_image(image)
        spacing = self.factor * float(fine.spacing[2])
        seen = simulate_slices(
            image, spacing, axis=2, profile=across(spacing), noise=self.model, seed=0
        )
        return Stack(seen, fine, across(spacing))

    def row(self, method: str, found: Tensor, sigma: float | None, seconds: float) -> Row:
        """The scores of an answer."""
        truth = self.volume.image.as_tensor()
        return Row(
            self.volume.name,
            self.factor,
            self.profile,
            self.noise,
            method,
            psnr=round(psnr(found, truth), 4),
            ssim=round(float(ssim(found, truth)), 4),
            balls=round(contrast(found, self.volume), 4),
            tissues=self._tissues(found),
            lesions=self._lesions(found),
            sigma=sigma,
            seconds=round(seconds, 1),
        )

    def _tissues(self, found: Tensor) -> float | None:
        if self.volume.name == BLANK:
            return None
        truth, head = self.volume.image.as_tensor(), self.volume.head
        mixture = Mixture.of(truth[head], CLASSES)
        wanted, made = mixture.volumes(truth[head]), mixture.volumes(found[head])
        return round(100 * float(((made - wanted).abs() / wanted).mean()), 3)

    def _lesions(self, found: Tensor) -> float | None:
        if self.lesions is None:
            return None
        near, far = (
            torch.from_numpy(binary_dilation(self.lesions.numpy(), iterations=n)) for n in SHELL
        )
        shell = far & ~near
        kept, whole = (
            float(each[0][self.lesions].mean() - each[0][shell].mean())
            for each in (found, self.volume.image.as_tensor())
        )
        return round(100 * kept / whole, 2)


# ---- volumes ------------------------------------------------------------------------------------


def everything(data: Path | None) -> Iterator[tuple[Volume, Tensor | None]]:
    """Volumes, and where they have lesions of their own."""
    folder = None if data is None else data / "volumes"
    for volume in volumes(folder, CROP):
        yield volume, None
    if data is not None and (data / "open_ms" / "GOLD.nii.gz").is_file():
        flair, gold = (read_image(data / f"open_ms/{n}.nii.gz") for n in (SEEN, "GOLD"))
        inside = gold.as_tensor()[0] > 0
        middle = [int(x) for x in inside.nonzero().double().mean(dim=0)]
        box = tuple(slice(m - n // 2, m - n // 2 + n) for m, n in zip(middle, CROP, strict=True))
        part = MetaTensor(flair.as_tensor()[(slice(None), *box)], affine=torch.eye(4).double())
        yield prepared(SEEN, part, CROP), inside[box]


# ---- methods ------------------------------------------------------------------------------------


def clean(case: Case, stack: Stack) -> Stack:
    """The slices as the rivals get them."""
    if case.model is None:
        return stack
    found = denoise(stack.image, DenoiseConfig(noise=case.model, device="cpu"))
    thick = Grid.from_image(stack.image)
    return Stack(thick.to_image(found.sample().as_tensor()), stack.fine, stack.profile)


Answer = tuple[Tensor, float | None]


def ours(steps: int) -> Callable[[Case], Answer]:
    def run(case: Case) -> Answer:
        stack, config = case.stack(), SuperResolveConfig(steps=steps, device="cpu")
        found = made_finer(stack.image, config, slice_axis=2, profile=stack.profile)
        noise = found.info.noise
        sigma = None if noise is None else round(noise["sigma"], 5)
        return found.sample(stack.fine).as_tensor(), sigma

    return run


def named(steps: int) -> str:
    return f"ours, {steps:,} steps" if steps else "ours, at once"


def methods(steps: Sequence[int]) -> list[dict[str, Callable[[Case], Answer]]]:
    """What is run of all cells before what comes after it."""
    rivals: dict[str, Callable[[Case], Answer]] = {
        CUBIC: lambda case: (cubic(clean(case, case.stack())), None),
        BACK: lambda case: (back_projection(clean(case, case.stack())), None),
        NOISY: lambda case: (cubic(case.stack()), None),
    }
    first, *others = steps
    return [rivals | {named(first): ours(first)}, *({named(n): ours(n)} for n in others)]


def measure(arguments: argparse.Namespace) -> None:
    """Measure what is not yet in the CSV, until the time is spent."""
    path, started = arguments.output / "thick_slices.csv", processor_seconds()
    known = {(r.volume, r.factor, r.profile, r.noise, r.method) for r in read_rows(path, Row)}
    found = list(everything(arguments.data))
    cells = list(product(arguments.factors, NOISES, found, PROFILES))
    for group in methods(arguments.steps):
        for (factor, noise, (volume, lesions), profile), name in product(cells, group):
            key = (volume.name, factor, profile, noise, name)
            if key in known or (name == NOISY and not noise):
                continue
            if processor_seconds() - started > arguments.seconds:
                return
            begun = processor_seconds()
            case = Case(volume, lesions, factor, profile, noise)
            answer, sigma = group[name](case)
            row = case.row(name, answer, sigma, processor_seconds() - begun)
            print(row, flush=True)
            append_row(path, row)


def processor_seconds() -> float:
    """What this process took so far."""
    return sum(os.times()[:2])


# ---- writing ------------------------------------------------------------------------------------


Cells = dict[tuple[str, int, str, float], dict[str, Row]]


def cells_of(rows: Sequence[Row]) -> Cells:
    """The rows of each cell, by method."""
    found: Cells = {}
    for r in rows:
        found.setdefault((r.volume, r.factor, r.profile, r.noise), {})[r.method] = r
    return found


def gains(cells: Cells, method: str, noise: float, rival: str) -> list[object]:
    """How far ahead a method is, over the cells of one noise that have both: least and median."""
    pairs = [
        (found[method], found[rival])
        for (*_, there), found in cells.items()
        if there == noise and method in found and rival in found
    ]
    if not pairs:
        return [0, "", "", ""]
    each = [
        [getattr(one, name) - getattr(other, name) for one, other in pairs]
        for name in ("psnr", "ssim", "balls")
    ]
    forms = ("{:+.2f}, {:+.2f}", "{:+.3f}, {:+.3f}", "{:+.0f}, {:+.0f}")
    return [
        len(pairs),
        *(form.format(min(v), median(v)) for form, v in zip(forms, each, strict=True)),
    ]


def segmented(cells: Cells, names: Sequence[str]) -> Iterator[list[object]]:
    """Volume error of tissues, over the cells that have it."""
    for noise in sorted(NOISES):
        known = [
            {name: row.tissues for name, row in found.items() if row.tissues is not None}
            for (*_, there), found in cells.items()
            if there == noise
        ]
        for name in names:
            pairs = [(each[name], each[CUBIC]) for each in known if name in each and CUBIC in each]
            if pairs:
                ratio = median(one / other for one, other in pairs)
                error = median(one for one, _ in pairs)
                yield [f"{100 * noise:g}", name, len(pairs), f"{error:.1f}", f"{ratio:.2f}"]


def kept(cells: Cells, names: Sequence[str]) -> Iterator[list[object]]:
    """Contrast of the lesions of FLAIR, and the part of what clean slices keep, back-projected."""
    for key in sorted(key for key in cells if key[0] == SEEN):
        allowed = cells.get((*key[:3], 0.0), {}).get(BACK)
        values = [cells[key][name].lesions if name in cells[key] else None for name in names]
        if allowed is None or allowed.lesions is None:
            continue
        shown = ["" if v is None else f"{v:.0f} ({100 * v / allowed.lesions:.0f})" for v in values]
        yield [f"{key[1]}, {key[2]}", f"{100 * key[3]:g}", *shown]


def write(arguments: argparse.Namespace) -> None:
    """Write the page of all rows measured so far."""
    page = Report("thick_slices", "Thick slices of all kinds, measured", arguments.output)
    page.made(
        "seconds are those of the processor.", without=["--seconds", "--factors", "--run-nothing"]
    )
    page.text(HEAD.format(crop=" x ".join(map(str, CROP))))
    rows = read_rows(page.path("csv"), Row)
    cells, found = cells_of(rows), list(dict.fromkeys(r.method for r in rows))
    mine = [name for name in found if name.startswith("ours")]
    page.heading("How far ahead")
    page.text("Least and median over the cells; balls are their contrast in per cent of the truth.")
    lines = [
        [f"{100 * noise:g}", name, rival, *gains(cells, name, noise, rival)]
        for noise, name, rival in product(sorted(NOISES), mine, (CUBIC, BACK, NOISY))
        if noise or rival != NOISY
    ]
    head = ["noise, %", "", "less", "cells", "PSNR, dB", "SSIM", "balls"]
    page.table(head, [line for line in lines if line[3]], text=3)
    page.heading("Tissues")
    page.text(
        f"A mixture of {CLASSES} Gaussians is fitted to the intensities of the truth inside the"
        " head, and tells the tissues of all answers: the error of their volumes in per cent, mean"
        " over the classes and median over the cells, and over that of cubic in the same cell."
    )
    page.table(["noise, %", "", "cells", "error, %", "of cubic's"], segmented(cells, found), text=2)
    page.heading("Real lesions")
    page.text(
        "Lesions of FLAIR, by the consensus of its readers: contrast to the shell around them in"
        " per cent of the truth's, and in brackets of what clean slices keep, back-projected."
    )
    page.table(["slices", "noise, %", *found], kept(cells, found), text=2)
    page.heading("Each cell")
    page.text("PSNR in dB / SSIM / contrast of the balls in per cent / processor seconds.")
    lines = [
        [
            f"{key[0]}, {key[1]}, {key[2]}",
            f"{100 * key[3]:g}",
            *(shown(cells[key].get(name)) for name in found),
        ]
        for key in sorted(cells)
    ]
    page.table(["", "noise, %", *found], lines, text=2)
    page.write()


def shown(row: Row | None) -> str:
    if row is None:
        return ""
    return f"{row.psnr:.2f} / {row.ssim:.3f} / {row.balls:.0f} / {row.seconds:.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--factors", type=int, nargs="+", default=FACTORS, help="only these")
    parser.add_argument("--seconds", type=float, default=2000.0, help="to measure, no more")
    parser.add_argument("--steps", type=int, nargs="+", default=[0, 100], help="of ours, by turns")
    parser.add_argument("--output", type=Path, default=MEASURED)
    parser.add_argument("--run-nothing", action="store_true", help="write the page of the CSV")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if not arguments.run_nothing:
        measure(arguments)
    write(arguments)


if __name__ == "__main__":
    main()
