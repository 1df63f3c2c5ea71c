"""MONAI transforms: stacks of slices that moved, made one volume."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform
from monai.utils import ensure_tuple_rep
from torch import Tensor

from oinr_monai.restoration.reconstruction import ReconstructConfig, Reconstruction, reconstruct
from oinr_monai.scanner.profiles import SliceProfile

from .dictionary import BACKEND

__all__ = ["ReconstructOINR", "ReconstructOINRD", "ReconstructOINRDict", "ReconstructOINRd"]


class ReconstructOINR(Transform):
    """Make one volume of stacks of thick slices, between which the object moved.

    Args:
        config: how to reconstruct.
        profile: sensitivity across a slice of each stack; boxes as thick as the spacing if None.

    Example:
        >>> import torch
        >>> spacing = torch.tensor([1.0, 1.0, 3.0, 1.0])
        >>> axial = MetaTensor(torch.rand(1, 12, 12, 4), affine=torch.diag(spacing))
        >>> ReconstructOINR(ReconstructConfig("still"))([axial]).shape
        torch.Size([1, 12, 12, 12])
    """

    backend = BACKEND

    def __init__(
        self, config: ReconstructConfig | None = None, profile: SliceProfile | None = None
    ) -> None:
        self.config, self.profile = config or ReconstructConfig(), profile

    def __call__(
        self,
        stacks: Sequence[Tensor | np.ndarray],
        masks: Sequence[Tensor | np.ndarray] | None = None,
    ) -> MetaTensor:
        """The volume (1, X, Y, Z) along the axes of the first stack, isotropic.

        Args:
            stacks: images (1, *spatial) with their affines.
            masks: for each the voxels that count, (*spatial) or (1, *spatial); all if None.
        """
        return self.found(stacks, masks).volume.sample()

    def found(
        self,
        stacks: Sequence[Tensor | np.ndarray],
        masks: Sequence[Tensor | np.ndarray] | None = None,
    ) -> Reconstruction:
        """The same as a function, with the poses of the slices and the noise."""
        profiles = None if self.profile is None else [self.profile] * len(stacks)
        flat = None if masks is None else [m[0] if m.ndim == 4 else m for m in masks]
        return reconstruct(stacks, self.config, masks=flat, profiles=profiles)


class ReconstructOINRd(MapTransform):
    """Dictionary version of :class:`ReconstructOINR`: many items in, one volume out.

    Args:
        keys: keys of the stacks, the first that whose axes the volume has.
        output_key: key of the volume.
        config: how to reconstruct.
        profile: sensitivity across a slice of each stack; boxes as thick as the spacing if None.
        masks: keys of the voxels that count, one for each of ``keys``; all if None.
        poses: key under which the :class:`~oinr_monai.restoration.SlicePose` of each slice are put;
            nowhere if None.
        allow_missing_keys: leave out stacks that are missing, and what goes with them.

    Example:
        >>> import torch
        >>> spacing = torch.tensor([1.0, 1.0, 3.0, 1.0])
        >>> axial = MetaTensor(torch.rand(1, 12, 12, 4), affine=torch.diag(spacing))
        >>> make = ReconstructOINRd(["axial"], "volume", ReconstructConfig("still"), poses="poses")
        >>> found = make({"axial": axial})
        >>> found["volume"].shape, len(found["poses"])
        (torch.Size([1, 12, 12, 12]), 4)
    """

    backend = BACKEND

    def __init__(
        self,
        keys: KeysCollection,
        output_key: Hashable,
        config: ReconstructConfig | None = None,
        profile: SliceProfile | None = None,
        masks: KeysCollection | None = None,
        poses: Hashable | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.masks = None if masks is None else ensure_tuple_rep(masks, len(self.keys))
        self.output_key, self.poses = output_key, poses
        self.transform = ReconstructOINR(config, profile)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """A copy of ``data`` with the volume."""
        result = dict(data)
        beside = self.keys if self.masks is None else self.masks
        told = [(data[key], data[mask]) for key, mask in self.key_iterator(result, beside)]
        stacks, masks = [stack for stack, _ in told], [mask for _, mask in told]
        found = self.transform.found(stacks, None if self.masks is None else masks)
        result[self.output_key] = found.volume.sample()
        if self.poses is not None:
            result[self.poses] = found.poses
        return result


# As MONAI calls the dictionary versions of its own.
ReconstructOINRD = ReconstructOINRDict = ReconstructOINRd
