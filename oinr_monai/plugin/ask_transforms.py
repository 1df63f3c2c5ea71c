"""MONAI transforms: fit an image, then ask the representation, in a ``Compose`` or a loader.

A fit is deterministic, so MONAI's caching datasets keep its result; ``RandFitOINR`` starts anew
from a random seed each time and is never cached. ``PersistentDataset`` and workers keep a
representation by the bytes of its file.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Transform
from monai.utils import ensure_tuple
from torch import Tensor

from oinr_monai.analysis.derivatives import MAPS, check_maps, derivative_maps
from oinr_monai.analysis.jet_features import JET_SCALES, jet_channels
from oinr_monai.analysis.occupancy import label_map
from oinr_monai.fields.field import Field
from oinr_monai.fields.fourier import FourierEncoding
from oinr_monai.grids.asked import AskedGrid
from oinr_monai.grids.grid import Grid
from oinr_monai.grids.positions import Lattice
from oinr_monai.grids.precision import full_precision
from oinr_monai.images.meta import inherit, placed
from oinr_monai.representation.representation import Representation

from .dictionary import BACKEND, DictionaryTwin

__all__ = [
    "DeriveOINR",
    "DeriveOINRD",
    "DeriveOINRDict",
    "DeriveOINRd",
    "EncodeGrid",
    "EncodeGridD",
    "EncodeGridDict",
    "EncodeGridd",
    "FeaturesOINR",
    "FeaturesOINRD",
    "FeaturesOINRDict",
    "FeaturesOINRd",
    "LabelsOINR",
    "LabelsOINRD",
    "LabelsOINRDict",
    "LabelsOINRd",
    "SampleOINR",
    "SampleOINRD",
    "SampleOINRDict",
    "SampleOINRd",
]


def _eight_bands(grid: Grid) -> Field:
    return FourierEncoding(grid.extent.tolist(), grid.spacing.tolist(), bands=8)


class EncodeGrid(Transform):
    """The field at an image's voxel centres, as an image (E, *spatial) with the same affine.

    Args:
        encoding: makes the input function for a grid; sines and cosines of eight wavelengths per
            axis if None.

    Example:
        >>> EncodeGrid()(torch.zeros(1, 5, 6, 7)).shape
        torch.Size([48, 5, 6, 7])
    """

    backend = BACKEND

    def __init__(self, encoding: Callable[[Grid], Field] | None = None) -> None:
        self.encoding = encoding or _eight_bands

    @full_precision()
    def __call__(self, image: Tensor | np.ndarray) -> MetaTensor:
        """Encode the grid of an image (C, *spatial); its values do not matter."""
        grid = Grid.from_image(image)
        steps = zip(grid.shape, grid.spacing.tolist(), strict=True)
        axes = tuple(torch.arange(n, dtype=torch.float64) * h for n, h in steps)
        with torch.no_grad():
            encoded = grid.to_image(self.encoding(grid)(Lattice(axes))[0])
        return inherit(encoded, image, values=False)


class _Ask(Transform):
    """Ask a representation on the fitted grid, or on the one that the arguments choose.

    Args:
        factor: how many times finer than the fitted grid, for all axes or each.
        spacing: spacing in mm, for all axes or each.
    """

    backend = BACKEND

    def __init__(
        self,
        factor: int | Sequence[int] | None = None,
        spacing: float | Sequence[float] | None = None,
    ) -> None:
        self.asked = AskedGrid(factor, spacing)

    def __call__(
        self, representation: Representation, like: Tensor | np.ndarray | None = None
    ) -> MetaTensor:
        """Answer on the grid of the image ``like``, where one is given, or the one chosen."""
        if not isinstance(representation, Representation):
            raise TypeError(
                "representation must be a Representation, got "
                f"{type(representation).__name__}; fit the image first, with FitOINR"
            )
        if like is None:
            return self.answer(representation, self.asked.on(representation.grid))
        asked = replace(self.asked, like=Grid.from_image(like))
        return placed(self.answer(representation, asked.on(representation.grid)), like)

    @abstractmethod
    def answer(self, representation: Representation, grid: Grid) -> MetaTensor:
        """The answer on ``grid``."""


class SampleOINR(_Ask):
    """Intensities of a representation as an image (C, *spatial) with its affine.

    Args:
        factor: how many times finer than the fitted grid, for all axes or each.
        spacing: spacing in mm, for all axes or each, instead of a factor.

    Example:
        >>> from oinr_monai import FitConfig, FitOINR
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
        maps: names from :data:`~oinr_monai.analysis.MAPS`, one or several, whose
            channels follow in the order given.
        factor: how many times finer than the fitted grid, for all axes or each.
        spacing: spacing in mm, for all axes or each, instead of a factor.
        sigma: width in mm of the Gaussian that the image is smoothed by first, 0 for none; several
            for vesselness and sheetness.

    Raises:
        ValueError: if no map or an unknown one is asked for, or a sigma that does not fit.

    Example:
        >>> from oinr_monai import fit
        >>> DeriveOINR("gradient")(fit(torch.rand(1, 8, 9))).shape
        torch.Size([2, 8, 9])
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
        return inherit(grid.to_image(torch.cat(parts)), found[self.maps[0]])


class FeaturesOINR(_Ask):
    """What a representation tells of every voxel, as an image (F, *spatial).

    That is the activations of a hidden layer, or maps of its jets at scales in mm, whose names
    then stand in ``meta["channel_names"]``, as with :class:`JetFeatures`.

    Args:
        layer: hidden layer, counted from 1; the last if None.
        factor: how many times finer than the fitted grid, for all axes or each.
        spacing: spacing in mm, for all axes or each, instead of a factor.
        maps: names from :data:`~oinr_monai.analysis.MAPS`; activations if None.
        scales: standard deviations in mm of the Gaussians behind which maps are taken, 0 for none.

    Example:
        >>> from oinr_monai import FitConfig, fit
        >>> trained = fit(torch.rand(1, 9, 9), FitConfig("fast", steps=2))
        >>> FeaturesOINR()(trained).shape[1:]
        torch.Size([9, 9])
        >>> FeaturesOINR(maps=["value", "laplacian"], scales=[1.0, 2.0])(trained).shape
        torch.Size([4, 9, 9])
    """

    def __init__(
        self,
        layer: int | None = None,
        factor: int | Sequence[int] | None = None,
        spacing: float | Sequence[float] | None = None,
        maps: str | Sequence[str] | None = None,
        scales: float | Sequence[float] = JET_SCALES,
    ) -> None:
        super().__init__(factor, spacing)
        self.layer = layer
        self.maps = None if maps is None else ensure_tuple(maps)
        self.scales = tuple(map(float, ensure_tuple(scales)))
        if layer is not None and maps is not None:
            raise ValueError(f"layer must be None with maps, got {layer}; they are of two kinds")

    def answer(self, representation: Representation, grid: Grid) -> MetaTensor:
        """Channels (F, *grid.shape)."""
        if self.maps is None:
            return representation.features(grid, self.layer)
        return jet_channels(representation, self.maps, self.scales, grid)


class LabelsOINR(_Ask):
    """Labels of a representation that :class:`FitOccupancyOINR` made, as an image (1, *spatial).

    Args:
        factor: how many times finer than the fitted grid, for all axes or each.
        spacing: spacing in mm, for all axes or each, instead of a factor.

    Example:
        >>> from oinr_monai import FitConfig, FitOccupancyOINR, OccupancyConfig
        >>> quick = OccupancyConfig(FitConfig("fast", steps=2))
        >>> LabelsOINR(factor=2)(FitOccupancyOINR(quick)(torch.eye(14)[None])).shape
        torch.Size([1, 27, 27])
    """

    def answer(self, representation: Representation, grid: Grid) -> MetaTensor:
        """Labels (1, *grid.shape), 0 the background."""
        return label_map(representation, grid)


class EncodeGridd(DictionaryTwin):
    """Dictionary version of :class:`EncodeGrid`; ``output_keys`` too.

    Example:
        >>> EncodeGridd("image")({"image": torch.zeros(1, 5, 6, 7)})["image"].shape[1:]
        torch.Size([5, 6, 7])
    """

    array_transform = EncodeGrid


class SampleOINRd(DictionaryTwin):
    """Dictionary version of :class:`SampleOINR`; ``output_keys`` and a key for ``like`` too.

    Example:
        >>> from oinr_monai import fit
        >>> SampleOINRd("fit", factor=2)({"fit": fit(torch.rand(1, 8, 9))})["fit"].shape
        torch.Size([1, 15, 17])
    """

    array_transform, beside = SampleOINR, "like"


class DeriveOINRd(DictionaryTwin):
    """Dictionary version of :class:`DeriveOINR`; ``output_keys`` and a key for ``like`` too.

    Example:
        >>> from oinr_monai import fit
        >>> derive = DeriveOINRd("fit", ["gradient", "laplacian"], output_keys="maps")
        >>> derive({"fit": fit(torch.rand(1, 8, 9))})["maps"].shape
        torch.Size([3, 8, 9])
    """

    array_transform, beside = DeriveOINR, "like"


class FeaturesOINRd(DictionaryTwin):
    """Dictionary version of :class:`FeaturesOINR`; ``output_keys`` and a key for ``like`` too.

    Example:
        >>> from oinr_monai import FitConfig, fit
        >>> trained = fit(torch.rand(1, 9, 9), FitConfig("fast", steps=2))
        >>> FeaturesOINRd("fit")({"fit": trained})["fit"].shape[1:]
        torch.Size([9, 9])
    """

    array_transform, beside = FeaturesOINR, "like"


class LabelsOINRd(DictionaryTwin):
    """Dictionary version of :class:`LabelsOINR`; ``output_keys`` and a key for ``like`` too.

    Example:
        >>> from oinr_monai import FitConfig, FitOccupancyOINR, OccupancyConfig
        >>> quick = FitOccupancyOINR(OccupancyConfig(FitConfig("fast", steps=2)))
        >>> LabelsOINRd("fit")({"fit": quick(torch.eye(14)[None])})["fit"].shape
        torch.Size([1, 14, 14])
    """

    array_transform, beside = LabelsOINR, "like"


# As MONAI calls the dictionary versions of its own.
EncodeGridD = EncodeGridDict = EncodeGridd
SampleOINRD = SampleOINRDict = SampleOINRd
DeriveOINRD = DeriveOINRDict = DeriveOINRd
FeaturesOINRD = FeaturesOINRDict = FeaturesOINRd
LabelsOINRD = LabelsOINRDict = LabelsOINRd
