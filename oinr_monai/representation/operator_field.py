"""The signal of an operator on a field, at any place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from oinr_monai.fields.field import Field
from oinr_monai.operators.operator import LatticeOperator, LocalOperator

from .continuous_field import ContinuousField

__all__ = ["OperatorField"]


class OperatorField(ContinuousField):
    """The signal of an operator on a field.

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

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments, field and operator as they are: the caller describes them."""
        return {
            "encoding": self.encoding,
            "network": self.network,
            "spacing": list(self.spacing),
        }
