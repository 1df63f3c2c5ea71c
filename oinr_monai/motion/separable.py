"""Matrices of one axis each: smoothing, splines on lattices, sums over windows."""

from __future__ import annotations

import torch
from torch import Tensor

from oinr_monai.grids.splines import bspline_weights

__all__ = ["gaussian_rows", "gram_matrices", "spline_rows", "window_rows"]


def gaussian_rows(size: int, sigma: float) -> Tensor:
    """Matrix (size, size) that smooths by a Gaussian of ``sigma`` voxels; rows add up to one."""
    if sigma == 0:
        return torch.eye(size)
    apart = torch.arange(size)[:, None] - torch.arange(size)
    weights = torch.exp(-0.5 * (apart / sigma) ** 2)
    return weights / weights.sum(dim=1, keepdim=True)


def window_rows(size: int, radius: int) -> Tensor:
    """Matrix (size, size) that sums over windows of 2 radius + 1 voxels, cut off at the ends."""
    apart = torch.arange(size)[:, None] - torch.arange(size)
    return (apart.abs() <= radius).float()


def spline_rows(places: Tensor, knots: int) -> Tensor:
    """Matrix (places, knots) of the cubic B-splines at places counted in knots from the first."""
    inside = places.double().clamp(1, knots - 2)
    cell = inside.floor().clamp(max=knots - 3)
    rows = torch.zeros(len(places), knots, dtype=torch.float64)
    near = cell.long()[:, None] - 1 + torch.arange(4)
    return rows.scatter_(1, near, bspline_weights(inside - cell)).float()


def gram_matrices(knots: int, spacing: float) -> list[Tensor]:
    r"""Matrices of :math:`\int \partial^n \beta_k \, \partial^n \beta_l`, for n = 0, 1 and 2.

    Over the places that have all their knots, exact by Gauss's rule with four nodes a cell.

    Args:
        knots: number of knots.
        spacing: their distance in mm.
    """
    nodes = torch.tensor(
        [-0.8611363115940526, -0.3399810435848563, 0.3399810435848563, 0.8611363115940526]
    )
    shares = torch.tensor(
        [0.3478548451374538, 0.6521451548625461, 0.6521451548625461, 0.3478548451374538]
    )
    found = []
    for order in range(3):
        weights = bspline_weights((nodes + 1) / 2, order) / spacing**order
        cell = torch.einsum("q,qk,ql->kl", shares * spacing / 2, weights, weights)
        whole = torch.zeros(knots, knots, dtype=torch.float64)
        for first in range(knots - 3):
            whole[first : first + 4, first : first + 4] += cell
        found.append(whole.float())
    return found
