"""What the commands take, checked at the door: files, grids, masks, budgets."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .console import about

if TYPE_CHECKING:
    from monai.data import MetaTensor
    from torch import Tensor

    from oinr_monai.grids.grid import Grid
    from oinr_monai.representation.representation import Representation
    from oinr_monai.scanner.profiles import SliceProfile

__all__ = [
    "check_budget",
    "check_grid",
    "chosen_grid",
    "device_of",
    "load_representation",
    "per_axis",
    "place_of",
    "profile_of",
    "read_mask",
]


# No slice of a body is wider, in mm.
WIDEST_SLICE = 1e4


def profile_of(name: str, thickness: float) -> SliceProfile:
    """The slice profile of this name, ``thickness`` mm wide."""
    from oinr_monai.scanner.profiles import Boxcar, Gaussian

    if not 0 < thickness < WIDEST_SLICE:
        raise ValueError(
            f"--spacing and --slice-thickness must be positive and below {WIDEST_SLICE:g} mm, got"
            f" {thickness}"
        )
    return Boxcar(thickness) if name == "boxcar" else Gaussian(thickness)


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
    from oinr_monai.grids.grid import Grid
    from oinr_monai.images.files import read_image

    mask = read_image(path)
    shape, wanted = tuple(mask.shape), (1, *image.shape[1:])
    if shape != wanted:
        raise ValueError(f"{path}: the mask must have the image's shape {wanted}, got {shape}")
    if not Grid.from_image(mask).same_places(Grid.from_image(image)):
        raise ValueError(f"{path}: the mask must have the image's affine; resample it onto it")
    return mask.as_tensor()[0] != 0


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
        grid = _like(like, representation)
    return grid


def _like(path: Path, representation: Representation) -> Grid:
    """The grid of an image, some voxel of which the representation reaches."""
    from oinr_monai.images.files import read_grid

    grid, fitted = read_grid(path), representation.grid
    if grid.spatial_dims != fitted.spatial_dims:
        raise ValueError(
            f"{path}: must have {fitted.spatial_dims} spatial dimensions as the representation,"
            f" got shape {grid.shape}"
        )
    if not grid.meets(fitted):
        raise ValueError(f"{path}: must overlap with the representation, got a grid beside it")
    return grid


def place_of(grid: Grid) -> dict[str, Any]:
    """Shape and spacing of a grid, as commands print them."""
    return {"shape": list(grid.shape), "spacing": grid.spacing.tolist()}
