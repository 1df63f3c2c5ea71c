"""Motions that are one matrix: rigid ones and affine ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .motion import Motion

__all__ = ["AffineMotion", "rigid_about", "rotation_of", "turn_of", "turns"]

# By how much columns of a matrix may miss unit length and right angles to count as a rotation;
# files of six digits do. Chosen by hand.
RIGID = 1e-5


@dataclass(frozen=True, eq=False)
class AffineMotion(Motion):
    r"""A matrix and a shift, :math:`T(x) = A x + t`; a rigid motion is one with a rotation for A.

    Args:
        matrix: homogeneous matrix (D + 1, D + 1) between world places, in mm.

    Raises:
        ValueError: if the matrix is no finite, invertible homogeneous matrix.

    Example:
        >>> quarter = AffineMotion(torch.tensor([[0.0, -1, 0], [1, 0, 5], [0, 0, 1]]))
        >>> quarter.at(torch.tensor([[2.0, 0.0]])).tolist()
        [[0.0, 7.0]]
        >>> quarter.inverse().at(torch.tensor([[0.0, 7.0]])).tolist(), quarter.is_rigid
        ([[2.0, 0.0]], True)
    """

    matrix: Tensor

    def __post_init__(self) -> None:
        matrix = torch.as_tensor(self.matrix).detach().cpu().double()
        dims = matrix.shape[-1] - 1
        if matrix.shape not in ((3, 3), (4, 4)) or not bool(torch.isfinite(matrix).all()):
            raise ValueError(f"matrix must be a finite 3x3 or 4x4 matrix, got {matrix.tolist()}")
        last = torch.eye(dims + 1, dtype=torch.float64)[-1]
        lengths = matrix[:dims, :dims].norm(dim=0)
        unit = matrix[:dims, :dims] / lengths
        if not torch.equal(matrix[-1], last) or not abs(float(torch.linalg.det(unit))) > 1e-9:
            raise ValueError(f"matrix must be homogeneous and invertible, got {matrix.tolist()}")
        object.__setattr__(self, "matrix", matrix)

    @classmethod
    def of(cls, linear: Tensor, shift: Tensor | Sequence[float]) -> AffineMotion:
        """The motion x -> linear x + shift, of a (D, D) matrix and D numbers of mm."""
        dims = len(linear)
        matrix = torch.eye(dims + 1, dtype=torch.float64)
        matrix[:dims, :dims] = linear
        matrix[:dims, dims] = torch.as_tensor(shift, dtype=torch.float64)
        return cls(matrix)

    @classmethod
    def identity(cls, spatial_dims: int = 3) -> AffineMotion:
        """The motion that leaves all as it is."""
        return cls(torch.eye(spatial_dims + 1, dtype=torch.float64))

    @property
    def spatial_dims(self) -> int:
        """Number of spatial dimensions D."""
        return len(self.matrix) - 1

    @property
    def linear(self) -> Tensor:
        """The matrix A (D, D)."""
        return self.matrix[:-1, :-1]

    @property
    def shift(self) -> Tensor:
        """The shift t (D,), in mm."""
        return self.matrix[:-1, -1]

    @property
    def is_rigid(self) -> bool:
        """Whether the matrix is a rotation, so that lengths and handedness are kept."""
        unit = torch.eye(self.spatial_dims, dtype=torch.float64)
        right = torch.allclose(self.linear.T @ self.linear, unit, rtol=0, atol=RIGID)
        return right and float(torch.linalg.det(self.linear)) > 0

    def at(self, points: Tensor) -> Tensor:
        """Where world points (N, D) go: (N, D), in mm."""
        return self.check_points(points) @ self.linear.T + self.shift

    def jacobian_at(self, points: Tensor) -> Tensor:
        """The matrix, for each of the points (N, D): (N, D, D)."""
        return self.linear.expand(len(self.check_points(points)), -1, -1)

    def inverse(self) -> AffineMotion:
        """The motion that takes everything back."""
        linear = torch.linalg.inv(self.linear)
        return AffineMotion.of(linear, -linear @ self.shift)

    def determinant_bounds(self) -> tuple[float, float]:
        """The determinant, twice: it is the same everywhere."""
        determinant = float(torch.linalg.det(self.linear))
        return determinant, determinant

    def arguments(self) -> dict[str, Any]:
        """The number of dimensions."""
        return {"spatial_dims": self.spatial_dims}

    def tensors(self) -> dict[str, Tensor]:
        """The matrix."""
        return {"matrix": self.matrix}


def rotation_of(turn: Tensor) -> Tensor:
    r"""The rotation :math:`\exp [\omega]_\times` (D, D) by a vector: 3 numbers in 3-D, 1 in 2-D.

    Args:
        turn: the axis times the angle in radians.

    Example:
        >>> rotation_of(torch.tensor([torch.pi / 2])).round().int().tolist()
        [[0, -1], [1, 0]]
    """
    return torch.linalg.matrix_exp(torch.einsum("k,kij->ij", turn.double(), turns(len(turn))))


def turn_of(rotation: Tensor) -> Tensor:
    """The axes of rotations (..., 3, 3) times their angles in radians (..., 3), below a half turn.

    Example:
        >>> turn = torch.tensor([0.1, -0.4, 0.2], dtype=torch.float64)
        >>> bool(torch.allclose(turn_of(rotation_of(turn)), turn))
        True
    """
    skew = (rotation - rotation.mT) / 2
    axis = torch.stack([skew[..., 2, 1], skew[..., 0, 2], skew[..., 1, 0]], dim=-1)
    sine, cosine = axis.norm(dim=-1), (rotation.diagonal(dim1=-2, dim2=-1).sum(dim=-1) - 1) / 2
    return axis * (torch.atan2(sine, cosine) / sine.clamp_min(1e-12))[..., None]


def turns(count: int) -> Tensor:
    """The generators (count, D, D) of rotations in 2-D, of which there is 1, or in 3-D, 3."""
    pairs = [(0, 1)] if count == 1 else [(1, 2), (2, 0), (0, 1)]
    found = torch.zeros(count, count if count == 3 else 2, count if count == 3 else 2)
    for k, (i, j) in enumerate(pairs):
        found[k, j, i], found[k, i, j] = 1.0, -1.0
    return found.double()


def rigid_about(turn: Tensor, shift: Tensor, centre: Tensor) -> AffineMotion:
    """The rotation by ``turn`` about ``centre`` (D,), then the shift by ``shift`` (D,) in mm.

    Example:
        >>> about = torch.tensor([4.0, 4.0])
        >>> motion = rigid_about(torch.tensor([0.3]), torch.zeros(2), about)
        >>> bool(torch.allclose(motion.at(about[None])[0], about.double()))
        True
    """
    linear = rotation_of(turn)
    centre = centre.double()
    return AffineMotion.of(linear, centre + shift.double() - linear @ centre)
