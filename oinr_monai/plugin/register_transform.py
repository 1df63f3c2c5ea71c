"""MONAI transform: images brought onto another, and back."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform
from monai.utils import TraceKeys
from torch import Tensor

from oinr_monai.grids.grid import Grid
from oinr_monai.motion.motion import Motion
from oinr_monai.motion.motion_file import motion_from, parts_of
from oinr_monai.motion.registration import RegisterConfig, register
from oinr_monai.motion.warp import warp_image, warp_labels

from .dictionary import BACKEND

__all__ = ["RegisterOINRD", "RegisterOINRDict", "RegisterOINRd"]


class RegisterOINRd(MapTransform, InvertibleTransform):
    """Bring images of a dictionary onto another one, each sample by a registration of its own.

    The motion is found from the first of ``keys`` and moves them all; physical places count, so
    that spacing, orientation and origin may differ. The inverse takes what lies on the fixed grid
    back to the grid that each item had, by the inverse motion.

    Args:
        keys: keys of the items to move, the first that of the image to register.
        fixed: key of the image that stays.
        config: how to register.
        labels: those of ``keys`` that are label maps.
        mask: key of the voxels of the fixed image that count; all if None.
        motion: key under which the :class:`~oinr_monai.Motion` is put; nowhere if None.
        allow_missing_keys: skip keys that are missing.

    Example:
        >>> import torch
        >>> x = torch.linspace(-2, 2, 20)
        >>> blob = lambda a: torch.exp(-((x[:, None] - a) ** 2) - x**2 / 2)[None]
        >>> bring = RegisterOINRd("new", fixed="old", config=RegisterConfig("rigid"))
        >>> found = bring({"old": blob(0.0), "new": blob(0.4)})
        >>> bool((found["new"] - blob(0.0)).abs().max() < 0.05)
        True
        >>> bool((bring.inverse(found)["new"] - blob(0.4)).abs().mean() < 0.02)
        True
    """

    backend = BACKEND

    def __init__(
        self,
        keys: KeysCollection,
        fixed: Hashable,
        config: RegisterConfig | None = None,
        labels: KeysCollection = (),
        mask: Hashable | None = None,
        motion: Hashable | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.fixed, self.config = fixed, config or RegisterConfig()
        self.labels = {labels} if isinstance(labels, str) else set(labels)  # type: ignore[arg-type]
        self.mask, self.motion = mask, motion

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """A copy of ``data`` with the items on the grid of the fixed image."""
        result = dict(data)
        fixed, mask = data[self.fixed], None if self.mask is None else data[self.mask]
        first = next(iter(self.key_iterator(result)))
        motion = register(fixed, data[first], self.config, mask=mask)
        grid = Grid.from_image(fixed)
        for key in self.key_iterator(result):
            result[key] = self._noted(self._warped(key, data[key], motion, grid), data[key], motion)
        if self.motion is not None:
            result[self.motion] = motion
        return result

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """A copy of ``data`` with the items on the grids that they had."""
        result = dict(data)
        for key in self.key_iterator(result):
            image = result[key]
            told = self.pop_transform(image)[TraceKeys.EXTRA_INFO]
            grid = Grid(tuple(told["shape"]), told["affine"])
            motion = motion_from(told["parts"], told["tensors"]).inverse()
            result[key] = self._warped(key, image, motion, grid)
        return result

    def _warped(self, key: Hashable, image: Tensor, motion: Motion, grid: Grid) -> MetaTensor:
        return (warp_labels if key in self.labels else warp_image)(image, motion, grid)

    def _noted(self, moved: MetaTensor, image: Tensor, motion: Motion) -> MetaTensor:
        grid = Grid.from_image(image)
        parts, tensors = parts_of(motion)
        told = {"parts": parts, "tensors": tensors, "shape": grid.shape, "affine": grid.affine}
        # What was done to the image before holds on its own grid, where the inverse takes it.
        moved.applied_operations = list(getattr(image, "applied_operations", []))
        self.push_transform(moved, extra_info=told)  # type: ignore[no-untyped-call]
        return moved


# As MONAI calls the dictionary versions of its own.
RegisterOINRD = RegisterOINRDict = RegisterOINRd
