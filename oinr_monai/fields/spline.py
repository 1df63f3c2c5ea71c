"""A field of learnable cubic B-splines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from oinr_monai.grids.positions import Positions
from oinr_monai.grids.splines import jet

from .field import Field

__all__ = ["SplineField"]


class SplineField(Field):
    r"""A learned input function: B-splines on coarse knots, twice differentiable.

    .. math:: f(x) = \sum_k c_k \beta^p(x / \kappa - k), \qquad \kappa \text{ the knot spacing}

    The operator that reads it stays small, so that a step costs little however large the volume
    is; the coefficients hold the detail. They cost ``channels / knot_spacing^D`` numbers a voxel.

    Args:
        extent: distance from the first to the last voxel centre of each axis, in mm.
        knot_spacing: distance between knots along each axis, in mm.
        channels: channels E.
        margin: how far beyond the domain the field reaches, in mm per axis (a kernel's halo).
        degree: degree p, 3 or 5.

    Raises:
        ValueError: if a knot spacing is not positive, or the degree is another.

    Example:
        >>> from oinr_monai.grids.positions import Lattice
        >>> field = SplineField(extent=(9.0, 9.0), knot_spacing=(3.0, 3.0), channels=4)
        >>> field.coefficients.shape
        torch.Size([4, 6, 6])
        >>> field(Lattice((torch.rand(5), torch.rand(7))), order=1).shape
        torch.Size([3, 4, 5, 7])
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
        if min(knot_spacing) <= 0:
            raise ValueError(f"knot_spacing must be positive, got {tuple(knot_spacing)}")
        if degree not in (3, 5):
            raise ValueError(f"degree must be 3 or 5, got {degree}")
        self.spatial_dims, self.channels, self.degree = len(extent), channels, degree
        self.extent, self.knot_spacing = tuple(map(float, extent)), tuple(map(float, knot_spacing))
        self.margin = tuple(map(float, margin or [0.0] * len(extent)))
        reach = zip(self.extent, self.margin, self.knot_spacing, strict=True)
        knots = [max(math.ceil((e + 2 * m) / k - 1e-9), 1) + degree for e, m, k in reach]
        self.coefficients = nn.Parameter(torch.empty(channels, *knots))
        # Small: the field then grows where the image asks for it (measured, +1 dB at equal time).
        nn.init.normal_(self.coefficients, std=0.03)

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

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments as JSON values."""
        return {
            "extent": list(self.extent),
            "knot_spacing": list(self.knot_spacing),
            "channels": self.channels,
            "margin": list(self.margin),
            "degree": self.degree,
        }
