"""``oinr simulate``: thick and noisy slices of a scan, whose truth is then known."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .console import about, show
from .inputs import check_grid, profile_of
from .options import IMAGE_SUFFIXES, SEEDS, Json, Output, Overwrite, SeriesUid
from .outputs import check_output, check_result
from .super_resolve import Thickness

if TYPE_CHECKING:
    from oinr_monai.scanner.noise import NoiseModel

__all__ = ["simulate"]


def simulate(  # noqa: PLR0913
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="A finer image, with its truth.")],
    output: Output,
    spacing: Annotated[float, typer.Option(metavar="MM", help="From slice to slice.")],
    axis: Annotated[int, typer.Option(min=0, max=2, help="Axis from slice to slice, from 0.")] = 2,
    thickness: Thickness = None,
    profile: Annotated[
        Literal["boxcar", "gaussian"],
        typer.Option("--slice-profile", help="How a slice weighs what lies across it."),
    ] = "boxcar",
    noise: Annotated[
        Literal["gaussian", "rician"] | None, typer.Option(help="Noise to add; else none.")
    ] = None,
    sigma: Annotated[
        float | None, typer.Option(metavar="S", help="Size of the noise, in intensities.")
    ] = None,
    uid: SeriesUid = None,
    seed: Annotated[int, typer.Option(help="Seed of the noise.", **SEEDS)] = 0,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Make thick slices of an image, as a scanner would have seen it.

    A thickness below the spacing leaves gaps, one above lets slices overlap.
    """
    check_output(output, IMAGE_SUFFIXES, [image], overwrite)
    across = profile_of(profile, spacing if thickness is None else thickness)
    added = _noise(noise, sigma)
    from oinr_monai.grids.grid import Grid
    from oinr_monai.images.files import read_image, write_image
    from oinr_monai.scanner.simulation import simulate_slices
    from oinr_monai.scanner.slices import thick_grid

    volume = read_image(image, uid or ())
    fine = check_grid(image, volume)
    if axis < fine.spatial_dims:
        with about(image):
            thick = thick_grid(fine, axis, spacing)
        check_result(output, len(volume), thick, volume.meta)
    with about(image):
        seen = simulate_slices(volume, spacing, axis=axis, profile=across, noise=added, seed=seed)
    with about(output):
        write_image(output, seen, "intensity")
    grid = Grid.from_image(seen)
    show(
        {"output": str(output), "shape": list(grid.shape), "spacing": grid.spacing.tolist()},
        as_json,
    )


def _noise(name: str | None, sigma: float | None) -> NoiseModel | None:
    from oinr_monai.scanner.noise import GaussianNoise, RicianNoise

    if (name is None) != (sigma is None):
        raise ValueError(f"--noise and --sigma must go together, got {name} and {sigma}")
    if name is None:
        return None
    return GaussianNoise(sigma) if name == "gaussian" else RicianNoise(sigma)
