"""What a fit sees: images that passed the door, and where they lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from oinr_monai.grids.grid import Grid

from .arrays import narrowed, plain_tensor
from .identity import digest_of_image
from .intensity import check_contrast

__all__ = ["Scan", "checked_scans"]

# Voxels around the box of a mask, beyond which no spline inside is felt. Chosen by hand.
BAND = 24


@dataclass(frozen=True)
class Scan:
    """One image that a fit sees, and where it lies along the axes of the first one.

    Args:
        image: (C, *shape).
        grid: its own grid.
        mask: voxels that count (*shape), or None for all.
        origin: first voxel centre, in mm along the first image's axes from its first voxel centre.
    """

    image: Tensor
    grid: Grid
    mask: Tensor | None
    origin: tuple[float, ...]

    @cached_property
    def digest(self) -> str:
        """What tells it from any other image."""
        return digest_of_image([self.image], self.grid, self.mask)

    @property
    def counted(self) -> Tensor:
        """The intensities that count (C, ...)."""
        return self.image if self.mask is None else self.image[:, self.mask]

    @property
    def filled(self) -> Tensor:
        """The image with the nearest voxel that counts in place of each that does not.

        So that a spline through it does not carry the others inside. Farther than ``BAND`` voxels
        from the box around what counts, the value at the band's edge goes on.
        """
        if self.mask is None:
            return self.image
        box = _box_around(self.mask)
        where = ~self.mask[box].numpy()
        nearest = distance_transform_edt(where, return_distances=False, return_indices=True)
        values = self.image[(slice(None), *box)][(slice(None), *torch.from_numpy(nearest).long())]
        beyond = [(s.start, n - s.stop) for s, n in zip(box, self.mask.shape, strict=True)]
        return torch.from_numpy(np.pad(values.cpu().numpy(), [(0, 0), *beyond], mode="edge"))


def _box_around(mask: Tensor) -> tuple[slice, ...]:
    places = mask.nonzero()
    first, last = places.amin(0).tolist(), places.amax(0).tolist()
    return tuple(
        slice(max(a - BAND, 0), min(b + BAND + 1, n))
        for a, b, n in zip(first, last, mask.shape, strict=True)
    )


def checked_scans(
    images: Sequence[Tensor | np.ndarray], mask: Tensor | np.ndarray | None
) -> list[Scan]:
    """The images that a fit was given, on the CPU in float32, and the mask of the first.

    Raises:
        TypeError: if one is neither a tensor nor an array.
        ValueError: if one is empty, constant, not finite, of the wrong shape or out of place.
    """
    if not images:
        raise ValueError("image must be an image or several, got none")
    if mask is not None and len(images) > 1:
        raise ValueError(f"mask must be None for several images, got one for {len(images)}")
    checked = [_checked_image(image) for image in images]
    (first, frame), scans = checked[0], []
    inside = _checked_mask(mask, frame)
    for values, grid in checked:
        if len(values) != len(first):
            raise ValueError(f"images must have {len(first)} channels each, got {len(values)}")
        scan = Scan(values, grid, inside, _origin(grid, frame))
        _check_intensities(scan.counted)
        scans.append(scan)
    return scans


def _origin(grid: Grid, frame: Grid) -> tuple[float, ...]:
    axes = grid.axes_in(frame)
    if axes is None or any(float(x[-1]) < float(x[0]) for x in axes):
        raise ValueError(
            "images must have their axes along those of the first, got a rotated or flipped one; "
            "resample it along them"
        )
    for x, size in zip(axes, frame.shape, strict=True):
        if float(x[0]) < -0.5 or float(x[-1]) > size - 0.5:
            raise ValueError(
                f"images must lie within the first, got voxels {float(x[0]):.1f} to "
                f"{float(x[-1]):.1f} of its {size}; give the largest first"
            )
    return tuple(float(x[0]) * h for x, h in zip(axes, frame.spacing.tolist(), strict=True))


def _checked_image(image: Tensor | np.ndarray) -> tuple[Tensor, Grid]:
    tensor = plain_tensor(image)
    if not 2 <= image.ndim <= 4:
        raise ValueError(
            f"image must have shape (C, *spatial) with 1 to 3 spatial dimensions, "
            f"got {tuple(image.shape)}; select one volume first"
        )
    if 0 in image.shape:
        raise ValueError(f"image must hold voxels, got shape {tuple(image.shape)}")
    if tensor.dtype in (torch.float64, torch.int32, torch.int64):
        values = torch.from_numpy(narrowed(tensor.cpu().numpy())).to(tensor.device)
        return values.clone(), Grid.from_image(image)
    return tensor.clone().float(), Grid.from_image(image)


def _check_intensities(counted: Tensor) -> None:
    wrong = int((~torch.isfinite(counted)).sum())
    if wrong:
        raise ValueError(
            f"image must be finite, got {wrong} NaN or infinite voxels; replace them first"
        )
    check_contrast("image", float(counted.min()), float(counted.max()))


def _checked_mask(mask: Tensor | np.ndarray | None, grid: Grid) -> Tensor | None:
    if mask is None:
        return None
    tensor = plain_tensor(mask, "mask").bool()
    tensor = tensor[0] if tensor.ndim == grid.spatial_dims + 1 else tensor
    if tuple(tensor.shape) != grid.shape:
        raise ValueError(f"mask must have shape {grid.shape}, got {tuple(tensor.shape)}")
    if not bool(tensor.any()):
        raise ValueError("mask must hold at least one voxel, got none")
    return tensor
