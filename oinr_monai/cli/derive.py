"""``oinr derive``: exact derivatives of a representation as NIfTI files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .console import show
from .inputs import chosen_grid, load_representation, place_of
from .options import (
    Device,
    Factor,
    File,
    Json,
    Like,
    Overwrite,
    Report,
    SeriesUid,
    Sigma,
    Spacing,
)
from .outputs import check_not_source, check_result, check_unused
from .pages import check_page, write_page
from .target import Belonging, Deidentify, Dicom, Reference, Target

if TYPE_CHECKING:
    from oinr_monai.grids.grid import Grid
    from oinr_monai.images.dicom_reference import DicomReference
    from oinr_monai.report.page import Page
    from oinr_monai.representation.representation import Representation

__all__ = ["MAP_NAMES", "derive", "map_names"]

# Those of analysis.derivatives, told without importing it.
MAP_NAMES = (
    *("value", "gradient", "gradient_magnitude", "laplacian", "hessian", "hessian_eigenvalues"),
    *("mean_curvature", "gaussian_curvature", "shape_index", "vesselness", "vesselness_dark"),
    *("sheetness", "sheetness_dark", "structure_tensor"),
)


def derive(  # noqa: PLR0913
    file: File,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for MAP.nii.gz files.")
    ],
    maps: Annotated[
        str, typer.Option(metavar="A,B", help=f"Maps to write, of {', '.join(MAP_NAMES)}.")
    ] = "gradient,gradient_magnitude,laplacian,hessian",
    sigma: Sigma = "0",
    factor: Factor = None,
    spacing: Spacing = None,
    like: Like = None,
    device: Device = "auto",
    dicom: Dicom = False,
    reference: Reference = None,
    uid: SeriesUid = None,
    deidentify: Deidentify = False,
    report: Report = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write exact derivatives in world axes, per mm, and what they tell of shapes.

    With --dicom, each component of a map becomes a DICOM Parametric Map.
    """
    from oinr_monai.analysis.derivatives import check_maps

    names = map_names(maps)
    belonging = Belonging(dicom, reference or like, uid, deidentify)
    target = Target.of(output, belonging, None, [], overwrite)
    check_page(report, [file, like], overwrite)
    representation = load_representation(file, device)
    check_maps(names, sigma, representation.grid.spatial_dims)
    grid = chosen_grid(representation, factor, spacing, like, uid)
    files = {name: output / f"{name}.nii.gz" for name in names}
    if target.reference is None:
        for path in files.values():
            check_unused(path, [like], overwrite)
            check_not_source(path, representation.info, overwrite)
            check_result(path, 1, grid, {})
        _write_maps(output, representation, names, grid, sigma)
        written: Any = {name: str(path) for name, path in files.items()}
    else:
        target.check(1, grid, {}, representation.grid, as_object=True)
        written = _write_dicom(output, target.reference, representation, names, grid, sigma)

    def page() -> Page:
        from oinr_monai.report import report_of_maps

        return report_of_maps(representation, names, sigma, f"Derivatives of {file.name}")

    told = {"output": str(output), "maps": written, "sigma": sigma, **place_of(grid)}
    show(told | write_page(report, page), as_json)


def _write_maps(
    output: Path, representation: Representation, names: list[str], grid: Grid, sigma: list[float]
) -> None:
    from oinr_monai.analysis.derivatives import derivative_maps, described
    from oinr_monai.images.files import write_image
    from oinr_monai.images.replacing import put_in_place, writing
    from oinr_monai.images.scratch import Scratch

    with writing(output), Scratch(output.parent) as folder:
        for name, volume in derivative_maps(representation, names, grid, sigma):
            write_image(folder / f"{name}.nii.gz", volume, described(name, sigma))
        output.mkdir(exist_ok=True)
        for name in names:
            put_in_place(folder / f"{name}.nii.gz", output / f"{name}.nii.gz")


def _write_dicom(
    output: Path,
    reference: DicomReference,
    representation: Representation,
    names: list[str],
    grid: Grid,
    sigma: list[float],
) -> dict[str, list[str]]:
    """Parametric maps; their files, for each map."""
    from oinr_monai.analysis.derivatives import derivative_maps, described
    from oinr_monai.images.dicom_objects import write_parametric_maps

    found = derivative_maps(representation, names, grid, sigma)
    maps = ((name, volume, described(name, sigma)) for name, volume in found)
    written = write_parametric_maps(output, maps, reference)
    return {name: [str(output / file) for file in files] for name, files in written.items()}


def map_names(text: str) -> list[str]:
    """The names that ``--maps`` gives.

    Args:
        text: names with commas between.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in MAP_NAMES]
    if unknown or not names:
        raise ValueError(f"--maps must be among {', '.join(MAP_NAMES)}, got {text!r}")
    return list(dict.fromkeys(names))
