"""Maps made of exact derivatives: gradient, its magnitude, Laplacian and Hessian."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from monai.data import MetaTensor
from torch import Tensor

from .checks import check_one_of
from .grids import Grid
from .positions import second_order_pairs
from .representation import Representation

__all__ = ["MAPS", "derivative_maps"]

MAPS = {
    "gradient": "gradient along world x y z, intensity/mm",
    "gradient_magnitude": "gradient magnitude, intensity/mm",
    "laplacian": "Laplacian, intensity/mm^2",
    "hessian": "Hessian xx xy xz yy yz zz, intensity/mm^2",
}


def derivative_maps(
    representation: Representation, maps: Sequence[str], grid: Grid | None = None
) -> Iterator[tuple[str, MetaTensor]]:
    """Each map with its name, first derivatives first; no derivative is computed twice.

    Args:
        representation: what to derive.
        maps: names from ``MAPS``.
        grid: where, the fitted grid if None.

    Returns:
        Names and images: the gradient has D channels for each channel of the image, the Hessian
        D (D + 1) / 2, magnitude and Laplacian one.

    Raises:
        ValueError: if a name is not in ``MAPS``.
    """
    for name in maps:
        check_one_of("map", name, MAPS)
    questions = (representation.gradient, _FIRST), (representation.hessian, _SECOND)
    for ask, reductions in questions:
        wanted = [name for name in reductions if name in maps]
        if not wanted:
            continue
        parts = ask(grid)
        for name in wanted:
            values = reductions[name](parts.as_tensor(), representation.grid.spatial_dims)
            yield name, MetaTensor(values, meta=parts.meta)


def _whole(parts: Tensor, dims: int) -> Tensor:
    return parts


def _magnitude(gradient: Tensor, dims: int) -> Tensor:
    return gradient.unflatten(0, (-1, dims)).norm(dim=1)


def _laplacian(hessian: Tensor, dims: int) -> Tensor:
    pairs = second_order_pairs(dims)
    diagonal = [pairs.index((i, i)) for i in range(dims)]
    return hessian.unflatten(0, (-1, len(pairs)))[:, diagonal].sum(dim=1)


_Reductions = dict[str, Callable[[Tensor, int], Tensor]]
_FIRST: _Reductions = {"gradient": _whole, "gradient_magnitude": _magnitude}
_SECOND: _Reductions = {"laplacian": _laplacian, "hessian": _whole}
