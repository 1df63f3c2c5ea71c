"""Draw docs/concepts.png: an image as a function, what a scanner saw of it, and a motion."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import torch
from monai.data import MetaTensor

from oinr_monai import Grid, fit, simulate_slices
from oinr_monai.motion.vector_spline import VectorSpline
from oinr_monai.motion.velocity import Velocity

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FINE, THICK = 0.05, 4.0
GRID_LINES, SHIFT, BLUR = 21, 3.0, 4.0


def tissue(places: torch.Tensor) -> torch.Tensor:
    """A profile of intensities with a bright band of 3 mm, over places in mm."""
    wide = 40 + 30 * torch.tanh((places - 6) / 1.5) - 20 * torch.tanh((places - 26) / 1.5)
    return wide + 60 * torch.exp(-((places - 16) ** 2) / 3)


def draw_function(axis: Axes) -> None:
    """Samples, the spline through them, and its slope."""
    places = torch.arange(0.0, 33.0, 2.0)
    scan = fit(MetaTensor(tissue(places)[None, None], affine=torch.diag(torch.tensor([1, 2.0, 1]))))
    between = torch.arange(0.0, 32.0, FINE)
    points = torch.stack([torch.zeros_like(between), between], dim=1)
    value, slope, _ = scan.jet_at(points)
    axis.plot(places, tissue(places), "o", color="black", label="samples")
    axis.plot(between, value[0], color="tab:blue", label="F, the function")
    axis.plot(between, slope[0, 1], color="tab:orange", label="dF/dx, exact, per mm")
    axis.set(title="An image is a function", xlabel="mm")
    axis.legend(fontsize=8, frameon=False)


def draw_slices(axis: Axes) -> None:
    """A function, slices that integrate it, and splines through them."""
    places = torch.arange(0.0, 32.0, 0.25)
    truth = tissue(places)[None, None, None].expand(1, 2, 2, -1)
    image = MetaTensor(truth.contiguous(), affine=torch.diag(torch.tensor([1, 1, 0.25, 1])))
    thick = simulate_slices(image, THICK)
    grid = Grid.from_image(thick)
    centres = grid.points()[0, 0, :, 2]
    through = fit(thick).sample(Grid.from_image(image))[0, 0, 0]
    axis.plot(places, tissue(places), color="tab:blue", label="F")
    axis.bar(centres, thick[0, 0, 0], width=THICK, alpha=0.25, color="gray", edgecolor="gray",
             label="y = A F, slices of 4 mm")  # fmt: skip
    axis.plot(places, through, "--", color="tab:red", label="spline through the slices")
    axis.set(title="What a scanner saw", xlabel="mm")
    axis.legend(fontsize=8, frameon=False)


def draw_motion(axis: Axes) -> None:
    """A flow of a velocity: lines of a lattice that it bends, and where they are spread."""
    knots = Grid((9, 9), torch.diag(torch.tensor([4.0, 4.0, 1.0])))
    x, y = knots.points().movedim(-1, 0) / BLUR - 4
    speed = SHIFT * torch.stack([-y, x]) * torch.exp(-(x**2 + y**2) / 4)
    motion = Velocity(VectorSpline.through(speed, knots))
    lines = torch.linspace(2.0, 30.0, GRID_LINES, dtype=torch.float64)
    along = torch.linspace(2.0, 30.0, 200, dtype=torch.float64)
    for at in lines:
        for pair in ((along, at.expand(200)), (at.expand(200), along)):
            there = motion.at(torch.stack(pair, dim=1))
            axis.plot(there[:, 0], there[:, 1], color="tab:green", linewidth=0.7)
    low, high = motion.determinant_bounds()
    axis.set(
        title=f"A motion that folds nowhere:\ndet between {low:.2f} and {high:.2f}", xlabel="mm"
    )
    axis.set_aspect("equal")


def main() -> None:
    """Draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[1] / "docs")
    mpl.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(13, 3.8), layout="constrained")
    for axis, draw in zip(axes, (draw_function, draw_slices, draw_motion), strict=True):
        draw(axis)
    figure.savefig(parser.parse_args().output / "concepts.png", dpi=90)


if __name__ == "__main__":
    main()
