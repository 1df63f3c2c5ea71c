"""What the samples that are coded may differ by from those that were given."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import final

from oinr_monai.grids.checks import check_positive

__all__ = ["Bits", "Coded", "Lossless", "MaxError", "Psnr", "Quality"]

# What a ratio may exceed the one that was asked for by, and what is aimed at, in dB.
MOST_OVER, AIMED_OVER = 0.5, 0.2

# The part of the bits that is aimed at.
AIMED_BITS = 0.99


@dataclass(frozen=True)
class Coded:
    """What came of coding, measured on all voxels.

    Args:
        bytes: size of the file.
        bits_per_voxel: bits of the file for each voxel of each channel.
        max_error: greatest difference of a decoded sample.
        psnr: peak signal-to-noise ratio over the range of the samples, in dB; infinite if equal.
    """

    bytes: int
    bits_per_voxel: float
    max_error: float
    psnr: float


@dataclass(frozen=True)
class Quality(ABC):
    """What is promised of samples that are coded, and checked after coding them."""

    def __post_init__(self) -> None:
        check_positive(self, *asdict(self))

    @property
    @abstractmethod
    def name(self) -> str:
        """What a file calls it."""

    @abstractmethod
    def met(self, coded: Coded) -> bool:
        """Whether what was measured is what was promised."""

    @abstractmethod
    def factor(self, coded: Coded) -> float:
        """How many times larger the steps of the coefficients should be than those measured."""


@final
@dataclass(frozen=True)
class Lossless(Quality):
    """Every sample is what it was."""

    @property
    def name(self) -> str:
        """What a file calls it."""
        return "lossless"

    def met(self, coded: Coded) -> bool:
        """Whether no sample differs."""
        return coded.max_error == 0

    def factor(self, coded: Coded) -> float:
        """There are no steps."""
        return 1.0


@final
@dataclass(frozen=True)
class MaxError(Quality):
    """No sample is off by more than ``error``.

    Args:
        error: the bound, in the image's units.

    Raises:
        ValueError: if it is not positive and finite.
    """

    error: float

    @property
    def name(self) -> str:
        """What a file calls it."""
        return "max_error"

    def met(self, coded: Coded) -> bool:
        """Whether no sample is off by more."""
        return coded.max_error <= self.error

    def factor(self, coded: Coded) -> float:
        """What brings the error within the bound, if it is not."""
        return self.error / coded.max_error if coded.max_error else 1.0


@final
@dataclass(frozen=True)
class Psnr(Quality):
    r"""The peak signal-to-noise ratio is at least this, and at most 0.5 dB more.

    .. math:: 20 \log_{10} \frac{\max - \min}{\text{root of the mean squared error}}

    Args:
        decibels: the ratio, in dB.

    Raises:
        ValueError: if it is not positive and finite.
    """

    decibels: float

    @property
    def name(self) -> str:
        """What a file calls it."""
        return "psnr"

    def met(self, coded: Coded) -> bool:
        """Whether the ratio lies in the range; samples that are all the same may be exact."""
        return coded.psnr == math.inf or 0 <= coded.psnr - self.decibels <= MOST_OVER

    def factor(self, coded: Coded) -> float:
        """Errors grow with the steps."""
        return 10 ** ((coded.psnr - self.decibels - AIMED_OVER) / 20)


@final
@dataclass(frozen=True)
class Bits(Quality):
    """The file takes at most so many bits a voxel.

    Args:
        bits_per_voxel: the bound, what the file says beside the samples included.

    Raises:
        ValueError: if it is not positive and finite.
    """

    bits_per_voxel: float

    @property
    def name(self) -> str:
        """What a file calls it."""
        return "bits"

    def met(self, coded: Coded) -> bool:
        """Whether the file is no larger."""
        return coded.bits_per_voxel <= self.bits_per_voxel

    def factor(self, coded: Coded) -> float:
        """A bit less for twice the steps if there are many; in proportion if there are few."""
        wanted = AIMED_BITS * self.bits_per_voxel
        over = coded.bits_per_voxel - wanted
        doublings = max(abs(over), 0.8 * abs(math.log2(coded.bits_per_voxel / wanted)))
        return 2.0 ** math.copysign(min(doublings, 8), over)
