"""MONAI transforms: thick slices, made and undone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, cast

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Transform
from torch import Tensor

from oinr_monai.fitting.family import fit_family
from oinr_monai.fitting.presets import FitConfig
from oinr_monai.grids.grid import Grid
from oinr_monai.images.arrays import plain_tensor
from oinr_monai.images.meta import inherit
from oinr_monai.images.time_axis import TIME_AXIS, TimeAxis
from oinr_monai.restoration.denoising import DenoiseConfig, denoise, denoise_trusted
from oinr_monai.restoration.interpolation import interpolate_slices
from oinr_monai.restoration.restored import Restored
from oinr_monai.restoration.super_resolution import (
    SuperResolveConfig,
    super_resolve,
    super_resolve_trusted,
)
from oinr_monai.scanner.noise import NoiseModel
from oinr_monai.scanner.profiles import SliceProfile
from oinr_monai.scanner.simulation import simulate_slices

from .dictionary import BACKEND, DictionaryTwin

__all__ = [
    "DenoiseOINR",
    "DenoiseOINRD",
    "DenoiseOINRDict",
    "DenoiseOINRd",
    "InterpolateOINR",
    "InterpolateOINRD",
    "InterpolateOINRDict",
    "InterpolateOINRd",
    "SimulateThickSlices",
    "SimulateThickSlicesD",
    "SimulateThickSlicesDict",
    "SimulateThickSlicesd",
    "SuperResolveOINR",
    "SuperResolveOINRD",
    "SuperResolveOINRDict",
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

    backend = BACKEND
    trust_keys = ("error_keys", "share_keys", "hidden_keys")

    def __init__(
        self,
        config: SuperResolveConfig | None = None,
        spacing: float | Sequence[float] | None = None,
        slice_axis: int | None = None,
        slice_thickness: float | None = None,
        profile: SliceProfile | None = None,
    ) -> None:
        self.config = config or SuperResolveConfig()
        self.asked: dict[str, Any] = {
            "spacing": spacing,
            "slice_axis": slice_axis,
            "slice_thickness": slice_thickness,
            "profile": profile,
        }

    def __call__(
        self, image: Tensor | np.ndarray, guide: Tensor | np.ndarray | None = None
    ) -> MetaTensor:
        """The fine image (C, *spatial) with its affine; another contrast may guide it."""
        return super_resolve(image, self.config, guide=guide, **self.asked).sample()

    def trusted(
        self, image: Tensor | np.ndarray, guide: Tensor | np.ndarray | None = None
    ) -> Restored:
        """The fine image of slices (1, *spatial), and how far to trust it.

        Raises:
            ValueError: if there is a guide, of which the intervals know nothing, or no slices.
        """
        if guide is not None:
            raise ValueError("guide must be None with maps of trust, which do not know it")
        return super_resolve_trusted(image, self.config, **self.asked)


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

    backend = BACKEND

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
    """Dictionary version of :class:`SuperResolveOINR`; ``output_keys`` and ``guide`` too.

    Example:
        >>> import torch
        >>> quick = SuperResolveOINRd("image", SuperResolveConfig(steps=2))
        >>> affine = torch.diag(torch.tensor([1.0, 1.0, 4.0, 1.0]))
        >>> thick = MetaTensor(torch.rand(1, 24, 24, 5), affine=affine)
        >>> quick({"image": thick})["image"].shape
        torch.Size([1, 24, 24, 20])
    """

    array_transform, beside = SuperResolveOINR, "guide"


class SimulateThickSlicesd(DictionaryTwin):
    """Dictionary version of :class:`SimulateThickSlices`; ``output_keys`` too.

    Example:
        >>> import torch
        >>> seen = SimulateThickSlicesd("image", spacing=4.0)
        >>> seen({"image": torch.rand(1, 8, 8, 12)})["image"].shape
        torch.Size([1, 8, 8, 3])
    """

    array_transform = SimulateThickSlices


class DenoiseOINR(Transform):
    """Denoise an image (C, *spatial), its channels together; the same image and seed, the same.

    Args:
        config: how to denoise.

    Example:
        >>> noisy = torch.randn(1, 24, 24)
        >>> DenoiseOINR(DenoiseConfig(steps=5))(noisy).shape
        torch.Size([1, 24, 24])
    """

    backend = BACKEND
    trust_keys = ("error_keys",)

    def __init__(self, config: DenoiseConfig | None = None) -> None:
        self.config = config or DenoiseConfig()

    def __call__(
        self, image: Tensor | np.ndarray, mask: Tensor | np.ndarray | None = None
    ) -> MetaTensor:
        """The clean image on the same grid; where a mask is given, only its voxels count."""
        return denoise(image, self.config, mask=mask).sample()

    def trusted(
        self, image: Tensor | np.ndarray, mask: Tensor | np.ndarray | None = None
    ) -> Restored:
        """The clean image, and how far to trust it."""
        return denoise_trusted(image, self.config, mask=mask)


class InterpolateOINR(Transform):
    """What lies between the channels of an image, taken for frames, or between its slices.

    Args:
        at: times to show, where the channels are at 0, 1, 2, ...; or else
        factor: how many times as many frames, or slices, there shall be.
        axis: spatial axis from slice to slice; the channels are frames if None.
        config: how to fit.
        motion: find how things move; otherwise they fade into each other.

    Raises:
        ValueError: if both or none of ``at`` and ``factor`` are given, or ``at`` with an axis, or
            ``factor`` is below 1.

    Example:
        >>> InterpolateOINR(at=[0.5], config=FitConfig(steps=2))(torch.randn(3, 9, 9)).shape
        torch.Size([1, 9, 9])
    """

    backend = BACKEND

    def __init__(
        self,
        at: Sequence[float] | None = None,
        factor: int | None = None,
        axis: int | None = None,
        config: FitConfig | None = None,
        motion: bool = True,
    ) -> None:
        if (at is None) == (factor is None) or (axis is not None and factor is None):
            raise ValueError(
                f"at or factor must be given, and factor with an axis, got {at} and {factor}"
            )
        if factor is not None and factor < 1:
            raise ValueError(f"factor must be 1 or more, got {factor}")
        self.at, self.factor, self.axis = at, factor, axis
        self.config, self.motion = config, motion

    def __call__(self, image: Tensor | np.ndarray) -> MetaTensor:
        """Frames (T, *spatial), one channel each time asked for; or the volume with more slices."""
        if self.axis is not None:
            return interpolate_slices(
                image, self.axis, cast("int", self.factor), self.config, motion=self.motion
            )
        plain = plain_tensor(image)
        affine = Grid.from_image(image).affine
        frames = [MetaTensor(frame[None], affine=affine) for frame in plain]
        family = fit_family(frames, self.config, times=range(len(frames)), motion=self.motion)
        times = self._times(len(plain))
        found = torch.cat([family.at_time(t).sample().as_tensor() for t in times])
        return _timed(inherit(Grid.from_image(image).to_image(found), image), times)

    def _times(self, frames: int) -> list[float]:
        if self.at is not None:
            return [float(t) for t in self.at]
        count = cast("int", self.factor)
        return [i / count for i in range((frames - 1) * count + 1)]


def _timed(answer: MetaTensor, times: Sequence[float]) -> MetaTensor:
    # The time axis, where it is known, is that of the frames shown; uneven ones have none.
    axis, gaps = TimeAxis.of(answer.meta), [b - a for a, b in pairwise(times)]
    answer.meta.pop(TIME_AXIS, None)
    if axis is not None and gaps and max(gaps) - min(gaps) < 1e-9:
        start = axis.start + axis.step * times[0]
        answer.meta.update(replace(axis, step=axis.step * gaps[0], start=start).meta())
    return answer


class DenoiseOINRd(DictionaryTwin):
    """Dictionary version of :class:`DenoiseOINR`; ``output_keys`` and a key for ``mask`` too.

    Example:
        >>> import torch
        >>> quick = DenoiseOINRd("image", DenoiseConfig(steps=2))
        >>> quick({"image": torch.randn(1, 24, 24)})["image"].shape
        torch.Size([1, 24, 24])
    """

    array_transform, beside = DenoiseOINR, "mask"


class InterpolateOINRd(DictionaryTwin):
    """Dictionary version of :class:`InterpolateOINR`; ``output_keys`` too.

    Example:
        >>> import torch
        >>> quick = InterpolateOINRd("image", at=[0.5], config=FitConfig(steps=2))
        >>> quick({"image": torch.randn(3, 9, 9)})["image"].shape
        torch.Size([1, 9, 9])
    """

    array_transform = InterpolateOINR


# As MONAI calls the dictionary versions of its own.
SuperResolveOINRD = SuperResolveOINRDict = SuperResolveOINRd
SimulateThickSlicesD = SimulateThickSlicesDict = SimulateThickSlicesd
DenoiseOINRD = DenoiseOINRDict = DenoiseOINRd
InterpolateOINRD = InterpolateOINRDict = InterpolateOINRd
