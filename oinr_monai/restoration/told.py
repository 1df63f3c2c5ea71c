"""What an operator is told of a scan: how far apart its slices are, their profile, the noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from oinr_monai.scanner.profiles import SliceProfile

__all__ = ["Told"]

# Frequencies in cycles from slice to slice at which a profile is told; by hand: half of one is the
# finest that slices hold, what is above comes back to them as something else.
FREQUENCIES = (0.5, 1.0, 1.5)

# A profile is looked at so many slice spacings to either side, in so many cells each.
REACH, CELLS = 4, 200

# Noise that is told as one, in standard deviations of the image; by hand.
NOISE_UNIT = 0.02


@dataclass(frozen=True)
class Told:
    """What an operator is told of a scan.

    Args:
        ratio: slice spacing over that within the slices.
        transfer: what a slice keeps of waves along its normal, at 1/2, 1 and 3/2 cycles from slice
            to slice: 1 all, 0 nothing, below 0 with the sign turned.
        noise: standard deviation of the noise over that of the image.

    Example:
        >>> from oinr_monai.scanner.profiles import Boxcar
        >>> told = Told.of(ratio=4.0, profile=Boxcar(4.0), spacing=4.0)
        >>> [round(x, 3) for x in told.transfer]
        [0.637, 0.0, -0.212]
    """

    COUNT: ClassVar[int] = len(FREQUENCIES) + 2

    ratio: float
    transfer: tuple[float, ...]
    noise: float = 0.0

    @classmethod
    def of(cls, ratio: float, profile: SliceProfile, spacing: float, noise: float = 0.0) -> Told:
        """What there is to tell of slices ``spacing`` mm apart that see through ``profile``.

        Args:
            ratio: slice spacing over that within the slices.
            profile: sensitivity across a slice, in mm.
            spacing: from slice to slice, in mm.
            noise: standard deviation of the noise over that of the image.
        """
        faces = torch.linspace(-REACH, REACH, 2 * REACH * CELLS + 1, dtype=torch.float64)
        weight = profile.cumulative(faces * spacing).diff()
        middle = (faces[1:] + faces[:-1]) / 2
        waves = [torch.cos(2 * math.pi * f * middle) for f in FREQUENCIES]
        return cls(ratio, tuple(float((weight * w).sum()) for w in waves), noise)

    def numbers(self) -> Tensor:
        """The same as numbers near 0 to 1 (5,)."""
        noise = math.log1p(self.noise / NOISE_UNIT)
        return torch.tensor([math.log2(self.ratio) - 2, *self.transfer, noise])
