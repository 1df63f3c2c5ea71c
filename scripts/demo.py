"""The main job on a real MRI: fit, sample twice as fine, derive, extract features, report.

Writes NIfTI files whose affines line up in any viewer, a picture and a report into demo/.
"""

from __future__ import annotations

import argparse
import base64
import html
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
import nibabel as nib
import numpy as np
import torch
from monai.data import MetaTensor
from rich.console import Console
from rich.table import Table

from oinr_monai import FitConfig, Grid, Representation, fit
from oinr_monai.fitting.presets import PresetName, budget
from oinr_monai.images.files import write_image
from scripts.shared.pictures import PLANES, VIEW, Slice, brain

POINT = (8.0, -16.0, 7.0)  # world mm, where the three planes of the picture cross
LONGEST_FIT = 150.0  # seconds; a busy machine may stop short of the preset's steps
STYLE = """
body { font: 15px/1.5 sans-serif; max-width: 62em; margin: 2em auto; padding: 0 1em }
table { border-collapse: collapse } td { padding: .2em 1em .2em 0; border-bottom: 1px solid #ddd }
td + td { text-align: right; font-variant-numeric: tabular-nums } img { max-width: 100% }
"""


class Stages:
    """Wall-clock seconds of each stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Time the block under ``name``."""
        started = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - started


def run(folder: Path, preset: PresetName) -> None:
    """Do the whole job into ``folder``."""
    folder.mkdir(exist_ok=True)
    stages = Stages()
    with stages.timed("load and average the template"):
        image = brain()
        write_image(folder / "original.nii.gz", image, "MNI152 T1 template, intensity")
    with stages.timed("fit"):
        steps, _ = budget(Grid.from_image(image), FitConfig(preset=preset))
        config = FitConfig(preset=preset, steps=steps, seconds=LONGEST_FIT)
        representation = fit(image, config, progress=sys.stderr.isatty())
        representation.save(folder / "brain.oinr")
    finer = representation.grid.refine(2)
    with stages.timed("sample x2"):
        sampled = representation.sample(finer)
        write_image(folder / "sampled_x2.nii.gz", sampled, "intensity")
    with stages.timed("gradient x2"):
        gradient = representation.gradient(finer)
        magnitude = finer.to_image(gradient.as_tensor().norm(dim=0, keepdim=True))
        write_image(folder / "gradient.nii.gz", gradient, "world x y z, intensity/mm")
        write_image(folder / "gradient_magnitude.nii.gz", magnitude, "intensity/mm")
    with stages.timed("features"):
        write_image(folder / "features.nii.gz", representation.features(), "last hidden layer")
    with stages.timed("check that the files line up"):
        check(folder, representation)
    with stages.timed("draw"):
        draw(folder / "demo.png", image, sampled, magnitude)
    rows = summary(folder, image, representation, stages)
    (folder / "report.html").write_text(report(rows, folder / "demo.png"), encoding="utf-8")
    show(rows, folder)


def check(folder: Path, representation: Representation) -> None:
    """The same world point has the same intensity in the files and in the representation."""
    generator = torch.Generator().manual_seed(0)
    grid = representation.grid
    inner = torch.tensor(grid.shape, dtype=torch.float64) - 1
    voxels = (torch.rand(1000, 3, generator=generator, dtype=torch.float64) * inner).round()
    points = grid.to_world(voxels)
    values = {
        "original": read_at(folder / "original.nii.gz", points),
        "sampled_x2": read_at(folder / "sampled_x2.nii.gz", points),
        "gradient": read_at(folder / "gradient.nii.gz", points),
    }
    expected = representation.at(points)[:, 0]
    np.testing.assert_allclose(values["sampled_x2"], expected, atol=1e-2)
    slope = representation.gradient_at(points)[:, 0]
    np.testing.assert_allclose(values["gradient"], slope, atol=1e-2)
    correlation = np.corrcoef(values["original"], values["sampled_x2"])[0, 1]
    assert correlation > 0.99, f"original and sample must agree, got correlation {correlation}"


def read_at(path: Path, points: torch.Tensor) -> np.ndarray:
    """Voxels of a NIfTI file at world points (N, 3), by that file's own affine."""
    file = nib.Nifti1Image.from_filename(path)
    voxels = nib.affines.apply_affine(np.linalg.inv(file.affine), points.numpy())
    assert np.abs(voxels - voxels.round()).max() < 1e-3, f"{path} must hold the fitted places"
    return file.get_fdata()[tuple(voxels.round().astype(int).T)]


def draw(path: Path, image: MetaTensor, sampled: MetaTensor, magnitude: MetaTensor) -> None:
    """Original, twice as fine, and gradient magnitude, in three planes through one point."""
    mpl.use("agg")
    import matplotlib.pyplot as plt

    h, fine = float(image.affine[0, 0]), float(sampled.affine[0, 0])
    columns = {
        f"original, {h:g} mm voxels": (image, 100.0, "gray"),
        f"representation, sampled at {fine:g} mm": (sampled, 100.0, "gray"),
        "exact gradient magnitude": (magnitude, float(magnitude.quantile(0.998)), "inferno"),
    }
    heights = [VIEW[vertical][1] - VIEW[vertical][0] for _, vertical in PLANES.values()]
    figure, axes = plt.subplots(3, 3, figsize=(11, 11), layout="constrained", height_ratios=heights)
    for column, (title, (volume, top, colors)) in zip(axes.T, columns.items(), strict=True):
        column[0].set_title(title, fontsize=12)
        for cell, plane in zip(column, PLANES, strict=True):
            drawn = Slice.of(volume, POINT, plane)
            drawn.draw(cell, top, colors)
            drawn.letter(cell)
        figure.colorbar(
            column[-1].images[0], ax=column, location="bottom", shrink=0.7, aspect=40, pad=0.01,
            label="intensity / mm" if colors != "gray" else "intensity",
        )  # fmt: skip
    x, y, z = POINT
    figure.suptitle(
        f"MNI152 T1 at x = {x:g}, y = {y:g}, z = {z:g} mm (RAS); neurological: left is L",
        fontsize=12,
    )
    figure.savefig(path, dpi=110)
    plt.close(figure)


def summary(
    folder: Path, image: MetaTensor, representation: Representation, stages: Stages
) -> list[tuple[str, str]]:
    """What the table says, row by row."""
    known, voxels = representation.info, image.numel()
    size = (folder / "brain.oinr").stat().st_size
    return [
        ("volume", f"{' x '.join(map(str, image.shape[1:]))} voxels of {image.affine[0, 0]:g} mm"),
        ("preset", known["settings"]["preset"]),
        ("steps", f"{known['steps']:,}"),
        ("device", known["device"]),
        ("PSNR on the grid", f"{known['psnr_grid']:.2f} dB"),
        ("PSNR between samples", f"{known['psnr_between']:.2f} dB"),
        ("parameters", f"{representation.parameters:,}"),
        ("compression, voxels per parameter", f"{voxels / representation.parameters:.2f}"),
        ("file", f"{size / 1024:.0f} KiB"),
        *((f"seconds: {name}", f"{value:.1f}") for name, value in stages.seconds.items()),
        ("seconds: all", f"{sum(stages.seconds.values()):.1f}"),
    ]


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
<p>One fitted function answers everywhere. The middle column samples it between the voxels, the
right column is the length of its exact gradient, in world axes.</p>
<img alt="original, sampled twice as fine, gradient magnitude"
src="data:image/png;base64,{encoded}">
<h2>Figures</h2>
<table>{cells}</table>
<p>PSNR takes the range of the volume; between samples, the truth is the cubic spline through them.
The template is an average of 152 people, smoother than any one scan. Not a medical device.</p>
</body></html>
"""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", choices=("fast", "balanced", "best"), default="balanced")
    parser.add_argument("--folder", type=Path, default=Path(__file__).parents[1] / "demo")
    arguments = parser.parse_args()
    run(arguments.folder, arguments.preset)
