"""A representation where a motion takes each place: still a function."""

from __future__ import annotations

from dataclasses import dataclass

from monai.data import MetaTensor
from torch import Tensor

from oinr_monai.grids.grid import Grid
from oinr_monai.images.meta import inherit
from oinr_monai.representation.representation import Representation

from .motion import Motion

__all__ = ["Warped"]


@dataclass(frozen=True, eq=False)
class Warped:
    r"""What a representation shows where a motion takes each place, to be asked anywhere.

    .. math:: w(x) = f(T(x)), \qquad \nabla w(x) = J_T(x)^T \, \nabla f(T(x))

    Nothing is sampled in between: chains of motions and functions cost no detail.

    Args:
        representation: the function f, of the moving image.
        motion: T, from places of the fixed image to those of the moving one.

    Raises:
        ValueError: if the two have not the same dimensions.

    Example:
        >>> import torch
        >>> from oinr_monai.motion.affine import AffineMotion
        >>> from oinr_monai.representation.exact import spline_representation
        >>> slope = torch.arange(8.0).expand(1, 8, 8)
        >>> ahead = AffineMotion.of(torch.eye(2), [0.0, 0.5])
        >>> warped = Warped(spline_representation(slope, Grid((8, 8), torch.eye(4))), ahead)
        >>> warped.at(torch.tensor([[3.0, 4.0]])).round(decimals=3).tolist()
        [[4.5]]
    """

    representation: Representation
    motion: Motion

    def __post_init__(self) -> None:
        dims, own = self.motion.spatial_dims, self.representation.grid.spatial_dims
        if dims != own:
            raise ValueError(f"motion must have {own} dimensions as representation, got {dims}")

    def at(self, points: Tensor) -> Tensor:
        """Intensities (N, C) at world points (N, D) in mm."""
        return self.representation.at(self.motion.at(points))

    def gradient_at(self, points: Tensor) -> Tensor:
        """World gradient (N, C, D) at world points (N, D), per mm."""
        slopes = self.representation.gradient_at(self.motion.at(points))
        return slopes @ self.motion.jacobian_at(points).to(slopes)

    def sample(self, grid: Grid) -> MetaTensor:
        """Intensities (C, *grid.shape) at the voxel centres of a grid."""
        values = self.at(grid.points().flatten(0, -2)).T.unflatten(1, grid.shape)
        return inherit(grid.to_image(values.contiguous()), self.representation)

    def then(self, first: Motion) -> Warped:
        """The same where ``first`` takes each place before."""
        return Warped(self.representation, self.motion @ first)
