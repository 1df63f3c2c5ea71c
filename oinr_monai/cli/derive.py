"""``oinr derive``: exact derivatives of a representation as NIfTI files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from oinr_monai.analysis.derivatives import (
    DEFAULT_MAPS,
    MAPS,
    check_maps,
    derivative_maps,
    described,
)

from .console import show
from .inputs import chosen_grid, load_representation, place_of
from .options import Device, Factor, File, Json, Like, Overwrite, Sigma, Spacing
from .outputs import check_folder, check_result, check_unused

__all__ = ["derive"]


def derive(  # noqa: PLR0913
    file: File,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for MAP.nii.gz files.")
    ],
    maps: Annotated[
        str, typer.Option(metavar="A,B", help=f"Maps to write, of {', '.join(MAPS)}.")
    ] = ",".join(DEFAULT_MAPS),
    sigma: Sigma = "0",
    factor: Factor = None,
    spacing: Spacing = None,
    like: Like = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write exact derivatives in world axes, per mm, and what they tell of shapes."""
    names = _map_names(maps)
    check_folder(output)
    representation = load_representation(file, device)
    check_maps(names, sigma, representation.grid.spatial_dims)
    grid = chosen_grid(representation, factor, spacing, like)
    written = {name: output / f"{name}.nii.gz" for name in names}
    for path in written.values():
        check_unused(path, [like], overwrite)
        check_result(path, 1, grid, {})
    from oinr_monai.images.files import write_image
    from oinr_monai.images.replacing import put_in_place, writing
    from oinr_monai.images.scratch import Scratch

    with writing(output), Scratch(output.parent) as folder:
        for name, volume in derivative_maps(representation, names, grid, sigma):
            write_image(folder / f"{name}.nii.gz", volume, described(name, sigma))
        output.mkdir(exist_ok=True)
        for path in written.values():
            put_in_place(folder / path.name, path)
    told = {name: str(path) for name, path in written.items()}
    show({"output": str(output), "maps": told, "sigma": sigma, **place_of(grid)}, as_json)


def _map_names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in MAPS]
    if unknown or not names:
        raise ValueError(f"--maps must be among {', '.join(MAPS)}, got {text!r}")
    return list(dict.fromkeys(names))
