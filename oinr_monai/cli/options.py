"""What the commands take: their common options, and checks of what these name."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperCommand

from .console import about

if TYPE_CHECKING:
    from monai.data import MetaTensor
    from torch import Tensor

    from oinr_monai.grids.grid import Grid
    from oinr_monai.representation.representation import Representation

__all__ = [
    "IMAGE_SUFFIXES",
    "Device",
    "Factor",
    "File",
    "Json",
    "Like",
    "ManyValues",
    "Output",
    "Preset",
    "Seconds",
    "Seed",
    "Sigma",
    "Spacing",
    "Steps",
    "check_budget",
    "check_folder",
    "check_grid",
    "check_output",
    "check_writable",
    "chosen_grid",
    "device_of",
    "load_representation",
    "per_axis",
    "place_of",
    "read_mask",
]

IMAGE_SUFFIXES = (".jpeg", ".jpg", ".mha", ".nii", ".nii.gz", ".nrrd", ".png")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object, and nothing else.")]
Preset = Annotated[
    Literal["fast", "balanced", "best", "exact"],
    typer.Option(help="Quality against time; exact trains nothing, for derivatives."),
]
Steps = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Steps to take, not the preset's.")
]
Seconds = Annotated[
    float | None, typer.Option(metavar="S", help="Seconds for a fit, instead of steps.")
]
Seed = Annotated[int, typer.Option(help="Seed of the start and of the places seen.")]
Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where to compute.")]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="File to write.")]


class ManyValues(TyperCommand):
    """A command whose ``--spacing`` and ``--sigma`` take as many numbers as follow them."""

    def parse_args(
        self,
        ctx: typer.Context,  # type: ignore[override]
        args: list[str],
    ) -> list[str]:
        """Parse with the numbers after each of them taken together."""
        return super().parse_args(ctx, _join_numbers(args, ("--spacing", "--sigma")))


def _join_numbers(arguments: Sequence[str], options: Sequence[str]) -> list[str]:
    joined: list[str] = []
    numbers: list[str] | None = None
    for argument in [*arguments, ""]:
        if numbers is not None and _is_number(argument):
            numbers.append(argument)
            continue
        joined += [",".join(numbers)] if numbers else []
        numbers = [] if argument in options else None
        joined.append(argument)
    return joined[:-1]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _spacings(text: str) -> list[float]:
    values = _numbers(text)
    if not 1 <= len(values) <= 3:
        raise typer.BadParameter(f"{text!r} must be one number of mm per axis, such as 1 1 2")
    return values


def _sigmas(text: str) -> list[float]:
    values = _numbers(text)
    if not values or not all(math.isfinite(value) and value >= 0 for value in values):
        raise typer.BadParameter(f"{text!r} must be widths in mm, such as 1 or 0.5 1 2")
    return values


def _numbers(text: str) -> list[float]:
    parts = text.replace(",", " ").split()
    return [float(part) for part in parts] if all(map(_is_number, parts)) else []


File = Annotated[Path, typer.Argument(metavar="REP.oinr", help="A representation.")]
Factor = Annotated[
    int | None, typer.Option(min=1, metavar="F", help="F times finer than the fitted grid.")
]
Spacing = Annotated[
    Any,
    typer.Option(parser=_spacings, metavar="X Y Z", help="Spacing in mm, one number per axis."),
]
Like = Annotated[
    Path | None, typer.Option(metavar="REF", help="On the grid of this image, rotated or not.")
]
Sigma = Annotated[
    Any,
    typer.Option(
        parser=_sigmas, metavar="MM...", help="Scale; several for vesselness and sheetness."
    ),
]

LONGEST_AXIS = 32_767  # the most voxels that NIfTI's header can count


def check_budget(steps: int | None, seconds: float | None) -> None:
    """Raise where both are given."""
    if steps is not None and seconds is not None:
        raise ValueError("--steps and --seconds must not both be given; choose one budget")


def device_of(name: str) -> str:
    """The device that --device asks for, or an error where there is none."""
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError('--device must be "auto" or "cpu" on a machine without CUDA, got "cuda"')
    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name


def load_representation(path: Path, device: str) -> Representation:
    """The representation of a file, on the device that --device asks for."""
    from oinr_monai.representation.representation import Representation

    return Representation.load(path).to(device_of(device))


def check_grid(path: Path, image: MetaTensor, like: Representation | None = None) -> Grid:
    """The image's grid, or an error that names the file."""
    from oinr_monai.grids.grid import Grid

    with about(path):
        grid = Grid.from_image(image)
    if like is not None and grid.spatial_dims != like.grid.spatial_dims:
        raise ValueError(
            f"{path}: must have {like.grid.spatial_dims} spatial dimensions as the representation,"
            f" got shape {grid.shape}"
        )
    return grid


def per_axis(spacing: list[float], dims: int) -> list[float]:
    """What --spacing gives for each axis."""
    values = spacing * dims if len(spacing) == 1 else spacing
    if len(values) != dims:
        raise ValueError(f"--spacing must be {dims} numbers, one per axis, got {len(values)}")
    if not all(math.isfinite(value) and value > 0 for value in values):
        raise ValueError(f"--spacing must be positive and finite, got {values}")
    return values


def read_mask(path: Path, image: MetaTensor) -> Tensor:
    """Where the mask is nonzero, on the image's own voxels (*spatial)."""
    import torch

    from oinr_monai.images.files import read_image

    mask = read_image(path)
    shape, wanted = tuple(mask.shape), (1, *image.shape[1:])
    if shape != wanted:
        raise ValueError(f"{path}: the mask must have the image's shape {wanted}, got {shape}")
    if not torch.allclose(mask.affine, image.affine, rtol=1e-4, atol=1e-3):
        raise ValueError(f"{path}: the mask must have the image's affine; resample it onto it")
    return mask.as_tensor()[0] != 0


def check_output(path: Path, suffixes: tuple[str, ...]) -> None:
    """Find out before the work whether its result can be written."""
    if not path.name.lower().endswith(suffixes):
        raise ValueError(f"{path}: must end in {' or '.join(suffixes)}")
    if path.is_dir():
        raise ValueError(f"{path}: is a folder; give the path of a file")
    check_writable(path)


def check_folder(path: Path) -> None:
    """Find out before the work whether a folder can be written, or made."""
    if path.exists() and not path.is_dir():
        raise ValueError(f"{path}: is a file; give the path of a folder")
    check_writable(path)


def check_writable(path: Path) -> None:
    """Raise where nothing can be written to this path."""
    if not path.parent.is_dir():
        raise ValueError(f"{path}: {path.parent} must be an existing folder; create it first")
    try:
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise ValueError(
            f"{path}: cannot be written ({error.strerror}); choose another place"
        ) from error


def chosen_grid(
    representation: Representation,
    factor: int | None,
    spacing: list[float] | None,
    like: Path | None,
) -> Grid:
    """The grid that --factor, --spacing or --like asks for; the fitted one if none does."""
    chosen = {"--factor": factor, "--spacing": spacing, "--like": like}
    given = [name for name, value in chosen.items() if value is not None]
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)} must not be given together; choose one")
    grid = representation.grid
    if factor is not None:
        grid = grid.refine(factor)
    elif spacing is not None:
        grid = grid.with_spacing(per_axis(spacing, grid.spatial_dims))
    elif like is not None:
        from oinr_monai.images.files import read_image

        grid = check_grid(like, read_image(like), representation)
    if max(grid.shape) > LONGEST_AXIS:
        raise ValueError(
            f"the grid must have at most {LONGEST_AXIS} voxels along an axis, got {grid.shape};"
            " choose a coarser one"
        )
    return grid


def place_of(grid: Grid) -> dict[str, Any]:
    """Shape and spacing of a grid, as commands print them."""
    return {"shape": list(grid.shape), "spacing": grid.spacing.tolist()}
