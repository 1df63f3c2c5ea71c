"""MONAI transform: an image as channels that tell the surroundings of each voxel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from monai.data import MetaTensor
from monai.transforms import Transform
from monai.utils import ensure_tuple
from torch import Tensor

from oinr_monai.analysis.derivatives import check_maps
from oinr_monai.analysis.jet_features import JET_MAPS, JET_SCALES, jet_features

from .dictionary import BACKEND, DictionaryTwin

__all__ = ["JetFeatures", "JetFeaturesD", "JetFeaturesDict", "JetFeaturesd"]


class JetFeatures(Transform):
    """Value, gradient, Hessian and what they tell at every voxel, at scales in mm, as channels.

    Nothing is fitted or learned, so that MONAI's caching datasets keep the answer. It lies on the
    grid of the image, and ``meta["channel_names"]`` says what each channel is: see
    :func:`~oinr_monai.jet_features`.

    Args:
        maps: names from :data:`~oinr_monai.analysis.MAPS`; value, gradient magnitude, eigenvalues
            of the Hessian, vesselness and shape index by default.
        scales: standard deviations of the Gaussians in mm, 0 for none.

    Example:
        >>> import torch
        >>> found = JetFeatures(["gradient_magnitude", "shape_index"], 1.5)(torch.rand(1, 9, 8, 7))
        >>> found.meta["channel_names"]
        ['gradient_magnitude_at1.5mm', 'shape_index_at1.5mm']
    """

    backend = BACKEND

    def __init__(
        self,
        maps: str | Sequence[str] = JET_MAPS,
        scales: float | Sequence[float] = JET_SCALES,
    ) -> None:
        self.maps = ensure_tuple(maps)
        self.scales = tuple(map(float, ensure_tuple(scales)))
        for sigma in self.scales:
            check_maps(self.maps, sigma)

    def __call__(self, image: Tensor | np.ndarray) -> MetaTensor:
        """The channels (K, *spatial) of an image (C, *spatial)."""
        return jet_features(image, self.maps, self.scales)


class JetFeaturesd(DictionaryTwin):
    """Dictionary version of :class:`JetFeatures`.

    Example:
        >>> import torch
        >>> jets = JetFeaturesd("image", ["value", "laplacian"], [1.0, 2.0], output_keys="jets")
        >>> jets({"image": torch.rand(1, 9, 8)})["jets"].shape
        torch.Size([4, 9, 8])
    """

    array_transform = JetFeatures


# As MONAI calls the dictionary versions of its own.
JetFeaturesD = JetFeaturesDict = JetFeaturesd
