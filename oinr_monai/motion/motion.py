"""A motion: where each place of one image lies in another."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from oinr_monai.grids.grid import Grid

__all__ = ["Motion"]


class Motion(ABC):
    r"""A map of the world onto itself, :math:`T: \mathbb{R}^D \to \mathbb{R}^D`, a frozen value.

    A registration returns the one that takes places of the fixed image to where they lie in the
    moving one, so that :math:`m(T(x))` is the moving image on the fixed one's places. World places
    are in mm, RAS, float64.

    Example:
        >>> from oinr_monai.motion import AffineMotion
        >>> still: Motion = AffineMotion.identity(3)
        >>> still.at(torch.tensor([[1.0, 2.0, 3.0]])).tolist()
        [[1.0, 2.0, 3.0]]
    """

    @property
    @abstractmethod
    def spatial_dims(self) -> int:
        """Number of spatial dimensions D."""

    @abstractmethod
    def at(self, points: Tensor) -> Tensor:
        """Where world points (N, D) go: (N, D), in mm."""

    @abstractmethod
    def jacobian_at(self, points: Tensor) -> Tensor:
        """The derivative of :meth:`at` by the points (N, D): (N, D, D), no unit."""

    @abstractmethod
    def inverse(self) -> Motion:
        """The motion that takes everything back."""

    @abstractmethod
    def determinant_bounds(self) -> tuple[float, float]:
        """Two numbers between which the determinant of the Jacobian lies at *every* place."""

    @abstractmethod
    def arguments(self) -> dict[str, Any]:
        """What a file says of it, as JSON values and without its tensors."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """What a file holds of it, by name."""

    def on(self, grid: Grid) -> Tensor:
        """Where the voxel centres of a grid go: (*grid.shape, D), in mm."""
        return self.at(grid.points().flatten(0, -2)).unflatten(0, grid.shape)

    def jacobian_on(self, grid: Grid) -> Tensor:
        """The Jacobian at the voxel centres of a grid: (*grid.shape, D, D)."""
        return self.jacobian_at(grid.points().flatten(0, -2)).unflatten(0, grid.shape)

    def sampled(self) -> Motion:
        """The same motion for many places: one that is quick to ask, and very close to it."""
        return self

    def __matmul__(self, first: Motion) -> Motion:
        """The motion ``first`` and then this one, x -> self.at(first.at(x))."""
        from .composition import composed

        return composed(first, self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one safetensors file with a JSON header, complete or not at all.

        Raises:
            OSError: if the file cannot be written.
        """
        from .motion_file import write_motion

        write_motion(path, self)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Motion:
        """Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is no motion, damaged, or of a newer format.
        """
        from .motion_file import read_motion

        return read_motion(path)

    def check_points(self, points: Tensor) -> Tensor:
        """The points in float64.

        Raises:
            ValueError: if they are not (N, D).
        """
        if points.ndim != 2 or points.shape[1] != self.spatial_dims:
            raise ValueError(
                f"points must have shape (N, {self.spatial_dims}), got {tuple(points.shape)}"
            )
        return points.to(torch.float64)
