"""Draw docs/figure.png for the README: voxels, the function between them, and its gradient."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import matplotlib as mpl
from monai.data import MetaTensor

from oinr_monai import FitConfig, Representation, fit
from scripts.shared.pictures import Slice, brain

POINT = (8.0, -16.0, 7.0)  # world mm
ZOOM = (2.0, 38.0, -6.0, 30.0)  # left, right, back and front of the crop in world mm
WIDTH = (-78.0, 78.0)  # left and right of the whole in world mm
FINER = 4


def draw(path: Path) -> None:
    """Fit the example volume and write the figure."""
    mpl.use("agg")
    import matplotlib.pyplot as plt
    from matplotlib.patches import Rectangle

    image = brain()
    representation = fit(image, FitConfig(preset="best", seconds=100), progress=sys.stderr.isatty())
    sampled, magnitude = _finer_plane(representation)
    coarse, fine, slope = (Slice.of(v, POINT, "axial") for v in (image, sampled, magnitude))

    figure, axes = plt.subplot_mosaic(
        [["voxels", "function", "slope", "before"], ["voxels", "function", "slope", "after"]],
        figsize=(13, 5.1), width_ratios=(2, 2, 2, 1.13), layout="constrained",
    )  # fmt: skip
    coarse.draw(axes["voxels"], 100)
    fine.draw(axes["function"], 100)
    slope.draw(axes["slope"], float(slope.pixels.quantile(0.998)), "inferno")
    titles = {
        "voxels": "MNI152 T1, 3 mm voxels",
        "function": f"its representation, sampled every {3 / FINER:g} mm",
        "slope": "its exact gradient, per mm",
    }
    for name, title in titles.items():
        axes[name].set_title(title, fontsize=11)
    for name in ("voxels", "function", "slope"):
        axes[name].set(xlim=WIDTH)
    for name, whole, drawn in (("before", "voxels", coarse), ("after", "function", fine)):
        drawn.draw(axes[name], 100)
        axes[name].set(xlim=ZOOM[:2], ylim=ZOOM[2:])
        axes[name].spines[:].set(visible=True, color="orange", linewidth=2)
        axes[whole].add_patch(
            Rectangle(
                (ZOOM[0], ZOOM[2]), ZOOM[1] - ZOOM[0], ZOOM[3] - ZOOM[2], fill=False, ec="orange"
            )
        )
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=100)


def _finer_plane(representation: Representation) -> tuple[MetaTensor, MetaTensor]:
    grid = representation.grid.refine(FINER)
    index = round(float((POINT[2] - grid.origin[2]) / grid.spacing[2]))
    plane = grid.crop((0, 0, index), (*grid.shape[:2], index + 1))
    gradient = representation.gradient(plane).as_tensor()
    return representation.sample(plane), plane.to_image(gradient.norm(dim=0, keepdim=True))


def main() -> None:
    """Draw the figure of the README."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[1] / "docs")
    draw(parser.parse_args().output / "figure.png")


if __name__ == "__main__":
    main()
