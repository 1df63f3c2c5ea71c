"""The scale between intensities and the standardised numbers that networks see."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["IntensityScale", "column"]


@dataclass(frozen=True)
class IntensityScale:
    """Intensities of an image and of its standardised copy: y = mean + std z, channel by channel.

    Args:
        mean: mean of each channel.
        std: standard deviation of each channel.
        outside: value of each channel outside the image, its minimum.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    outside: tuple[float, ...]

    @classmethod
    def of(cls, image: Tensor, mask: Tensor | None = None) -> IntensityScale:
        """Scale of an image (C, *spatial), inside a mask (*spatial) where one is given."""
        flat = image.flatten(1) if mask is None else image[:, mask]
        std = flat.double().std(dim=1, correction=0)
        # A constant channel is represented exactly by its mean.
        std = torch.where(std > 0, std, torch.ones_like(std))
        mean = flat.double().mean(dim=1)
        return cls(tuple(mean.tolist()), tuple(std.tolist()), tuple(flat.amin(dim=1).tolist()))

    def standardise(self, image: Tensor) -> Tensor:
        """Map intensities (C, ...) to zero mean and unit variance."""
        return (image - column(self.mean, image)) / column(self.std, image)

    def restore(self, standardised: Tensor) -> Tensor:
        """Map standardised values (C, ...) back to intensities."""
        return standardised * column(self.std, standardised) + column(self.mean, standardised)


def column(values: tuple[float, ...], like: Tensor) -> Tensor:
    """Values of the channels (C, 1, ...), to be broadcast over ``like`` (C, ...)."""
    return torch.tensor(values, dtype=like.dtype, device=like.device).view(
        -1, *[1] * (like.ndim - 1)
    )
