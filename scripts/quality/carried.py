"""What an operator gains that carries over: writes docs/measured/carried.{csv,md}.

python -m scripts.quality.carried [--data DIR] [--volume NAME] [--factor F] [--profile P]

DIR may hold MR_Gd.nii.gz and CT_AVM.nii.gz, which the repository does not ship. What was measured
is kept in the CSV, and only what is missing there is run: a broken-off run goes on.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import torch
from torch import Tensor

from oinr_monai import Grid, simulate_slices
from oinr_monai.images.metrics import psnr, ssim
from oinr_monai.restoration.carried_operator import shipped_operator
from oinr_monai.scanner.profiles import Boxcar, Gaussian
from scripts.rivals.super_resolution import Stack, back_projection, cubic, ours
from scripts.shared.lesions import Volume, contrast, volumes
from scripts.shared.report import MEASURED, Report
from scripts.shared.rows import append_row, read_rows

FACTORS = (3.0, 4.0, 5.0, 6.0)
PROFILES: dict[str, type[Boxcar | Gaussian]] = {"boxcar": Boxcar, "gaussian": Gaussian}
CROP = (128, 160, 128)

# Steps from nothing that were the default before; and from the shipped operator.
ALONE, STEPS = 4000, (0, 300, 1000)

HEAD = """
Volumes of about 1 mm, cropped to {crop} voxels at most, with bright balls planted as in
[super_resolution.md](super_resolution.md); the shipped operator saw nothing of them. Slices along
the last axis are so many voxels apart and as thick. Cubic is SciPy's B-spline: its PSNR in dB over
the range of the truth, its SSIM and the contrast of the balls that it keeps, in per cent of the
truth's; of the others, what is gained over it, and processor seconds. From nothing means
`SuperResolveConfig(start=None)`, which learns from these slices alone.
"""


@dataclass(frozen=True)
class Row:
    """One method on one stack."""

    volume: str
    factor: float
    profile: str
    method: str
    psnr: float
    ssim: float
    contrast: float
    seconds: float


def methods() -> dict[str, Callable[[Stack], Tensor]]:
    carried: dict[str, Callable[[Stack], Tensor]] = {
        f"{steps:,} steps" if steps else "at once": ours(steps, shipped_operator())
        for steps in STEPS
    }
    plain = {"cubic": cubic, "back-projected": back_projection}
    return plain | carried | {f"from nothing, {ALONE:,} steps": ours(ALONE)}


def cell(volume: Volume, factor: float, profile: str, path: Path) -> None:
    """Measure what is not yet in the CSV."""
    rows = read_rows(path, Row)
    named = (volume.name, factor, profile)
    done = {r.method for r in rows if (r.volume, r.factor, r.profile) == named}
    volume = volume.cropped(int(int(volume.image.shape[3] / factor + 1e-6) * factor + 1e-6))
    fine = Grid.from_image(volume.image)
    spacing = factor * float(fine.spacing[2])
    across = PROFILES[profile](spacing)
    stack = Stack(simulate_slices(volume.image, spacing, axis=2, profile=across), fine, across)
    for name, method in methods().items():
        if name not in done:
            started = sum(os.times()[:4])
            found = method(stack)
            seconds = round(sum(os.times()[:4]) - started, 1)
            truth = volume.image.as_tensor()
            scores = psnr(found, truth), ssim(found, truth), contrast(found, volume)
            values = [float(f"{float(s):.6g}") for s in scores]
            row = Row(volume.name, factor, profile, name, values[0], values[1], values[2], seconds)
            print(*asdict(row).values(), flush=True)
            append_row(path, row)


def line(group: Sequence[Row]) -> list[object]:
    """A stack: cubic as it is, and what each method gains over it."""
    known = {r.method: r for r in group}
    base = known["cubic"]
    cells: list[object] = [f"{base.psnr:.2f} / {base.ssim:.3f} / {base.contrast:.0f}"]
    for name in (name for name in methods() if name != "cubic"):
        r = known.get(name)
        cells.append(
            ""
            if r is None
            else f"{r.psnr - base.psnr:+.2f} / {r.ssim - base.ssim:+.3f} / "
            f"{r.contrast - base.contrast:+.0f} / {r.seconds:.0f} s"
        )
    return [f"{base.volume}, {base.profile}", f"{base.factor:g}", *cells]


def write(folder: Path) -> None:
    report = Report("carried", "An operator that carries over, measured", folder)
    report.made("seconds are those of the processor, for the machine may be shared.")
    report.text(HEAD.format(crop=" x ".join(map(str, CROP))))
    rows = read_rows(report.path("csv"), Row)
    stacks = dict.fromkeys((r.volume, r.profile, r.factor) for r in rows)
    lines = [
        line([r for r in rows if (r.volume, r.profile, r.factor) == each])
        for each in sorted(stacks)
    ]
    report.table(["", "x", *methods()], lines)
    report.write()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--volume", help="only this one: MNI152, MR_Gd or CT_AVM")
    parser.add_argument("--factor", type=float, help="only this one")
    parser.add_argument("--profile", choices=PROFILES, help="only this one")
    parser.add_argument("--output", type=Path, default=MEASURED)
    parser.add_argument("--run-nothing", action="store_true", help="write the page of the CSV")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    chosen = (arguments.volume, arguments.factor, arguments.profile)
    found = [] if arguments.run_nothing else volumes(arguments.data, CROP)
    for volume, factor, profile in product(found, FACTORS, PROFILES):
        named = (volume.name, factor, profile)
        if all(w in (None, c) for w, c in zip(chosen, named, strict=True)):
            cell(volume, factor, profile, arguments.output / "carried.csv")
    write(arguments.output)


if __name__ == "__main__":
    main()
