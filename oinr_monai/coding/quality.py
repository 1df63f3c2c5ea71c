"""What the samples that are coded may differ by from those that were given."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import final

from oinr_monai.grids.checks import check_positive

__all__ = ["Bits", "Lossless", "MaxError", "Psnr", "Quality"]


@dataclass(frozen=True)
class Quality(ABC):
    """What is promised of samples that are coded, and checked after coding them."""

    def __post_init__(self) -> None:
        check_positive(self, *asdict(self))

    @property
    @abstractmethod
    def name(self) -> str:
        """What a file calls it."""


@final
@dataclass(frozen=True)
class Lossless(Quality):
    """Every sample is what it was."""

    @property
    def name(self) -> str:
        """What a file calls it."""
        return "lossless"


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
