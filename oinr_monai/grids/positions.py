"""Sets of places to ask at: the tensor product of coordinate vectors, or scattered points."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Self

import torch
from torch import Tensor

from .constants import constant

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
        return replace(self, axes=tuple(x + o for x, o in zip(self.axes, offset, strict=True)))


@dataclass(frozen=True)
class Lattice(Positions):
    """Every combination of one coordinate from each vector; the vectors need not be regular.

    Args:
        axes: D float64 vectors.
        steps: from each coordinate to the next along each axis, where they are regular and that is
            known; None where it has to be read from them.

    Example:
        >>> Lattice((torch.arange(3.0), torch.arange(4.0))).shape
        (3, 4)
    """

    steps: tuple[float, ...] | None = None

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
        return Lattice(tuple(x[s] for x, s in zip(self.axes, tile, strict=True)), self.steps)

    def dilation(self, spacing: Sequence[float]) -> tuple[int, ...] | None:
        """Lattice steps per ``spacing`` along each axis, or None where they are not whole."""
        if self.steps is not None:
            return self._dilation_of(self.steps, spacing)
        factors = []
        for x, h in zip(self.axes, spacing, strict=True):
            steps = x.diff()
            factor = round(h / abs(float(steps[0]))) if len(x) > 1 and float(steps[0]) else 1
            regular = torch.allclose(steps.abs() * factor, torch.full_like(steps, h), rtol=1e-6)
            if factor < 1 or not regular or bool((steps <= 0).any()):
                return None
            factors.append(factor)
        return tuple(factors)

    def _dilation_of(
        self, steps: Sequence[float], spacing: Sequence[float]
    ) -> tuple[int, ...] | None:
        factors = []
        for x, step, h in zip(self.axes, steps, spacing, strict=True):
            factor = round(h / step) if len(x) > 1 else 1
            if factor < 1 or (len(x) > 1 and not math.isclose(step * factor, h, rel_tol=1e-6)):
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
        return Lattice(tuple(axes), self.steps)


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
        device = self.axes[0].device
        offsets = constant(_neighbours, tuple(radii), dtype=torch.float64, device=device)
        columns = zip(self.axes, offsets, spacing, strict=True)
        return Scatter(tuple((x[:, None] + o * h).flatten() for x, o, h in columns))


def _neighbours(radii: Sequence[int]) -> Tensor:
    reach = [range(-r, r + 1) for r in radii]
    return torch.tensor(list(product(*reach)), dtype=torch.float64, device="cpu").T
