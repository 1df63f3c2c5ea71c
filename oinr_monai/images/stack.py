"""Images of one shape: the one check of it, and a batch of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from oinr_monai.grids.grid import Grid

from .intensity import IntensityScale
from .scans import Scan, checked_scans

__all__ = ["Form", "Signals", "scans_alike"]


@dataclass(frozen=True)
class Form:
    """What images have in common that are taken together.

    Args:
        channels: channels of each.
        grid: a grid with their shape and spacing.
        of: what has this form, in errors.
        placed: whether they all lie on this very grid.
    """

    channels: int
    grid: Grid
    of: str = "the first"
    placed: bool = False

    def check(self, image: Tensor, grid: Grid, number: int = 0) -> None:
        """Refuse an image (C, *spatial) on a grid of another form.

        Raises:
            ValueError: if its shape, its spacing or, where that counts, its place is another.
        """
        shape = (self.channels, *self.grid.shape)
        if tuple(image.shape) != shape:
            raise ValueError(
                f"images must have one shape, {shape} as {self.of}, got {tuple(image.shape)} at "
                f"{number}; crop or resample it, or take each shape by a call of its own"
            )
        if self.placed and not grid.same_places(self.grid):
            raise ValueError(
                f"images must have one affine, {self.grid.affine.tolist()} as {self.of}, got "
                f"{grid.affine.tolist()} at {number}; resample it onto that"
            )
        if not grid.straight.same_places(self.grid.straight):
            raise ValueError(
                f"images must have one spacing, {self.grid.spacing.tolist()} mm as {self.of}, got "
                f"{grid.spacing.tolist()} at {number}; resample it, or take each spacing by a call "
                "of its own"
            )


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
        scans = scans_alike(images)
        values = torch.stack([scan.image for scan in scans]).to(device)
        scales = [IntensityScale.of(scan.image) for scan in scans]
        return cls(values, [scan.grid for scan in scans], scales)

    def standardised(self) -> Tensor:
        """Each image at zero mean and unit variance, as its scale says."""
        pairs = zip(self.scales, self.values, strict=True)
        return torch.stack([scale.standardise(value) for scale, value in pairs])

    def batches(self, count: int) -> Iterator[Signals]:
        """The same, ``count`` at a time."""
        for i in range(0, len(self.values), count):
            part = slice(i, i + count)
            yield Signals(self.values[part], self.grids[part], self.scales[part])


def scans_alike(images: Sequence[Tensor | np.ndarray], *, placed: bool = False) -> list[Scan]:
    """Images of one shape and spacing, each checked as for a fit.

    Args:
        images: (C, *spatial) each.
        placed: whether they shall lie in one place, too.

    Raises:
        TypeError: if one is neither a tensor nor an array.
        ValueError: if one is unfit, or differs from the first.

    Example:
        >>> [scan.origin for scan in scans_alike([torch.rand(1, 4, 5), torch.rand(1, 4, 5)])]
        [(0.0, 0.0), (0.0, 0.0)]
    """
    scans: list[Scan] = []
    for i, image in enumerate(images):
        try:
            scans += checked_scans([image], None)
        except (TypeError, ValueError) as error:
            raise type(error)(f"images[{i}]: {error}") from error
        form = Form(len(scans[0].image), scans[0].grid, placed=placed)
        form.check(scans[i].image, scans[i].grid, i)
    return scans
