r"""How much larger errors across the slices are than those that a scan's own pairs show.

Pairs are made of an image that is thick along one axis already, so that their truth is smoother
than that across the slices, and they lie along other axes. Both show in the scan itself: blurring
the pairs once more, along the other sharp axis, makes their errors smaller once more by about the
same factor; and the slices, two by two, miss more or less of each other than the same image seen
as slices along a sharp axis does,

.. math:: \frac{e}{e_{pairs}} \approx
          \frac{e_{pairs}}{e_{blurred\ pairs}} \Big(\frac{d_{thick}}{d_{sharp}}\Big)^{3/4} .

White noise of the slices is in all of these, known, and taken out of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import geometric_mean

import torch
from torch import Tensor

from oinr_monai.scanner.forward_model import along_axes
from oinr_monai.scanner.profiles import Boxcar, profile_weights

from .pairs import AxisModel
from .views import FEWEST, Slices

__all__ = ["Gap", "blurred_once_more", "noise_of_pairs", "without_noise"]

# Of 78 stacks made of heads of random contrast and of hippocampi, the logarithm of the true ratio
# grew with 0.78 of that of the second factor: it is measured at twice the scale.
POWER = 0.75

# What the first factor may come to, about what it did where there was no noise, and both together.
BLURRING, RANGE = (1.0, 1.5), (0.7, 2.5)

# Operators hand on somewhat more of white noise than the spline: 1.03 to 1.13 times its variance on
# pairs made of a head of random contrast, factors 2 and 4, boxes and bells.
HANDED_ON = 1.08

# The least part of an energy that is left when noise is taken out of it; by hand.
LEAST = 0.1


@dataclass(frozen=True)
class Gap:
    """How much larger errors across the slices are than those of pairs.

    Args:
        blurring: errors of pairs over those of pairs blurred once more.
        anisotropy: what slices two by two miss across over what they would along sharp axes.

    Example:
        >>> Gap(blurring=1.2, anisotropy=1.0).factor
        1.2
    """

    blurring: float
    anisotropy: float

    @property
    def factor(self) -> float:
        """The factor."""
        low, high = RANGE
        return min(max(self.blurring * self.anisotropy**POWER, low), high)

    @classmethod
    def of(
        cls, view: Slices, slices: Tensor, energies: Sequence[tuple[float, float]], noise: float
    ) -> Gap:
        """The gap of slices along the last axis.

        Args:
            view: of them.
            slices: all of them (1, *coarse).
            energies: for each sharp axis the mean squared error of pairs along it, and of pairs
                blurred once more, without what noise is in them.
            noise: standard deviation of the noise of the slices.
        """
        low, high = BLURRING
        ratios = [
            min(max(math.sqrt(plain / blurred), low), high) if blurred > 0 else 1.0
            for plain, blurred in energies
        ]
        others = [_anisotropy(view, slices, axis, noise) for axis in view.sharp]
        return cls(geometric_mean(ratios), geometric_mean(others))


def noise_of_pairs(model: AxisModel) -> float:
    """Variance of white noise of slices of variance 1 in the errors of pairs made of their answer.

    The answer keeps what spline and operator hand on of it, and the pairs lose what is not alike
    across a slice.
    """
    handed_on = float(model.guess.square().sum() / len(model.guess))
    return HANDED_ON * handed_on * _lost(model)


def _lost(model: AxisModel) -> float:
    # Of the variance of white noise on fine voxels, the part that slices and spline lose.
    lost = torch.eye(len(model.guess), dtype=torch.float64) - model.guess @ model.coarse
    return float(lost.square().sum() / len(lost))


def blurred_once_more(view: Slices, fine: Tensor, sharp: int) -> tuple[Tensor, float]:
    """A fine image as thick along the other sharp axis as slices are; what that leaves of noise.

    Args:
        view: of slices along the last axis.
        fine: the image (1, *fine).
        sharp: the axis that stays sharp, 0 or 1.

    Returns:
        The image, and the part of the variance of white noise that is left.
    """
    other, size = 1 - sharp, fine.shape[2 - sharp]
    spacing = float(view.grid.spacing[other])
    running = profile_weights(view.profile, torch.arange(size).double(), size, spacing)
    blurred = along_axes(fine, [running if d == other else None for d in range(3)])
    return blurred, float(running.square().sum() / size)


def _anisotropy(view: Slices, slices: Tensor, sharp: int, noise: float) -> float:
    spacing, thick = float(view.grid.spacing[sharp]), float(view.grid.spacing[2])
    size = slices.shape[sharp + 1]
    count = int(size * spacing / thick + 1e-6)
    if min(count, slices.shape[3]) < 2 * FEWEST:
        return 1.0
    places = (torch.arange(count).double() + 0.5) * thick / spacing - 0.5
    seen = profile_weights(view.profile, places, size, spacing)
    cubes = along_axes(slices, [seen if d == sharp else None for d in range(3)])
    variance = noise**2 * float(seen.square().sum() / count)
    across, along = (_missing(cubes, axis, variance) for axis in (2, sharp))
    return math.sqrt(across / along) if along > 0 else 1.0


def _missing(values: Tensor, axis: int, variance: float) -> float:
    # Energy of what two by two lose of each other along an axis, without the noise.
    count = values.shape[axis + 1] // 2
    model = AxisModel.of(count, 2.0, 2, Boxcar(2.0))
    values = values.narrow(axis + 1, 0, 2 * count)
    kept = [model.guess @ model.coarse if d == axis else None for d in range(3)]
    energy = float((values - along_axes(values, kept)).square().mean())
    return without_noise(energy, variance * _lost(model))


def without_noise(energy: float, noise: float) -> float:
    """An energy without that of noise; a part of it is always left."""
    return max(energy - noise, LEAST * energy)
