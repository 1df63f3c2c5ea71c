"""A field of random numbers, as B-splines through them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from .bsplines import BSplines

__all__ = ["NoiseField"]


class NoiseField(BSplines):
    """The published noise channel: one normal sample at each voxel, fixed, smooth in between.

    Args:
        extent: distance from the first to the last voxel centre of each axis, in mm.
        spacing: voxel spacing of each axis, in mm.
        seed: seed of the noise.

    Example:
        >>> NoiseField(extent=(9.0, 9.0), spacing=(1.0, 1.0)).channels
        1
    """

    def __init__(self, extent: Sequence[float], spacing: Sequence[float], seed: int = 0) -> None:
        super().__init__(extent, spacing, channels=1)
        self.seed = seed
        generator = torch.Generator().manual_seed(seed)
        self.coefficients.data.normal_(generator=generator)
        self.coefficients.requires_grad_(False)

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments as JSON values."""
        return {"extent": list(self.extent), "spacing": list(self.knot_spacing), "seed": self.seed}
