"""What a representation asks of the field in it: a signal at any place, with its derivatives."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from oinr_monai.fields.field import Field
from oinr_monai.grids.positions import Positions

__all__ = ["ContinuousField"]


class ContinuousField(Field):
    """A signal as a function: that of an operator on a field, or the spline through samples.

    It is a field again, which another operator may read. ``spacing`` is the distance between its
    nodes along each axis, in mm.
    """

    spacing: tuple[float, ...]

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
        """The same function, sharing its parameters, with nodes at ``spacing`` if they can move."""

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
        """The signals that are among what an operator reads."""
        every = (part for part in self.modules() if part is not self)
        return [part for part in every if isinstance(part, ContinuousField)]

    @abstractmethod
    def numbers(self, order: int, scattered: bool) -> int:
        """Numbers that an answer at one place holds at once, about."""

    @property
    def device(self) -> torch.device:
        """Where answers are worked out."""
        return next(self.parameters()).device

    @property
    def size(self) -> int:
        """Numbers that it is made of."""
        return sum(p.numel() for p in self.parameters())
