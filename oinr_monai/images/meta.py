"""What an image says of itself besides its voxels, and what an answer made of it says too."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from oinr_monai.grids.grid import Grid
from oinr_monai.grids.meta_tensors import is_meta_tensor

from .meta_keys import FILENAME, LPS, ORIGINAL_AFFINE, SPACE, SPATIAL_SHAPE, TRANSFORM
from .time_axis import TIME_AXIS

__all__ = ["KEPT", "SOURCE_MARK", "STORED_DTYPE", "STORED_SCALING", "inherit", "placed"]

# Key in a MetaTensor's meta: the type of the voxels in the file, unsigned where none is negative.
STORED_DTYPE = "stored_dtype"

# Key of slope and intercept by which whole numbers in the file become intensities.
STORED_SCALING = "stored_scaling"

# Key of what tells the file from others, so that nobody writes over it what was made of it.
SOURCE_MARK = "source_mark"

# What is said of the values.
VALUES = (STORED_DTYPE, STORED_SCALING, TIME_AXIS)

# What ``.oinr`` files keep, so that each is a JSON value.
KEPT = (*VALUES, SOURCE_MARK)

# Where the voxels lay before MONAI's transforms, to which MONAI's writers take them back.
BEFORE = (ORIGINAL_AFFINE, SPATIAL_SHAPE)

# MONAI's transforms whose inverses look at the axes alone, and so hold on any grid along them.
ON_ANY_GRID = {"Flip", "Orientation", "Rotate90", "SpatialResample"}


class Heir(Protocol):
    """What can inherit: a MetaTensor, a representation."""

    meta: dict[str, Any]
    applied_operations: list[Any]


H = TypeVar("H", bound=Heir)


def inherit(answer: H, image: object, *, values: bool = True) -> H:
    """Give an answer what it takes over from the image that it was made of.

    That is the file, after which MONAI names what it writes; pixel depth and time axis; and, where
    :func:`placed` says so, the transforms that MONAI can undo.

    Args:
        answer: a MetaTensor or a representation; it is changed.
        image: a MetaTensor, an image on disk or a representation; a plain array says nothing.
        values: whether the answer's values are such as the image's; a gradient's are not, and have
            neither its pixel depth nor its time axis.

    Returns:
        The answer.

    Example:
        >>> from monai.data import MetaTensor
        >>> image = MetaTensor(torch.zeros(1, 4, 4), meta={"stored_dtype": "uint16"})
        >>> inherit(MetaTensor(torch.ones(1, 8, 8)), image).meta["stored_dtype"]
        'uint16'
    """
    known = getattr(image, "meta", {})
    of_file = (FILENAME, SOURCE_MARK)
    _hand_on(known, answer, (*of_file, *(VALUES if values else ())))
    return placed(answer, image)


def placed(answer: H, image: object) -> H:
    """Give an answer the history of the image on whose grid it lies, for MONAI to undo.

    On another grid the answer takes it over if each transform can be undone there as well, as an
    orientation can and a crop cannot; and it stays where it is when MONAI writes it. An image in
    LPS has no history to give, since answers are in RAS.
    """
    history = getattr(image, "applied_operations", [])
    known = getattr(image, "meta", {})
    if known.get(SPACE) == LPS:
        return answer  # whose places are in RAS, where that history leads elsewhere
    same = hasattr(image, "meta") and _grid_of(answer) == _grid_of(image)
    if same:
        _hand_on(known, answer, BEFORE)
    if same or all(each[TRANSFORM] in ON_ANY_GRID for each in history):
        answer.applied_operations = _copied(history)
    return answer


def _hand_on(known: dict[str, Any], answer: Heir, names: tuple[str, ...]) -> None:
    answer.meta.update({name: _copied(known[name]) for name in names if name in known})


def _copied(value: Any) -> Any:  # noqa: ANN401 (what a transform notes may be anything)
    # Apart, since an inverse changes what it reads; without NumPy, which MONAI's caches refuse.
    if isinstance(value, dict):
        return {name: _copied(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_copied, value))
    return torch.as_tensor(value).clone() if isinstance(value, np.ndarray | Tensor) else value


def _grid_of(image: Any) -> Grid:  # noqa: ANN401 (anything that has a grid)
    return Grid.from_image(image) if is_meta_tensor(image) else image.grid
