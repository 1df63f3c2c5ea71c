"""The continuous function F = G[f]: an operator applied to its input function, at any place."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor

from oinr_monai.fields.field import Field
from oinr_monai.fields.separable import SeparableField
from oinr_monai.grids.jets import jet_size
from oinr_monai.grids.positions import Lattice, Positions, Scatter
from oinr_monai.grids.precision import precision
from oinr_monai.operators.operator import LatticeOperator, LocalOperator

from .continuous_field import ContinuousField
from .lattice_field import LatticeField
from .operator_field import OperatorField

__all__ = ["NeuralField", "few_threads", "field_of"]


# Numbers of a jet that stay in a core's cache from layer to layer (docs/measured/performance.md).
CACHED_NUMBERS = 1 << 19


# Numbers of a field's values that are there at once: the system takes larger pieces of memory back
# each time, and to get them again cost a quarter of sampling (docs/measured/performance.md).
SLAB_NUMBERS = 1 << 20


# Numbers of both on another device, 256 MiB: there, small pieces wait for their turn. By hand.
AWAY_NUMBERS = 1 << 26


class NeuralField(OperatorField):
    """The signal of a local operator, which reads the field around each place.

    Where only the first layer of the operator is wider than one voxel, every place is answered in
    closed form. Otherwise a regular lattice is answered by dilated convolutions over a halo, and
    any other place by the convolutions over its own neighbourhood: the same function each time.
    It is a field as any other: as a part of a :class:`~oinr_monai.JointField`, say, it is read by
    another operator.

    Args:
        encoding: input function f.
        network: operator; its ``in_channels`` are the channels of ``encoding``, which it reads
            beyond the borders of a lattice where alone it would pad with zeros.
        spacing: distance between kernel nodes along each axis, in mm.

    Raises:
        ValueError: if the two disagree.

    Example:
        >>> import torch
        >>> from oinr_monai import ConvOINR, FourierEncoding
        >>> field = FourierEncoding(extent=(9.0, 9.0), spacing=(1.0, 1.0), bands=3)
        >>> signal = NeuralField(field, ConvOINR(2, 12, 1, channels=(8,)), spacing=(1.0, 1.0))
        >>> signal(Lattice((torch.arange(4.0), torch.arange(5.0)))).shape
        torch.Size([1, 1, 4, 5])
    """

    def __init__(self, encoding: Field, network: LocalOperator, spacing: Sequence[float]) -> None:
        super().__init__(encoding, network.unpadded().with_spacing(spacing), spacing)
        self.network: LocalOperator

    def with_spacing(self, spacing: Sequence[float]) -> NeuralField:
        """The same field and operator, sharing their parameters, with nodes at ``spacing``."""
        if self.network.with_spacing(spacing) is self.network:
            return self  # stored weights belong to the nodes that they were fitted at
        return NeuralField(self.encoding, self.network, spacing)

    @property
    def hidden_channels(self) -> tuple[int, ...]:
        """Channels of each hidden layer."""
        return self.network.channels

    @property
    def anywhere(self) -> bool:
        """Whether only the first layer is wider than one node."""
        return self.network.inner_radius == 0

    def numbers(self, order: int, scattered: bool) -> int:
        """Numbers that an answer at one place holds at once, about."""
        network = self.network
        taps = math.prod(2 * r + 1 for r in network.first.radii)
        # The layer that reads a separable field makes one-dimensional tables, and no columns.
        columns = 1 if isinstance(self.encoding, SeparableField) else network.in_channels * taps
        # Hidden layers that go by parts are never whole.
        hidden = () if self._mixes_values else network.channels
        numbers = max(columns, network.out_channels, *hidden) * jet_size(self.spatial_dims, order)
        around = math.prod(2 * r + 1 for r in network.halo(1)) if scattered else 1
        # A kernel asks its field at irregular lattices, which inner kernels answer as points.
        within = (
            taps * part.numbers(order, scattered or not part.anywhere) for part in self.signals()
        )
        return max([numbers, *within]) * around

    def forward(
        self,
        positions: Positions,
        order: int = 0,
        layer: int | None = None,
        spacing: Sequence[float] | None = None,
    ) -> Tensor:
        """Jet (J, C, *positions.shape) of the signal, or of the activations of one hidden layer."""
        if spacing is not None and tuple(spacing) != self.spacing:
            return self.with_spacing(spacing)(positions, order, layer)
        halo = self.network.halo(1, layer)
        if max(halo) == 0:
            return self._answer(positions, (1,) * positions.spatial_dims, order, layer)
        if isinstance(positions, Scatter):
            return self._answer_points(positions, halo, order, layer)
        lattice = cast("Lattice", positions)
        dilation = lattice.dilation(self.spacing)
        if dilation is None:
            answer = self._answer_points(lattice.points(), halo, order, layer)
            return answer.unflatten(2, lattice.shape)
        haloed = lattice.padded(halo, self.spacing, dilation)
        return self._answer(haloed, dilation, order, layer)

    def _answer(
        self, positions: Positions, dilation: Sequence[int], order: int, layer: int | None
    ) -> Tensor:
        # A program for any number of places has no loop over parts of them.
        if max(self.network.halo(1, layer)) or torch.compiler.is_exporting():
            jet = self._first_layer(positions, order).unsqueeze(1)
            return self.network.propagate(jet, dilation, layer).squeeze(1)
        # Pointwise from here on: by parts that a cache holds.
        parts = [
            self.network.propagate(part, dilation, layer)
            for part in self._first_by_parts(positions, order)
        ]
        return torch.cat(parts, dim=3).squeeze(1)

    def _first_by_parts(self, positions: Positions, order: int) -> Iterator[Tensor]:
        # Jets (J, 1, C, *part) before the first sine; ``part`` is some rows of the first axis.
        places = math.prod(positions.shape)
        numbers = max(self.network.channels) * jet_size(positions.spatial_dims, order) * places
        here = positions.axes[0].device.type == "cpu"
        cached, most = (CACHED_NUMBERS, SLAB_NUMBERS) if here else (AWAY_NUMBERS, AWAY_NUMBERS)
        rows = max(cached * positions.shape[0] // max(numbers, 1), 1)
        if not self._mixes_values:
            yield from self._first_layer(positions, order).unsqueeze(1).split(rows, dim=3)
            return
        for slab in _slabs(positions, most // self.encoding.channels):
            with precision(positions.axes[0].device):
                values = self.encoding(slab, order).unsqueeze(1)
            for part in values.split(rows, dim=3):
                yield self._mixed(part)

    @property
    def _mixes_values(self) -> bool:
        # Pointwise all through, over a field without a shorter way to an integral than by values.
        plain = type(self.encoding).integrate is Field.integrate
        return plain and max(self.network.halo()) == 0

    def _mixed(self, values: Tensor) -> Tensor:
        # The first layer where it is pointwise, in full precision like any other first layer; along
        # one axis, since of more, channels first, torch makes many small products.
        first, gain = self.network.first, self.network.omega_0
        with precision(values.device):
            jet = first.jet(values.flatten(3), (1,) * self.network.spatial_dims, gain)
        return jet.unflatten(3, values.shape[3:])

    def _answer_points(
        self, points: Scatter, halo: Sequence[int], order: int, layer: int | None
    ) -> Tensor:
        # Every point gets a little lattice of its own; all of them travel as one batch.
        around = self._first_layer(points.stencil(halo, self.spacing), order)
        local = around.unflatten(2, (-1, *[2 * r + 1 for r in halo])).movedim(2, 1)
        return self.network.propagate(local, (1,) * len(halo), layer).flatten(2).movedim(1, 2)

    def _first_layer(self, positions: Positions, order: int) -> Tensor:
        # In full precision: reduced precision is for the operator, places and fields need all bits.
        first, gain = self.network.first, self.network.omega_0
        with precision(positions.axes[0].device):
            jet = self.encoding.integrate(gain * first.weight, positions, self.spacing, order)
            return first.shift_value(jet.unsqueeze(1), gain).squeeze(1)


def _slabs(positions: Positions, places: int) -> Iterator[Positions]:
    # A lattice by rows of its first axis; points as they are, since splines take them by parts.
    if not isinstance(positions, Lattice):
        yield positions
        return
    first, *others = positions.axes
    rows = max(places * len(first) // max(math.prod(positions.shape), 1), 1)
    for some in first.split(rows):
        yield Lattice((some, *others))


def field_of(
    field: Field,
    operator: LocalOperator | LatticeOperator,
    spacing: Sequence[float],
    shape: Sequence[int],
) -> OperatorField:
    """The continuous function of an operator of either kind, fitted on a grid of ``shape``."""
    if isinstance(operator, LocalOperator):
        return NeuralField(field, operator, spacing)
    return LatticeField(field, operator, spacing, shape)


@contextmanager
def few_threads(field: ContinuousField) -> Iterator[None]:
    """Work on one thread while a narrow operator without inner kernels is evaluated on the CPU.

    Waiting threads spin: a second one makes such an operator slower beside other work, up to many
    times, for a gain of 1.1 times at most on an idle machine (docs/measured/performance.md).
    """
    before = torch.get_num_threads()
    local = isinstance(field, NeuralField)
    narrow = local and max(field.hidden_channels) <= 64 and field.anywhere
    torch.set_num_threads(1 if narrow else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
