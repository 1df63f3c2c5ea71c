"""MONAI transforms: fit an image, then ask the representation, in a ``Compose`` or a loader.

A fit is deterministic, so MONAI's caching datasets keep its result; ``RandFitOINR`` starts anew
from a random seed each time and is never cached. A ``PersistentDataset`` stores tensors alone: end
its transforms with one that asks, such as ``SampleOINRd``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Randomizable, Transform
from monai.utils import ImageMetaKey, ensure_tuple
from torch import Tensor

from oinr_monai.analysis.derivatives import MAPS, check_maps, derivative_maps
from oinr_monai.analysis.occupancy import OccupancyConfig, fit_occupancy, label_map
from oinr_monai.fields.field import Field
from oinr_monai.fields.fourier import FourierEncoding
from oinr_monai.fitting.family import fit_family, interpolate_slices
from oinr_monai.fitting.presets import FitConfig
from oinr_monai.fitting.single import fit
from oinr_monai.grids.grid import Grid
from oinr_monai.grids.positions import Lattice
from oinr_monai.representation.representation import Representation, image_source
from oinr_monai.restoration.denoising import DenoiseConfig, denoise

from .dictionary import DictionaryTwin

__all__ = [
    "DenoiseOINR",
    "DenoiseOINRd",
    "DeriveOINR",
    "DeriveOINRd",
    "EncodeGrid",
    "EncodeGridd",
    "FeaturesOINR",
    "FeaturesOINRd",
    "FitOINR",
    "FitOINRd",
    "FitOccupancyOINR",
    "FitOccupancyOINRd",
    "InterpolateOINR",
    "InterpolateOINRd",
    "LabelsOINR",
    "LabelsOINRd",
    "RandFitOINR",
    "RandFitOINRd",
    "SampleOINR",
    "SampleOINRd",
]


def _eight_bands(grid: Grid) -> Field:
    return FourierEncoding(grid.extent.tolist(), grid.spacing.tolist(), bands=8)


class EncodeGrid(Transform):
    """The encoding of an image's voxel centres, as an image (E, *spatial) with the same affine.

    Args:
        encoding: makes the input function for a grid; sines and cosines of eight wavelengths per
            axis if None.

    Example:
        >>> EncodeGrid()(torch.zeros(1, 5, 6, 7)).shape
        torch.Size([48, 5, 6, 7])
    """

    def __init__(self, encoding: Callable[[Grid], Field] | None = None) -> None:
        self.encoding = encoding or _eight_bands

    def __call__(self, image: Tensor | np.ndarray) -> MetaTensor:
        """Encode the grid of an image (C, *spatial); its values do not matter."""
        grid = Grid.from_image(image)
        steps = zip(grid.shape, grid.spacing.tolist(), strict=True)
        axes = tuple(torch.arange(n, dtype=torch.float64) * h for n, h in steps)
        with torch.no_grad():
            encoded = grid.to_image(self.encoding(grid)(Lattice(axes))[0])
        if (source := image_source(image)) is not None:
            encoded.meta[ImageMetaKey.FILENAME_OR_OBJ] = source
        return encoded


class FitOINR(Transform):
    """Fit a :class:`Representation` to an image (C, *spatial).

    The same image and ``config.seed`` give the same representation, also where gradients are off
    and in loaders' workers (on the CPU: a forked worker cannot use CUDA).

    Args:
        config: how to fit.

    Example:
        >>> wave = torch.sin(torch.linspace(0, 6, 16))[None, :, None].expand(1, 16, 16)
        >>> FitOINR(FitConfig(preset="fast", steps=20))(wave).grid.shape
        (16, 16)
    """

    def __init__(self, config: FitConfig | None = None) -> None:
        self.config = config or FitConfig()

    def __call__(
        self, image: Tensor | np.ndarray, mask: Tensor | np.ndarray | None = None
    ) -> Representation:
        """Fit an image, where a mask is given only to the voxels inside it."""
        return fit(image, self.config, mask=mask)


class FitOccupancyOINR(Transform):
    """Fit the occupancy of each label of a mask or label map (1, *spatial).

    Args:
        config: how to fit.

    Example:
        >>> mask = torch.zeros(1, 14, 14)
        >>> mask[:, 4:10, 4:10] = 1
        >>> representation = FitOccupancyOINR(OccupancyConfig(FitConfig("fast", steps=20)))(mask)
        >>> LabelsOINR(factor=2)(representation).shape
        torch.Size([1, 27, 27])
    """

    def __init__(self, config: OccupancyConfig | None = None) -> None:
        self.config = config or OccupancyConfig()

    def __call__(self, labels: Tensor | np.ndarray) -> Representation:
        """Fit whole numbers, 0 the background."""
        return fit_occupancy(labels, self.config)


class DenoiseOINR(Transform):
    """Denoise an image (C, *spatial), its channels together; the same image and seed, the same.

    Args:
        config: how to denoise.

    Example:
        >>> noisy = torch.randn(1, 24, 24)
        >>> DenoiseOINR(DenoiseConfig(steps=5))(noisy).shape
        torch.Size([1, 24, 24])
    """

    def __init__(self, config: DenoiseConfig | None = None) -> None:
        self.config = config or DenoiseConfig()

    def __call__(
        self, image: Tensor | np.ndarray, mask: Tensor | np.ndarray | None = None
    ) -> MetaTensor:
        """The clean image on the same grid; where a mask is given, only its voxels count."""
        return denoise(image, self.config, mask=mask).sample()


class InterpolateOINR(Transform):
    """What lies between the channels of an image, taken for frames, or between its slices.

    Args:
        at: times to show, where the channels are at 0, 1, 2, ...; or else
        factor: how many times as many frames, or slices, there shall be.
        axis: spatial axis from slice to slice; the channels are frames if None.
        config: how to fit.
        motion: find how things move; otherwise they fade into each other.

    Raises:
        ValueError: if both or none of ``at`` and ``factor`` are given, or ``at`` with an axis.

    Example:
        >>> InterpolateOINR(at=[0.5], config=FitConfig(steps=2))(torch.randn(3, 9, 9)).shape
        torch.Size([1, 9, 9])
    """

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
        self.at, self.factor, self.axis = at, factor, axis
        self.config, self.motion = config, motion

    def __call__(self, image: Tensor | np.ndarray) -> MetaTensor:
        """Frames (T, *spatial), one channel each time asked for; or the volume with more slices."""
        if self.axis is not None:
            return interpolate_slices(
                image, self.axis, self.factor or 2, self.config, motion=self.motion
            )
        plain = torch.as_tensor(image.as_tensor() if isinstance(image, MetaTensor) else image)
        affine = Grid.from_image(image).affine
        frames = [MetaTensor(frame[None], affine=affine) for frame in plain]
        family = fit_family(frames, self.config, times=range(len(frames)), motion=self.motion)
        found = torch.cat([family.at_time(t).sample().as_tensor() for t in self._times(len(plain))])
        answer = Grid.from_image(image).to_image(found)
        if (source := image_source(image)) is not None:
            answer.meta[ImageMetaKey.FILENAME_OR_OBJ] = source
        return answer

    def _times(self, frames: int) -> list[float]:
        if self.at is not None:
            return [float(t) for t in self.at]
        count = self.factor or 1
        return [i / count for i in range((frames - 1) * count + 1)]


class RandFitOINR(Randomizable, FitOINR):
    """:class:`FitOINR` from a random start: another representation of the same image each time.

    Args:
        config: how to fit; its seed is replaced by a random one.
    """

    def __init__(self, config: FitConfig | None = None) -> None:
        super().__init__(config)
        self.seed = self.config.seed

    def randomize(self, data: object = None) -> None:
        """Draw the seed of the next fit."""
        self.seed = int(self.R.randint(1 << 31))

    def __call__(
        self, image: Tensor | np.ndarray, mask: Tensor | np.ndarray | None = None
    ) -> Representation:
        """Fit an image, where a mask is given only to the voxels inside it."""
        self.randomize()
        return fit(image, replace(self.config, seed=self.seed), mask=mask)


class _Ask(Transform):
    """Ask a representation on the fitted grid, or on the one that the arguments choose.

    Args:
        factor: how many times finer than the fitted grid, for all axes or each.
        spacing: spacing in mm, for all axes or each.
    """

    def __init__(
        self,
        factor: int | Sequence[int] | None = None,
        spacing: float | Sequence[float] | None = None,
    ) -> None:
        if factor is not None and spacing is not None:
            raise ValueError(f"factor must be None where spacing is given, got {factor}")
        self.factor, self.spacing = factor, spacing

    def __call__(
        self, representation: Representation, like: Tensor | np.ndarray | None = None
    ) -> MetaTensor:
        """Answer on the grid of the image ``like``, where one is given, or the one chosen."""
        if not isinstance(representation, Representation):
            raise TypeError(
                "representation must be a Representation, got "
                f"{type(representation).__name__}; fit the image first, with FitOINR"
            )
        return self.answer(representation, self._grid(representation.grid, like))

    @abstractmethod
    def answer(self, representation: Representation, grid: Grid) -> MetaTensor:
        """The answer on ``grid``."""

    def _grid(self, fitted: Grid, like: Tensor | np.ndarray | None) -> Grid:
        if like is not None:
            if (self.factor, self.spacing) != (None, None):
                raise ValueError("like must be None where factor or spacing is given")
            return Grid.from_image(like)
        if self.spacing is not None:
            return fitted.with_spacing(self.spacing)
        return fitted if self.factor is None else fitted.refine(self.factor)


class SampleOINR(_Ask):
    """Intensities of a representation as an image (C, *spatial) with its affine.

    Args:
        factor: how many times finer than the fitted grid, for all axes or each.
        spacing: spacing in mm, for all axes or each, instead of a factor.

    Example:
        >>> wave = torch.sin(torch.linspace(0, 6, 16))[None, :, None].expand(1, 16, 16)
        >>> representation = FitOINR(FitConfig(preset="fast", steps=20))(wave)
        >>> SampleOINR(factor=2)(representation).shape
        torch.Size([1, 31, 31])
    """

    def answer(self, representation: Representation, grid: Grid) -> MetaTensor:
        """Intensities (C, *grid.shape)."""
        return representation.sample(grid)


class DeriveOINR(_Ask):
    """Exact derivatives of a representation in world axes, per mm, as one image.

    Args:
        maps: names from :data:`~oinr_monai.analysis.derivatives.MAPS`, one or several, whose
            channels follow in the order given.
        factor: how many times finer than the fitted grid, for all axes or each.
        spacing: spacing in mm, for all axes or each, instead of a factor.
        sigma: width in mm of the Gaussian that the image is smoothed by first, 0 for none; several
            for vesselness and sheetness.

    Raises:
        ValueError: if no map or an unknown one is asked for, or a sigma that does not fit.
    """

    def __init__(
        self,
        maps: str | Sequence[str] = "gradient",
        factor: int | Sequence[int] | None = None,
        spacing: float | Sequence[float] | None = None,
        sigma: float | Sequence[float] = 0.0,
    ) -> None:
        super().__init__(factor, spacing)
        self.maps: tuple[str, ...] = ensure_tuple(maps)
        if not self.maps:
            raise ValueError(f"maps must be among {', '.join(MAPS)}, got none")
        self.sigma = sigma
        check_maps(self.maps, sigma)

    def answer(self, representation: Representation, grid: Grid) -> MetaTensor:
        """The maps, one after the other along the channels."""
        found = dict(derivative_maps(representation, self.maps, grid, self.sigma))
        parts = [found[name].as_tensor() for name in self.maps]
        return MetaTensor(torch.cat(parts), meta=found[self.maps[0]].meta)


class FeaturesOINR(_Ask):
    """Activations of a hidden layer of a representation as an image (F, *spatial).

    Args:
        layer: hidden layer, counted from 1; the last if None.
        factor: how many times finer than the fitted grid, for all axes or each.
        spacing: spacing in mm, for all axes or each, instead of a factor.
    """

    def __init__(
        self,
        layer: int | None = None,
        factor: int | Sequence[int] | None = None,
        spacing: float | Sequence[float] | None = None,
    ) -> None:
        super().__init__(factor, spacing)
        self.layer = layer

    def answer(self, representation: Representation, grid: Grid) -> MetaTensor:
        """Activations (F, *grid.shape)."""
        return representation.features(grid, self.layer)


class LabelsOINR(_Ask):
    """Labels of a representation that :class:`FitOccupancyOINR` made, as an image (1, *spatial).

    Args:
        factor: how many times finer than the fitted grid, for all axes or each.
        spacing: spacing in mm, for all axes or each, instead of a factor.
    """

    def answer(self, representation: Representation, grid: Grid) -> MetaTensor:
        """Labels (1, *grid.shape), 0 the background."""
        return label_map(representation, grid)


class EncodeGridd(DictionaryTwin):
    """Dictionary version of :class:`EncodeGrid`; ``output_keys`` too."""

    array_transform = EncodeGrid


class FitOINRd(DictionaryTwin):
    """Dictionary version of :class:`FitOINR`; ``output_keys`` and a key for ``mask`` too.

    Without ``output_keys`` the representation replaces the image.
    """

    array_transform, beside = FitOINR, "mask"


class FitOccupancyOINRd(DictionaryTwin):
    """Dictionary version of :class:`FitOccupancyOINR`; ``output_keys`` too."""

    array_transform = FitOccupancyOINR


class DenoiseOINRd(DictionaryTwin):
    """Dictionary version of :class:`DenoiseOINR`; ``output_keys`` and a key for ``mask`` too."""

    array_transform, beside = DenoiseOINR, "mask"


class InterpolateOINRd(DictionaryTwin):
    """Dictionary version of :class:`InterpolateOINR`; ``output_keys`` too."""

    array_transform = InterpolateOINR


class RandFitOINRd(Randomizable, DictionaryTwin):
    """Dictionary version of :class:`RandFitOINR`; ``output_keys`` and a key for ``mask`` too."""

    array_transform, beside = RandFitOINR, "mask"
    transform: RandFitOINR

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> RandFitOINRd:
        """Make the seeds to come reproducible."""
        super().set_random_state(seed, state)
        self.transform.set_random_state(seed, state)
        return self


class SampleOINRd(DictionaryTwin):
    """Dictionary version of :class:`SampleOINR`; ``output_keys`` and a key for ``like`` too."""

    array_transform, beside = SampleOINR, "like"


class DeriveOINRd(DictionaryTwin):
    """Dictionary version of :class:`DeriveOINR`; ``output_keys`` and a key for ``like`` too."""

    array_transform, beside = DeriveOINR, "like"


class FeaturesOINRd(DictionaryTwin):
    """Dictionary version of :class:`FeaturesOINR`; ``output_keys`` and a key for ``like`` too."""

    array_transform, beside = FeaturesOINR, "like"


class LabelsOINRd(DictionaryTwin):
    """Dictionary version of :class:`LabelsOINR`; ``output_keys`` and a key for ``like`` too."""

    array_transform, beside = LabelsOINR, "like"
