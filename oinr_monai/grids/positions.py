"""Sets of places to ask at: the tensor product of coordinate vectors, or scattered points."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Self

import torch
from torch import Tensor

__all__ = ["Lattice", "Positions", "Scatter"]


@dataclass(frozen=True)
class Positions(ABC):
    """Places given by D coordinate vectors, in mm along the axes of the fitted grid.

    Args:
        axes: D float64 vectors.
    """

    axes: tuple[Tensor, ...]

    @property
    def spatial_dims(self) -> int:
        """Number of spatial dimensions D."""
        return len(self.axes)

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape of an answer, one entry for each place."""

    @abstractmethod
    def spread(self, values: Tensor, axis: int) -> Tensor:
        """Reshape values (n, C), one per coordinate of an axis, to broadcast to (*shape, C)."""

    def shifted(self, offset: Sequence[float]) -> Self:
        """The places moved by ``offset`` (D,) in mm."""
        return type(self)(tuple(x + o for x, o in zip(self.axes, offset, strict=True)))


@dataclass(frozen=True)
class Lattice(Positions):
    """Every combination of one coordinate from each vector; the vectors need not be regular.

    Example:
        >>> Lattice((torch.arange(3.0), torch.arange(4.0))).shape
        (3, 4)
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of coordinates along each axis."""
        return tuple(len(x) for x in self.axes)

    def spread(self, values: Tensor, axis: int) -> Tensor:
        """Reshape values (n_axis, C) along one axis to broadcast against (*shape, C)."""
        return values.reshape(
            [-1 if d == axis else 1 for d in range(self.spatial_dims)] + [values.shape[-1]]
        )

    def points(self) -> Scatter:
        """The same places as points, the last axis fastest."""
        return Scatter(tuple(x.flatten() for x in torch.meshgrid(*self.axes, indexing="ij")))

    def part(self, tile: Sequence[slice]) -> Lattice:
        """The places of a tile, a slice of each axis."""
        return Lattice(tuple(x[s] for x, s in zip(self.axes, tile, strict=True)))

    def dilation(self, spacing: Sequence[float]) -> tuple[int, ...] | None:
        """Lattice steps per ``spacing`` along each axis, or None where they are not whole."""
        factors = []
        for x, h in zip(self.axes, spacing, strict=True):
            steps = x.diff()
            factor = round(h / abs(float(steps[0]))) if len(x) > 1 and float(steps[0]) else 1
            regular = torch.allclose(steps.abs() * factor, torch.full_like(steps, h), rtol=1e-6)
            if factor < 1 or not regular or bool((steps <= 0).any()):
                return None
            factors.append(factor)
        return tuple(factors)

    def padded(
        self, radii: Sequence[int], spacing: Sequence[float], dilation: Sequence[int]
    ) -> Lattice:
        """A regular lattice with ``radii`` spacings more at both ends of each axis."""
        axes = []
        for x, r, h, s in zip(self.axes, radii, spacing, dilation, strict=True):
            halo = torch.arange(1, r * s + 1, dtype=x.dtype, device=x.device) * (h / s)
            axes.append(torch.cat([x[0] - halo.flip(0), x, x[-1] + halo]))
        return Lattice(tuple(axes))


@dataclass(frozen=True)
class Scatter(Positions):
    """N separate points, one from each place of the D vectors of length N.

    Example:
        >>> Scatter((torch.rand(7), torch.rand(7), torch.rand(7))).shape
        (7,)
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of points, as a tuple of one."""
        return (self.axes[0].shape[0],)

    def spread(self, values: Tensor, axis: int) -> Tensor:
        """Values (N, C) along any axis belong to the points as they are."""
        return values

    def stencil(self, radii: Sequence[int], spacing: Sequence[float]) -> Scatter:
        """Each point followed by its neighbours up to ``radii`` spacings away along the axes."""
        reach = [range(-r, r + 1) for r in radii]
        offsets = torch.tensor(list(product(*reach)), dtype=torch.float64)
        columns = zip(self.axes, offsets.T, spacing, strict=True)
        return Scatter(tuple((x[:, None] + o.to(x.device) * h).flatten() for x, o, h in columns))
