"""The command ``oinr mesh``: a representation in, the surface of a label or a level out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .console import about, options, show
from .inputs import load_representation
from .options import Device, Factor, File, Json, Spacing
from .outputs import check_output

if TYPE_CHECKING:
    from oinr_monai.analysis.mesh import Surface
    from oinr_monai.grids.grid import Grid
    from oinr_monai.representation.representation import Representation

__all__ = ["mesh"]


def mesh(
    file: File,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT", help="STL, PLY or OBJ to write.")
    ],
    level: Annotated[
        float | None,
        typer.Option(metavar="V", help="Intensity on the surface; 0.5 of a mask or label."),
    ] = None,
    label: Annotated[
        int | None, typer.Option(metavar="L", help="Which label, where there are several.")
    ] = None,
    factor: Factor = None,
    spacing: Spacing = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Write the closed surface of a label, or around all above a level, in world mm (RAS)."""
    from oinr_monai.analysis.mesh import SURFACE_SUFFIXES

    check_output(output, SURFACE_SUFFIXES)
    representation = load_representation(file, device)
    with about(file):
        grid = _chosen_grid(representation, factor, spacing)
        surface = _surface(representation, level, label, grid)
    surface.save(output)
    fields = {
        "output": str(output),
        "vertices": len(surface.vertices),
        "faces": len(surface.faces),
        "volume_mm3": surface.volume,
        "area_mm2": surface.area,
        "shape": list(grid.shape),
        "spacing": grid.spacing.tolist(),
    }
    show(fields, as_json)


def _chosen_grid(
    representation: Representation, factor: int | None, spacing: list[float] | None
) -> Grid:
    from oinr_monai.analysis.isosurface import covering
    from oinr_monai.grids.asked import AskedGrid

    with options("factor", "spacing"):
        steps = AskedGrid(factor, spacing).steps(representation.grid)
    return covering(representation.grid, steps)


def _surface(
    representation: Representation, level: float | None, label: int | None, grid: Grid
) -> Surface:
    from oinr_monai.analysis.isosurface import isosurface
    from oinr_monai.analysis.occupancy import label_surface

    if level is not None:
        if label is not None:
            raise ValueError("--level and --label must not be given together; choose one")
        return isosurface(representation, level, grid=grid)
    if representation.info.occupancy is None:
        raise ValueError("--level must be given for intensities; or fit a mask with --labels")
    labels = representation.info["occupancy"]["labels"]
    if label is None and len(labels) > 1:
        raise ValueError(f"--label must be given, one of {', '.join(map(str, labels))}")
    return label_surface(representation, label, grid)
