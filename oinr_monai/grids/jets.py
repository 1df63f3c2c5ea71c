"""Jets: a value with its first and second derivatives, as channels."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

__all__ = ["Jet", "jet_derivatives", "jet_size", "second_order_pairs", "upper_triangle"]


def second_order_pairs(spatial_dims: int) -> list[tuple[int, int]]:
    """Axes of the second derivatives in the order kept everywhere: xx xy xz yy yz zz."""
    return [(i, j) for i in range(spatial_dims) for j in range(i, spatial_dims)]


def jet_size(spatial_dims: int, order: int) -> int:
    """Number of entries of a jet: the value, D first and D (D + 1) / 2 second derivatives."""
    return (1, 1 + spatial_dims, 1 + spatial_dims + len(second_order_pairs(spatial_dims)))[order]


def jet_derivatives(spatial_dims: int, order: int) -> list[tuple[int, ...]]:
    """How often each entry of a jet is differentiated along each axis.

    Example:
        >>> jet_derivatives(2, order=2)
        [(0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2)]
    """
    first = [(d,) for d in range(spatial_dims)] if order > 0 else []
    second = second_order_pairs(spatial_dims) if order > 1 else []
    return [tuple(axes.count(d) for d in range(spatial_dims)) for axes in [(), *first, *second]]


class Jet(NamedTuple):
    """Value, gradient and Hessian of C signals in world axes at places of any shape.

    What was not asked for is empty: gradients have shape (C, 0, *places) in a jet of order 0.

    Args:
        value: intensities (C, *places).
        gradient: per mm, (C, D, *places).
        hessian: per mm², (C, D, D, *places).
    """

    value: Tensor
    gradient: Tensor
    hessian: Tensor


def upper_triangle(tensor: Tensor) -> Tensor:
    """Entries xx xy xz yy yz zz (C, D (D + 1) / 2, *places) of symmetric (C, D, D, *places)."""
    rows, columns = zip(*second_order_pairs(tensor.shape[1]), strict=True)
    return tensor[:, list(rows), list(columns)]
