"""A field of learnable cubic B-splines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from .bsplines import BSplines

__all__ = ["SplineField"]


class SplineField(BSplines):
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
        ValueError: if a knot spacing is not positive, a margin negative, there are not as many as
            axes, or the degree is another.

    Example:
        >>> import torch
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
        super().__init__(extent, knot_spacing, channels, margin, degree)
        # Small: the field then grows where the image asks for it (measured, +1 dB at equal time).
        nn.init.normal_(self.coefficients, std=0.03)

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments as JSON values."""
        return {
            "extent": list(self.extent),
            "knot_spacing": list(self.knot_spacing),
            "channels": self.channels,
            "margin": list(self.margin),
            "degree": self.degree,
        }
