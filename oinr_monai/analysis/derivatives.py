"""Maps made of exact derivatives, at a scale in mm: what they are, their units, and their order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from monai.data import MetaTensor
from torch import Tensor

from oinr_monai.grids.checks import check_one_of
from oinr_monai.grids.grid import Grid
from oinr_monai.grids.jets import Jet, upper_triangle
from oinr_monai.images.arrays import narrowed
from oinr_monai.images.meta import inherit
from oinr_monai.representation.representation import Representation

from .invariants import (
    gaussian_curvature,
    gradient_magnitude,
    hessian_eigenvalues,
    laplacian,
    mean_curvature,
    objectness,
    shape_index,
    smooth,
    structure_tensor,
)

__all__ = ["DEFAULT_MAPS", "MAPS", "check_maps", "derivative_maps", "described"]

MAPS = {
    "value": "value, intensity",
    "gradient": "gradient along world x y z, intensity/mm",
    "gradient_magnitude": "gradient magnitude, intensity/mm",
    "laplacian": "Laplacian, intensity/mm^2",
    "hessian": "Hessian xx xy xz yy yz zz, intensity/mm^2",
    "hessian_eigenvalues": "Hessian eigenvalues, largest first, intensity/mm^2",
    "mean_curvature": "mean curvature of isosurfaces, 1/mm",
    "gaussian_curvature": "Gaussian curvature of isosurfaces, 1/mm^2",
    "shape_index": "shape index of isosurfaces, -1 to 1",
    "vesselness": "vesselness of bright vessels, 0 to 1",
    "vesselness_dark": "vesselness of dark vessels, 0 to 1",
    "sheetness": "sheetness of bright sheets, 0 to 1",
    "sheetness_dark": "sheetness of dark sheets, 0 to 1",
    "structure_tensor": "structure tensor xx xy xz yy yz zz, (intensity/mm)^2",
}

DEFAULT_MAPS = ("gradient", "gradient_magnitude", "laplacian", "hessian")

# Order of the jet that a map reads, and the map (K, *places) of the jet at the same places.
_POINTWISE: dict[str, tuple[int, Callable[[Jet], Tensor]]] = {
    "value": (0, lambda jet: jet.value),
    "gradient": (1, lambda jet: jet.gradient.flatten(0, 1)),
    "gradient_magnitude": (1, gradient_magnitude),
    "laplacian": (2, laplacian),
    "hessian": (2, lambda jet: upper_triangle(jet.hessian).flatten(0, 1)),
    "hessian_eigenvalues": (2, lambda jet: hessian_eigenvalues(jet).flatten(0, 1)),
    "mean_curvature": (2, mean_curvature),
    "gaussian_curvature": (2, gaussian_curvature),
    "shape_index": (2, shape_index),
}


@dataclass(frozen=True)
class _Object:
    """What a map of objectness looks for."""

    dimension: int
    bright: bool


_OBJECTS = {
    "vesselness": _Object(1, bright=True),
    "vesselness_dark": _Object(1, bright=False),
    "sheetness": _Object(2, bright=True),
    "sheetness_dark": _Object(2, bright=False),
}

# Dimensions that an image of curved surfaces has at least.
LEAST_DIMS = {"gaussian_curvature": 3, "shape_index": 2}

# The structure tensor is averaged over a neighbourhood this many times wider than its derivatives';
# chosen by hand.
INTEGRATION = 2.0


def derivative_maps(
    representation: Representation,
    maps: Sequence[str],
    grid: Grid | None = None,
    sigma: float | Sequence[float] = 0.0,
) -> Iterator[tuple[str, MetaTensor]]:
    r"""Each map with its name; those that derivatives at one place make come from one pass.

    With ``sigma`` they are derivatives of the function smoothed by a Gaussian. Vesselness and
    sheetness take several: the greatest response of all counts, from eigenvalues times
    :math:`\sigma^2`, so that scales compare. The structure tensor is averaged over a Gaussian
    neighbourhood of twice sigma, or of twice the mean voxel spacing if that is more.

    References:
        Lindeberg, "Feature detection with automatic scale selection", IJCV 1998 (the factor).

    Args:
        representation: what to derive.
        maps: names from ``MAPS``.
        grid: where, the fitted grid if None.
        sigma: standard deviation of the Gaussian in mm, 0 for none; several for objects of several
            widths.

    Returns:
        Names and images (K, *grid.shape). For each channel of the image, and in D dimensions,
        gradient and eigenvalues have D channels, Hessian and structure tensor D (D + 1) / 2, all
        others one.

    Raises:
        ValueError: if a name is not in ``MAPS`` or not for these dimensions, or several sigmas are
            given for a map that takes one.
    """
    grid = grid or representation.grid
    sigmas = check_maps(maps, sigma, grid.spatial_dims)
    smoothed = representation.smoothed(sigmas[0])
    yield from _pointwise(smoothed, [m for m in maps if m in _POINTWISE], grid)
    others = ((sigma, representation.smoothed(sigma)) for sigma in sigmas[1:])
    scales = chain([(sigmas[0], smoothed)], others)
    yield from _objects(scales, [m for m in maps if m in _OBJECTS], grid)
    if "structure_tensor" in maps:
        yield "structure_tensor", _structure(smoothed, grid, sigmas[0])


def check_maps(
    maps: Sequence[str], sigma: float | Sequence[float] = 0.0, spatial_dims: int | None = None
) -> tuple[float, ...]:
    """Check what :func:`derivative_maps` is asked for, and return the sigmas, one or more.

    Args:
        maps: names from ``MAPS``.
        sigma: standard deviations in mm.
        spatial_dims: dimensions of the image, if they are known.

    Raises:
        ValueError: if they do not fit together.
    """
    sigmas = tuple(map(float, sigma)) if isinstance(sigma, Sequence) else (float(sigma),)
    if not sigmas or min(sigmas) < 0:
        raise ValueError(f"sigma must be 0 mm or more, got {sigma}")
    for name in maps:
        check_one_of("maps", name, MAPS)
        if len(sigmas) > 1 and name not in _OBJECTS:
            raise ValueError(
                f"sigma must be one number for {name}, got {len(sigmas)}; several are for "
                f"{', '.join(_OBJECTS)}"
            )
        least = LEAST_DIMS.get(name) or _dimension(name) + 1
        if spatial_dims is not None and spatial_dims < least:
            raise ValueError(
                f"maps must be for an image of {spatial_dims} dimensions, got {name}, "
                f"which needs {least}"
            )
    return sigmas


def _dimension(name: str) -> int:
    return _OBJECTS[name].dimension if name in _OBJECTS else 0


def described(name: str, sigma: float | Sequence[float] = 0.0) -> str:
    """What a map is, its unit and its scale, as its file says.

    Example:
        >>> described("laplacian", sigma=1.5)
        'Laplacian, intensity/mm^2, sigma 1.5 mm'
    """
    sigmas = check_maps([name], sigma)
    widths = " ".join(f"{each:g}" for each in sigmas)
    return MAPS[name] + (f", sigma {widths} mm" if max(sigmas) > 0 else "")


def _pointwise(
    smoothed: Representation, names: Sequence[str], grid: Grid
) -> Iterator[tuple[str, MetaTensor]]:
    if not names:
        return
    sizes: list[int] = []

    def together(jet: Jet) -> Tensor:
        parts = [_POINTWISE[name][1](jet) for name in names]
        sizes[:] = [len(part) for part in parts]
        return torch.cat(parts)

    order = max(_POINTWISE[name][0] for name in names)
    image = smoothed.map(together, grid, order)
    for name, part in zip(names, image.as_tensor().split(sizes), strict=True):
        yield name, inherit(grid.to_image(part.clone()), image)


def _objects(
    scales: Iterable[tuple[float, Representation]], names: Sequence[str], grid: Grid
) -> Iterator[tuple[str, MetaTensor]]:
    found: dict[str, Tensor] = {}
    for sigma, smoothed in scales if names else ():
        # gamma is half the largest of the whole volume, so that all of it comes first.
        image = smoothed.map(lambda jet: hessian_eigenvalues(jet).flatten(0, 1), grid)
        eigenvalues = image.as_tensor().unflatten(0, (-1, grid.spatial_dims))
        if sigma > 0:
            eigenvalues = eigenvalues * sigma**2
        for name in names:
            looked_for = _OBJECTS[name]
            response = objectness(eigenvalues, looked_for.dimension, looked_for.bright)
            found[name] = response if name not in found else found[name].maximum(response)
    for name, response in found.items():
        yield name, inherit(grid.to_image(response), image)


def _structure(smoothed: Representation, grid: Grid, sigma: float) -> MetaTensor:
    if not grid.orthogonal:
        raise ValueError("grid must have axes at right angles for the structure tensor")
    image = smoothed.map(
        lambda jet: upper_triangle(structure_tensor(jet)).flatten(0, 1), grid, order=1
    )
    spacing = grid.spacing.tolist()
    width = INTEGRATION * max(sigma, sum(spacing) / len(spacing))
    found = narrowed(smooth(image.as_tensor(), width, spacing).cpu().numpy())
    return inherit(grid.to_image(torch.from_numpy(found)), image)
