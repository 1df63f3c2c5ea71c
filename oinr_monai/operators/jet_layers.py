"""Jets of functions on regular nodes, axis by axis, and layers that mix them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .gaussian_matrices import gaussian_matrices
from .non_standard_form import activation, mixing

__all__ = ["JetLayer", "Nodes", "interpolated", "jets"]


@dataclass(frozen=True)
class Nodes:
    """Regular places along one axis.

    Args:
        count: their number.
        spacing: their distance in mm.
        first: where the first one lies, in mm.

    Example:
        >>> Nodes(5, spacing=3.0).covered(2.0)
        Nodes(count=8, spacing=2.0, first=-1.0)
    """

    count: int
    spacing: float
    first: float = 0.0

    def covered(self, spacing: float) -> Nodes:
        """Two nodes or more at another spacing, over the voxels of these, around their middle."""
        count = max(math.ceil(self.count * self.spacing / spacing - 1e-6), 2)
        extent = (self.count - 1) * self.spacing - (count - 1) * spacing
        return Nodes(count, spacing, self.first + extent / 2)


def jets(
    u: Tensor,
    source: Sequence[Nodes],
    target: Sequence[Nodes],
    sigma: Sequence[float],
    order: int,
    unit: float = 1.0,
) -> Tensor:
    r"""Derivatives :math:`\partial^n (g_\sigma * u)` of all orders up to one, as channels.

    Args:
        u: function (B, C, *spatial) at the nodes ``source``.
        source: the nodes along each axis.
        target: where the derivatives are asked, along each axis.
        sigma: standard deviation along each axis, in mm.
        order: greatest order of the derivatives.
        unit: length in mm that they are per.

    Returns:
        Derivatives (B, J C, *spatial), those of one order n after the other.

    Example:
        >>> line = [Nodes(20, 1.0)]
        >>> jets(torch.arange(20.0)[None, None], line, line, [1.0], order=1)[0, :, 9].round()
        tensor([9., 1.])
    """
    parts = [(order, u)]  # how many derivatives are left, and what was differentiated so far
    for d, (nodes, places) in enumerate(zip(source, target, strict=True)):
        matrices = _matrices(u, nodes, places, sigma[d], order, unit)
        parts = [
            (left - m, part)
            for left, before in parts
            for m, part in enumerate(_each_along(before, matrices[: left + 1], d))
        ]
    return torch.cat([part for _, part in parts], dim=1)


def interpolated(u: Tensor, source: Sequence[Nodes], target: Sequence[Nodes]) -> Tensor:
    """The cubic spline through a function (B, C, *spatial) at other nodes.

    Example:
        >>> u = torch.arange(20.0)[None, None]
        >>> interpolated(u, [Nodes(20, 1.0)], [Nodes(2, 0.5, 8.0)]).round(decimals=4)
        tensor([[[8.0000, 8.5000]]])
    """
    for d, (nodes, places) in enumerate(zip(source, target, strict=True)):
        if nodes != places:
            (u,) = _each_along(u, _matrices(u, nodes, places), d)
    return u


class JetLayer(nn.Module):
    """Mixes the jets of its input, standardises each channel over its lattice, and bends it.

    Args:
        spatial_dims: number of spatial dimensions D.
        before: channels of its input.
        after: channels of its output.
        order: greatest order of the derivatives; with 0 it mixes what it is given, place by place.
        act: activation, as MONAI names it.

    Example:
        >>> nodes = [Nodes(9, 1.0), Nodes(8, 1.0)]
        >>> layer = JetLayer(2, before=3, after=4, order=2, act="gelu")
        >>> layer(jets(torch.rand(1, 3, 9, 8), nodes, nodes, [1.0, 1.0], order=2)).shape
        torch.Size([1, 4, 9, 8])
    """

    def __init__(
        self,
        spatial_dims: int,
        before: int,
        after: int,
        order: int,
        act: str | tuple[str, dict[str, Any]],
    ) -> None:
        super().__init__()
        inputs = before * math.comb(order + spatial_dims, order)
        self.mix = mixing(spatial_dims, inputs, after, bias=False)
        self.norm = nn.GroupNorm(after, after)
        self.sigma = activation(act)
        for weight in self.mix.parameters():
            nn.init.normal_(weight, std=math.sqrt(2 / inputs))

    def forward(self, jet: Tensor) -> Tensor:
        """Map jets (B, J C, *spatial) to channels (B, after, *spatial)."""
        return self.sigma(self.norm(self.mix(jet)))


def _matrices(
    u: Tensor, nodes: Nodes, places: Nodes, sigma: float = 0.0, order: int = 0, unit: float = 1.0
) -> Tensor:
    """From a function at nodes to its derivatives at places, (order + 1, places, nodes)."""
    first = places.first - nodes.first
    found = gaussian_matrices(
        nodes.count, nodes.spacing, first, places.spacing, places.count, sigma, order
    )
    per = [[[unit**m]] for m in range(order + 1)]
    return torch.as_tensor(found * np.array(per)).to(device=u.device, dtype=u.dtype)


def _each_along(u: Tensor, matrices: Tensor, axis: int) -> tuple[Tensor, ...]:
    """The products of matrices (K, places, nodes) with a function along one of its axes."""
    dim, shape = axis + 2, u.shape
    stacked = matrices.flatten(0, 1)
    if dim == u.ndim - 1:
        found = u @ stacked.T
    else:
        rows = u.reshape(math.prod(shape[:dim]), shape[dim], math.prod(shape[dim + 1 :]))
        found = (stacked @ rows).reshape(*shape[:dim], len(stacked), *shape[dim + 1 :])
    return found.unflatten(dim, matrices.shape[:2]).unbind(dim)
