r"""Binary masks and label maps as continuous occupancies: one channel a label, 0.5 on its surface.

A mask knows a surface to within a voxel, in steps. What is fitted instead is the smooth indicator

.. math:: o_\sigma = \tfrac12 + \tfrac12 (a G_\sigma - (a - 1) G_\sigma G_\sigma) (2 m - 1),
          \qquad a = 2 + \sqrt 2,

a Gaussian, sharpened so that its second moment along a plane through its centre vanishes: its level
0.5 does not move on curved surfaces, to first order in the curvature, where a Gaussian's would
shrink them. Where it would lose a voxel by more than a quarter of its size, as at thin parts, half
of :math:`\sigma` takes over around there, and so on down to the voxels themselves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter
from torch import Tensor

from oinr_monai.fitting.presets import FitConfig
from oinr_monai.fitting.single import fit
from oinr_monai.grids.grid import Grid
from oinr_monai.grids.precision import full_precision
from oinr_monai.images.labels import as_labels
from oinr_monai.images.meta import STORED_DTYPE, inherit
from oinr_monai.images.metrics import dice, iou
from oinr_monai.representation.info import Occupancy
from oinr_monai.representation.representation import Representation

from .isosurface import isosurface
from .mesh import Surface

__all__ = [
    "SURFACE_LEVEL",
    "OccupancyConfig",
    "fit_occupancy",
    "label_map",
    "label_surface",
    "labels_in",
    "soft_occupancy",
]

SURFACE_LEVEL = 0.5

# More distinct values than this are intensities, not labels.
MOST_LABELS = 255

# Weight of the Gaussian, and of its square, for which level sets of curved surfaces stay in place.
SHARPENING = 2 + math.sqrt(2)

# A voxel is lost where the surface passes it on the wrong side by more than this part of a voxel;
# this and what follows is chosen by hand.
LOST = 0.25

# Around a lost voxel, voxels up to which the finer indicator has taken over; it fades over as many.
AROUND = 3.0

# Below this sigma, in voxels, the indicator is the mask itself.
FINEST = 0.4


@dataclass(frozen=True)
class OccupancyConfig:
    """How to fit masks and label maps.

    Args:
        fit: how to fit the occupancies.
        smoothing: sigma of the smooth indicator, in voxels: larger ones give smoother surfaces,
            smaller ones follow the voxels' steps, and 0 fits the mask as it is.

    Raises:
        ValueError: if ``smoothing`` is negative.

    Example:
        >>> OccupancyConfig(FitConfig(preset="fast")).smoothing
        3.5
    """

    fit: FitConfig = field(default_factory=partial(FitConfig, "balanced"))
    smoothing: float = 3.5

    def __post_init__(self) -> None:
        if not 0 <= self.smoothing < math.inf:
            raise ValueError(f"smoothing must be 0 or more, got {self.smoothing}")


@full_precision()
def fit_occupancy(
    labels: Tensor | np.ndarray, config: OccupancyConfig | None = None, **options: Any
) -> Representation:
    """Fit a binary mask or a label map as one continuous occupancy a label.

    The result is an ordinary representation with one channel a label, about 0 outside and 1 inside;
    :func:`label_map` and :func:`label_surface` read it.

    Args:
        labels: whole numbers (1, *spatial), 0 the background; its affine that of a MetaTensor.
        config: how to fit.
        options: what :func:`fit` takes by name, such as ``checkpoint`` or ``progress``.

    Returns:
        The representation; beside what :func:`fit` says, its ``info`` holds ``occupancy``, the
        labels and the smoothing, and ``iou`` and ``dice`` of each label at its voxels.

    Raises:
        ValueError: if ``labels`` is no mask or label map, or holds background alone.

    Example:
        >>> mask = torch.zeros(1, 14, 14, 14)
        >>> mask[:, 4:10, 4:10, 4:10] = 1
        >>> representation = fit_occupancy(mask, OccupancyConfig(FitConfig("fast", steps=200)))
        >>> representation.info["iou"]["1"] > 0.8
        True
    """
    config = config or OccupancyConfig()
    names = labels_in(labels)
    result = fit(soft_occupancy(labels, config.smoothing), config.fit, **options)
    depth = getattr(labels, "meta", {}).get(STORED_DTYPE)
    result.info = replace(result.info, occupancy=Occupancy(tuple(names), config.smoothing, depth))
    found = label_map(result)
    for name, score in (("iou", iou), ("dice", dice)):
        scores = score(found, as_labels(labels))
        result.info |= {name: {str(label): value for label, value in scores.items()}}
    return result


def labels_in(labels: Tensor | np.ndarray) -> list[int]:
    """The labels of a map (1, *spatial), in ascending order and without the background, 0.

    Raises:
        ValueError: if it is no mask or label map, or holds background alone.

    Example:
        >>> labels_in(torch.tensor([[0, 3, 3, 1]]))
        [1, 3]
    """
    if labels.ndim < 2 or len(labels) != 1:
        raise ValueError(f"labels must have shape (1, *spatial), got {tuple(labels.shape)}")
    values = as_labels(labels).unique().tolist()
    if len(values) > MOST_LABELS + 1 or values[0] < 0:
        raise ValueError(
            f"labels must be whole numbers, 0 or more and at most {MOST_LABELS} of them, got "
            f"{len(values)} values from {values[0]} to {values[-1]}; fit intensities as an image"
        )
    found = [value for value in values if value > 0]
    if not found:
        raise ValueError("labels must hold a label, got the background alone")
    return found


def soft_occupancy(labels: Tensor | np.ndarray, smoothing: float = 3.5) -> MetaTensor:
    """The smooth indicator of each label (L, *spatial), from 0 to 1, 0.5 on its surface.

    Args:
        labels: whole numbers (1, *spatial), 0 the background.
        smoothing: sigma in voxels; 0 for the indicator itself.

    Raises:
        ValueError: if ``labels`` is no mask or label map, or holds background alone.

    Example:
        >>> soft_occupancy(torch.tensor([[0, 0, 0, 0, 2, 2, 2, 2]]))[0].gt(0.5).int().tolist()
        [0, 0, 0, 0, 1, 1, 1, 1]
    """
    values = as_labels(labels)[0].numpy()
    channels = [_smooth(values == label, smoothing) for label in labels_in(labels)]
    image = Grid.from_image(labels).to_image(torch.from_numpy(np.stack(channels)))
    return inherit(image, labels, values=False)


def label_map(representation: Representation, grid: Grid | None = None) -> MetaTensor:
    """The labels (1, *grid.shape): at each place that of the largest occupancy, if above 0.5.

    Args:
        representation: what :func:`fit_occupancy` returned; the channels of any other are taken for
            the occupancies of labels 1, 2, ...
        grid: where, the fitted grid if None.

    Example:
        >>> square = torch.zeros(1, 12, 12)
        >>> square[:, 3:9, 3:9] = 7
        >>> found = label_map(fit_occupancy(square, OccupancyConfig(FitConfig("fast", steps=100))))
        >>> sorted(set(found.flatten().tolist()))
        [0, 7]
    """
    occupancy = representation.sample(grid)
    largest, channel = occupancy.as_tensor().max(dim=0, keepdim=True)
    names = torch.tensor(_labels_of(representation))
    found = torch.where(largest > SURFACE_LEVEL, names[channel], 0)
    result = inherit(Grid.from_image(occupancy).to_image(found), occupancy, values=False)
    known = representation.info.occupancy
    depth = None if known is None else known.stored_dtype
    result.meta[STORED_DTYPE] = depth or np.min_scalar_type(int(names.max())).name
    return result


def label_surface(
    representation: Representation, label: int | None = None, grid: Grid | None = None
) -> Surface:
    """The surface of a label, in world mm; see :func:`isosurface`.

    Args:
        representation: what :func:`fit_occupancy` returned.
        label: which label; may be None where there is only one.
        grid: where marching cubes look, the fitted grid if None.

    Raises:
        ValueError: if there is no such label, or several and none is chosen.

    Example:
        >>> ball = torch.zeros(1, 12, 12, 12)
        >>> ball[:, 3:9, 3:9, 3:9] = 1
        >>> from oinr_monai import FitConfig
        >>> quick = fit_occupancy(ball, OccupancyConfig(FitConfig("fast", steps=60)))
        >>> label_surface(quick).vertices.shape[1]
        3
    """
    labels = _labels_of(representation)
    if label is None and len(labels) == 1:
        label = labels[0]
    if label not in labels:
        raise ValueError(f"label must be one of {', '.join(map(str, labels))}, got {label}")
    return isosurface(representation, SURFACE_LEVEL, channel=labels.index(label), grid=grid)


def _labels_of(representation: Representation) -> Sequence[int]:
    channels = range(1, len(representation.scale.mean) + 1)
    known = representation.info.occupancy
    return list(channels) if known is None else known.labels


# ---- the smooth indicator -----------------------------------------------------------------------


def _smooth(mask: NDArray[np.bool_], sigma: float) -> NDArray[np.float32]:
    """Indicator of a mask, smooth on the scale of ``sigma`` voxels where it has no finer parts."""
    sign = np.where(mask, np.float32(1), np.float32(-1))
    smooth = _sharpened(sign, sigma)
    while sigma >= FINEST:
        lost = sign * smooth < -LOST * _slope(sigma)
        if not lost.any():
            break
        sigma = sigma / 2 if sigma / 2 >= FINEST else 0.0
        near = _fade(distance_transform_edt(~lost))
        smooth += near * (_sharpened(sign, sigma) - smooth)
    return (0.5 + 0.5 * smooth.clip(-1, 1)).astype(np.float32)


def _sharpened(sign: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    if sigma < FINEST:
        return sign.copy()
    once = gaussian_filter(sign, sigma, mode="nearest")
    twice = gaussian_filter(once, sigma, mode="nearest")
    return SHARPENING * once - (SHARPENING - 1) * twice


def _slope(sigma: float) -> float:
    """Slope of the sharpened sign of a half-space, on its border, per voxel."""
    gaussian = math.sqrt(2 / math.pi) / sigma
    return SHARPENING * gaussian - (SHARPENING - 1) * gaussian / math.sqrt(2)


def _fade(distance: NDArray[np.float64]) -> NDArray[np.float32]:
    """From 1 up to ``AROUND`` voxels away to 0 at twice as many, smoothly."""
    t = (2 - distance / AROUND).clip(0, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32)
