"""What the commands take, checked at the door: files, grids, masks, budgets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .console import about, options
from .options import WIDEST

if TYPE_CHECKING:
    from monai.data import MetaTensor

    from oinr_monai.grids.grid import Grid
    from oinr_monai.representation.representation import Representation
    from oinr_monai.scanner.profiles import SliceProfile

__all__ = [
    "check_budget",
    "check_grid",
    "check_start",
    "chosen_grid",
    "device_of",
    "grid_like",
    "load_representation",
    "marked",
    "place_of",
    "profile_of",
]


def profile_of(name: str, thickness: float) -> SliceProfile:
    """The slice profile of this name, ``thickness`` mm wide."""
    from oinr_monai.scanner.profiles import Boxcar, Gaussian

    if not 0 < thickness < WIDEST:
        raise ValueError(
            f"--spacing and --slice-thickness must be positive and below {WIDEST:g} mm, got"
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


def check_start(path: Path) -> Path:
    """The file of an operator to begin with.

    Raises:
        ValueError: if there is none.
    """
    if not path.is_file():
        raise ValueError(f"--start must be a file, got {path}, no such file")
    return path


def check_grid(path: Path, image: MetaTensor) -> Grid:
    """The image's grid, or an error that names the file."""
    from oinr_monai.grids.grid import Grid

    with about(path):
        return Grid.from_image(image)


def grid_like(path: Path, grid: Grid, representation: Representation) -> Grid:
    """The grid of an image on which a representation is asked, or an error that names the file."""
    from oinr_monai.grids.asked import AskedGrid

    with about(path):
        asked = AskedGrid(like=grid).on(representation.grid)
        if not asked.meets(representation.grid):
            raise ValueError("grid must overlap with the representation, got a grid beside it")
    return asked


def marked(images: Sequence[MetaTensor]) -> list[MetaTensor]:
    """The images, the first of which knows all files, since a fit takes over what it knows."""
    from oinr_monai.images.meta import SOURCE_MARK

    marks = [each.meta[SOURCE_MARK] for each in images if SOURCE_MARK in each.meta]
    if marks:
        images[0].meta[SOURCE_MARK] = "+".join(marks)
    return list(images)


def chosen_grid(
    representation: Representation,
    factor: int | None,
    spacing: list[float] | None,
    like: Path | None,
    uid: Sequence[str] | None = None,
) -> Grid:
    """The grid that --factor, --spacing or --like asks for; the fitted one if none does."""
    from oinr_monai.grids.asked import AskedGrid
    from oinr_monai.images.files import read_grid

    with options("factor", "spacing", "like"):
        asked = AskedGrid(factor, spacing)
        if like is not None:
            asked = replace(asked, like=grid_like(like, read_grid(like, uid or ()), representation))
        return asked.on(representation.grid)


def place_of(grid: Grid) -> dict[str, Any]:
    """Shape and spacing of a grid, as commands print them."""
    return {"shape": list(grid.shape), "spacing": grid.spacing.tolist()}
