"""Two images that belong together, checked at the door."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from oinr_monai.grids.grid import Grid
from oinr_monai.images.scans import Scan, checked_scans

__all__ = ["ImagePair"]

# Parts of the voxels that are darkest and brightest, whose intensities are cut off: vessels, clips
# and noise would else set the scale. Chosen by hand.
TAILS = (0.001, 0.999)

# Voxels of which those are taken, at most.
SEEN = 1 << 20


@dataclass(frozen=True, eq=False)
class ImagePair:
    """What a registration sees: two images of zero mean and unit spread, and where they lie.

    Args:
        fixed: (C, *shape).
        fixed_grid: its grid.
        moving: (C, *shape).
        moving_grid: its grid.
        mask: voxels of the fixed image that count (*shape), or None for all.
    """

    fixed: Tensor
    fixed_grid: Grid
    moving: Tensor
    moving_grid: Grid
    mask: Tensor | None = None

    @classmethod
    def of(
        cls,
        fixed: Tensor | np.ndarray,
        moving: Tensor | np.ndarray,
        mask: Tensor | np.ndarray | None = None,
    ) -> ImagePair:
        """The images, checked and standardised.

        Raises:
            TypeError: if one is neither a tensor nor an array.
            ValueError: if one is empty, constant or not finite, the mask is of another shape or
                holds nothing, or the images have not the same channels and dimensions.
        """
        one, other = _checked("fixed", fixed, mask), _checked("moving", moving, None)
        dims = one.grid.spatial_dims
        if dims not in (2, 3):
            raise ValueError(f"fixed must have 2 or 3 spatial dimensions, got {dims}")
        if other.grid.spatial_dims != dims or len(other.image) != len(one.image):
            raise ValueError(
                f"moving must have {len(one.image)} channels in {dims} dimensions as fixed,"
                f" got {len(other.image)} and {other.grid.spatial_dims}"
            )
        return cls(_standard(one), one.grid, _standard(other), other.grid, one.mask)


def _checked(name: str, image: Tensor | np.ndarray, mask: Tensor | np.ndarray | None) -> Scan:
    try:
        return checked_scans([image], mask)[0]
    except (TypeError, ValueError) as error:
        if str(error).startswith("mask"):
            raise
        raise type(error)(f"{name} {error}".replace(f"{name} image", name, 1)) from error


def _standard(scan: Scan) -> Tensor:
    found = []
    for channel in scan.image:
        counted = channel.flatten() if scan.mask is None else channel[scan.mask]
        some = counted[:: max(len(counted) // SEEN, 1)].double().sort().values
        low, high = (some[round(part * (len(some) - 1))] for part in TAILS)
        if low == high:
            low, high = some[0], some[-1]
        values = channel.double().clamp(low, high)
        kept = some.clamp(low, high)
        found.append((values - kept.mean()) / kept.std().clamp_min(1e-12))
    return torch.stack(found).float()
