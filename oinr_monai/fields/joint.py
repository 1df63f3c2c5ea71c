"""Several fields as one, channel after channel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from oinr_monai.grids.positions import Positions

from .field import Field

__all__ = ["JointField"]


class JointField(Field):
    """Several fields side by side, channels in the order given.

    One of them may be what was fitted before, ``representation.field``: an operator then reads the
    signal of another, beside whatever it learns itself.

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
        """Constructor arguments: the fields themselves, which the caller describes."""
        return {"fields": self._members}
