"""What the commands take: their common options, and checks of what these name."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .console import about

if TYPE_CHECKING:
    from monai.data import MetaTensor
    from torch import Tensor

    from .grids import Grid
    from .representation import Representation

__all__ = [
    "IMAGE_SUFFIXES",
    "Device",
    "Json",
    "Output",
    "check_folder",
    "check_grid",
    "check_output",
    "check_writable",
    "device_of",
    "read_mask",
]

IMAGE_SUFFIXES = (".jpeg", ".jpg", ".mha", ".nii", ".nii.gz", ".nrrd", ".png")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object, and nothing else.")]
Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where to compute.")]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="File to write.")]


def device_of(name: str) -> str:
    """The device that --device asks for, or an error where there is none."""
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError('--device must be "auto" or "cpu" on a machine without CUDA, got "cuda"')
    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name


def check_grid(path: Path, image: MetaTensor, like: Representation | None = None) -> Grid:
    """The image's grid, or an error that names the file."""
    from .grids import Grid

    with about(path):
        grid = Grid.from_image(image)
    if like is not None and grid.spatial_dims != like.grid.spatial_dims:
        raise ValueError(
            f"{path}: must have {like.grid.spatial_dims} spatial dimensions as the representation,"
            f" got shape {grid.shape}"
        )
    return grid


def read_mask(path: Path, image: MetaTensor) -> Tensor:
    """Where the mask is nonzero, on the image's own voxels (*spatial)."""
    import torch

    from .images import read_image

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
