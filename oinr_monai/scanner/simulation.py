"""Thick slices made from a volume that is finer, so that what is made of them has a truth."""

from __future__ import annotations

import numpy as np
import torch
from monai.data import MetaTensor
from torch import Tensor

from oinr_monai.grids.checks import check_room
from oinr_monai.grids.grid import Grid
from oinr_monai.grids.precision import full_precision
from oinr_monai.images.arrays import plain_tensor
from oinr_monai.images.meta import inherit

from .noise import NoiseModel
from .profiles import Boxcar, SliceProfile
from .slices import SliceStack, thick_grid

__all__ = ["simulate_slices"]


@full_precision()
def simulate_slices(
    image: Tensor | np.ndarray,
    spacing: float,
    *,
    axis: int = 2,
    profile: SliceProfile | None = None,
    noise: NoiseModel | None = None,
    seed: int = 0,
) -> MetaTensor:
    """What a scanner with thick slices would have seen of an image.

    The first slice begins at the first face of the volume; what is left at the end, less than one
    slice, is not seen.

    Args:
        image: the finer image (C, *spatial).
        spacing: from slice to slice, in mm; it need not be a multiple of that of the image.
        axis: the axis from slice to slice.
        profile: sensitivity across a slice. One thinner than ``spacing`` leaves gaps, a thicker one
            lets slices overlap; a box as thick as ``spacing`` if None.
        noise: what falls on the slices, of known size.
        seed: seed of the noise.

    Returns:
        The slices (C, *spatial) with their affine.

    Raises:
        ValueError: if not one slice fits, more than memory holds, or the size of the noise is not
            known.

    Example:
        >>> simulate_slices(torch.arange(8.0).expand(1, 4, 4, 8), spacing=4.0)[0, 0, 0].tolist()
        [1.5, 5.5]
    """
    fine = Grid.from_image(image)
    if not 0 <= axis < fine.spatial_dims:
        raise ValueError(f"axis must be 0 to {fine.spatial_dims - 1}, got {axis}")
    thick = thick_grid(fine, axis, spacing)
    check_room(thick.shape, len(image))
    plain = plain_tensor(image)
    plain = plain.to(torch.promote_types(plain.dtype, torch.float32))
    seen = SliceStack(fine, thick, axis, profile or Boxcar(spacing)).forward(plain)
    if noise is not None:
        seen = noise.add(seen, torch.Generator(seen.device).manual_seed(seed))
    return inherit(thick.to_image(seen), image)
