"""The coordinates themselves as a field."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .separable import SeparableField

__all__ = ["CoordinateField"]


class CoordinateField(SeparableField):
    """Plain coordinates f(x) = x, scaled to [-1, 1]: with it a ConvOINR of width 1 is a SIREN.

    References:
        Sitzmann et al., "Implicit Neural Representations with Periodic Activation Functions",
        NeurIPS 2020.

    Args:
        extent: distance from the first to the last voxel centre of each axis, in mm.

    Example:
        >>> from oinr_monai.grids.positions import Lattice
        >>> CoordinateField(extent=(10.0,))(Lattice((torch.tensor([0.0, 10.0]),))).tolist()
        [[[-1.0, 1.0]]]
    """

    def __init__(self, extent: Sequence[float]) -> None:
        super().__init__()
        self.spatial_dims = self.channels = len(extent)
        self.extent = tuple(map(float, extent))

    @property
    def channels_per_axis(self) -> tuple[int, ...]:
        """One channel for each axis."""
        return (1,) * self.spatial_dims

    def table(self, axis: int, coordinates: Tensor, derivative: int) -> Tensor:
        """Derivative of the channels of one axis at ``coordinates`` (n,): (n, 1), float64."""
        scale = 2 / self.extent[axis] if self.extent[axis] else 0.0
        x = coordinates[:, None].double()
        return (x * scale - 1, torch.full_like(x, scale), torch.zeros_like(x))[derivative]

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments as JSON values."""
        return {"extent": list(self.extent)}
