"""Sums of B-splines on regular knots, whatever their coefficients are."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from oinr_monai.grids.positions import Positions
from oinr_monai.grids.splines import jet

from .field import Field

__all__ = ["BSplines"]


class BSplines(Field):
    r"""A field of B-splines, :math:`f(x) = \sum_k c_k \beta^p(x / \kappa - k)`.

    Where its coefficients come from is for the kinds of it to say.

    Args:
        extent: distance from the first to the last voxel centre of each axis, in mm.
        knot_spacing: distance between knots along each axis, in mm.
        channels: channels E.
        margin: how far beyond the domain the field reaches, in mm per axis.
        degree: degree p, 3 or 5.

    Raises:
        ValueError: if a knot spacing is not positive, a margin negative, there are not as many as
            axes, or the degree is another.
    """

    def __init__(
        self,
        extent: Sequence[float],
        knot_spacing: Sequence[float],
        channels: int,
        margin: Sequence[float] | None = None,
        degree: int = 3,
    ) -> None:
        super().__init__()
        margin = margin or [0.0] * len(extent)
        if not 1 <= len(extent) == len(knot_spacing) == len(margin):
            raise ValueError(
                f"extent, knot_spacing and margin must be a number per axis each, got "
                f"{tuple(extent)}, {tuple(knot_spacing)} and {tuple(margin)}"
            )
        if min(knot_spacing) <= 0:
            raise ValueError(f"knot_spacing must be positive, got {tuple(knot_spacing)}")
        if min(margin) < 0:
            raise ValueError(f"margin must not be negative, got {tuple(margin)}")
        if degree not in (3, 5):
            raise ValueError(f"degree must be 3 or 5, got {degree}")
        self.spatial_dims, self.channels, self.degree = len(extent), channels, degree
        self.extent, self.knot_spacing = tuple(map(float, extent)), tuple(map(float, knot_spacing))
        self.margin = tuple(map(float, margin))
        reach = zip(self.extent, self.margin, self.knot_spacing, strict=True)
        knots = [max(math.ceil((e + 2 * m) / k - 1e-9), 1) + degree for e, m, k in reach]
        self.coefficients = nn.Parameter(torch.empty(channels, *knots))

    def forward(self, positions: Positions, order: int = 0) -> Tensor:
        """Jet (J, E, *positions.shape), derivatives per mm, up to the margin."""
        return jet(
            self.coefficients, self.in_knots(positions), order, self.knot_spacing, self.degree
        )

    def in_knots(self, positions: Positions) -> Positions:
        """The same places counted in knots from the first one."""
        first = (self.degree - 1) // 2
        axes = [
            (x.double() + m) / k + first
            for x, m, k in zip(positions.axes, self.margin, self.knot_spacing, strict=True)
        ]
        return type(positions)(tuple(axes))
