"""Phantoms with exact derivatives."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class GaussianBlob:
    """amplitude * exp(-(x - center)' P (x - center) / 2) over points x in world mm, in float64."""

    center: Tensor  # (D,), mm
    precision: Tensor  # (D, D), 1 / mm^2, symmetric and positive
    amplitude: float = 1.0

    def value(self, points: Tensor) -> Tensor:
        """Values (...,) at points (..., D)."""
        return self.amplitude * torch.exp(
            -0.5 * ((points - self.center) * self._slope(points)).sum(-1)
        )

    def gradient(self, points: Tensor) -> Tensor:
        """Gradient (..., D), per mm."""
        return -self.value(points)[..., None] * self._slope(points)

    def hessian(self, points: Tensor) -> Tensor:
        """Second derivatives (..., D, D), per mm^2."""
        slope = self._slope(points)
        return self.value(points)[..., None, None] * (
            slope[..., :, None] * slope[..., None, :] - self.precision
        )

    def _slope(self, points: Tensor) -> Tensor:
        return (points - self.center) @ self.precision


def plateau(*shape: int) -> Tensor:
    """Two smooth blobs on a plateau with an edge, from 0 to 1."""
    axes = torch.meshgrid(*[torch.linspace(-1, 1, n) for n in shape], indexing="ij")
    radius = sum(x**2 for x in axes).sqrt()
    blob = torch.exp(-8 * sum((x - 0.2) ** 2 for x in axes))
    return (0.5 * (radius < 0.8).float() + 0.5 * blob)[None]


def rotation(x: float, y: float, z: float) -> Tensor:
    """Rotation by these angles in radians about x, then y, then z, in float64."""
    generators = torch.zeros(3, 3, 3, dtype=torch.float64)
    for axis, (row, column) in enumerate([(2, 1), (0, 2), (1, 0)]):
        generators[axis, row, column], generators[axis, column, row] = 1.0, -1.0
    about_x, about_y, about_z = (
        torch.linalg.matrix_exp(angle * generator)
        for angle, generator in zip((x, y, z), generators, strict=True)
    )
    return about_z @ about_y @ about_x
