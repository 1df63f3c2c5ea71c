"""The scale between intensities and the standardised numbers that operators see."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from oinr_monai.grids.constants import numbers

__all__ = ["IntensityScale", "check_contrast", "column"]

# The least contrast that float32 holds to all its digits, and its largest number.
LEAST_CONTRAST, LARGEST = torch.finfo(torch.float32).tiny, torch.finfo(torch.float32).max


@dataclass(frozen=True)
class IntensityScale:
    """Intensities of an image and of its standardised copy: y = mean + std z, channel by channel.

    Args:
        mean: mean of each channel.
        std: standard deviation of each channel.
        outside: value of each channel outside the image, its minimum.

    Example:
        >>> scale = IntensityScale.of(torch.tensor([[0.0, 4.0]]))
        >>> scale.mean, scale.std, scale.outside
        ((2.0,), (2.0,), (0.0,))
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    outside: tuple[float, ...]

    @property
    def wide(self) -> bool:
        """Whether float32 would cost a part of the contrast: a small one around a large mean."""
        pairs = zip(self.mean, self.std, strict=True)
        return any(abs(mean) * 2.0**-24 > 2e-5 * std for mean, std in pairs)

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
        """Map intensities (C, ...) to zero mean and unit variance, which float32 holds."""
        values = image.double() if self.wide else image
        standard = (values - column(self.mean, values)) / column(self.std, values)
        return standard.float() if self.wide else standard

    def restore(self, standardised: Tensor) -> Tensor:
        """Map standardised values (C, ...) back to intensities, in float64 where they need it."""
        values = standardised.double() if self.wide else standardised
        return values * column(self.std, values) + column(self.mean, values)


def check_contrast(name: str, low: float, high: float) -> None:
    """Refuse intensities that do not vary, or by less or to more than float32 holds.

    Args:
        name: what the image is called in errors.
        low: the smallest intensity.
        high: the largest.

    Raises:
        ValueError: if they are so close, or so far away.

    Example:
        >>> check_contrast("image", 0.0, 1e-200)
        Traceback (most recent call last):
        ValueError: image must vary by 1.2e-38 or more, got 0.0 to 1e-200; multiply it
    """
    if high == low:
        raise ValueError(f"{name} must vary, got the constant {low}")
    got = f"got {low} to {high}"
    if high - low < LEAST_CONTRAST:
        raise ValueError(f"{name} must vary by {LEAST_CONTRAST:.1e} or more, {got}; multiply it")
    if max(-low, high) > LARGEST:
        raise ValueError(f"{name} must lie within {LARGEST:.1e} of 0, {got}; divide it")


def column(values: tuple[float, ...], like: Tensor) -> Tensor:
    """Values of the channels (C, 1, ...), to be broadcast over ``like`` (C, ...)."""
    return numbers(values, like).view(-1, *[1] * (like.ndim - 1))
