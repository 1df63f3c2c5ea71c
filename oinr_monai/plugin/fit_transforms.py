"""Transforms from images to representations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from monai.transforms import Randomizable, Transform
from torch import Tensor

from oinr_monai.analysis.occupancy import OccupancyConfig, fit_occupancy
from oinr_monai.fitting.presets import EXACT, FitConfig
from oinr_monai.fitting.single import fit
from oinr_monai.representation.representation import Representation

from .dictionary import BACKEND, DictionaryTwin

__all__ = [
    "FitOINR",
    "FitOINRD",
    "FitOINRDict",
    "FitOINRd",
    "FitOccupancyOINR",
    "FitOccupancyOINRD",
    "FitOccupancyOINRDict",
    "FitOccupancyOINRd",
    "RandFitOINR",
    "RandFitOINRD",
    "RandFitOINRDict",
    "RandFitOINRd",
]


class FitOINR(Transform):
    """Fit a :class:`Representation` to an image (C, *spatial).

    The same image and ``config.seed`` give the same representation, also where gradients are off
    and in loaders' workers (on the CPU: a forked worker cannot use CUDA).

    Args:
        config: how to fit; in closed form if None.

    Example:
        >>> import torch
        >>> wave = torch.sin(torch.linspace(0, 6, 16))[None, :, None].expand(1, 16, 16)
        >>> FitOINR()(wave).grid.shape
        (16, 16)
    """

    backend = BACKEND

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
        >>> import torch
        >>> from oinr_monai import LabelsOINR
        >>> mask = torch.zeros(1, 14, 14)
        >>> mask[:, 4:10, 4:10] = 1
        >>> representation = FitOccupancyOINR(OccupancyConfig(FitConfig("fast", steps=20)))(mask)
        >>> LabelsOINR(factor=2)(representation).shape
        torch.Size([1, 27, 27])
    """

    backend = BACKEND

    def __init__(self, config: OccupancyConfig | None = None) -> None:
        self.config = config or OccupancyConfig()

    def __call__(self, labels: Tensor | np.ndarray) -> Representation:
        """Fit whole numbers, 0 the background."""
        return fit_occupancy(labels, self.config)


class RandFitOINR(Randomizable, Transform):
    """:class:`FitOINR` from a random start: another representation of the same image each time.

    Args:
        config: how to fit, preset "balanced" if None; its seed is replaced by a random one.

    Raises:
        ValueError: if nothing would be trained, where one start is as any other.

    Example:
        >>> import torch
        >>> again = RandFitOINR(FitConfig("fast", steps=2))
        >>> again(torch.rand(1, 9, 9)).grid.shape
        (9, 9)
    """

    backend = BACKEND

    def __init__(self, config: FitConfig | None = None) -> None:
        self.config = config or FitConfig("balanced")
        if self.config.preset == EXACT:
            raise ValueError(
                'config must train something for random starts, got preset "exact"; take "fast", '
                '"balanced" or "best"'
            )
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


class FitOINRd(DictionaryTwin):
    """Dictionary version of :class:`FitOINR`; ``output_keys`` and a key for ``mask`` too.

    Without ``output_keys`` the representation replaces the image.

    Example:
        >>> import torch
        >>> FitOINRd("image")({"image": torch.rand(1, 9, 9)})["image"].grid.shape
        (9, 9)
    """

    array_transform, beside = FitOINR, "mask"


class FitOccupancyOINRd(DictionaryTwin):
    """Dictionary version of :class:`FitOccupancyOINR`; ``output_keys`` too.

    Example:
        >>> import torch
        >>> quick = OccupancyConfig(FitConfig("fast", steps=2))
        >>> mask = torch.eye(14)[None]
        >>> FitOccupancyOINRd("mask", quick)({"mask": mask})["mask"].grid.shape
        (14, 14)
    """

    array_transform = FitOccupancyOINR


class RandFitOINRd(Randomizable, DictionaryTwin):
    """Dictionary version of :class:`RandFitOINR`; ``output_keys`` and a key for ``mask`` too.

    Example:
        >>> import torch
        >>> again = RandFitOINRd("image", FitConfig("fast", steps=2))
        >>> again({"image": torch.rand(1, 9, 9)})["image"].grid.shape
        (9, 9)
    """

    array_transform, beside = RandFitOINR, "mask"
    transform: RandFitOINR

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> RandFitOINRd:
        """Make the seeds to come reproducible."""
        super().set_random_state(seed, state)
        self.transform.set_random_state(seed, state)
        return self


# As MONAI calls the dictionary versions of its own.
FitOINRD = FitOINRDict = FitOINRd
FitOccupancyOINRD = FitOccupancyOINRDict = FitOccupancyOINRd
RandFitOINRD = RandFitOINRDict = RandFitOINRd
