"""Regions as numbers: what a representation is like inside each label of a label map."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray
from torch import Tensor

from oinr_monai.grids.grid import Grid
from oinr_monai.grids.precision import full_precision
from oinr_monai.images.labels import as_labels
from oinr_monai.representation.representation import Representation

from .derivatives import derivative_maps
from .first_order import FIRST_ORDER, first_order
from .table import FeatureTable

__all__ = ["STATISTICS", "image_features", "region_features"]

# How a region is summarised, in the order of the columns; the numbers are percentiles.
STATISTICS = ("mean", "std", "p5", "p25", "p50", "p75", "p95")
PERCENTILES = (5, 25, 50, 75, 95)

# What the content of a region is called, by the number of spatial dimensions.
CONTENT = {1: "length_mm", 2: "area_mm2", 3: "volume_mm3"}

ONE_SIDED = 1e-6  # part of a voxel by which rounding may place one outside the image


@full_precision()
def region_features(
    representation: Representation,
    labels: MetaTensor | Tensor,
    *,
    maps: Sequence[str] = ("gradient_magnitude", "laplacian"),
    scales: Sequence[float] = (0.0,),
    layer: int | None = None,
) -> FeatureTable:
    """Mean, deviation and percentiles of intensity, derivatives and activations in each region.

    The function is asked at the label map's own voxels, in world coordinates: its grid may be finer
    or coarser than the image's, or rotated. Voxels outside the image are left out.

    Args:
        representation: what is summarised.
        labels: whole numbers (1, *spatial), 0 the background.
        maps: derivative maps that count, names from :data:`~oinr_monai.analysis.MAPS`.
        scales: standard deviations in mm of the Gaussians that maps are taken behind, 0 for none.
        layer: hidden layer whose activations count, from 1; the last if None, and none of an image
            in closed form.

    Returns:
        A row for each label: its voxels, its volume in mm³ (area in mm², length in mm), statistics
        of the intensity such as ``intensity_skewness``, and seven columns for each other feature,
        such as ``laplacian_p95``, with its scale where it has one: ``laplacian_p95_at1.5mm``.

    Raises:
        ValueError: if the labels are not whole, are all background, or lie outside the image, or
            there is no such layer.

    Example:
        >>> from oinr_monai import fit
        >>> wave = torch.sin(torch.linspace(0, 6, 16))[None, :, None].expand(1, 16, 16)
        >>> halves = torch.ones(1, 16, 16, dtype=torch.int16)
        >>> halves[:, 8:] = 2
        >>> table = region_features(fit(wave), halves)
        >>> table.rows, table["area_mm2"].tolist()
        ([1, 2], [128.0, 128.0])
    """
    grid, regions = _regions(representation, labels)
    sizes = [float(len(places)) for places in regions.values()]
    voxel = abs(float(torch.linalg.det(grid.matrix)))
    columns = ["voxels", CONTENT[grid.spatial_dims]]
    values = [np.array(sizes), np.array(sizes) * voxel]
    for name, scale, feature in _features(representation, grid, maps, scales, layer):
        whole = name.startswith("intensity")
        told, summary = (FIRST_ORDER, first_order) if whole else (STATISTICS, _summary)
        columns += [f"{name}_{statistic}{scale}" for statistic in told]
        each = [summary(feature[places].double().numpy()) for places in regions.values()]
        values += list(np.array(each).T)
    return FeatureTable("label", list(regions), columns, np.stack(values, axis=1))


def image_features(
    representation: Representation,
    *,
    maps: Sequence[str] = ("gradient_magnitude", "laplacian"),
    scales: Sequence[float] = (0.0,),
    layer: int | None = None,
) -> FeatureTable:
    """The same numbers of a whole image, as one row.

    Args:
        representation: what is summarised.
        maps: derivative maps that count, names from :data:`~oinr_monai.analysis.MAPS`.
        scales: standard deviations in mm of the Gaussians that maps are taken behind, 0 for none.
        layer: hidden layer whose activations count, as for :func:`region_features`.

    Example:
        >>> from oinr_monai import fit
        >>> table = image_features(fit(torch.rand(1, 9, 8)), maps=["laplacian"], scales=[1.0, 2.0])
        >>> table.kind, table.columns[0], table.columns[-1]
        ('image', 'voxels', 'laplacian_p95_at2mm')
    """
    grid = representation.grid
    everywhere = grid.to_image(torch.ones(1, *grid.shape, dtype=torch.int16))
    found = region_features(representation, everywhere, maps=maps, scales=scales, layer=layer)
    return FeatureTable("image", ["image"], found.columns, found.values)


def _summary(values: NDArray[np.float64]) -> list[float]:
    return [values.mean(), values.std(), *np.percentile(values, PERCENTILES)]


def _regions(
    representation: Representation, labels: MetaTensor | Tensor
) -> tuple[Grid, dict[int, Tensor]]:
    """The part of the label map's grid that holds labels, and each label's places in it, flat."""
    values, dims = _checked(labels, representation.grid.spatial_dims), labels.ndim - 1
    places = (values != 0).nonzero()
    if not len(places):
        raise ValueError("labels must hold at least one region, got background alone")
    whole = Grid.from_image(labels)
    inside = _inside(representation.grid, whole, places)
    if not bool(inside.any()):
        raise ValueError("labels must lie within the image, got none that do; check the affines")
    places = places[inside]
    low, high = places.amin(0), places.amax(0) + 1
    shape = (high - low).tolist()
    strides = torch.tensor([math.prod(shape[d + 1 :]) for d in range(dims)])
    flat = ((places - low) * strides).sum(1)
    of = values[tuple(places.T)]
    regions = {int(label): flat[of == label] for label in of.unique()}
    return whole.crop(low.tolist(), high.tolist()), regions


def _checked(labels: Tensor, dims: int) -> Tensor:
    if labels.ndim != dims + 1 or len(labels) != 1:
        raise ValueError(
            f"labels must have shape (1, *spatial) with {dims} spatial dimensions, got "
            f"{tuple(labels.shape)}"
        )
    return as_labels(labels)[0]


def _inside(image: Grid, labels: Grid, places: Tensor) -> Tensor:
    voxels = image.to_voxel(labels.to_world(places))
    last = torch.tensor(image.shape, dtype=torch.float64) - 0.5
    return ((voxels >= -0.5 - ONE_SIDED) & (voxels <= last + ONE_SIDED)).all(dim=1)


def _features(
    representation: Representation,
    grid: Grid,
    maps: Sequence[str],
    scales: Sequence[float],
    layer: int | None,
) -> Iterator[tuple[str, str, Tensor]]:
    """Each feature with its name and what is said of its scale, at all places of the grid, flat."""
    yield from _channels("intensity", "", representation.sample(grid))
    for sigma in scales:
        scale = f"_at{sigma:g}mm" if sigma else ""
        for name, volume in derivative_maps(representation, maps, grid, sigma):
            yield from _channels(name, scale, volume)
    if layer is None and not representation.field.hidden_channels:
        return
    activations = representation.features(grid, layer)
    layer = layer or len(representation.field.hidden_channels)
    for i, feature in enumerate(activations.as_tensor().cpu().flatten(1)):
        yield f"layer{layer}_{i}", "", feature


def _channels(name: str, scale: str, volume: MetaTensor) -> Iterator[tuple[str, str, Tensor]]:
    flat = volume.as_tensor().cpu().flatten(1)
    for i, channel in enumerate(flat):
        yield (name if len(flat) == 1 else f"{name}_{i}"), scale, channel
