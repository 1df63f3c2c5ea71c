"""From voxels to the world: borders, and derivatives per mm along RAS."""

from __future__ import annotations

import torch
from torch import Tensor

from oinr_monai.grids.jets import second_order_pairs

__all__ = ["all_of", "flatten_border", "symmetric", "turn_twice"]


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


def turn_twice(turn: Tensor) -> Tensor:
    """What T does to a gradient, T' H T does to a Hessian: as one matrix on its upper triangle."""
    pairs = second_order_pairs(len(turn))
    rows = [
        [turn[i, a] * turn[j, b] + (turn[j, a] * turn[i, b] if i != j else 0) for i, j in pairs]
        for a, b in pairs
    ]
    return torch.stack([torch.stack(row) for row in rows])


def symmetric(parts: Tensor, dims: int) -> Tensor:
    """(D (D + 1) / 2, ...) to (D, D, ...)."""
    pairs = second_order_pairs(dims)
    rows = [[pairs.index((min(i, j), max(i, j))) for j in range(dims)] for i in range(dims)]
    return parts[torch.tensor(rows, device=parts.device)]
