"""Samples on a lattice that need not be in memory: whatever answers box by box."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

__all__ = ["Samples"]


class Samples(Protocol):
    """What has a shape and reads boxes of it."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Channels, then voxels along each axis: (C, *spatial)."""
        ...

    def read(self, start: Sequence[int], stop: Sequence[int]) -> Tensor:
        """The samples (C, *box), in float32, of the voxels ``start`` to ``stop - 1``."""
        ...
