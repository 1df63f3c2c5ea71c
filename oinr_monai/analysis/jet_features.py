"""Channels that tell the surroundings of every voxel, at scales in mm, with their names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from monai.data import MetaTensor
from torch import Tensor

from oinr_monai.grids.grid import Grid
from oinr_monai.grids.jets import second_order_pairs
from oinr_monai.grids.precision import full_precision
from oinr_monai.images.arrays import narrowed, plain_tensor
from oinr_monai.images.meta import inherit
from oinr_monai.representation.exact import spline_representation
from oinr_monai.representation.representation import Representation

from .derivatives import check_maps, derivative_maps

__all__ = [
    "CHANNEL_NAMES",
    "JET_MAPS",
    "JET_SCALES",
    "channel_names",
    "jet_channels",
    "jet_features",
]

# Key in the meta of the answer: what each channel is.
CHANNEL_NAMES = "channel_names"

JET_MAPS = ("value", "gradient_magnitude", "hessian_eigenvalues", "vesselness", "shape_index")

# In mm: from what hardly smooths a clinical image to the width of a small organ; chosen by hand.
JET_SCALES = (1.0, 2.0, 4.0)

AXES = "xyz"


@full_precision()
def jet_features(
    image: Tensor | np.ndarray,
    maps: Sequence[str] = JET_MAPS,
    scales: Sequence[float] = JET_SCALES,
) -> MetaTensor:
    r"""What the jet of an image tells at every voxel, at scales in mm.

    The image is the quintic spline F through its samples, and the jet at a scale is that of
    :math:`F_\sigma = g_\sigma * F`: value, gradient and Hessian, in world axes and per mm. So the
    answer at a place is the same on any grid that holds what the image shows, and, but for maps
    along axes, whichever way the grid lies.

    References:
        Florack, ter Haar Romeny, Koenderink and Viergever, "Cartesian differential invariants in
        scale-space", Journal of Mathematical Imaging and Vision 1993.

    Args:
        image: intensities (C, *spatial), with an affine if a MetaTensor, else in voxels of 1 mm.
        maps: names from :data:`~oinr_monai.analysis.MAPS`.
        scales: standard deviations of the Gaussians in mm, 0 for none.

    Returns:
        Channels (K, *spatial) on the grid of the image, scale by scale and map by map; what each of
        them is stands in ``meta["channel_names"]``.

    Raises:
        ValueError: if a voxel is not finite, a map is unknown or not for these dimensions, a scale
            negative, or none of either is asked for.

    Example:
        >>> found = jet_features(torch.rand(1, 8, 9, 7), ["value", "hessian_eigenvalues"], [1.5])
        >>> found.shape, found.meta["channel_names"][:2]
        (torch.Size([4, 8, 9, 7]), ['value_at1.5mm', 'hessian_eigenvalues1_at1.5mm'])
    """
    grid, values = Grid.from_image(image), _finite(image)
    channel_names(maps, scales, grid.spatial_dims)  # which says what does not fit together
    answer = jet_channels(spline_representation(values, grid), maps, scales, grid)
    return inherit(answer, image, values=False)


def jet_channels(
    representation: Representation, maps: Sequence[str], scales: Sequence[float], grid: Grid
) -> MetaTensor:
    """The channels of :func:`jet_features` of a representation, on a grid.

    Args:
        representation: what is asked.
        maps: names from :data:`~oinr_monai.analysis.MAPS`.
        scales: in mm.
        grid: where.
    """
    names = channel_names(maps, scales, grid.spatial_dims, len(representation.scale.mean))
    parts = []
    for sigma in scales:
        found = dict(derivative_maps(representation, maps, grid, sigma))
        parts += [found[name].as_tensor() for name in maps]
    answer = inherit(grid.to_image(torch.cat(parts)), representation, values=False)
    answer.meta[CHANNEL_NAMES] = names
    return answer


def channel_names(
    maps: Sequence[str], scales: Sequence[float], spatial_dims: int, channels: int = 1
) -> list[str]:
    """What each channel of :func:`jet_features` is.

    Args:
        maps: names from :data:`~oinr_monai.analysis.MAPS`.
        scales: in mm.
        spatial_dims: dimensions of the image.
        channels: its channels.

    Raises:
        ValueError: if they do not fit together, or there are none.

    Example:
        >>> channel_names(["gradient"], [2.0], spatial_dims=2, channels=2)[1:3]
        ['channel0_gradient_y_at2mm', 'channel1_gradient_x_at2mm']
    """
    if not maps or not scales:
        raise ValueError(f"maps and scales must name one each, got {list(maps)} and {list(scales)}")
    for sigma in scales:
        check_maps(maps, sigma, spatial_dims)
    return [
        (f"channel{channel}_" if channels > 1 else "") + f"{name}{part}_at{sigma:g}mm"
        for sigma in scales
        for name in maps
        for channel in range(channels)
        for part in _parts(name, spatial_dims)
    ]


def _finite(image: Tensor | np.ndarray) -> Tensor:
    values = torch.from_numpy(narrowed(plain_tensor(image).cpu().numpy()))
    if not bool(torch.isfinite(values).all()):
        raise ValueError("image must be finite, got NaN or infinite voxels; fill them first")
    return values


def _parts(name: str, spatial_dims: int) -> list[str]:
    if name == "gradient":
        return [f"_{AXES[d]}" for d in range(spatial_dims)]
    if name in ("hessian", "structure_tensor"):
        return [f"_{AXES[i]}{AXES[j]}" for i, j in second_order_pairs(spatial_dims)]
    if name == "hessian_eigenvalues":
        return [str(d + 1) for d in range(spatial_dims)]
    return [""]
