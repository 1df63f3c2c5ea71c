"""Fields whose channels are functions of one axis each."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from oinr_monai.grids.jets import jet_size, second_order_pairs
from oinr_monai.grids.positions import Positions

from .field import Field

__all__ = ["SeparableField"]


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
