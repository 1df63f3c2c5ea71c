"""Write the head that ``oinr demo`` shows: the middle of the MNI152 T1 template, to 45 dB."""

from __future__ import annotations

import torch
from monai.data import MetaTensor

from oinr_monai import fit
from oinr_monai.cli.demo import HEAD
from oinr_monai.coding import Psnr
from scripts.shared.pictures import brain

# First and one-past-last voxel: all of the head from left to right and from front to back, and of
# it what holds the ventricles and both temporal lobes.
MIDDLE = (slice(22, 176), slice(23, 211), slice(52, 148))


def main() -> None:
    """Code it into the package."""
    whole = brain(1)
    grid = fit(whole).grid.crop(*zip(*((each.start, each.stop) for each in MIDDLE), strict=True))
    values = (10 * whole.as_tensor()[(slice(None), *MIDDLE)]).round().to(torch.int16)
    fit(MetaTensor(values, affine=grid.affine)).save(HEAD, Psnr(45.0))


if __name__ == "__main__":
    main()
