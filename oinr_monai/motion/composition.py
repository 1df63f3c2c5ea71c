"""Motions one after the other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from oinr_monai.grids.grid import Grid

from .affine import AffineMotion
from .motion import Motion

__all__ = ["MotionChain", "composed"]


@dataclass(frozen=True, eq=False)
class MotionChain(Motion):
    r"""Several motions, the first one first: :math:`T = T_n \circ \dots \circ T_1`.

    Args:
        parts: the motions; ``second @ first`` makes one of two.

    Raises:
        ValueError: if there are fewer than two, or of different dimensions.

    Example:
        >>> import torch
        >>> shift = AffineMotion.of(torch.eye(2), [1.0, 0.0])
        >>> double = AffineMotion.of(2 * torch.eye(2), [0.0, 0.0])
        >>> MotionChain((shift, double)).at(torch.zeros(1, 2)).tolist()
        [[2.0, 0.0]]
        >>> (double @ shift).matrix.tolist()
        [[2.0, 0.0, 2.0], [0.0, 2.0, 0.0], [0.0, 0.0, 1.0]]
    """

    parts: tuple[Motion, ...]

    def __post_init__(self) -> None:
        dims = {part.spatial_dims for part in self.parts}
        if len(self.parts) < 2 or len(dims) > 1:
            raise ValueError(f"parts must be two motions or more of one dimension, got {dims}")

    @property
    def spatial_dims(self) -> int:
        """Number of spatial dimensions D."""
        return self.parts[0].spatial_dims

    def at(self, points: Tensor) -> Tensor:
        """Where world points (N, D) go: (N, D), in mm."""
        places = self.check_points(points)
        for part in self.parts:
            places = part.at(places)
        return places

    def jacobian_at(self, points: Tensor) -> Tensor:
        """The Jacobian at the points (N, D), by the chain rule: (N, D, D)."""
        places = self.check_points(points)
        jacobian = self.parts[0].jacobian_at(places)
        for before, part in zip(self.parts, self.parts[1:], strict=False):
            places = before.at(places)
            jacobian = part.jacobian_at(places) @ jacobian
        return jacobian

    def on(self, grid: Grid) -> Tensor:
        """Where the voxel centres of a grid go: (*grid.shape, D), in mm."""
        places = self.parts[0].on(grid).flatten(0, -2)
        for part in self.parts[1:]:
            places = part.at(places)
        return places.unflatten(0, grid.shape)

    def jacobian_on(self, grid: Grid) -> Tensor:
        """The Jacobian at the voxel centres of a grid: (*grid.shape, D, D)."""
        places = self.parts[0].on(grid).flatten(0, -2)
        jacobian = self.parts[0].jacobian_on(grid).flatten(0, -3)
        for part in self.parts[1:]:
            jacobian = part.jacobian_at(places) @ jacobian
            places = part.at(places)
        return jacobian.unflatten(0, grid.shape)

    def sampled(self) -> Motion:
        """The same of motions that are quick to ask."""
        return MotionChain(tuple(part.sampled() for part in self.parts))

    def inverse(self) -> Motion:
        """The inverses, the last one first."""
        return MotionChain(tuple(part.inverse() for part in reversed(self.parts)))

    def determinant_bounds(self) -> tuple[float, float]:
        """The products of the parts' bounds."""
        bounds = [part.determinant_bounds() for part in self.parts]
        ends = [math.prod(each) for each in _choices(bounds)]
        return min(ends), max(ends)

    def arguments(self) -> dict[str, Any]:
        """Nothing of its own."""
        return {}

    def tensors(self) -> dict[str, Tensor]:
        """Nothing of its own."""
        return {}


def _choices(bounds: list[tuple[float, float]]) -> list[list[float]]:
    # One end of each: the least and greatest product are among those.
    found: list[list[float]] = [[]]
    for low, high in bounds:
        found = [[*each, end] for each in found for end in {low, high}]
    return found


def composed(first: Motion, then: Motion) -> Motion:
    """``first`` and then the other; neighbouring matrices become one."""
    parts: list[Motion] = []
    for motion in (first, then):
        for part in motion.parts if isinstance(motion, MotionChain) else (motion,):
            before = parts[-1] if parts else None
            if isinstance(before, AffineMotion) and isinstance(part, AffineMotion):
                parts[-1] = AffineMotion(part.matrix @ before.matrix)
            else:
                parts.append(part)
    return parts[0] if len(parts) == 1 else MotionChain(tuple(parts))
