"""The commands ``oinr simulate`` and ``oinr super-resolve``: thick slices, made and undone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .arguments import IMAGE_SUFFIXES, Json, Output, Seed, check_grid, check_output
from .console import about, show

if TYPE_CHECKING:
    from .forward_models import SliceProfile
    from .noises import NoiseModel

__all__ = ["simulate"]

Thickness = Annotated[
    float | None,
    typer.Option(
        "--slice-thickness", metavar="MM", help="Of a slice, or width at half maximum; else MM."
    ),
]
Profile = Annotated[
    Literal["boxcar", "gaussian"],
    typer.Option("--slice-profile", help="How a slice weighs what lies across it."),
]


def simulate(  # noqa: PLR0913
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="A finer image, with its truth.")],
    output: Output,
    spacing: Annotated[float, typer.Option(metavar="MM", help="From slice to slice.")],
    axis: Annotated[int, typer.Option(min=0, max=2, help="Axis from slice to slice, from 0.")] = 2,
    thickness: Thickness = None,
    profile: Profile = "boxcar",
    noise: Annotated[
        Literal["gaussian", "rician"] | None, typer.Option(help="Noise to add; else none.")
    ] = None,
    sigma: Annotated[
        float | None, typer.Option(metavar="S", help="Size of the noise, in intensities.")
    ] = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Make thick slices of an image, as a scanner would have seen it.

    A thickness below the spacing leaves gaps, one above lets slices overlap.
    """
    check_output(output, IMAGE_SUFFIXES)
    across = _profile(profile, spacing if thickness is None else thickness)
    added = _noise(noise, sigma)
    from .grids import Grid
    from .images import read_image, write_image
    from .simulation import simulate_slices

    volume = read_image(image)
    check_grid(image, volume)
    with about(image):
        seen = simulate_slices(volume, spacing, axis=axis, profile=across, noise=added, seed=seed)
    with about(output):
        write_image(output, seen, "intensity")
    grid = Grid.from_image(seen)
    show(
        {"output": str(output), "shape": list(grid.shape), "spacing": grid.spacing.tolist()},
        as_json,
    )


def _profile(name: str, thickness: float) -> SliceProfile:
    from .forward_models import Boxcar, Gaussian

    if not thickness > 0:
        raise ValueError(f"--spacing and --slice-thickness must be positive, got {thickness}")
    return Boxcar(thickness) if name == "boxcar" else Gaussian(thickness)


def _noise(name: str | None, sigma: float | None) -> NoiseModel | None:
    from .noises import GaussianNoise, RicianNoise

    if (name is None) != (sigma is None):
        raise ValueError(f"--noise and --sigma must go together, got {name} and {sigma}")
    if name is None:
        return None
    return GaussianNoise(sigma) if name == "gaussian" else RicianNoise(sigma)
