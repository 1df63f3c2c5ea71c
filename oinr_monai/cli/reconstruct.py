"""``oinr reconstruct``: one volume of stacks of slices that moved."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .console import about, options, show
from .inputs import check_grid, profile_of
from .options import IMAGE_SUFFIXES, Json, Output, Overwrite, Report
from .outputs import check_output
from .pages import check_page, write_page
from .trust import ErrorMap, Samples, Trust

if TYPE_CHECKING:
    from collections.abc import Sequence

    from oinr_monai.report.page import Page
    from oinr_monai.restoration.reconstruction import SlicePose

__all__ = ["reconstruct"]

HEAD = ("stack", "slice", "x", "y", "z", "turn_x", "turn_y", "turn_z", "weight", "outlier")


def reconstruct(  # noqa: PLR0913
    stacks: Annotated[
        list[Path], typer.Argument(metavar="STACK...", help="Thick slices; three that cross.")
    ],
    output: Output,
    masks: Annotated[
        list[Path] | None,
        typer.Option("--mask", metavar="MASK", help="Voxels that count; one for each STACK."),
    ] = None,
    spacing: Annotated[
        float | None, typer.Option(metavar="MM", help="Of the volume; else the finest.")
    ] = None,
    thickness: Annotated[
        list[float] | None,
        typer.Option(
            "--slice-thickness",
            metavar="MM",
            help="Of a slice, or width at half maximum: one, or one for each STACK; else spacing.",
        ),
    ] = None,
    profile: Annotated[
        Literal["boxcar", "gaussian"],
        typer.Option("--slice-profile", help="How a slice weighs what lies across it."),
    ] = "boxcar",
    poses: Annotated[
        Path | None, typer.Option(metavar="CSV", help="Keep where each slice lies.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(metavar="S", help="After which no other round begins.")
    ] = None,
    error_map: ErrorMap = None,
    samples: Samples = 0,
    report: Report = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Reconstruct one volume of stacks of thick slices, between which the object moved."""
    inputs = [*stacks, *(masks or [])]
    check_output(output, (*IMAGE_SUFFIXES, ".oinr"), inputs, overwrite)
    if poses is not None:
        check_output(poses, (".csv",), inputs, overwrite)
    trust = Trust.of({"--error-map": error_map}, samples, output, inputs, overwrite)
    check_page(report, inputs, overwrite)
    if masks and len(masks) != len(stacks):
        raise ValueError(f"--mask must be one for each STACK, got {len(masks)}")
    if thickness and len(thickness) not in (1, len(stacks)):
        raise ValueError(
            f"--slice-thickness must be one, or one for each STACK, got {len(thickness)}"
        )
    from oinr_monai.images.files import read_image, write_image
    from oinr_monai.images.masks import read_mask
    from oinr_monai.restoration.reconstruction import ReconstructConfig
    from oinr_monai.restoration.reconstruction import reconstruct as reconstruct_volume
    from oinr_monai.scanner.slices import thickest_axis

    with options("spacing", "seconds"):
        config = ReconstructConfig(spacing=spacing, seconds=seconds)
    images = [read_image(path) for path in stacks]
    grids = [check_grid(*pair) for pair in zip(stacks, images, strict=True)]
    thick = thickness or [float(grid.spacing[thickest_axis(grid)]) for grid in grids]
    profiles = [profile_of(profile, each) for each in thick * (len(stacks) // len(thick))]
    known = None
    if masks:
        known = [read_mask(*pair) for pair in zip(masks, images, strict=True)]
    with about(stacks[0]):
        errors = trust.option is not None
        found = reconstruct_volume(images, config, masks=known, profiles=profiles, errors=errors)
    if output.suffix.lower() == ".oinr":
        found.volume.save(output)
    else:
        write_image(output, found.volume.sample(), "reconstructed")
    trust.write([found.trusted] if errors else [], 0)
    if poses is not None:
        _write_poses(poses, found.poses)

    def page() -> Page:
        from oinr_monai.report import report_of_reconstruction

        return report_of_reconstruction(found, images, f"{output.name}, reconstructed")

    told = {
        "output": str(output),
        "shape": list(found.volume.grid.shape),
        "spacing": found.volume.grid.spacing.tolist(),
        "slices": len(found.poses),
        "outliers": [[pose.stack, pose.slice] for pose in found.poses if pose.outlier],
        "noise": found.noise,
        "seconds": found.volume.info["seconds"],
    }
    told |= {"trust": found.volume.info["trust"]} if errors else {}
    kept = {} if poses is None else {"poses": str(poses)}
    show(told | kept | write_page(report, page), as_json)


def _write_poses(path: Path, poses: Sequence[SlicePose]) -> None:
    """Shifts in mm about the world's origin and turns in degrees, from slice to volume."""
    import math

    from oinr_monai.images.replacing import replacing

    with replacing(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEAD)
        for pose in poses:
            turn = [math.degrees(each) for each in pose.turn.tolist()]
            numbers = [*pose.matrix[:3, 3].tolist(), *turn, pose.weight]
            told = [f"{each:.6f}" for each in numbers]
            writer.writerow([pose.stack, pose.slice, *told, int(pose.outlier)])
