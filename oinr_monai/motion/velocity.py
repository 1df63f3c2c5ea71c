"""Motions that flow: no place can be folded onto another, and back is the same way backwards."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from oinr_monai.grids.grid import Grid

from .displacement import Displacement
from .motion import Motion
from .vector_spline import VectorSpline

__all__ = ["Velocity"]

# A step of the flow times the bound of the velocity's slope. Below log 2 the step is invertible:
# its derivative differs from one by less than exp(q) - 1 < 1. At a half, going there and back
# misses by some 1e-4 mm (tests/motion/test_velocity.py).
STRIDE = 0.5

# Fewest steps, for what is far too gentle to need them.
FEWEST = 4


@dataclass(frozen=True, eq=False)
class Velocity(Motion):
    r"""The flow of a stationary velocity after unit time, :math:`T = \exp v`.

    .. math:: \frac{d}{dt} \phi_t(x) = v(\phi_t(x)), \qquad \phi_0(x) = x, \qquad T = \phi_1
    .. math:: T^{-1} = \exp(-v), \qquad \det \nabla T = \exp \int_0^1 (\nabla \cdot v)(\phi_t) \, dt

    The velocity is a spline, and the flow follows it by the classical Runge-Kutta method, of fourth
    order in the step. So many steps are taken that each is an invertible map by itself, by the
    bound of the spline's slope, and so is the motion: it folds nowhere, between the voxels either.

    References:
        Arsigny et al., "A log-Euclidean framework for statistics on diffeomorphisms", MICCAI 2006.

    Args:
        field: the velocity, in mm per unit of time.
        steps: steps of the flow; as many as the slope asks for if None.

    Raises:
        ValueError: if the steps are not positive.

    Example:
        >>> knots = Grid((7, 7), torch.eye(4))
        >>> speed = torch.zeros(2, 7, 7)
        >>> speed[0, 3, 3] = 1.0
        >>> motion = Velocity(VectorSpline(speed, knots))
        >>> there = motion.at(torch.tensor([[3.0, 3.0]]))
        >>> bool(there[0, 0] > 3.3), bool((motion.inverse().at(there) - 3).abs().max() < 1e-3)
        (True, True)
        >>> motion.determinant_bounds()[0] > 0
        True
    """

    field: VectorSpline
    steps: int | None = None

    def __post_init__(self) -> None:
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"steps must be positive, got {self.steps}")

    @property
    def spatial_dims(self) -> int:
        """Number of spatial dimensions D."""
        return self.field.grid.spatial_dims

    @cached_property
    def _steps(self) -> int:
        return self.steps or max(math.ceil(self.field.steepness / STRIDE), FEWEST)

    def at(self, points: Tensor) -> Tensor:
        """Where world points (N, D) go: (N, D), in mm."""
        places, h = self.check_points(points), 1 / self._steps
        for _ in range(self._steps):
            a = self.field.at(places)
            b = self.field.at(places + h / 2 * a)
            c = self.field.at(places + h / 2 * b)
            d = self.field.at(places + h * c)
            places = places + h / 6 * (a + 2 * b + 2 * c + d)
        return places

    def jacobian_at(self, points: Tensor) -> Tensor:
        """The Jacobian at the points (N, D), that of the steps that are taken: (N, D, D)."""
        places, h = self.check_points(points), 1 / self._steps
        jacobian = torch.eye(self.spatial_dims, dtype=places.dtype).expand(len(places), -1, -1)
        for _ in range(self._steps):
            places, jacobian = self._step(places, jacobian, h)
        return jacobian

    def _step(self, places: Tensor, jacobian: Tensor, h: float) -> tuple[Tensor, Tensor]:
        speeds: list[Tensor] = []
        turns: list[Tensor] = []
        for part in (0.0, h / 2, h / 2, h):
            at = places + part * speeds[-1] if speeds else places
            by = jacobian + part * turns[-1] if turns else jacobian
            speed, slope = self.field.jet_at(at)
            speeds.append(speed)
            turns.append(slope @ by)
        weights = (h / 6, h / 3, h / 3, h / 6)
        moved = sum((w * s for w, s in zip(weights, speeds, strict=True)), places)
        turned = sum((w * t for w, t in zip(weights, turns, strict=True)), jacobian)
        return moved, turned

    def inverse(self) -> Velocity:
        """The flow the other way, exp(-v)."""
        return Velocity(self.field.scaled(-1.0), self.steps)

    def determinant_bounds(self) -> tuple[float, float]:
        """Bounds of the flow's own determinant, by those of the velocity's divergence."""
        low, high = self.field.refined().slope_bounds()
        least, most = (torch.einsum("ii...->...", each) for each in (low, high))
        return math.exp(float(least.min())), math.exp(float(most.max()))

    def sampled(self) -> Displacement:
        """The motion at points twice as close as the knots, and the spline through them."""
        return self._sampled

    @cached_property
    def _sampled(self) -> Displacement:
        knots = self.field.grid
        fine = Grid(tuple(2 * n - 1 for n in knots.shape), knots.refine(2).affine)
        return Displacement.of((self.on(fine) - fine.points()).movedim(-1, 0), fine)

    def arguments(self) -> dict[str, Any]:
        """Where the knots lie, and how many steps are taken."""
        return {"knots": list(self.field.grid.shape), "steps": self.steps}

    def tensors(self) -> dict[str, Tensor]:
        """Coefficients, and the affine of their knots."""
        return {"coefficients": self.field.coefficients, "affine": self.field.grid.affine}
