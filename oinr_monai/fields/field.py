r"""Functions that an operator can read: what every field answers, and how fields combine.

Every field answers at any place, with exact first and second derivatives, and knows how to pass a
first kernel layer at any place without a lattice around it,

.. math:: (Ku)(x) = b + \sum_o W_o f(x + o \circ h), \qquad o \in \{-r..r\}^D.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from oinr_monai.grids.positions import Lattice, Positions, Scatter

__all__ = ["Field"]


class Field(nn.Module, ABC):
    """A function of D coordinates (mm along the axes of the fitted grid) with E channels.

    A jet of order 0, 1 or 2 stacks the value, the D first and the D (D + 1) / 2 second derivatives
    along its first axis, in the order of :func:`~oinr_monai.grids.jets.second_order_pairs`.

    Example:
        >>> from oinr_monai import CoordinateField
        >>> field: Field = CoordinateField((9.0, 9.0))
        >>> field(Lattice((torch.arange(4.0), torch.arange(3.0))), order=1).shape
        torch.Size([3, 2, 4, 3])
    """

    spatial_dims: int
    channels: int

    @abstractmethod
    def forward(self, positions: Positions, order: int = 0) -> Tensor:
        """Jet (J, E, *positions.shape), derivatives per mm."""

    @abstractmethod
    def arguments(self) -> dict[str, Any]:
        """Constructor arguments, from which the field is built again.

        They are JSON values, or the fields and other modules that it was made with.
        """

    def integrate(
        self, weight: Tensor, positions: Positions, spacing: Sequence[float], order: int = 0
    ) -> Tensor:
        """Jet (J, C, *positions.shape) of the kernel integral of ``weight`` (C, E, *taps)."""
        taps = weight.shape[2:]
        if max(taps) == 1:
            return _mix(weight.flatten(1), self(positions, order))
        if isinstance(positions, Lattice):
            return self._integrate_lattice(weight, positions, spacing, order)
        return self._integrate_points(weight, cast("Scatter", positions), spacing, order)

    def _integrate_points(
        self, weight: Tensor, points: Scatter, spacing: Sequence[float], order: int
    ) -> Tensor:
        around = self(points.stencil([n // 2 for n in weight.shape[2:]], spacing), order)
        columns = around.unflatten(2, (-1, weight[0, 0].numel())).movedim(1, 2).flatten(2)
        return (columns @ weight.flatten(1).T).movedim(-1, 1)

    def _integrate_lattice(
        self, weight: Tensor, lattice: Lattice, spacing: Sequence[float], order: int
    ) -> Tensor:
        # The lattice at all shifts is itself a lattice: one evaluation serves every tap.
        taps, dims = weight.shape[2:], self.spatial_dims
        shifted = [
            torch.cat([x + (i - k // 2) * h for i in range(k)])
            for x, k, h in zip(lattice.axes, taps, spacing, strict=True)
        ]
        values = self(Lattice(tuple(shifted)), order)
        split = [n for pair in zip(taps, lattice.shape, strict=True) for n in pair]
        values = values.reshape(*values.shape[:2], *split)
        tap_axes = [2 + 2 * d for d in range(dims)]
        sites = [3 + 2 * d for d in range(dims)]
        columns = values.permute(0, *sites, 1, *tap_axes).flatten(1 + dims)
        return (columns @ weight.flatten(1).T).movedim(-1, 1)

    def extra_repr(self) -> str:
        """Constructor arguments, for ``print``, which shows modules by itself."""
        told = {n: v for n, v in self.arguments().items() if not _holds_modules(v)}
        return ", ".join(f"{name}={value}" for name, value in told.items())


def _holds_modules(value: object) -> bool:
    every = value if isinstance(value, list) else [value]
    return any(isinstance(each, nn.Module) for each in every)


def _mix(matrix: Tensor, jet: Tensor) -> Tensor:
    # (C, E) applied to (J, E, *shape); the result keeps its channels last in memory.
    return (jet.movedim(1, -1) @ matrix.T).movedim(-1, 1)
