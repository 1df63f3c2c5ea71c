"""What it is for, on a real MRI: a scan as a function, derivatives, thick slices made fine.

Writes the scan, the function, maps and volumes whose affines line up in any viewer, a picture and a
report into demo/.
"""

from __future__ import annotations

import argparse
import base64
import html
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib as mpl
import torch
from monai.data import MetaTensor
from rich.console import Console
from rich.table import Table
from torch import Tensor

from oinr_monai import (
    Representation,
    SuperResolveConfig,
    fit,
    simulate_slices,
    super_resolve,
)
from oinr_monai.analysis.derivatives import derivative_maps
from oinr_monai.coding import Psnr
from oinr_monai.images.files import read_image, write_image
from oinr_monai.images.metrics import psnr
from scripts.shared.pictures import brain

# The coronal plane of the picture, as a voxel of the second axis, and how wide vessels may be, mm.
PLANE, SCALES = 120, (1.0, 1.5, 2.0)

# The part of the brain that is made thick, first and one-past-last voxel, and how thick, in mm.
PART, THICK = ((40, 72, 50), (160, 168, 146)), 4.0

STYLE = """
body { font: 15px/1.5 sans-serif; max-width: 62em; margin: 2em auto; padding: 0 1em }
table { border-collapse: collapse } td { padding: .2em 1em .2em 0; border-bottom: 1px solid #ddd }
td + td { text-align: right; font-variant-numeric: tabular-nums } img { max-width: 100% }
"""


@dataclass
class Story:
    """What the table says, and what the picture shows, as they come.

    Args:
        folder: where files go.
        rows: names and values of the table.
        panels: planes (rows, columns) of the picture, with the value shown as white, by title.
    """

    folder: Path
    rows: list[tuple[str, str]] = field(default_factory=list)
    panels: dict[str, tuple[Tensor, float]] = field(default_factory=dict)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Time the block under ``name``."""
        started = time.monotonic()
        yield
        self.rows.append((f"{name}, seconds", f"{time.monotonic() - started:.1f}"))

    def size(self, name: str, file: str) -> None:
        """Say how large a file is."""
        self.rows.append((f"{name}, MB", f"{(self.folder / file).stat().st_size / 1e6:.2f}"))


def run(folder: Path, seconds: float) -> None:
    """Do the whole job into ``folder``."""
    folder.mkdir(exist_ok=True)
    story = Story(folder)
    whole = as_function(story)
    derive(story, whole)
    make_fine(story, whole, seconds)
    draw(folder / "demo.png", story)
    (folder / "report.html").write_text(report(story.rows, folder / "demo.png"), encoding="utf-8")
    show(story.rows, folder)


def as_function(story: Story) -> Representation:
    """The scan as a function, its file, and a smaller one."""
    scan = brain(1)
    whole_numbers = MetaTensor((10 * scan.as_tensor()).round().to(torch.int16), affine=scan.affine)
    write_image(story.folder / "scan.nii.gz", whole_numbers, "MNI152 T1 template")
    scan = read_image(story.folder / "scan.nii.gz")
    story.rows.append(("scan", f"{' x '.join(map(str, scan.shape[1:]))} voxels of 1 mm"))
    with story.timed("scan as a function, in its file"):
        fitted = fit(scan)
        coded = fitted.save(story.folder / "scan.oinr")
    story.rows.append(("largest error of that file", f"{coded.max_error if coded else 0:g}"))
    with story.timed("the same, to 45 dB"):
        fitted.save(story.folder / "scan_45dB.oinr", Psnr(45.0))
    story.size("scan.nii.gz", "scan.nii.gz")
    story.size("scan.oinr", "scan.oinr")
    story.size("scan_45dB.oinr", "scan_45dB.oinr")
    return Representation.load(story.folder / "scan.oinr")


def derive(story: Story, whole: Representation) -> None:
    """Exact derivatives and vesselness of one plane, twice as fine as the voxels."""
    fine = whole.grid.refine(2)
    start, stop = [0, 2 * PLANE, 0], [fine.shape[0], 2 * PLANE + 1, fine.shape[2]]
    plane = fine.crop(start, stop)
    with story.timed("one plane at 0.5 mm"):
        value = whole.sample(plane)
    story.panels["one plane, asked at 0.5 mm"] = shown(value)
    with story.timed("its exact gradient"):
        ((_, gradient),) = derivative_maps(whole, ["gradient_magnitude"], plane)
    story.panels["exact gradient magnitude, per mm"] = shown(gradient)
    with story.timed(f"its vesselness at {', '.join(map(str, SCALES))} mm"):
        ((_, vessels),) = derivative_maps(whole, ["vesselness_dark"], plane, SCALES)
    story.panels["vesselness of what is dark, 1 to 2 mm wide"] = shown(vessels)
    for name, volume in (("gradient_magnitude", gradient), ("vesselness_dark", vessels)):
        write_image(story.folder / f"{name}.nii.gz", volume, name)


def make_fine(story: Story, whole: Representation, seconds: float) -> None:
    """Thick slices of a part, made fine by the spline through them and by what they teach."""
    grid = whole.grid.crop(*PART)
    truth = whole.sample(grid)
    thick = simulate_slices(truth, THICK)
    write_image(story.folder / "thick.nii.gz", thick, f"slices of {THICK:g} mm")
    with story.timed(f"cubic spline through slices of {THICK:g} mm"):
        spline = fit(thick).sample(grid)
    with story.timed("super-resolution of the same slices"):
        config = SuperResolveConfig(seconds=seconds)
        learned = super_resolve(thick, config, slice_thickness=THICK).sample(grid)
    write_image(story.folder / "fine.nii.gz", learned, "super-resolved")
    row = (PART[1][1] - PART[0][1]) // 2
    story.panels["truth, 1 mm"] = shown(truth, row)
    for name, answer in (("cubic spline", spline), ("super-resolved", learned)):
        # Between the outermost slices, where both have an answer.
        inner = grid.shape[2] - int(THICK) // 2
        score = psnr(answer[..., int(THICK) // 2 : inner], truth[..., int(THICK) // 2 : inner])
        story.rows.append((f"{name} against the truth, dB", f"{score:.2f}"))
        story.panels[f"{name} of {THICK:g} mm slices\n{score:.2f} dB"] = shown(answer, row)


def shown(volume: MetaTensor, row: int = 0) -> tuple[Tensor, float]:
    """A coronal plane as it is looked at, and the value that is white."""
    pixels = volume.as_tensor()[0, :, row].T.flip(0)
    return pixels, float(pixels.quantile(0.998))


def draw(path: Path, story: Story) -> None:
    """The planes, three a row."""
    mpl.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 3, figsize=(12, 9), layout="constrained")
    for ax, (title, (pixels, top)) in zip(axes.flat, story.panels.items(), strict=True):
        colors = "inferno" if "gradient" in title or "vesselness" in title else "gray"
        ax.imshow(pixels, cmap=colors, vmin=0, vmax=top, interpolation="nearest")
        ax.set_title(title, fontsize=12)
        ax.set(xticks=[], yticks=[])
    figure.suptitle("MNI152 T1 as a function; coronal planes, left is left")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def show(rows: list[tuple[str, str]], folder: Path) -> None:
    """Print the table."""
    table = Table(title="MNI152 T1 as a function", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for row in rows:
        table.add_row(*row)
    console = Console()
    console.print(table)
    console.print(f"In {folder}: {', '.join(sorted(p.name for p in folder.iterdir()))}")


def report(rows: list[tuple[str, str]], picture: Path) -> str:
    """One self-contained page."""
    cells = "\n".join(
        f"<tr><td>{html.escape(name)}</td><td>{html.escape(value)}</td></tr>"
        for name, value in rows
    )
    encoded = base64.b64encode(picture.read_bytes()).decode()
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>MNI152 T1 as a function</title>
<style>{STYLE}</style></head><body>
<h1>MNI152 T1 as a function</h1>
<p>Above, the spline through the scan's own samples, asked between them, and its exact derivatives.
Below, slices as thick as {THICK:g} voxels of a part of it, made fine.</p>
<img alt="a plane, its gradient, its vesselness; truth, cubic spline, super-resolved"
src="data:image/png;base64,{encoded}">
<h2>Figures</h2>
<table>{cells}</table>
<p>The template is an average of 152 people, smoother than any one scan. Not a medical device.</p>
</body></html>
"""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="to learn from thick slices")
    parser.add_argument("--folder", type=Path, default=Path(__file__).parents[1] / "demo")
    arguments = parser.parse_args()
    run(arguments.folder, arguments.seconds)
