"""The continuous function F = G[f]: an operator applied to its input function, at any place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from .fields import Field
from .networks import LocalOperator
from .positions import Lattice, Positions, Scatter

__all__ = ["NeuralField", "few_threads"]


class NeuralField(nn.Module):
    """Signal of D coordinates, in mm along the axes of the fitted grid, with exact derivatives.

    Where only the first layer of the operator is wider than one voxel, every place is answered in
    closed form. Otherwise a regular lattice is answered by dilated convolutions over a halo, and
    any other place by the convolutions over its own neighbourhood: the same function each time.

    Args:
        encoding: input function f.
        network: operator; its ``in_channels`` are the channels of ``encoding``.
        spacing: distance between kernel nodes along each axis, in mm.

    Raises:
        ValueError: if the two disagree, or the operator pads with zeros, which would tie its answer
            to the borders of a lattice.

    Example:
        >>> import torch
        >>> from oinr_monai import ConvOINR, FourierEncoding
        >>> encoding = FourierEncoding(extent=(9.0, 9.0), spacing=(1.0, 1.0), bands=3)
        >>> field = NeuralField(encoding, ConvOINR(2, 12, 1, channels=(8,)), spacing=(1.0, 1.0))
        >>> field(Lattice((torch.arange(4.0), torch.arange(5.0)))).shape
        torch.Size([1, 1, 4, 5])
    """

    def __init__(self, encoding: Field, network: LocalOperator, spacing: Sequence[float]) -> None:
        super().__init__()
        if encoding.channels != network.in_channels:
            raise ValueError(
                f"network must read {encoding.channels} channels, "
                f"got in_channels={network.in_channels}"
            )
        if encoding.spatial_dims != network.spatial_dims:
            raise ValueError(
                f"network must have {encoding.spatial_dims} spatial dimensions, "
                f"got {network.spatial_dims}"
            )
        if network.padding != "valid":
            raise ValueError(
                f'padding must be "valid" for a continuous field, got {network.padding!r}'
            )
        self.encoding, self.network = encoding, network.with_spacing(spacing)
        self.spacing = tuple(map(float, spacing))

    def with_spacing(self, spacing: Sequence[float]) -> NeuralField:
        """The same encoding and operator, sharing their parameters, with nodes at ``spacing``."""
        return NeuralField(self.encoding, self.network, spacing)

    def forward(
        self,
        positions: Positions,
        order: int = 0,
        layer: int | None = None,
        spacing: Sequence[float] | None = None,
    ) -> Tensor:
        """Jet (J, C, *positions.shape) of the signal, or of the activations of one hidden layer.

        Args:
            positions: a lattice or scattered points.
            order: 0 for the value, 1 with first, 2 with second derivatives, per mm.
            layer: number of the hidden layer to read, from 1; None for the signal.
            spacing: distance between kernel nodes, if another than the field's; in mm.
        """
        if spacing is not None and tuple(spacing) != self.spacing:
            return self.with_spacing(spacing)(positions, order, layer)
        halo = self.network.halo(1, layer)
        if max(halo) == 0:
            return self._answer(positions, (1,) * positions.spatial_dims, order, layer)
        if isinstance(positions, Scatter):
            return self._answer_points(positions, halo, order, layer)
        dilation = positions.dilation(self.spacing) if isinstance(positions, Lattice) else None
        if not isinstance(positions, Lattice) or dilation is None:
            raise ValueError("positions must be a regular lattice or scattered for inner kernels")
        haloed = positions.padded(halo, self.spacing, dilation)
        return self._answer(haloed, dilation, order, layer)

    def _answer(
        self, positions: Positions, dilation: Sequence[int], order: int, layer: int | None
    ) -> Tensor:
        jet = self._first_layer(positions, order).unsqueeze(1)
        return self.network.propagate(jet, dilation, layer).squeeze(1)

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
        with torch.autocast(positions.axes[0].device.type, enabled=False):
            jet = self.encoding.integrate(gain * first.weight, positions, self.spacing, order)
            return first.shift_value(jet.unsqueeze(1), gain).squeeze(1)


@contextmanager
def few_threads(field: NeuralField) -> Iterator[None]:
    """Work on one thread while a narrow operator without inner kernels is evaluated on the CPU.

    Waiting threads spin: beside other work a second one makes such an operator several times
    slower, for a gain of 1.1 to 1.7 times on an idle machine (measured, docs/threads.md).
    """
    before = torch.get_num_threads()
    network = field.network
    narrow = max(network.channels) <= 64 and network.inner_radius == 0
    torch.set_num_threads(1 if narrow else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
