"""What a Gauss-Newton step can change of a matrix: a rigid pose, or all of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from .affine import AffineMotion, rotation_of, turns

__all__ = ["AnyMatrix", "Freedom", "RigidBody"]


class Freedom(ABC):
    """The ways in which a motion by a matrix may change.

    Each is a generator, a matrix G by which places around a centre move at the rate G (y - c), or
    a shift; a step goes along a combination of them. Poses of slices and of frames have the same.
    """

    @abstractmethod
    def generators(self, dims: int) -> Tensor:
        """The matrices (P, D, D) of the generators that are not shifts."""

    @abstractmethod
    def step(self, turn: Tensor, dims: int) -> Tensor:
        """The matrix (D, D) that P numbers stand for."""

    def tangents(self, places: Tensor, reach: float) -> Tensor:
        """How each parameter moves places: (P + D, D, *shape), per mm at the distance ``reach``.

        Args:
            places: relative to the centre (*shape, D), in mm.
            reach: distance in mm that makes turns and shifts commensurate.
        """
        dims = places.shape[-1]
        turned = torch.einsum("pij,...j->pi...", self.generators(dims).to(places) / reach, places)
        shifts = torch.eye(dims).to(places).view(dims, dims, *[1] * (places.ndim - 1))
        return torch.cat([turned, shifts.expand(dims, dims, *places.shape[:-1])])

    def moved(
        self, motion: AffineMotion, change: Tensor, centre: Tensor, reach: float
    ) -> AffineMotion:
        """The motion, and after it the change by P + D parameters about a centre (D,)."""
        dims = len(centre)
        linear = self.step(change[:-dims].double() / reach, dims)
        shift = centre + change[-dims:].double() - linear @ centre
        return AffineMotion(AffineMotion.of(linear, shift).matrix @ motion.matrix)


@dataclass(frozen=True)
class RigidBody(Freedom):
    """Rotations and shifts.

    Example:
        >>> RigidBody().tangents(torch.zeros(5, 3), reach=30.0).shape
        torch.Size([6, 3, 5])
    """

    def generators(self, dims: int) -> Tensor:
        """Turns about each axis."""
        return turns(3 if dims == 3 else 1)

    def step(self, turn: Tensor, dims: int) -> Tensor:
        """The rotation, exactly one."""
        return rotation_of(turn)


@dataclass(frozen=True)
class AnyMatrix(Freedom):
    """Every matrix: also stretches and shears.

    Example:
        >>> AnyMatrix().tangents(torch.zeros(5, 3), reach=30.0).shape
        torch.Size([12, 3, 5])
    """

    def generators(self, dims: int) -> Tensor:
        """One for each entry."""
        return torch.eye(dims * dims, dtype=torch.float64).view(-1, dims, dims)

    def step(self, turn: Tensor, dims: int) -> Tensor:
        """The matrix exponential, so that it is invertible."""
        return torch.linalg.matrix_exp(turn.view(dims, dims))
