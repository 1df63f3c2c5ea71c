"""Images and labels moved: what they show, on the places of another."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from monai.data import MetaTensor
from torch import Tensor

from oinr_monai.grids.checks import check_room
from oinr_monai.grids.grid import Grid
from oinr_monai.grids.positions import Scatter
from oinr_monai.grids.precision import full_precision
from oinr_monai.grids.splines import CubicInterpolant
from oinr_monai.grids.tiles import slabs
from oinr_monai.images.arrays import plain_tensor
from oinr_monai.images.labels import as_labels
from oinr_monai.images.meta import inherit

from .motion import Motion

__all__ = ["warp_image", "warp_labels"]

# Voxels that are moved at once: some tens of megabytes.
AT_ONCE = 1 << 18


@full_precision()
@torch.no_grad()
def warp_image(image: Tensor, motion: Motion, grid: Grid) -> MetaTensor:
    """An image (C, *spatial) where a motion takes the voxels of a grid: (C, *grid.shape).

    By the cubic spline through its voxels. The border goes on for half a voxel; beyond is the
    least intensity of each channel.

    Args:
        image: the moving image, a MetaTensor for its affine.
        motion: from places of ``grid`` to places of the image.
        grid: usually that of the fixed image.

    Example:
        >>> from oinr_monai.motion.affine import AffineMotion
        >>> image = torch.arange(5.0).expand(1, 4, 5)
        >>> ahead = AffineMotion.of(torch.eye(2), [0.0, 1.0])
        >>> warp_image(image, ahead, Grid((4, 5), torch.eye(4)))[0, 0].round().tolist()
        [1.0, 2.0, 3.0, 4.0, 0.0]
    """
    check_room(grid.shape, len(image))
    values = plain_tensor(image).float()
    own, spline = Grid.from_image(image), CubicInterpolant(values)
    last = torch.tensor(own.shape, dtype=torch.float64) - 1
    outside = values.flatten(1).amin(dim=1)
    parts = []
    for voxels in _moved(motion, grid, own):
        near = voxels.clamp(min=torch.zeros_like(last), max=last)
        found = spline(Scatter(tuple(near.T.contiguous())))
        inside = ((voxels - near).abs() <= 0.5).all(dim=1)
        parts.append(torch.where(inside, found, outside[:, None]))
    whole = torch.cat(parts, dim=1).unflatten(1, (-1, *grid.shape[:-1]))
    return inherit(grid.to_image(whole.movedim(1, -1).contiguous()), image)


@full_precision()
@torch.no_grad()
def warp_labels(labels: Tensor, motion: Motion, grid: Grid) -> MetaTensor:
    """A label map (1, *spatial) where a motion takes the voxels of a grid: (1, *grid.shape).

    Each label is an occupancy, 1 in its voxels and 0 in others with straight lines in between, and
    the largest at a place is its label; so surfaces are smoother than those of the nearest voxel.
    Beyond the map is 0.

    Args:
        labels: whole numbers, a MetaTensor for its affine.
        motion: from places of ``grid`` to places of the map.
        grid: usually that of the fixed image.

    Example:
        >>> from oinr_monai.motion.affine import AffineMotion
        >>> back = AffineMotion.of(torch.eye(2), [0.0, -0.6])
        >>> labels = torch.tensor([[[0, 7, 7, 9]] * 2])
        >>> warp_labels(labels, back, Grid((2, 4), torch.eye(4)))[0, 0].tolist()
        [0, 0, 7, 7]
    """
    check_room(grid.shape, 2)
    values, own = as_labels(labels)[0], Grid.from_image(labels)
    parts = [_nearest_label(values, voxels) for voxels in _moved(motion, grid, own)]
    whole = torch.cat(parts).unflatten(0, (-1, *grid.shape[:-1])).movedim(0, -1).contiguous()
    return inherit(grid.to_image(whole[None]), labels)


def _nearest_label(values: Tensor, voxels: Tensor) -> Tensor:
    """The label (N,) of the largest occupancy at voxel indices (N, D); 0 beyond the map."""
    ends = torch.tensor(values.shape)
    inside = ((voxels >= -0.5) & (voxels <= ends - 0.5)).all(dim=1)
    if not bool(inside.any()):
        return values.new_zeros(len(voxels))
    # The labels near these places alone: there may be many, and each takes a volume.
    near = voxels[inside].clamp(min=torch.zeros(len(ends)), max=ends - 1)
    low, high = near.amin(0).floor().long(), near.amax(0).ceil().long() + 1
    part = values[tuple(slice(a, b) for a, b in zip(low.tolist(), high.tolist(), strict=True))]
    last = torch.tensor([max(n - 1, 1) for n in part.shape], dtype=torch.float64)
    places = ((voxels - low) * (2 / last) - 1).flip(-1).float()
    places = places.view(1, *[1] * (part.ndim - 1), *places.shape)
    names = part.unique()
    looked = [
        F.grid_sample(
            (part == name).float()[None, None], places, padding_mode="border", align_corners=True
        ).flatten()
        for name in names
    ]
    found = names[torch.stack(looked).argmax(dim=0)]
    return torch.where(inside, found, torch.zeros_like(found))


def _moved(motion: Motion, grid: Grid, own: Grid) -> Iterator[Tensor]:
    """Voxel indices (N, D) of the moved places, slab by slab, the last axis the slowest."""
    quick = motion.sampled()
    for start, stop in slabs(grid.shape, AT_ONCE):
        places = quick.on(grid.crop(start, stop)).movedim(-2, 0)
        yield own.to_voxel(places.flatten(0, -2))
