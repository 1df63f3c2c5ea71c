"""Samples in memory: a part of a field, which moves with it and is kept in its file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["HeldSamples"]


class HeldSamples(nn.Module):
    """Samples (C, *spatial) in memory.

    Args:
        shape: channels, and samples along each axis; the samples are 0 until they are loaded.

    Raises:
        ValueError: if there are no samples.

    Example:
        >>> HeldSamples.of(torch.ones(1, 4, 5)).read((0, 0), (2, 3)).shape
        torch.Size([1, 2, 3])
    """

    values: Tensor

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        if not 2 <= len(shape) <= 4 or min(shape) < 1:
            raise ValueError(f"shape must be (C, *spatial) with samples, got {tuple(shape)}")
        self.register_buffer("values", torch.zeros(tuple(shape)))

    @classmethod
    def of(cls, values: Tensor) -> HeldSamples:
        """These samples, which are not copied."""
        made = cls([1] * values.ndim)
        made.values = values
        return made

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments as JSON values."""
        return {"shape": list(self.shape)}

    @property
    def shape(self) -> tuple[int, ...]:
        """Channels, and samples along each axis."""
        return tuple(self.values.shape)

    def read(self, start: Sequence[int], stop: Sequence[int]) -> Tensor:
        """Samples (C, *box) from ``start`` to ``stop - 1``."""
        box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
        return self.values[(slice(None), *box)]

    def __deepcopy__(self, memo: dict[int, Any]) -> HeldSamples:
        # Nothing changes samples in place, so that copies share them.
        memo[id(self)] = made = HeldSamples.of(self.values)
        return made.train(self.training)

    def extra_repr(self) -> str:
        """Constructor arguments, for ``print``."""
        return f"shape={self.shape}"
