r"""Derivatives at a scale: the continuous function smoothed by a Gaussian, as a function again.

.. math:: F_\sigma(x) = \int g_\sigma(x - y) F(y) dy
          \approx q^D \sum_k g_\sigma(x - q k) F(q k)

The right-hand side is the trapezoid rule on a lattice of q mm. For what F holds up to the sampling
limit of its voxels, h mm apart, the relative error is about :math:`e^{-2 \pi^2 \sigma^2
(1 / q - 1 / 2h)^2}`: it falls faster than any power of q. Differentiating the Gaussian gives all
derivatives of this very sum, exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from oinr_monai.grids.jets import jet_derivatives, jet_size
from oinr_monai.grids.positions import Lattice, Positions
from oinr_monai.grids.tiles import Tile, put_together

from .continuous_field import ContinuousField

__all__ = ["SmoothedField"]

# Standard deviations at which the Gaussian ends: it and its derivatives have fallen to less than
# 1e-6 of their peaks, the second one to 35 exp(-18) = 5e-7.
REACH = 6.0

# Nodes that are answered at once and kept, 64 MiB a channel; at more, only those around the places
# asked for.
KEPT_NODES = 1 << 24


class SmoothedField(ContinuousField):
    r"""A continuous field smoothed by a Gaussian, with exact first and second derivatives.

    The nodes of the quadrature lie at whole parts of a voxel, close enough for a relative error
    below 1e-6 at any sigma; the Gaussian ends at 6 sigma. Beyond the outermost voxel centres the
    field goes on with its value at the border, as SimpleITK's recursive Gaussian takes it.

    Args:
        field: the field, over mm along axes at right angles.
        sigma: standard deviation of the Gaussian in mm.
        shape: shape of the fitted grid.
        spacing: its voxel spacing along each axis, in mm.

    Raises:
        ValueError: if ``sigma`` or a spacing is not positive, or the grid has other axes.

    Example:
        >>> from oinr_monai import ConvOINR, NeuralField, SplineField
        >>> splines = SplineField((9.0, 9.0), (2.0, 2.0), channels=4)
        >>> field = NeuralField(splines, ConvOINR(2, 4, 1, (8,), kernel_size=1), (1.0, 1.0))
        >>> smoothed = SmoothedField(field, 1.5, (10, 10), (1.0, 1.0))
        >>> smoothed(Lattice((torch.rand(3), torch.rand(4))), order=2).shape
        torch.Size([6, 1, 3, 4])
    """

    def __init__(
        self, field: ContinuousField, sigma: float, shape: Sequence[int], spacing: Sequence[float]
    ) -> None:
        if not sigma > 0:
            raise ValueError(f"sigma must be positive, got {sigma}")
        super().__init__()
        self.spatial_dims, self.channels = field.spatial_dims, field.channels
        self.spacing = field.spacing
        if not self.spatial_dims == len(shape) == len(spacing) or min(shape) < 1:
            raise ValueError(
                f"shape and spacing must be of {self.spatial_dims} axes, got {tuple(shape)} and "
                f"{tuple(spacing)}"
            )
        if not min(spacing) > 0:
            raise ValueError(f"spacing must be positive, got {tuple(spacing)}")
        # A tuple: what the field is made of keeps the names that files know.
        self._smoothed, self.sigma, self.shape = (field,), float(sigma), tuple(shape)
        for name, part in field.named_children():
            self.add_module(name, part)
        self.voxels = tuple(map(float, spacing))
        self.parts = [parts_of_a_voxel(self.sigma, h) for h in self.voxels]
        self._kept: dict[object, Tensor] = {}

    @property
    def field(self) -> ContinuousField:
        """The field that is smoothed."""
        return self._smoothed[0]

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments, the field as it is: the caller describes it."""
        return {
            "field": self.field,
            "sigma": self.sigma,
            "shape": list(self.shape),
            "spacing": list(self.voxels),
        }

    def with_spacing(self, spacing: Sequence[float]) -> SmoothedField:
        """The field with nodes of its kernels at ``spacing``, smoothed as this one is."""
        field = self.field.with_spacing(spacing)
        return SmoothedField(field, self.sigma, self.shape, self.voxels)

    @property
    def device(self) -> torch.device:
        """Where answers are worked out."""
        return self.field.device

    @property
    def size(self) -> int:
        """Numbers that the field is made of."""
        return self.field.size

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> SmoothedField:
        # What the field has beside its parts moves as well.
        self.field._apply(fn, recurse)  # type: ignore[no-untyped-call]
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    @property
    def hidden_channels(self) -> tuple[int, ...]:
        """Channels of each hidden layer that can be read."""
        return self.field.hidden_channels

    @property
    def anywhere(self) -> bool:
        """True: the sum has a value at any place."""
        return True

    def numbers(self, order: int, scattered: bool) -> int:
        """Numbers that an answer at one place holds at once, about."""
        channels = max([self.channels, *self.hidden_channels])
        around = math.prod(2 * reach + 2 for reach in self._reach) if scattered else 1
        return channels * around * jet_size(len(self.shape), order)

    def forward(
        self,
        positions: Positions,
        order: int = 0,
        layer: int | None = None,
        spacing: Sequence[float] | None = None,
    ) -> Tensor:
        """Jet (J, C, *positions.shape) of the smoothed signal, or of smoothed activations."""
        if spacing is not None and tuple(spacing) != self.spacing:
            return self.with_spacing(spacing)(positions, order, layer)
        if math.prod(positions.shape) == 0:
            return self.field(positions, order, layer)
        starts, stops = self._box(positions)
        if isinstance(positions, Lattice):
            return self._on_lattice(positions, order, self._nodes(starts, stops, layer), starts)
        sizes = [stop - start for start, stop in zip(starts, stops, strict=True)]
        if math.prod(sizes) > KEPT_NODES and positions.shape[0] > 1:
            # Points far from each other: each half lies in a smaller box.
            return self._by_halves(positions, order, layer, sizes.index(max(sizes)))
        return self._at_points(positions, order, self._nodes(starts, stops, layer), starts)

    # ---- nodes ----------------------------------------------------------------------------------

    @property
    def _steps(self) -> list[float]:
        # Distance q between nodes along each axis, in mm.
        return [h / parts for h, parts in zip(self.voxels, self.parts, strict=True)]

    @property
    def _reach(self) -> list[int]:
        return [math.ceil(REACH * self.sigma / q) for q in self._steps]

    def _box(self, positions: Positions) -> tuple[list[int], list[int]]:
        # The first node that the places need along each axis, and the one after the last.
        axes = (x.detach() for x in positions.axes)
        ends = [
            (math.floor(float(x.min()) / q) - reach, math.ceil(float(x.max()) / q) + reach + 1)
            for x, q, reach in zip(axes, self._steps, self._reach, strict=True)
        ]
        return [start for start, _ in ends], [stop for _, stop in ends]

    def _nodes(self, starts: Sequence[int], stops: Sequence[int], layer: int | None) -> Tensor:
        # Values (C, *nodes) from ``starts`` up to ``stops``, those beyond the border being its own.
        counts = [(n - 1) * parts + 1 for n, parts in zip(self.shape, self.parts, strict=True)]
        index = [
            torch.arange(start, stop).clamp(0, n - 1)
            for start, stop, n in zip(starts, stops, counts, strict=True)
        ]
        if math.prod(counts) <= KEPT_NODES:
            values, first = self._all_nodes(counts, layer), [0] * len(counts)
        else:
            first = [int(i.min()) for i in index]
            values = self._answer(first, [int(i.max()) + 1 for i in index], layer)
        for d, (i, start) in enumerate(zip(index, first, strict=True)):
            values = values.index_select(d + 1, (i - start).to(values.device))
        return values

    def _all_nodes(self, counts: Sequence[int], layer: int | None) -> Tensor:
        # What was kept holds as long as no parameter has changed or moved.
        parts = [*self.field.parameters(), *self.field.buffers()]
        state = (layer, self.device, *((p.data_ptr(), p.dtype, p._version) for p in parts))
        if state not in self._kept:
            self._kept = {state: self._answer([0] * len(counts), counts, layer)}
        return self._kept[state]

    def _answer(self, starts: Sequence[int], stops: Sequence[int], layer: int | None) -> Tensor:
        axes = [
            torch.arange(start, stop, dtype=torch.float64, device=self.device) * q
            for start, stop, q in zip(starts, stops, self._steps, strict=True)
        ]
        lattice, numbers = Lattice(tuple(axes), tuple(self._steps)), self.field.numbers(0, False)

        def values(tile: Tile) -> Tensor:
            return self.field(lattice.part(tile), 0, layer)[0]

        return put_together(lattice.shape, numbers, values, self.device)

    # ---- sums over nodes -------------------------------------------------------------------------

    def _weights(self, distance: Tensor, axis: int, order: int) -> list[Tensor]:
        # q g(d) and its derivatives, at distances d in mm of the place from a node.
        sigma, t = self.sigma, distance / self.sigma
        weight = torch.exp(-t.square() / 2) * (self._steps[axis] / (sigma * math.sqrt(2 * math.pi)))
        return [weight, -t / sigma * weight, (t.square() - 1) / sigma**2 * weight][: order + 1]

    def _on_lattice(
        self, lattice: Lattice, order: int, nodes: Tensor, starts: Sequence[int]
    ) -> Tensor:
        matrices = []
        for d, (x, start, q) in enumerate(zip(lattice.axes, starts, self._steps, strict=True)):
            index = torch.arange(start, start + nodes.shape[d + 1], device=x.device)
            # The Gaussian ends where it does for points.
            near = ((x.double() / q).round().long()[:, None] - index).abs() <= self._reach[d]
            weights = self._weights(x.double()[:, None] - index.double() * q, d, order)
            matrices.append([(w * near).to(nodes) for w in weights])
        entries = []
        for derivatives in jet_derivatives(len(self.shape), order):
            part = nodes
            for d, n in enumerate(derivatives):
                part = torch.tensordot(part, matrices[d][n], dims=([1], [1]))
            entries.append(part)
        return torch.stack(entries)

    def _at_points(
        self, points: Positions, order: int, nodes: Tensor, starts: Sequence[int]
    ) -> Tensor:
        dims, along = len(self.shape), []
        index: list[Tensor | slice] = [slice(None)]
        for d, (x, start, q) in enumerate(zip(points.axes, starts, self._steps, strict=True)):
            offsets = torch.arange(-self._reach[d], self._reach[d] + 1, device=x.device)
            around = (x.double() / q).round().long()[:, None] + offsets
            distance = x.double()[:, None] - around.double() * q
            along.append([w.to(nodes) for w in self._weights(distance, d, order)])
            shape = [-1] + [1] * dims
            shape[d + 1] = len(offsets)
            index.append((around - start).view(shape))
        values = nodes[tuple(index)]
        entries = []
        for derivatives in jet_derivatives(dims, order):
            part = values
            for d in reversed(range(dims)):
                part = torch.einsum("cn...k,nk->cn...", part, along[d][derivatives[d]])
            entries.append(part)
        return torch.stack(entries)

    def _by_halves(self, points: Positions, order: int, layer: int | None, axis: int) -> Tensor:
        ranks = points.axes[axis].argsort()
        halves = ranks.split(math.ceil(len(ranks) / 2))
        parts = [
            self(type(points)(tuple(x[half] for x in points.axes)), order, layer) for half in halves
        ]
        return torch.cat(parts, dim=-1)[..., ranks.argsort()]


def parts_of_a_voxel(sigma: float, spacing: float) -> int:
    """How many nodes a voxel of ``spacing`` mm needs for a relative error below 1e-6.

    Example:
        >>> [parts_of_a_voxel(sigma, spacing=1.0) for sigma in (0.5, 1.0, 2.0)]
        [3, 2, 1]
    """
    # exp(-2 pi^2 a^2) = 1e-6 at a = sigma (1 / q - 1 / 2h) = 0.837
    return math.ceil(0.5 + 0.837 * spacing / sigma)
