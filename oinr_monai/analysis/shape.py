r"""Numbers that tell the shape of a label, whichever way it lies.

A label is an indicator m, and F its smoothing by a Gaussian of sigma mm: a function in closed form
whose level sets are surfaces between a ball's worth of rounding and the label itself. By the
co-area formula an integral over all of them is one over the volume,

.. math:: \int_0^1 \int_{F = t} q \, dA \, dt = \int q(x) \, |\nabla F(x)| \, dx,

so that area, mean and Gaussian curvature and the distribution of the principal curvatures need no
mesh. Everything here is unchanged by rotations and mirrors, and in mm.

References:
    Federer, "Geometric Measure Theory", Springer 1969 (the co-area formula).
    Koenderink and van Doorn, "Surface shape and curvature scales", Image and Vision Computing 1992
    (the shape index).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, maximum_filter
from torch import Tensor

from oinr_monai.grids.grid import Grid
from oinr_monai.grids.jets import Jet
from oinr_monai.grids.precision import full_precision
from oinr_monai.images.labels import as_labels
from oinr_monai.representation.exact import spline_representation
from oinr_monai.representation.info import Info

from .invariants import gaussian_curvature, hessian_eigenvalues, mean_curvature
from .occupancy import labels_in
from .table import FeatureTable

__all__ = ["SHAPE_SCALES", "shape_features"]

# In voxels of the smallest spacing: from what is hardly smoothed to the whole of a small organ.
SHAPE_SCALES = (1.0, 1.5, 2.5, 4.0)

# A label is looked at so many sigmas beyond its box.
REACH = 3.0

# Places where a level set is less steep than this part of the steepest are none of the surface.
STEEP = 0.1

# Of the indicator, on the surface of the label.
SURFACE = 0.5

# Places are no further apart than a sigma over this.
FINE = 1.25

OF_SURFACE, OF_INSIDE, OF_DEPTH = (10, 25, 50, 75, 90), (10, 50, 90), (10, 25, 50, 75, 90, 97, 100)


@full_precision()
def shape_features(
    labels: MetaTensor | Tensor, scales: Sequence[float] | None = None
) -> FeatureTable:
    """Volume, extent, thickness and curvatures of each label of a map in three dimensions.

    Args:
        labels: whole numbers (1, X, Y, Z), 0 the background.
        scales: sigmas in mm at which surfaces are looked at; 1, 1.5, 2.5 and 4 times the smallest
            spacing if None.

    Returns:
        A row for each label. Columns: ``volume_mm3``; ``extent1_mm`` to ``extent3_mm``, standard
        deviations along the principal axes, largest first; ``depth_p10_mm`` ..., percentiles of the
        distance to the surface inside; the same along the ridge of that distance as ``ridge_...``;
        and for each scale, as ``..._at1.5mm``: ``area_mm2``, ``area_per_volume_per_mm``, the means
        over the surface of ``mean_curvature_per_mm`` and ``gaussian_curvature_per_mm2``,
        percentiles of the principal curvatures ``curvature1_p10_per_mm`` (the larger) and
        ``curvature2_...``, of the smoothed indicator inside, ``occupancy_p10``, and of its Hessian
        eigenvalues times sigma², ``hessian1_p10`` ....

    Raises:
        ValueError: if the labels are not whole, are all background or not in three dimensions, or a
            scale is not positive.

    Example:
        >>> x = torch.stack(torch.meshgrid(*[torch.arange(24.0) - 11.5] * 3, indexing="ij"))
        >>> table = shape_features((x.norm(dim=0) < 8).float()[None], scales=[1.5])
        >>> ball = 4 * math.pi * 8**2
        >>> bool(abs(table["area_mm2_at1.5mm"][0] / ball - 1) < 0.1)
        True
    """
    if labels.ndim != 4:
        raise ValueError(f"labels must have shape (1, X, Y, Z), got {tuple(labels.shape)}")
    whole, values = Grid.from_image(labels), as_labels(labels)[0]
    smallest = float(whole.spacing.min())
    chosen = [smallest * each for each in SHAPE_SCALES] if scales is None else list(scales)
    if not chosen or min(chosen) <= 0:
        raise ValueError(f"scales must be positive, in mm, got {chosen}")
    found = labels_in(labels)
    rows = [dict(_numbers(values == label, whole, chosen)) for label in found]
    table = np.array([list(row.values()) for row in rows])
    return FeatureTable("label", found, list(rows[0]), table)


def _numbers(mask: Tensor, whole: Grid, scales: Sequence[float]) -> Iterator[tuple[str, float]]:
    mask, grid = _around(mask, whole, REACH * max(scales))
    volume = _cell(grid) * float(mask.sum())
    yield "volume_mm3", volume
    yield from _extents(mask, grid)
    yield from _depths(mask, grid)
    indicator = spline_representation(mask.float()[None], grid, Info())
    for sigma in scales:
        places = _lattice(mask, grid, sigma)
        inside = indicator.sample(places).as_tensor()[0] > SURFACE
        jet = indicator.smoothed(sigma).jet(places)
        for name, number in _at_scale(jet, inside, sigma, _cell(places), volume):
            yield f"{name}_at{sigma:g}mm", number


def _cell(grid: Grid) -> float:
    return abs(float(torch.linalg.det(grid.matrix)))


def _lattice(mask: Tensor, grid: Grid, sigma: float) -> Grid:
    """Places around a mask, as few as a function of this scale needs, the same from either end."""
    spacing, where = grid.spacing.tolist(), mask.nonzero()
    starts, counts, steps = [], [], []
    for h, low, high in zip(spacing, where.amin(0).tolist(), where.amax(0).tolist(), strict=True):
        step, halo = max(1, int(sigma / (FINE * h))), math.ceil(REACH * sigma / h)
        count = math.ceil((high - low + 2 * halo) / step) + 1
        starts.append((low + high - (count - 1) * step) / 2)
        counts.append(count)
        steps.append(step)
    return grid.scaled(starts, counts, steps)


def _around(mask: Tensor, grid: Grid, reach: float) -> tuple[Tensor, Grid]:
    """The mask in its box and a border, beyond the image where it has to be."""
    where = mask.nonzero()
    low, high = where.amin(0).tolist(), (where.amax(0) + 1).tolist()
    halo = [math.ceil(reach / h) + 2 for h in grid.spacing.tolist()]
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    sides = [side for h in reversed(halo) for side in (h, h)]
    return torch.nn.functional.pad(mask[box], sides), grid.crop(low, high).pad(halo)


def _extents(mask: Tensor, grid: Grid) -> Iterator[tuple[str, float]]:
    places = grid.to_world(mask.nonzero().double())
    apart = places - places.mean(0)
    # A voxel has an extent of its own.
    spread = apart.T @ apart / len(places) + grid.matrix @ grid.matrix.T / 12
    sizes = torch.linalg.eigvalsh(spread).flip(0).sqrt()
    for i, size in enumerate(sizes.tolist(), start=1):
        yield f"extent{i}_mm", size


def _depths(mask: Tensor, grid: Grid) -> Iterator[tuple[str, float]]:
    inside = mask.numpy()
    depth = distance_transform_edt(inside, sampling=grid.spacing.tolist())
    ridge = inside & (depth == maximum_filter(depth, 3))
    for name, of in (("depth", depth[inside]), ("ridge", depth[ridge])):
        yield from _percentiles(name, of, OF_DEPTH, "_mm")
    yield "ridge_deviation_mm", float(depth[ridge].std())
    yield "ridge_part", float(ridge.sum() / inside.sum())


def _at_scale(
    jet: Jet, mask: Tensor, sigma: float, voxel: float, volume: float
) -> Iterator[tuple[str, float]]:
    steep = jet.gradient.square().sum(dim=1).sqrt()[0]
    surface = steep > STEEP * steep.max()
    weights = steep[surface].double().numpy()
    on = _only(jet, surface)
    mean, gauss = (of(on)[0].double() for of in (mean_curvature, gaussian_curvature))
    area = voxel * float(steep.sum())
    yield "area_mm2", area
    yield "area_per_volume_per_mm", area / volume
    yield "mean_curvature_per_mm", float(np.average(mean.numpy(), weights=weights))
    yield "gaussian_curvature_per_mm2", float(np.average(gauss.numpy(), weights=weights))
    apart = (mean.square() - gauss).clamp_min(0).sqrt()
    for i, curvature in enumerate((mean + apart, mean - apart), start=1):
        name = f"curvature{i}"
        yield from _percentiles(name, curvature.numpy(), OF_SURFACE, "_per_mm", weights)
    yield from _percentiles("occupancy", jet.value[0][mask].numpy(), (*OF_INSIDE, 100))
    bends = sigma**2 * hessian_eigenvalues(_only(jet, mask))[0].numpy()
    for i, bend in enumerate(bends, start=1):
        yield from _percentiles(f"hessian{i}", bend, OF_INSIDE)


def _only(jet: Jet, where: Tensor) -> Jet:
    """The jet at some places alone, in a row."""
    return Jet(*(each[..., where] for each in jet))


def _percentiles(
    name: str,
    values: NDArray[np.floating],
    which: Sequence[int],
    unit: str = "",
    weights: NDArray[np.float64] | None = None,
) -> Iterator[tuple[str, float]]:
    plain = values.astype(np.float64)
    if weights is None:
        found = np.percentile(plain, which)
    else:
        found = np.percentile(plain, which, weights=weights, method="inverted_cdf")
    for percent, number in zip(which, found.tolist(), strict=True):
        yield f"{name}_p{percent}{unit}", number
