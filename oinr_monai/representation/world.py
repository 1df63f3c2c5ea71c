"""From voxels to the world: borders, and derivatives per mm along RAS."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from oinr_monai.grids.constants import constant
from oinr_monai.grids.jets import second_order_pairs

__all__ = ["all_of", "flatten_border", "in_the_world"]


def all_of(masks: list[Tensor]) -> Tensor:
    """Where all of the masks hold, each along an axis of its own and broadcast over the others."""
    whole = masks[0]
    for mask in masks[1:]:
        whole = whole & mask
    return whole


def flatten_border(jet: Tensor, within: list[Tensor]) -> Tensor:
    """No slope across the border beyond the outermost centres: the function is constant there."""
    dims = len(within)
    jet = jet.clone()
    for d in range(dims):
        jet[1 + d] *= within[d]
    for k, (i, j) in enumerate(second_order_pairs(dims) if len(jet) > 1 + dims else []):
        jet[1 + dims + k] *= within[i] & within[j]
    return jet


def _turn(directions: tuple[tuple[float, ...], ...]) -> Tensor:
    """The matrix T that takes a gradient along the axes to one in the world, transposed."""
    return torch.linalg.inv(torch.tensor(directions, dtype=torch.float64, device="cpu"))


def _turn_twice(directions: tuple[tuple[float, ...], ...], dtype: torch.dtype) -> Tensor:
    """What T does to a gradient, T' H T does to a Hessian: as one matrix on its upper triangle."""
    turn = _turn(directions).to(dtype)
    pairs = second_order_pairs(len(turn))
    rows = [
        [turn[i, a] * turn[j, b] + (turn[j, a] * turn[i, b] if i != j else 0) for i, j in pairs]
        for a, b in pairs
    ]
    return torch.stack([torch.stack(row) for row in rows])


def _symmetric(parts: Tensor, dims: int) -> Tensor:
    """(D (D + 1) / 2, ...) to (D, D, ...)."""
    places = constant(_places_of_pairs, dims, dtype=torch.long, device=parts.device)
    return parts[places]


def _places_of_pairs(dims: int) -> Tensor:
    pairs = second_order_pairs(dims)
    rows = [[pairs.index((min(i, j), max(i, j))) for j in range(dims)] for i in range(dims)]
    return torch.tensor(rows, device="cpu")


def in_the_world(slopes: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """World gradient (C, D, *places) and Hessian (C, D, D, *places), from mm along the axes.

    Args:
        slopes: first and second derivatives as jets have them (K, C, *places); those that are not
            there are empty in the answer.
        directions: unit vectors of the axes as columns (D, D).
    """
    dims = len(directions)
    first, second = slopes[:dims], slopes[dims:]
    kind: dict[str, Any] = {"dtype": slopes.dtype, "device": slopes.device}
    rows = tuple(map(tuple, directions.tolist()))
    turn = constant(_turn, rows, **kind)
    gradient = torch.tensordot(turn.T, first, dims=1) if len(first) else first
    if not len(second):
        return gradient.movedim(1, 0), second[:, None].movedim(2, 0)
    hessian = torch.tensordot(constant(_turn_twice, rows, slopes.dtype, **kind), second, dims=1)
    return gradient.movedim(1, 0), _symmetric(hessian, dims).movedim(2, 0)
