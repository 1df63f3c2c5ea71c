"""A representation among MONAI's transforms, caches and loaders."""

from __future__ import annotations

import copy
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NoReturn, Self

import numpy as np
import torch
from torch import Tensor
from torch.utils.data._utils.collate import default_collate_fn_map

from .continuous_field import ContinuousField
from .info import WALL_TIMES

__all__ = ["InMonai", "revived"]

REMEDY = "a representation is a function, and no image; sample it first (SampleOINRd)"


class InMonai(ABC):
    """What caches and workers can keep, by the bytes of its file, and no image.

    MONAI's ``PersistentDataset`` and workers of a ``DataLoader`` store it as they store tensors,
    and read it where only weights may be read. Transforms of images say what to do first.
    """

    meta: dict[str, Any]
    applied_operations: list[Any]
    info: dict[str, Any]
    field: ContinuousField

    @abstractmethod
    def save_exactly(self, path: str | os.PathLike[str]) -> None:
        """Write a file that loses nothing."""

    @abstractmethod
    def of_field(self, field: ContinuousField) -> Self:
        """The same with another field."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[Any, ...]]:
        with TemporaryDirectory() as folder:
            path = Path(folder, "representation.oinr")
            self.save_exactly(path)
            content = np.fromfile(path, dtype=np.uint8)
        beside = {name: self.info[name] for name in WALL_TIMES if name in self.info}
        return revived, (torch.from_numpy(content), self.meta, self.applied_operations, beside)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self.of_field(copy.deepcopy(self.field, memo))

    if not TYPE_CHECKING:  # a type checker shall know what attributes there are

        def __getattr__(self, name: str) -> object:
            told = f"{type(self).__name__!r} object has no attribute {name!r}"
            # What a copy is restored by has no attributes yet.
            of_images = not name.startswith("_") and _is_of_images(name)
            raise AttributeError(f"{told}: {REMEDY}" if of_images else told)

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        raise TypeError(REMEDY)

    def _refused(self, *others: object) -> NoReturn:
        raise TypeError(REMEDY)

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _refused
    __truediv__ = __rtruediv__ = __pow__ = __rpow__ = __neg__ = __abs__ = _refused
    __lt__ = __le__ = __gt__ = __ge__ = _refused

    @classmethod
    def __torch_function__(cls, *args: object, **kwargs: object) -> object:
        """Refuse to be taken for a tensor."""
        raise TypeError(REMEDY)


def revived(
    content: Tensor,
    meta: dict[str, Any],
    applied_operations: list[Any],
    info: dict[str, Any],
) -> InMonai:
    """The representation whose file holds ``content``, and what it knew beside the file."""
    from .representation import Representation

    with TemporaryDirectory() as folder:
        path = Path(folder, "representation.oinr")
        content.numpy().tofile(path)
        result = Representation.load(path)
    result.meta, result.applied_operations = dict(meta), list(applied_operations)
    result.info |= info
    return result


def _is_of_images(name: str) -> bool:
    from monai.data import MetaTensor

    return hasattr(MetaTensor, name)


def _refuse(batch: list[Any], *, collate_fn_map: object = None) -> object:
    raise TypeError(f"representations cannot be collated: {REMEDY}")


default_collate_fn_map[InMonai] = _refuse
