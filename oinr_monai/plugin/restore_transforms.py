"""MONAI transforms: thick slices, made and undone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from monai.data import MetaTensor
from monai.transforms import Transform
from torch import Tensor

from oinr_monai.restoration.super_resolution import SuperResolveConfig, super_resolve
from oinr_monai.scanner.forward_model import SliceProfile
from oinr_monai.scanner.noise import NoiseModel
from oinr_monai.scanner.simulation import simulate_slices

from .dictionary import DictionaryTwin

__all__ = [
    "SimulateThickSlices",
    "SimulateThickSlicesd",
    "SuperResolveOINR",
    "SuperResolveOINRd",
]


class SuperResolveOINR(Transform):
    """Make thick slices isotropic, learning from them alone; the same image and seed, the same.

    Args:
        config: how long to learn.
        spacing: of the answer in mm along all axes, or each; if None the smallest spacing within
            the slices, for the thick axis alone.
        slice_axis: the axis from slice to slice; that of the largest spacing if None.
        slice_thickness: of a slab in mm; the slice spacing if None.
        profile: sensitivity across a slice, if not that of a slab.

    Example:
        >>> import torch
        >>> thick = MetaTensor(
        ...     torch.rand(1, 24, 24, 5), affine=torch.diag(torch.tensor([1.0, 1.0, 4.0, 1.0]))
        ... )
        >>> SuperResolveOINR(SuperResolveConfig(steps=2))(thick).shape
        torch.Size([1, 24, 24, 20])
    """

    def __init__(
        self,
        config: SuperResolveConfig | None = None,
        spacing: float | Sequence[float] | None = None,
        slice_axis: int | None = None,
        slice_thickness: float | None = None,
        profile: SliceProfile | None = None,
    ) -> None:
        self.config, self.spacing = config or SuperResolveConfig(), spacing
        self.slice_axis, self.slice_thickness, self.profile = slice_axis, slice_thickness, profile

    def __call__(self, image: Tensor | np.ndarray) -> MetaTensor:
        """The fine image (C, *spatial) with its affine."""
        found = super_resolve(
            image,
            self.config,
            spacing=self.spacing,
            slice_axis=self.slice_axis,
            slice_thickness=self.slice_thickness,
            profile=self.profile,
        )
        return found.sample()


class SimulateThickSlices(Transform):
    """Thick slices of a finer image, as a scanner would have seen it; the same each time.

    Args:
        spacing: from slice to slice, in mm.
        axis: the axis from slice to slice.
        profile: sensitivity across a slice; a box as thick as ``spacing`` if None.
        noise: what falls on the slices, of known size.
        seed: seed of the noise.

    Example:
        >>> import torch
        >>> SimulateThickSlices(spacing=4.0)(torch.rand(1, 8, 8, 12)).shape
        torch.Size([1, 8, 8, 3])
    """

    def __init__(
        self,
        spacing: float,
        axis: int = 2,
        profile: SliceProfile | None = None,
        noise: NoiseModel | None = None,
        seed: int = 0,
    ) -> None:
        self.spacing, self.axis, self.profile = spacing, axis, profile
        self.noise, self.seed = noise, seed

    def __call__(self, image: Tensor | np.ndarray) -> MetaTensor:
        """The slices (C, *spatial) with their affine."""
        return simulate_slices(
            image,
            self.spacing,
            axis=self.axis,
            profile=self.profile,
            noise=self.noise,
            seed=self.seed,
        )


class SuperResolveOINRd(DictionaryTwin):
    """Dictionary version of :class:`SuperResolveOINR`; ``output_keys`` too."""

    array_transform = SuperResolveOINR


class SimulateThickSlicesd(DictionaryTwin):
    """Dictionary version of :class:`SimulateThickSlices`; ``output_keys`` too."""

    array_transform = SimulateThickSlices
