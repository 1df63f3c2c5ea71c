"""Motions that are a displacement of each place, and what undoes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from oinr_monai.grids.grid import Grid

from .folding import displacement_bounds
from .motion import Motion
from .vector_spline import VectorSpline

__all__ = ["Displacement", "Undone"]

# Steps of Newton, after which what is left is told by inverse consistency, and the distance in mm
# at which they stop.
STEPS, NEAR = 40, 1e-9


@dataclass(frozen=True, eq=False)
class Displacement(Motion):
    r"""Every place moved by a spline, :math:`T(x) = x + u(x)`, in mm.

    It may fold: :meth:`determinant_bounds` tells whether it can.

    Args:
        field: the displacement u.

    Example:
        >>> grid = Grid((6, 6), torch.eye(4))
        >>> motion = Displacement.of(torch.full((2, 6, 6), 0.5), grid)
        >>> motion.at(torch.tensor([[2.0, 3.0]])).tolist()
        [[2.5, 3.5]]
        >>> motion.inverse().at(torch.tensor([[2.5, 3.5]])).tolist()
        [[2.0, 3.0]]
    """

    field: VectorSpline

    @classmethod
    def of(cls, vectors: Tensor, grid: Grid) -> Displacement:
        """The motion by vectors (D, *grid.shape) in world mm at the voxel centres of a grid."""
        return cls(VectorSpline.through(vectors, grid))

    @property
    def spatial_dims(self) -> int:
        """Number of spatial dimensions D."""
        return self.field.grid.spatial_dims

    def at(self, points: Tensor) -> Tensor:
        """Where world points (N, D) go: (N, D), in mm."""
        places = self.check_points(points)
        return places + self.field.at(places)

    def jacobian_at(self, points: Tensor) -> Tensor:
        """The Jacobian at the points (N, D): (N, D, D)."""
        return _identity(self) + self.field.jet_at(self.check_points(points))[1]

    def on(self, grid: Grid) -> Tensor:
        """Where the voxel centres of a grid go: (*grid.shape, D), in mm."""
        return grid.points() + self.field.on(grid)

    def jacobian_on(self, grid: Grid) -> Tensor:
        """The Jacobian at the voxel centres of a grid: (*grid.shape, D, D)."""
        return _identity(self) + self.field.slope_on(grid)

    def inverse(self) -> Motion:
        """What takes everything back, where it does not fold."""
        return Undone(self)

    def determinant_bounds(self) -> tuple[float, float]:
        """Two numbers between which the determinant of the Jacobian lies at every place."""
        return displacement_bounds(self.field)

    def arguments(self) -> dict[str, Any]:
        """Where the knots lie."""
        return {"knots": list(self.field.grid.shape)}

    def tensors(self) -> dict[str, Tensor]:
        """Coefficients, and the affine of their knots."""
        return {"coefficients": self.field.coefficients, "affine": self.field.grid.affine}


@dataclass(frozen=True, eq=False)
class Undone(Motion):
    r"""The motion that takes another back: the place y with :math:`T(y) = x`, by Newton's method.

    Args:
        motion: the other one; it must not fold.
    """

    motion: Displacement

    @property
    def spatial_dims(self) -> int:
        """Number of spatial dimensions D."""
        return self.motion.spatial_dims

    def at(self, points: Tensor) -> Tensor:
        """Where world points (N, D) come from: (N, D), in mm."""
        wanted = self.check_points(points)
        places = wanted - self.motion.field.at(wanted)
        missed = self.motion.at(places) - wanted
        for _ in range(STEPS):
            if not missed.numel() or float(missed.abs().max()) < NEAR:
                break
            places, missed = self._step(places, missed, wanted)
        return places

    def _step(self, places: Tensor, missed: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        # A step that leads farther away, as beyond a bend, is halved.
        step = torch.linalg.solve(self.motion.jacobian_at(places), missed)
        length = torch.ones(len(places), 1, dtype=places.dtype)
        for _ in range(6):
            after = self.motion.at(places - length * step) - wanted
            worse = after.norm(dim=1) > missed.norm(dim=1)
            if not bool(worse.any()):
                break
            length[worse] /= 2
        return places - length * step, self.motion.at(places - length * step) - wanted

    def jacobian_at(self, points: Tensor) -> Tensor:
        """The Jacobian at the points (N, D): (N, D, D)."""
        return torch.linalg.inv(self.motion.jacobian_at(self.at(points)))

    def inverse(self) -> Motion:
        """The other motion."""
        return self.motion

    def determinant_bounds(self) -> tuple[float, float]:
        """Two numbers between which the determinant of the Jacobian lies at every place."""
        low, high = self.motion.determinant_bounds()
        return (1 / high, 1 / low) if low > 0 else (-float("inf"), float("inf"))

    def arguments(self) -> dict[str, Any]:
        """What the other says of itself."""
        return self.motion.arguments()

    def tensors(self) -> dict[str, Tensor]:
        """What the other holds."""
        return self.motion.tensors()


def _identity(motion: Motion) -> Tensor:
    return torch.eye(motion.spatial_dims, dtype=torch.float64)
