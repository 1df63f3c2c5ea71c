"""The order and directions of axes in which an image is answered, told by the image alone.

Weights of an operator tell axes and their directions apart. Turned into its own pose first, an
image has the same answer however its axes are stored, and however it lies in the world.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from oinr_monai.grids.grid import Grid

__all__ = ["Pose"]


@dataclass(frozen=True)
class Pose:
    """An order of axes, and directions.

    Args:
        order: for each axis of the pose, that of the image.
        flips: axes of the image that run the other way.

    Example:
        >>> pose = Pose(order=(1, 0), flips=(0,))
        >>> image = torch.arange(6.0).view(1, 2, 3)
        >>> pose.turned(image)[0, 0].tolist(), torch.equal(pose.back(pose.turned(image)), image)
        ([3.0, 0.0], True)
    """

    order: tuple[int, ...]
    flips: tuple[int, ...]

    @classmethod
    def of(cls, image: Tensor, last: Sequence[float], mirrors: Sequence[int]) -> Pose:
        """The pose of an image: its heavier half lies last, its wider axis too where others tie.

        Args:
            image: (C, *spatial).
            last: for each axis a number; axes with larger ones come later.
            mirrors: axes that may run the other way.
        """
        keys, flips = [], []
        for axis, n in enumerate(image.shape[1:]):
            others = [d for d in range(image.ndim) if d != axis + 1]
            profile = image.double().mean(dim=others)
            places = torch.arange(n, dtype=torch.float64, device=image.device) - (n - 1) / 2
            keys.append((last[axis], n, float(profile @ places.square())))
            if axis in mirrors and float(profile @ places) < 0:
                flips.append(axis)
        return cls(tuple(sorted(range(len(keys)), key=keys.__getitem__)), tuple(flips))

    def turned(self, values: Tensor) -> Tensor:
        """Values (C, *spatial) in the pose."""
        return values.flip([d + 1 for d in self.flips]).permute(0, *[d + 1 for d in self.order])

    def back(self, values: Tensor) -> Tensor:
        """Values in the pose as they were stored."""
        inverse = [self.order.index(d) + 1 for d in range(len(self.order))]
        return values.permute(0, *inverse).flip([d + 1 for d in self.flips])

    def along(self, each: Sequence[float]) -> tuple[float, ...]:
        """A number for each axis of the image, for the axes of the pose."""
        return tuple(each[d] for d in self.order)

    def grid(self, grid: Grid) -> Grid:
        """The grid of what lies in the pose."""
        affine, dims = grid.affine.clone(), grid.spatial_dims
        for d in self.flips:
            affine[:, -1] += (grid.shape[d] - 1) * affine[:, d]
            affine[:, d] *= -1
        affine[:, :dims] = affine[:, list(self.order)]
        return Grid(tuple(grid.shape[d] for d in self.order), affine)
