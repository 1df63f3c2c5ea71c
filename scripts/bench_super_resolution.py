"""Super-resolution of thick slices, measured: writes docs/super_resolution.{csv,md,png}.

python scripts/bench_super_resolution.py [--data DIR] [--volume NAME] [--factor F] [--profile P]
    [--steps N] [--seconds S] [--eclare COMMAND] [--crop X Y Z] [--output docs]

DIR may hold MR_Gd.nii.gz and CT_AVM.nii.gz, which the repository does not ship. What was measured
is kept in the CSV, and only what is missing there is run: a broken-off run goes on.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path

import matplotlib as mpl
import torch
from measuring import append_row, machine, read_rows
from monai.data import MetaTensor
from nilearn.datasets import load_mni152_template
from scipy.ndimage import binary_erosion, binary_fill_holes, label
from super_resolution_rivals import Stack, fused_splines, methods
from torch import Tensor

from oinr_monai import Grid, fuse, simulate_slices
from oinr_monai.images.files import read_image
from oinr_monai.images.metrics import hfen, psnr, ssim
from oinr_monai.scanner.profiles import Boxcar, Gaussian
from oinr_monai.scanner.slices import SliceStack

FACTORS = (2.0, 3.0, 3.5, 4.0, 5.0, 6.0)
PROFILES: dict[str, type[Boxcar | Gaussian]] = {"boxcar": Boxcar, "gaussian": Gaussian}
CROP, LESIONS, RADII = (128, 160, 128), 24, (2.0, 4.0)
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


@dataclass(frozen=True)
class Volume:
    """A volume (1, *spatial) with bright balls planted, its head mask, and where the balls are."""

    name: str
    image: MetaTensor
    head: Tensor
    lesions: tuple[tuple[tuple[float, ...], float], ...]

    def cropped(self, slices: int) -> Volume:
        image = self.image.as_tensor()[..., :slices]
        whole = Grid.from_image(self.image)
        grid = whole.crop((0, 0, 0), (*whole.shape[:2], slices))
        kept = tuple((c, r) for c, r in self.lesions if c[2] < slices - r - 4)
        return Volume(self.name, grid.to_image(image), self.head[..., :slices], kept)


# ---- volumes and the lesions planted in them -----------------------------------------------------


def volumes(folder: Path | None, crop: Sequence[int]) -> list[Volume]:
    template = load_mni152_template(resolution=1)
    values = torch.from_numpy(template.get_fdata(dtype="f4"))[None]
    found = [("MNI152", MetaTensor(values, affine=torch.from_numpy(template.affine)))]
    for name in ("MR_Gd", "CT_AVM"):
        if folder is not None and (folder / f"{name}.nii.gz").is_file():
            found.append((name, read_image(folder / f"{name}.nii.gz")))
    return [prepared(name, image, crop) for name, image in found]


def prepared(name: str, image: MetaTensor, crop: Sequence[int]) -> Volume:
    grid = Grid.from_image(image)
    size = [min(n, m) for n, m in zip(grid.shape, crop, strict=True)]
    start = [(n - m) // 2 for n, m in zip(grid.shape, size, strict=True)]
    stop = [a + m for a, m in zip(start, size, strict=True)]
    part = image.as_tensor()[
        (slice(None), *(slice(a, b) for a, b in zip(start, stop, strict=True)))
    ]
    bright = torch.quantile(part.flatten()[:: max(part.numel() // 10**6, 1)], 0.999)
    part, grid = (part / bright).clamp(0, 1.2).contiguous(), grid.crop(start, stop)
    head = head_of(part[0])
    lesions = places(head, grid)
    return Volume(name, grid.to_image(planted(part, grid, lesions)), head[None], lesions)


def head_of(values: Tensor) -> Tensor:
    """Largest connected part above a tenth of the bright end, with its holes filled.

    Where that is less than a fifth, as where all but the vessels was blanked, everything counts.
    """
    parts, _ = label((values > 0.1).numpy())
    sizes = torch.bincount(torch.from_numpy(parts).flatten())
    sizes[0] = 0
    head = torch.from_numpy(binary_fill_holes(parts == int(sizes.argmax())))
    return head if float(head.double().mean()) > 0.2 else torch.ones_like(head)


def places(head: Tensor, grid: Grid) -> tuple[tuple[tuple[float, ...], float], ...]:
    """Centres in voxels and radii in mm of balls well inside the head, apart from each other."""
    generator = torch.Generator().manual_seed(0)
    inside = torch.from_numpy(binary_erosion(head.numpy(), iterations=8, border_value=0)).nonzero()
    found: list[tuple[tuple[float, ...], float]] = []
    for index in torch.randperm(len(inside), generator=generator).tolist():
        centre = inside[index].double() + torch.rand(3, generator=generator) - 0.5
        away = [(grid.to_world(centre) - grid.to_world(torch.tensor(c))).norm() for c, _ in found]
        if min(away, default=99.0) > 16:
            radius = RADII[0] + (RADII[1] - RADII[0]) * float(torch.rand(1, generator=generator))
            found.append((tuple(centre.tolist()), radius))
        if len(found) == LESIONS:
            break
    return tuple(found)


def distance(grid: Grid, centre: Sequence[float]) -> Tensor:
    """Distance of every voxel to a place given in voxels, in mm (*shape)."""
    return (grid.points() - grid.to_world(torch.tensor(centre, dtype=torch.float64))).norm(dim=-1)


def planted(image: Tensor, grid: Grid, lesions: Sequence[tuple[Sequence[float], float]]) -> Tensor:
    """The image with a quarter of its range added inside balls, whose border voxels take a part."""
    added = torch.zeros(grid.shape)
    for centre, radius in lesions:
        added += 0.25 * (radius - distance(grid, centre) + 0.5).clamp(0, 1).float()
    return image + added


def contrast(image: Tensor, volume: Volume) -> float:
    """Contrast of the balls to the shells around them, in per cent of the truth's."""
    grid, kept = Grid.from_image(volume.image), [0.0, 0.0]
    for centre, radius in volume.lesions:
        away = distance(grid, centre)
        ball, shell = away < radius, (away > radius + 2) & (away < radius + 4)
        for i, each in enumerate((image[0], volume.image.as_tensor()[0])):
            kept[i] += float(each[ball].mean() - each[shell].mean())
    return 100 * kept[0] / kept[1]


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

HEAD = """# Super-resolution of thick slices, measured

`{command}`, on {machine}; seconds are those of the processor, for the machine may be shared.

Volumes of about 1 mm, cropped to {crop} voxels at most and scaled to their 99.9th percentile, with
{lesions} bright balls of 2 to 4 mm radius planted at random places in the head. Slices along the
last axis are `factor` voxels apart and as thick, as a box or as a Gaussian of that full width at
half maximum. Every method that can be told the profile is told the true one. PSNR in dB over the
range of the truth, SSIM, both whole and inside the head mask; HFEN inside it (high-frequency error
norm, 0 is best); and the contrast of the planted balls to their surroundings, in per cent of the
truth's. CT_AVM is blank but for vessels, and counts whole. What is made of three stacks that cross
is not to be compared with what is made of one.
"""


def pages(rows: list[Row]) -> str:
    parts = [summary(rows)]
    for volume, profile in dict.fromkeys((r.volume, r.profile) for r in rows):
        group = [r for r in rows if (r.volume, r.profile) == (volume, profile)]
        parts.append(f"## {volume}, {profile}\n\n{table(group, whole, 'PSNR / SSIM')}")
        parts.append(table(group, inside, "head: PSNR / SSIM / HFEN / lesions %"))
    parts.append("![Truth, slices and answers, with a detail below](super_resolution.png)\n")
    return "\n".join(parts)


def whole(row: Row) -> str:
    return f"{row.psnr:.2f} / {row.ssim:.3f}"


def inside(row: Row) -> str:
    return f"{row.psnr_head:.2f} / {row.ssim_head:.3f} / {row.hfen:.3f} / {row.contrast:.0f}"


def table(rows: list[Row], cell: Callable[[Row], str], title: str) -> str:
    factors = sorted({r.factor for r in rows})
    lines = [f"| {title} | " + " | ".join(f"x {f:g}" for f in factors) + " |",
             "|---|" + "---:|" * len(factors)]  # fmt: skip
    for method in dict.fromkeys(r.method for r in rows):
        known = {r.factor: cell(r) for r in rows if r.method == method}
        lines.append(f"| {method} | " + " | ".join(known.get(f, "") for f in factors) + " |")
    return "\n".join(lines) + "\n"


def summary(rows: list[Row]) -> str:
    """How far ours is ahead of each rival, over all cells that both have."""
    cells = {(r.volume, r.factor, r.profile, r.method): r for r in rows}
    lines = [
        "| ours less | cells | PSNR: least, median, most | SSIM: least, median | lesions: least |",
        "|---|---:|---:|---:|---:|",
    ]
    for rival in dict.fromkeys(r.method for r in rows if r.method not in (OURS, FUSED, SPLINES)):
        pairs = [
            (ours, cells[volume, factor, profile, rival])
            for (volume, factor, profile, method), ours in cells.items()
            if method == OURS and (volume, factor, profile, rival) in cells
        ]
        lines += [f"| {rival} | {len(pairs)} | {ahead(pairs)} |"] if pairs else []
    return "\n".join(lines) + "\n\n" + costs([r for r in rows if r.method == OURS])


def ahead(pairs: list[tuple[Row, Row]]) -> str:
    db = [ours.psnr - rival.psnr for ours, rival in pairs]
    likeness = [ours.ssim - rival.ssim for ours, rival in pairs]
    kept = [ours.contrast - rival.contrast for ours, rival in pairs]
    return (
        f"{min(db):+.2f}, {statistics.median(db):+.2f}, {max(db):+.2f}"
        f" | {min(likeness):+.3f}, {statistics.median(likeness):+.3f} | {min(kept):+.1f}"
    )


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
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[1] / "docs")
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
    options = {"data": "DIR", "eclare": "COMMAND"}
    plain = ("volume", "factor", "profile", "steps", "seconds")
    options |= {name: f"{getattr(arguments, name)}" for name in plain}
    given = [f"--{name} {value}" for name, value in options.items() if getattr(arguments, name)]
    head = HEAD.format(
        command=" ".join(["python scripts/bench_super_resolution.py", *given]),
        machine=machine(),
        crop=" x ".join(map(str, arguments.crop)),
        lesions=LESIONS,
    )
    rows = read_rows(arguments.output / "super_resolution.csv", Row)
    (arguments.output / "super_resolution.md").write_text(f"{head}\n{pages(rows)}")


if __name__ == "__main__":
    main()
