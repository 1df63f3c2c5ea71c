"""Denoising of series beside their mean, single frames and DIPY: series_denoising.{csv,md}.

python -m scripts.quality.series_denoising [--data DIR] [--rivals PYTHON] [--run-nothing]

DIR holds MR_Gd.nii.gz and pcasl.nii.gz, which the repository does not ship; PYTHON runs an
environment with dipy.

Clean series are made of the middle of two volumes, over their range: repeats of one image; two
kinds of frames by turns, as in arterial spin labelling; a bolus that passes later in some places
than in others; and five images that lie turned to each other, which have little in common. Noise is
Gaussian and white; on repeats also smoothed by 0.6 voxels. `denoise` finds its size and smoothing
by itself; DIPY's `mppca` finds its size, and has windows of the same side. The mean over frames is
what repeats allow at best where nothing is known of images.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from nilearn.datasets import load_mni152_template
from scipy.ndimage import gaussian_filter
from torch import Tensor

from oinr_monai import DenoiseConfig, GaussianNoise, RicianNoise, denoise
from oinr_monai.images.files import read_image
from oinr_monai.images.metrics import psnr
from scripts.rivals.denoising import elsewhere
from scripts.shared.report import MEASURED, Report
from scripts.shared.rows import append_row, read_rows

CROP, LEVELS, SMOOTH = (48, 48, 32), (0.02, 0.05), 0.6
KINDS = {"repeats": 10, "by turns": 10, "bolus": 24, "unlike": 5}
OURS, ALONE, MEAN, MPPCA = "`denoise`", "`denoise`, frame by frame", "mean over frames", "DIPY"
METHODS = ("noisy", MEAN, ALONE, MPPCA, OURS)


@dataclass(frozen=True)
class Row:
    """How near a method came to a clean series."""

    volume: str
    kind: str
    smoothing: float
    level: float
    method: str
    psnr: float
    seconds: float


@dataclass(frozen=True)
class Case:
    """A clean series (T, x, y, z), and noise on it."""

    volume: str
    kind: str
    smoothing: float
    level: float
    clean: Tensor

    def noisy(self) -> Tensor:
        """The noisy series."""
        noise = GaussianNoise(self.level, self.smoothing)
        return noise.add(self.clean, torch.Generator().manual_seed(0))


def middle(values: Tensor) -> Tensor:
    """The middle of a volume, from 0 to 1."""
    starts = [(n - m) // 2 for n, m in zip(values.shape, CROP, strict=True)]
    part = values[tuple(slice(a, a + m) for a, m in zip(starts, CROP, strict=True))].float()
    low, high = torch.quantile(part.flatten(), torch.tensor([0.0, 0.9995]))
    return ((part - low) / (high - low)).clamp(0, 1)


def series(image: Tensor, kind: str) -> Tensor:
    """A clean series (T, x, y, z) made of an image."""
    generator = torch.Generator().manual_seed(1)
    times = torch.arange(float(KINDS[kind]))[:, None, None, None]
    wide = gaussian_filter(torch.rand(image.shape, generator=generator).numpy(), 3)
    place = torch.from_numpy(wide - wide.min()) / float(wide.max() - wide.min())
    if kind == "repeats":
        return image.expand(len(times), -1, -1, -1).clone()
    if kind == "by turns":
        return image + 0.04 * (times % 2) * place * (image > 0.1)
    if kind == "bolus":
        passing = torch.exp(-((times - 6 - 6 * place) ** 2) / (2 * (2 + 2 * place) ** 2))
        return image - 0.3 * image * place * passing
    turned = [image, image.flip(0), 1 - image.flip(1), image.flip(2) ** 2, image.flip(0, 1).sqrt()]
    return torch.stack(turned)


def cases(data: Path | None) -> Iterator[Case]:
    """Each volume as each series with each noise."""
    volumes = {"MNI152, 2 mm": torch.from_numpy(load_mni152_template(2).get_fdata(dtype="f4"))}
    if data is not None and (data / "MR_Gd.nii.gz").is_file():
        volumes["MR_Gd"] = read_image(data / "MR_Gd.nii.gz").as_tensor()[0]
    for name, values in volumes.items():
        for kind in KINDS:
            clean = series(middle(values), kind)
            for smoothing in (0.0, SMOOTH) if kind == "repeats" else (0.0,):
                for level in LEVELS:
                    yield Case(name, kind, smoothing, level, clean)


# ---- methods ------------------------------------------------------------------------------------


def ours(noisy: Tensor) -> Tensor:
    """`denoise`, which is told nothing."""
    return denoise(noisy, DenoiseConfig(GaussianNoise(), device="cpu")).sample().as_tensor()


def alone(noisy: Tensor) -> Tensor:
    """Frame by frame, with what was found of the noise of all."""
    found = GaussianNoise().estimated(noisy)
    noise = GaussianNoise(min(found.sigma), found.smoothing)  # type: ignore[arg-type]
    config = DenoiseConfig(noise, device="cpu")
    return torch.cat([denoise(each[None], config).sample().as_tensor() for each in noisy])


def measured(case: Case, method: str, python: str | None) -> Row:
    """What a method makes of a noisy series."""
    noisy, started = case.noisy(), time.process_time()
    ways: dict[str, Callable[[], Tensor]] = {
        "noisy": lambda: noisy,
        MEAN: lambda: noisy.mean(dim=0).expand_as(noisy),
        ALONE: partial(alone, noisy),
        OURS: partial(ours, noisy),
    }
    if method == MPPCA:
        found, spent = elsewhere(str(python), "MPPCA", noisy[None], case.level)
        found = found[0]
    else:
        found = ways[method]()
        spent = time.process_time() - started
    # Of all frames together, over the range of the image.
    score = psnr(found.flatten(0, 1)[None], case.clean.flatten(0, 1)[None])
    return Row(case.volume, case.kind, case.smoothing, case.level, method, score, spent)


def perfusion(path: Path) -> Iterator[tuple[int, float, float, float]]:
    """Distances of each frame to the mean of four that were not seen: raw, alone, jointly."""
    frames = read_image(path).as_tensor().float()
    inside = (frames > 0).all(dim=0)
    for frame in range(len(frames)):
        # Two pairs of neighbours, of which both kinds of frames are; the frame is in neither.
        pairs = [(i, i + 1) for i in range(0, len(frames), 2) if frame not in (i, i + 1)]
        kept = [i for pair in pairs[::2] for i in pair]
        seen = [i for i in range(len(frames)) if i not in kept]
        target, place = frames[kept].mean(dim=0), seen.index(frame)
        noise = RicianNoise().estimated(frames[seen], inside)
        config = DenoiseConfig(noise, device="cpu")
        joint = denoise(frames[seen], config, mask=inside).sample().as_tensor()[place]
        one = RicianNoise(min(noise.sigma), noise.smoothing)  # type: ignore[arg-type]
        config = DenoiseConfig(one, device="cpu")
        single = denoise(frames[frame][None], config, mask=inside).sample().as_tensor()[0]
        away = [
            float((each - target)[inside].square().mean().sqrt())
            for each in (frames[frame], single, joint)
        ]
        yield frame, away[0], away[1], away[2]


# ---- the page -----------------------------------------------------------------------------------


def rows_of(arguments: argparse.Namespace) -> list[Row]:
    """The rows of the CSV, and what is missing of them."""
    path = arguments.output / "series_denoising.csv"
    rows = read_rows(path, Row)
    known = {(row.volume, row.kind, row.smoothing, row.level, row.method) for row in rows}
    for case in [] if arguments.run_nothing else cases(arguments.data):
        for method in METHODS:
            cell = (case.volume, case.kind, case.smoothing, case.level, method)
            if cell not in known and not (method == MPPCA and arguments.rivals is None):
                rows.append(measured(case, method, arguments.rivals))
                append_row(path, rows[-1])
                print(rows[-1], flush=True)
    return rows


def page(arguments: argparse.Namespace, rows: Sequence[Row]) -> Report:
    """The tables of what was measured."""
    report = Report("series_denoising", "Denoising of series", arguments.output)
    report.made(f"{' x '.join(map(str, CROP))} voxels of each volume; one thread.")
    for text in (__doc__ or "").split("\n\n")[3:]:
        report.text(text)
    report.heading("PSNR in dB, of all frames")
    table = report.table(["volume", "series", "smooth by", "noise (%)", *METHODS], text=2)
    found = {(r.volume, r.kind, r.smoothing, r.level, r.method): r for r in rows}
    for cell in dict.fromkeys(key[:4] for key in found):
        each = [found.get((*cell, method)) for method in METHODS]
        shown = ["" if row is None else f"{row.psnr:.2f}" for row in each]
        table.row(*cell[:2], f"{cell[2]:g}", f"{100 * cell[3]:g}", *shown)
    report.heading("Processor seconds, 10 frames")
    table = report.table(["method", "seconds"])
    for method in METHODS[2:]:
        spent = [r.seconds for r in rows if r.method == method and r.kind == "repeats"]
        table.row(method, f"{sum(spent) / len(spent):.1f}" if spent else "")
    if arguments.data is not None and (arguments.data / "pcasl.nii.gz").is_file():
        report.heading("A perfusion series")
        report.text(
            "Root mean square distance of a frame to the mean of four others inside the brain, "
            "which joint denoising does not see: it sees the frame and the five that are left."
        )
        table = report.table(["frame", "raw", "frame by frame", "jointly"], text=0)
        for frame, *away in perfusion(arguments.data / "pcasl.nii.gz"):
            table.row(frame, *(f"{x:.2f}" for x in away))
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--rivals")
    parser.add_argument("--run-nothing", action="store_true", help="write what was measured")
    parser.add_argument("--output", type=Path, default=MEASURED)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    page(arguments, rows_of(arguments)).write()


if __name__ == "__main__":
    main()
