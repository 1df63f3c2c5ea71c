"""Slice profiles: how a slice weighs what lies across it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from .forward_model import RANK_TOLERANCE

__all__ = ["Boxcar", "Gaussian", "SampledProfile", "SliceProfile", "profile_weights"]


@dataclass(frozen=True)
class SliceProfile(ABC):
    """How much of the signal a slice takes from each distance to its centre; its integral is 1."""

    @abstractmethod
    def cumulative(self, offset: Tensor) -> Tensor:
        """Integral of the profile up to ``offset`` (...,) in mm along the normal, in float64."""


@dataclass(frozen=True)
class Boxcar(SliceProfile):
    """The mean over a slab.

    Args:
        thickness: of the slab, in mm.

    Raises:
        ValueError: if ``thickness`` is not positive.

    Example:
        >>> Boxcar(2.0).cumulative(torch.tensor([-1.0, 0.0, 0.5])).tolist()
        [0.0, 0.5, 0.75]
    """

    thickness: float

    def __post_init__(self) -> None:
        _check_width("thickness", self.thickness)

    def cumulative(self, offset: Tensor) -> Tensor:
        """A ramp from 0 to 1 over the slab."""
        return (offset.double() / self.thickness + 0.5).clamp(0, 1)


@dataclass(frozen=True)
class Gaussian(SliceProfile):
    """A bell, as selective pulses of 2-D MRI come near.

    Args:
        fwhm: full width at half maximum in mm, which scanners call the slice thickness.

    Raises:
        ValueError: if ``fwhm`` is not positive.

    Example:
        >>> Gaussian(2.0).cumulative(torch.tensor(0.0)).item()
        0.5
    """

    fwhm: float

    def __post_init__(self) -> None:
        _check_width("fwhm", self.fwhm)

    def cumulative(self, offset: Tensor) -> Tensor:
        """The normal distribution function."""
        sigma = self.fwhm / math.sqrt(8 * math.log(2))
        return torch.special.ndtr(offset.double() / sigma)


@dataclass(frozen=True)
class SampledProfile(SliceProfile):
    """A measured profile: linear between its samples, zero beyond them, scaled to the integral 1.

    Args:
        offsets: places of the samples in mm, ascending.
        weights: the profile there, in any unit; lobes may be negative.

    Raises:
        ValueError: if there are fewer than two samples, or not one weight for each, or offsets do
            not ascend, or the integral is not positive.

    Example:
        >>> triangle = SampledProfile((-2.0, 0.0, 2.0), (0.0, 7.0, 0.0))
        >>> triangle.cumulative(torch.tensor([-1.0, 0.0])).tolist()
        [0.125, 0.5]
    """

    offsets: tuple[float, ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        for name in ("offsets", "weights"):
            object.__setattr__(self, name, tuple(float(x) for x in getattr(self, name)))
        if len(self.offsets) != len(self.weights) or len(self.offsets) < 2:
            raise ValueError(
                "offsets and weights must be as many, 2 or more, "
                f"got {len(self.offsets)} and {len(self.weights)}"
            )
        ascending = all(a < b for a, b in pairwise(self.offsets))
        if not ascending or not all(map(math.isfinite, (*self.offsets, *self.weights))):
            raise ValueError(f"offsets must ascend and all be finite, got {self.offsets}")
        if not self._knots()[2][-1] > 0:
            raise ValueError(f"weights must have a positive integral, got {self.weights}")

    def cumulative(self, offset: Tensor) -> Tensor:
        """Piecewise quadratic."""
        places, weights, integral = (x.to(offset.device) for x in self._knots())
        x = offset.double().clamp(places[0], places[-1]).contiguous()
        k = torch.searchsorted(places, x, right=True).clamp(1, len(places) - 1) - 1
        step = x - places[k]
        slope = (weights[k + 1] - weights[k]) / (places[k + 1] - places[k])
        return (integral[k] + weights[k] * step + slope * step**2 / 2) / integral[-1]

    def _knots(self) -> tuple[Tensor, Tensor, Tensor]:
        samples = torch.tensor([self.offsets, self.weights], dtype=torch.float64)
        integral = torch.cumulative_trapezoid(samples[1], samples[0])
        return samples[0], samples[1], F.pad(integral, (1, 0))


def _check_width(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise ValueError(f"{name} must be positive and finite, got {value}")


def profile_weights(profile: SliceProfile, places: Tensor, size: int, spacing: float) -> Tensor:
    """Weights (slices, voxels) of slices at ``places``, in voxels that lie ``spacing`` mm apart."""
    faces = torch.arange(size + 1, dtype=torch.float64) - 0.5
    integral = profile.cumulative((faces - places[:, None]) * spacing)
    weights = integral.diff(dim=1) * math.copysign(1.0, spacing)
    seen = weights.sum(dim=1, keepdim=True)
    if bool((seen <= RANK_TOLERANCE).any()):
        raise ValueError(f"profile must see the volume from every slice, got {profile}")
    return weights / seen
