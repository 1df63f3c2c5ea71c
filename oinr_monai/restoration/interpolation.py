"""Slices and frames between those that were taken."""

from __future__ import annotations

import os

import numpy as np
import torch
from monai.data import MetaTensor
from torch import Tensor

from oinr_monai.fitting.family import fit_family
from oinr_monai.fitting.presets import FitConfig
from oinr_monai.grids.precision import full_precision
from oinr_monai.images.meta import inherit
from oinr_monai.images.scans import checked_scans

__all__ = ["interpolate_slices"]


@full_precision()
def interpolate_slices(
    volume: Tensor | np.ndarray,
    axis: int,
    factor: int,
    config: FitConfig | None = None,
    *,
    motion: bool = True,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> MetaTensor:
    """Put ``factor - 1`` slices between any two of a volume, as a sequence of slices.

    The given slices stay as they are. What is between two of them moves from the one to the other,
    where an interpolation along the axis alone would let it fade.

    Args:
        volume: (C, X, Y, Z) with two slices or more along the axis.
        axis: spatial axis from slice to slice, 0 to 2.
        factor: how many times closer the slices become.
        config: how to fit.
        motion: find how the slices move into each other.
        checkpoint: file that keeps the state of the fit, which goes on from it if it exists.
        progress: show a bar on stderr.

    Returns:
        The volume (C, ...) on its grid refined along the axis.

    Raises:
        ValueError: if the volume is not three-dimensional, or an argument is out of its range.
        KeyboardInterrupt: if the fit was interrupted: what there is then is not what was asked for.

    Example:
        >>> interpolate_slices(torch.randn(1, 9, 9, 3), 2, 3, FitConfig(steps=2)).shape
        torch.Size([1, 9, 9, 7])
    """
    (scan,) = checked_scans([volume], None)
    if scan.grid.spatial_dims != 3 or axis not in (0, 1, 2):
        raise ValueError(
            f"axis must be 0, 1 or 2 of a volume (C, X, Y, Z), got {axis} of {scan.grid.shape}"
        )
    if factor < 2:
        raise ValueError(f"factor must be 2 or more, got {factor}")
    spacing = scan.grid.spacing.tolist()
    gap = spacing.pop(axis)
    plane = torch.diag(torch.tensor([*spacing, 1.0], dtype=torch.float64))
    slices = [MetaTensor(s, affine=plane) for s in scan.image.unbind(axis + 1)]
    times = [gap * i for i in range(len(slices))]
    family = fit_family(
        slices, config, times=times, motion=motion, checkpoint=checkpoint, progress=progress
    )
    if family.representation.info.interrupted:
        raise KeyboardInterrupt
    filled = [
        family.at_time(times[i // factor] + gap * (i % factor) / factor).sample().as_tensor()
        if i % factor
        else scan.image.select(axis + 1, i // factor)
        for i in range((len(slices) - 1) * factor + 1)
    ]
    grid = scan.grid.refine([factor if d == axis else 1 for d in range(3)])
    return inherit(grid.to_image(torch.stack(filled, dim=axis + 1)), volume)
