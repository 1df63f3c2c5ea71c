"""Images of one shape as one tensor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from oinr_monai.grids.grid import Grid

from .intensity import IntensityScale
from .scans import checked_scans

__all__ = ["Signals", "check_alike", "stacked"]


@dataclass(frozen=True)
class Signals:
    """Images of one shape and spacing, (n, C, *spatial), with their grids and scales."""

    values: Tensor
    grids: list[Grid]
    scales: list[IntensityScale]

    @classmethod
    def of(cls, images: Sequence[Tensor | np.ndarray], device: torch.device) -> Signals:
        """The images as one batch on a device, standardised one by one."""
        if not len(images):
            raise ValueError("images must hold at least one, got none")
        values: list[Tensor] = []
        grids: list[Grid] = []
        for i, image in enumerate(images):
            try:
                (scan,) = checked_scans([image], None)
            except (TypeError, ValueError) as error:
                raise type(error)(f"images[{i}]: {error}") from error
            values.append(scan.image)
            grids.append(scan.grid)
            check_alike(scan.grid, grids[0], len(values[0]), scan.image[None])
        scales = [IntensityScale.of(each) for each in values]
        return cls(torch.stack(values).to(device), grids, scales)

    def standardised(self) -> Tensor:
        """Each image at zero mean and unit variance, as its scale says."""
        pairs = zip(self.scales, self.values, strict=True)
        return torch.stack([scale.standardise(value) for scale, value in pairs])

    def batches(self, count: int) -> Iterator[Signals]:
        """The same, ``count`` at a time."""
        for i in range(0, len(self.values), count):
            part = slice(i, i + count)
            yield Signals(self.values[part], self.grids[part], self.scales[part])


def check_alike(grid: Grid, like: Grid, channels: int, values: Tensor) -> None:
    """Refuse an image that differs from the others in shape, channels, spacing or device."""
    if grid.shape != like.shape or values.shape[1] != channels:
        raise ValueError(
            f"images must have shape {(channels, *like.shape)}, got {tuple(values.shape[1:])}; "
            "crop or resample them first"
        )
    if not torch.allclose(grid.spacing, like.spacing, rtol=1e-5, atol=0):
        raise ValueError(
            f"images must have a spacing of {like.spacing.tolist()} mm, got "
            f"{grid.spacing.tolist()}; resample them first"
        )


def stacked(images: Sequence[Tensor | np.ndarray]) -> tuple[Tensor, Grid]:
    """(N, C, *shape) on one grid."""
    if len(images) < 2:
        raise ValueError(f"images must be two or more, got {len(images)}")
    scans = [checked_scans([image], None)[0] for image in images]
    first = scans[0]
    for number, scan in enumerate(scans):
        if scan.image.shape != first.image.shape:
            raise ValueError(
                f"images must have one shape, got {tuple(first.image.shape)} and, image {number}, "
                f"{tuple(scan.image.shape)}; resample them first"
            )
        if not torch.allclose(scan.grid.affine, first.grid.affine, rtol=1e-4, atol=1e-3):
            raise ValueError(
                f"images must have one affine, got another one in image {number}; resample first"
            )
    return torch.stack([scan.image for scan in scans]), first.grid
