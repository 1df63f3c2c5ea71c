"""What a representation asks of the field in it: the signal of an operator, at any place."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from torch import Tensor

from oinr_monai.fields.field import Field
from oinr_monai.grids.positions import Positions
from oinr_monai.operators.operator import LatticeOperator, LocalOperator

__all__ = ["ContinuousField"]


class ContinuousField(Field):
    """The signal of an operator on a field: a field again, which another operator may read.

    Args:
        encoding: input function f.
        network: operator; its ``in_channels`` are the channels of ``encoding``.
        spacing: distance between the operator's nodes along each axis, in mm.

    Raises:
        ValueError: if the two disagree, or the spacing is not positive.
    """

    def __init__(
        self, encoding: Field, network: LocalOperator | LatticeOperator, spacing: Sequence[float]
    ) -> None:
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
        if len(spacing) != network.spatial_dims or not min(spacing) > 0:
            raise ValueError(
                f"spacing must be {network.spatial_dims} positive numbers, one per axis, got "
                f"{tuple(spacing)}"
            )
        self.spatial_dims, self.channels = network.spatial_dims, network.out_channels
        self.encoding, self.network = encoding, network
        self.spacing = tuple(map(float, spacing))

    @abstractmethod
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

    @abstractmethod
    def with_spacing(self, spacing: Sequence[float]) -> ContinuousField:
        """The same field and operator, sharing their parameters, with nodes at ``spacing``."""

    @property
    @abstractmethod
    def hidden_channels(self) -> tuple[int, ...]:
        """Channels of each hidden layer that can be read."""

    @property
    @abstractmethod
    def anywhere(self) -> bool:
        """Whether any place has an answer of its own, without a regular lattice around it."""

    def settle(self) -> None:
        """Work out what is the same for all places, for the programs exported from here on."""
        for part in self.signals():
            part.settle()

    def signals(self) -> list[ContinuousField]:
        """The signals of other operators that are among what the operator reads."""
        return [part for part in self.encoding.modules() if isinstance(part, ContinuousField)]

    @abstractmethod
    def numbers(self, order: int, scattered: bool) -> int:
        """Numbers that an answer at one place holds at once, about."""
