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

from oinr_monai.grids.positions import Lattice, Positions, Scatter, jet_size, second_order_pairs

__all__ = ["Field", "JointField", "SeparableField"]


class Field(nn.Module, ABC):
    """A function of D coordinates (mm along the axes of the fitted grid) with E channels.

    A jet of order 0, 1 or 2 stacks the value, the D first and the D (D + 1) / 2 second derivatives
    along its first axis, in the order of :func:`~oinr_monai.grids.positions.second_order_pairs`.
    """

    spatial_dims: int
    channels: int

    @abstractmethod
    def forward(self, positions: Positions, order: int = 0) -> Tensor:
        """Jet (J, E, *positions.shape), derivatives per mm."""

    @abstractmethod
    def arguments(self) -> dict[str, Any]:
        """Constructor arguments as JSON values, from which the field is built again."""

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
        """Constructor arguments, for ``print``."""
        return ", ".join(f"{name}={value}" for name, value in self.arguments().items())


def _mix(matrix: Tensor, jet: Tensor) -> Tensor:
    # (C, E) applied to (J, E, *shape); the result keeps its channels last in memory.
    return (jet.movedim(1, -1) @ matrix.T).movedim(-1, 1)


class SeparableField(Field):
    """A field whose every channel depends on one coordinate alone.

    Only D small tables are ever stored, and a kernel layer is D one-dimensional kernel layers and
    one broadcast sum: with n places per axis it costs O(n) channels instead of O(n^D).
    """

    @abstractmethod
    def table(self, axis: int, coordinates: Tensor, derivative: int) -> Tensor:
        """Derivative of the channels of one axis at ``coordinates`` (n,): (n, E_axis), float64."""

    @property
    @abstractmethod
    def channels_per_axis(self) -> tuple[int, ...]:
        """Channels that depend on each axis; together E, in the order of the axes."""

    def forward(self, positions: Positions, order: int = 0) -> Tensor:
        """Jet (J, E, *positions.shape), derivatives per mm."""
        dtype = _dtype(self)
        columns = []
        for d in range(self.spatial_dims):
            tables = [self.table(d, positions.axes[d], k).to(dtype) for k in range(order + 1)]
            columns.append(_axis_jet([positions.spread(t, d) for t in tables], d, positions))
        return torch.cat(columns, dim=-1).movedim(-1, 1)

    def integrate(
        self, weight: Tensor, positions: Positions, spacing: Sequence[float], order: int = 0
    ) -> Tensor:
        """Jet (J, C, *positions.shape) of the kernel integral of ``weight`` (C, E, *taps)."""
        parts = weight.split(list(self.channels_per_axis), dim=1)
        total: Tensor | int = 0
        for d, part in enumerate(parts):
            if part.shape[1] == 0:
                continue
            others = [2 + other for other in range(self.spatial_dims) if other != d]
            kernel = part.sum(dim=others) if others else part
            spread = [
                positions.spread(self._filtered(kernel, d, positions.axes[d], spacing[d], k), d)
                for k in range(order + 1)
            ]
            # The value alone is left unexpanded: broadcasting it costs nothing.
            total = total + (_axis_jet(spread, d, positions) if order else spread[0][None])
        shape = (jet_size(self.spatial_dims, order), *positions.shape, weight.shape[0])
        return torch.as_tensor(total).expand(shape).movedim(-1, 1)

    def _filtered(
        self, kernel: Tensor, axis: int, coordinates: Tensor, step: float, derivative: int
    ) -> Tensor:
        taps = kernel.shape[-1]
        total: Tensor | int = 0
        for tap in range(taps):
            shifted = coordinates + (tap - taps // 2) * step
            total = (
                total + self.table(axis, shifted, derivative).to(kernel.dtype) @ kernel[:, :, tap].T
            )
        return torch.as_tensor(total)


def _axis_jet(parts: Sequence[Tensor], axis: int, positions: Positions) -> Tensor:
    # Derivatives across other axes vanish; those along ``axis`` are given by order.
    dims, shape = positions.spatial_dims, (*positions.shape, parts[0].shape[-1])
    jet = parts[0].new_zeros(jet_size(dims, len(parts) - 1), *shape)
    jet[0] = parts[0]
    if len(parts) > 1:
        jet[1 + axis] = parts[1]
    if len(parts) > 2:
        jet[1 + dims + second_order_pairs(dims).index((axis, axis))] = parts[2]
    return jet


def _dtype(module: nn.Module) -> torch.dtype:
    tensors = [*module.parameters(), *module.buffers()]
    return next((t.dtype for t in tensors if t.is_floating_point()), torch.get_default_dtype())


class JointField(Field):
    """Several fields side by side, channels in the order given.

    Args:
        fields: the fields, all of the same spatial dimensions.

    Raises:
        ValueError: if no field is given or their dimensions differ.

    Example:
        >>> from oinr_monai import CoordinateField, FourierEncoding
        >>> field = JointField([CoordinateField((9.0,)), FourierEncoding((9.0,), (1.0,), bands=2)])
        >>> field.channels
        5
    """

    def __init__(self, fields: Sequence[Field]) -> None:
        super().__init__()
        if len({field.spatial_dims for field in fields}) != 1:
            raise ValueError(
                f"fields must share their spatial dimensions, got {len(fields)} fields"
            )
        self.fields = nn.ModuleList(fields)
        self.spatial_dims = fields[0].spatial_dims
        self.channels = sum(field.channels for field in fields)

    @property
    def _members(self) -> list[Field]:
        return cast("list[Field]", list(self.fields))

    def forward(self, positions: Positions, order: int = 0) -> Tensor:
        """Jet (J, E, *positions.shape), derivatives per mm."""
        return torch.cat([field(positions, order) for field in self._members], dim=1)

    def integrate(
        self, weight: Tensor, positions: Positions, spacing: Sequence[float], order: int = 0
    ) -> Tensor:
        """Jet (J, C, *positions.shape) of the kernel integral of ``weight`` (C, E, *taps)."""
        parts = weight.split([field.channels for field in self._members], dim=1)
        integrals = (
            field.integrate(part, positions, spacing, order)
            for field, part in zip(self._members, parts, strict=True)
        )
        return sum(integrals, start=torch.zeros((), dtype=weight.dtype, device=weight.device))

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments: the fields themselves, described by the caller."""
        return {"fields": self._members}
