"""``oinr register`` and ``oinr warp``: where one image lies in another, and what it shows there."""

from __future__ import annotations

import csv
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .console import about, options, show
from .inputs import check_grid, device_of
from .options import IMAGE_SUFFIXES, Device, Json, Output, Overwrite, Report
from .outputs import check_output, check_result
from .pages import check_page, write_page
from .tables import read_rows

if TYPE_CHECKING:
    from monai.data import MetaTensor

    from oinr_monai.grids.grid import Grid
    from oinr_monai.motion.motion import Motion
    from oinr_monai.report.page import Page

__all__ = ["register", "warp"]

# Those of motion.exchange, told without importing it.
MOTION_SUFFIXES = (".safetensors", ".h5", ".tfm", ".txt", ".nii", ".nii.gz", ".mha", ".nrrd")

# JPEG would change labels.
LABEL_SUFFIXES = tuple(each for each in IMAGE_SUFFIXES if each not in (".jpeg", ".jpg"))

AXES = ("x", "y", "z")


def register(  # noqa: PLR0913
    fixed: Annotated[Path, typer.Argument(metavar="FIXED", help="Image that stays.")],
    moving: Annotated[Path, typer.Argument(metavar="MOVING", help="Image that is moved onto it.")],
    output: Output,
    model: Annotated[
        Literal["rigid", "affine", "deformable"], typer.Option(help="What may change.")
    ] = "deformable",
    kinds: Annotated[
        bool,
        typer.Option("--mutual-information", help="For images of different kinds; no deformation."),
    ] = False,
    fixed_mask: Annotated[
        Path | None, typer.Option(metavar="MASK", help="Voxels of FIXED that count.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(metavar="LABELS", help="Label map of MOVING, to move as well.")
    ] = None,
    labels_output: Annotated[
        Path | None, typer.Option(metavar="OUT", help="Where it goes, on the grid of FIXED.")
    ] = None,
    points: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Columns x,y,z: world RAS mm in FIXED."),
    ] = None,
    points_output: Annotated[
        Path | None, typer.Option(metavar="CSV", help="Where they lie in MOVING.")
    ] = None,
    transform: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help=f"Keep the motion: {', '.join(MOTION_SUFFIXES)}."),
    ] = None,
    inverse: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keep its inverse, from MOVING to FIXED.")
    ] = None,
    report: Report = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Find where an image lies in another, and move it onto that.

    A transform in an ITK file, or a displacement field, is in LPS mm as ITK wants it.
    """
    beside = Beside(labels, labels_output, points, points_output, transform, inverse)
    inputs = [fixed, moving, fixed_mask, labels, points]
    check_output(output, IMAGE_SUFFIXES, inputs, overwrite)
    beside.check(inputs, overwrite)
    check_page(report, inputs, overwrite)
    from oinr_monai.images.files import read_image, write_image
    from oinr_monai.images.masks import read_mask
    from oinr_monai.motion.folding import quality_of
    from oinr_monai.motion.registration import RegisterConfig
    from oinr_monai.motion.registration import register as register_images
    from oinr_monai.motion.similarity import MutualInformation
    from oinr_monai.motion.warp import warp_image

    with options("model", "similarity"):
        similarity = MutualInformation() if kinds else None
        config = RegisterConfig(model, similarity, device=device_of(device))
    images = [read_image(path) for path in (fixed, moving)]
    grids = [check_grid(*each) for each in zip((fixed, moving), images, strict=True)]
    check_result(output, len(images[1]), grids[0], images[1].meta)
    held = beside.read(grids[0].spatial_dims)
    mask = None if fixed_mask is None else read_mask(fixed_mask, images[0])
    started = time.perf_counter()
    with about(moving):
        motion = register_images(images[0], images[1], config, mask=mask)
    seconds = time.perf_counter() - started
    write_image(output, warp_image(images[1], motion, grids[0]), "moved")
    written = beside.write(held, motion, *grids)
    quality = quality_of(motion, grids[0])

    def page() -> Page:
        from oinr_monai.report import report_of_motion

        title = f"{moving.name} on {fixed.name}"
        return report_of_motion(images[0], images[1], motion, title, quality)

    written |= write_page(report, page)
    told = {"output": str(output), **written, "model": model, "seconds": seconds}
    show(told | asdict(quality), as_json)


@dataclass(frozen=True)
class Held:
    """What is moved beside the image.

    Args:
        labels: a label map, or None.
        rows: rows of a table of points, or none.
        places: the points of these, in mm.
    """

    labels: MetaTensor | None
    rows: list[dict[str, str | None]]
    places: list[list[float]]


@dataclass(frozen=True)
class Beside:
    """The options about what else is moved and kept, each a file or None."""

    labels: Path | None
    labels_output: Path | None
    points: Path | None
    points_output: Path | None
    transform: Path | None
    inverse: Path | None

    def check(self, inputs: list[Path | None], overwrite: bool) -> None:
        """Find out before the work whether all of it can be written."""
        for name in ("labels", "points"):
            given, output = getattr(self, name), getattr(self, f"{name}_output")
            if (given is None) != (output is None):
                raise ValueError(f"--{name} and --{name}-output must go together")
        for path, suffixes in (
            (self.labels_output, LABEL_SUFFIXES),
            (self.points_output, (".csv",)),
            (self.transform, MOTION_SUFFIXES),
            (self.inverse, MOTION_SUFFIXES),
        ):
            if path is not None:
                check_output(path, suffixes, inputs, overwrite)

    def read(self, dims: int) -> Held:
        """What the files hold, for images of so many dimensions."""
        from oinr_monai.images.labels import read_labels

        labels = None if self.labels is None else read_labels(self.labels)
        if self.labels is not None and labels is not None:
            own = check_grid(self.labels, labels).spatial_dims
            if own != dims:
                raise ValueError(f"--labels must have {dims} dimensions as MOVING, got {own}")
        rows, places = ([], []) if self.points is None else _read_points(self.points, dims)
        return Held(labels, rows, places)

    def write(self, held: Held, motion: Motion, fixed: Grid, moving: Grid) -> dict[str, str]:
        """Write all that is asked for; the files, by their names."""
        from oinr_monai.images.files import write_image
        from oinr_monai.motion.exchange import save_motion
        from oinr_monai.motion.warp import warp_labels

        if held.labels is not None and self.labels_output is not None:
            write_image(self.labels_output, warp_labels(held.labels, motion, fixed), "label")
        if self.points_output is not None:
            _write_points(self.points_output, held, motion)
        if self.transform is not None:
            save_motion(self.transform, motion, fixed)
        if self.inverse is not None:
            save_motion(self.inverse, motion.inverse(), moving)
        found = {
            "labels": self.labels_output,
            "points": self.points_output,
            "transform": self.transform,
            "inverse": self.inverse,
        }
        return {name: str(path) for name, path in found.items() if path is not None}


def warp(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="Image to move.")],
    output: Output,
    transform: Annotated[Path, typer.Option(metavar="FILE", help="Motion from FIXED to IMAGE.")],
    like: Annotated[Path, typer.Option(metavar="FIXED", help="On the grid of this image.")],
    labels: Annotated[bool, typer.Option("--labels", help="IMAGE is a label map.")] = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Move an image, or a label map, by a motion that is known."""
    inputs = [image, transform, like]
    check_output(output, LABEL_SUFFIXES if labels else IMAGE_SUFFIXES, inputs, overwrite)
    from oinr_monai.images.files import read_grid, read_image, write_image
    from oinr_monai.images.labels import read_labels
    from oinr_monai.motion.exchange import load_motion
    from oinr_monai.motion.warp import warp_image, warp_labels

    motion, grid = load_motion(transform), read_grid(like)
    moving = read_labels(image) if labels else read_image(image)
    dims = {motion.spatial_dims, grid.spatial_dims, check_grid(image, moving).spatial_dims}
    if len(dims) > 1:
        raise ValueError(
            f"{transform}: must have as many dimensions as IMAGE and FIXED, got {dims}"
        )
    check_result(output, len(moving), grid, moving.meta)
    with about(output):
        moved = (warp_labels if labels else warp_image)(moving, motion, grid)
        write_image(output, moved, "label" if labels else "moved")
    show(
        {"output": str(output), "shape": list(grid.shape), "spacing": grid.spacing.tolist()},
        as_json,
    )


def _read_points(path: Path, dims: int) -> tuple[list[dict[str, str | None]], list[list[float]]]:
    rows, found = read_rows(path, AXES[:dims]), []
    for i, row in enumerate(rows):
        try:
            found.append([_finite(row[axis]) for axis in AXES[:dims]])
        except ValueError as error:
            raise ValueError(f"{path}: row {i + 1} must be numbers of mm, got {row}") from error
    return rows, found


def _finite(text: str | None) -> float:
    value = float(text or "")
    if not math.isfinite(value):
        raise ValueError(f"a number must be finite, got {value}")
    return value


def _write_points(path: Path, held: Held, motion: Motion) -> None:
    """The same rows, with other places."""
    import torch

    from oinr_monai.images.replacing import replacing

    moved = motion.at(torch.tensor(held.places, dtype=torch.float64))
    with replacing(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, [name for name in held.rows[0] if name is not None])
        writer.writeheader()
        for row, place in zip(held.rows, moved.tolist(), strict=True):
            told = {axis: f"{x:.6f}" for axis, x in zip(AXES, place, strict=False)}
            writer.writerow({name: value for name, value in row.items() if name} | told)
