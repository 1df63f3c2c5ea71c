"""Gauss-Newton on the velocity of a flow, at one scale."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from oinr_monai.scanner.forward_model import conjugate_gradients

from .affine import AffineMotion
from .mesh import Mesh
from .pyramid import Level
from .similarity import Pull, Similarity

__all__ = ["Flow", "exponential"]

# Steps of the conjugate gradients, and the part of the force that they may leave. Chosen by hand.
SOLVES, LEFT = 15, 0.05

# How much each knot is held, as a part of the mean that holds it. Chosen by hand.
HELD = 1e-2

# Halvings of a step that leads uphill.
HALVINGS = 5

# Longest part of the flow that is taken for straight, in voxels. Chosen by hand.
STRAIGHT = 0.25


class Reached(NamedTuple):
    """What a velocity leads to.

    Args:
        coefficients: of the velocity (D, *knots).
        moved: displacement of the places (D, *places), in voxels of the level.
        slopes: of the moving image there (D, C, *places), per voxel of its own.
        pull: how unlike the images are.
        total: that and the bending.
    """

    coefficients: Tensor
    moved: Tensor
    slopes: Tensor
    pull: Pull
    total: float


@dataclass(frozen=True, eq=False)
class Flow:
    r"""The velocity that makes two images alike without bending more than it has to.

    .. math:: \min_v \; E\big(f, m \circ A \circ \exp v\big) + \lambda \, \mathrm{bending}(v)

    Steps of Gauss and Newton, by conjugate gradients on the knots. A change of the velocity counts
    as one of the place before the flow, \exp(v + \delta) \approx \exp(v) \circ (1 + \delta); a step
    is taken only if the sum itself falls.

    Args:
        level: the images.
        mesh: the knots, over the places of the level.
        after: the motion by a matrix that follows the flow.
        similarity: what makes images alike.
        stiffness: the weight lambda of the bending energy, in mm².
    """

    level: Level
    mesh: Mesh
    after: AffineMotion
    similarity: Similarity
    stiffness: float

    @cached_property
    def _to_moving(self) -> tuple[Tensor, Tensor]:
        return self.level.to_moving(self.after.matrix)

    @cached_property
    def _spacing(self) -> Tensor:
        spacing = self.level.grid.spacing.to(self.level.weight)
        return spacing.view(-1, *[1] * len(spacing))

    def solve(self, coefficients: Tensor, steps: int, enough: float) -> Tensor:
        """Coefficients (D, *knots), in mm along the axes, after at most so many steps.

        Args:
            coefficients: where to begin.
            steps: at most.
            enough: gain of a step below which no other is taken.
        """
        here = self._reached(coefficients)
        for _ in range(steps):
            onward = self._downhill(here, self._step(here))
            gain, here = here.total - onward.total, onward
            if gain < enough:
                break
        return here.coefficients

    def moved(self, coefficients: Tensor) -> Tensor:
        """Displacements (D, *places), in voxels of the level, of a velocity (D, *knots)."""
        return exponential(self.mesh.dense(coefficients) / self._spacing)

    def shown(self, moved: Tensor) -> Tensor:
        """The moving image (C, *places) where displacements (D, *places) take the places."""
        return self.level.moving.jets(self._voxels(moved))[0]

    def _voxels(self, moved: Tensor) -> Tensor:
        linear, shift = self._to_moving
        return (self.level.indices + moved.movedim(0, -1)) @ linear.T + shift

    def _reached(self, coefficients: Tensor) -> Reached:
        moved = self.moved(coefficients)
        voxels = self._voxels(moved)
        values, slopes = self.level.moving.jets(voxels)
        # What leaves the moving image is not compared with the continuation of its border.
        weight = self.level.weight * self.level.moving.inside(voxels)
        pull = self.similarity.pull(self.level.fixed, values, weight)
        bending = float((coefficients * self.mesh.bent(coefficients)).sum())
        total = pull.unlikeness + self.stiffness * bending
        return Reached(coefficients, moved, slopes, pull, total)

    def _by_place(self, here: Reached) -> Tensor:
        """How the values change with the place before the flow (D, C, *places), per mm."""
        linear, _ = self._to_moving
        by_place = torch.einsum("ij,ic...->jc...", linear, here.slopes)
        bent = torch.stack([_slope(here.moved, d) for d in range(1, here.moved.ndim)], dim=1)
        by_place = by_place + torch.einsum("ij...,ic...->jc...", bent, by_place)
        return by_place / self._spacing[:, None]

    def _step(self, here: Reached) -> Tensor:
        mesh, two = self.mesh, 2 * self.stiffness
        coefficients, pull, by_place = here.coefficients, here.pull, self._by_place(here)
        force = mesh.adjoint((pull.slope * by_place).sum(dim=1)) + two * mesh.bent(coefficients)
        # The rows of the Jacobian, one a channel, times the root of the curvature.
        rows = by_place * pull.curvature.sqrt()
        diagonal = mesh.spread(rows.square().sum(dim=1))
        diagonal = diagonal + two * mesh.stiffness.to(diagonal)
        held = HELD * diagonal.mean()

        def curved(change: Tensor) -> Tensor:
            seen = (rows * mesh.dense(change)[:, None]).sum(dim=0)
            return mesh.adjoint((rows * seen).sum(dim=1)) + two * mesh.bent(change) + held * change

        return -conjugate_gradients(curved, force, None, SOLVES, LEFT, diagonal + held)

    def _downhill(self, here: Reached, step: Tensor) -> Reached:
        for halving in range(HALVINGS):
            onward = self._reached(here.coefficients + step / 2**halving)
            if onward.total < here.total:
                return onward
        return here


def _slope(moved: Tensor, axis: int) -> Tensor:
    # A single place along an axis has none.
    if moved.shape[axis] == 1:
        return torch.zeros_like(moved)
    (slope,) = torch.gradient(moved, dim=axis)
    return slope


def exponential(velocity: Tensor) -> Tensor:
    """Displacement (D, *shape) of the flow of a velocity (D, *shape), both in voxels.

    By scaling and squaring with straight lines between the voxels; beyond the border the velocity
    goes on. Quick, and good to some hundredths of a voxel; the motion itself is
    :class:`~oinr_monai.motion.velocity.Velocity`.

    References:
        Arsigny et al., "A log-Euclidean framework for statistics on diffeomorphisms", MICCAI 2006.

    Example:
        >>> exponential(torch.ones(2, 4, 5)).unique().tolist()
        [1.0]
    """
    longest = float(velocity.abs().max())
    squarings = max(math.ceil(math.log2(max(longest, 1e-9) / STRAIGHT)), 0)
    shape = velocity.shape[1:]
    scale = 2 / torch.tensor([max(n - 1.0, 1.0) for n in shape]).to(velocity)
    axes = [torch.arange(n).to(velocity) for n in shape]
    still = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)

    def at(vectors: Tensor, moved: Tensor) -> Tensor:
        places = ((still + moved[0].movedim(0, -1)) * scale - 1).flip(-1)[None]
        return F.grid_sample(vectors, places, padding_mode="border", align_corners=True)

    first = velocity[None] / 2**squarings
    moved = at(first, first / 2)  # the midpoint rule, of second order
    for _ in range(squarings):
        moved = moved + at(moved, moved)
    return moved[0]
