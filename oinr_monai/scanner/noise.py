"""Models of noise: how large it is, how to even it out, and how to come back without bias.

Each turns an image into one whose noise has unit variance everywhere (variance stabilisation), and
knows the signal whose noisy samples have a given mean there (the exact unbiased inverse).

References:
    Mäkitalo and Foi, "Optimal inversion of the generalized Anscombe transformation for
    Poisson-Gaussian noise", IEEE Transactions on Image Processing 2013.
    Foi, "Noise estimation and removal in MR imaging: the variance-stabilization approach",
    ISBI 2011.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .noise_level import air_level, known_noise
from .smooth_noise import MOST_SMOOTHING, smooth_noise

__all__ = ["GaussianNoise", "NoiseModel", "PhotonNoise", "RicianNoise"]


_Table = NDArray[np.float64]


# Answers closer than this to the mean of pure noise, in units of the noise, are taken down to no
# signal: there the inverse of Rician noise has an infinite slope and would only blow noise up.
# Chosen by hand.
FLOOR = 1.0

# What air tells counts where it is less than so much of what else does; by hand.
LESS = 0.95

# What details of magnitudes have of sigma where there is no signal: the standard deviation is
# 0.655, the median magnitude of details tells 0.65.
WITHOUT_SIGNAL = 0.65


@dataclass(frozen=True)
class NoiseModel(ABC):
    """How noise falls on a signal.

    Example:
        >>> isinstance(RicianNoise(2.0), NoiseModel)
        True
    """

    @abstractmethod
    def add(self, signal: Tensor, generator: torch.Generator) -> Tensor:
        """A noisy sample of a signal of any shape, drawn on the generator's device."""

    @abstractmethod
    def estimated(self, image: Tensor, mask: Tensor | None = None) -> Self:
        """The model with what is not given estimated from an image (C, *spatial)."""

    @abstractmethod
    def stabilise(self, image: Tensor) -> Tensor:
        """An image (C, *spatial) with unit variance of the noise."""

    @abstractmethod
    def restore(self, means: Tensor) -> Tensor:
        """The signal whose stabilised noisy samples have these means, shape (C, ...)."""

    @property
    def linear(self) -> bool:
        """Whether stabilising is a mere scaling."""
        return False

    @property
    def known(self) -> bool:
        """Whether its size is given, and not to be estimated."""
        return True

    def widths(self, dims: int) -> tuple[float, ...]:
        """Voxels by which noise is smooth along each of so many axes: 0 where it is white."""
        return (0.0,) * dims


@dataclass(frozen=True)
class _SizedNoise(NoiseModel):
    """Noise of a size that is given or estimated, white or smooth."""

    sigma: float | tuple[float, ...] | None = None
    smoothing: float | tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        _check_sigma(self.sigma)
        _check_smoothing(self.smoothing)

    def widths(self, dims: int) -> tuple[float, ...]:
        """Smoothing along each of so many axes."""
        if not isinstance(self.smoothing, tuple):
            return (float(self.smoothing or 0),) * dims
        if len(self.smoothing) != dims:
            raise ValueError(f"smoothing must be one number or {dims}, got {self.smoothing}")
        return self.smoothing

    @property
    def known(self) -> bool:
        """Whether sigma is given."""
        return self.sigma is not None


@dataclass(frozen=True)
class GaussianNoise(_SizedNoise):
    """Noise of the same size everywhere, y = x + sigma n.

    Args:
        sigma: standard deviation, one number or one per channel, in the image's intensities;
            estimated if None.
        smoothing: standard deviation in voxels of the Gaussian that smoothed the noise, as an
            interpolation does, one number or one per spatial axis; 0 is white noise; estimated if
            None.

    Raises:
        ValueError: if ``sigma`` is not positive, or ``smoothing`` not 0 to 1.

    Example:
        >>> GaussianNoise(sigma=2.0).stabilise(torch.tensor([[6.0]])).item()
        3.0
    """

    def add(self, signal: Tensor, generator: torch.Generator) -> Tensor:
        """A noisy sample of a signal (C, ...)."""
        widths = self.widths(signal.ndim - 1)
        return signal + _column(self.sigma, signal) * _normal(signal, generator, widths)

    def estimated(self, image: Tensor, mask: Tensor | None = None) -> Self:
        """The model with what is not given estimated, from 5 channels on as repeats."""
        sigma, smoothing = known_noise(image, mask, self.sigma, self.smoothing)
        return replace(self, sigma=sigma, smoothing=smoothing)

    def stabilise(self, image: Tensor) -> Tensor:
        """The image over sigma."""
        return image / _column(self.sigma, image)

    def restore(self, means: Tensor) -> Tensor:
        """Sigma times the means."""
        return means * _column(self.sigma, means)

    @property
    def linear(self) -> bool:
        """True."""
        return True


@dataclass(frozen=True)
class RicianNoise(_SizedNoise):
    """Noise of magnitude images, y = |x + sigma (n + i m)|, as in MRI: biased where x is small.

    Without signal the mean is 1.253 sigma and the standard deviation 0.655 sigma; both are taken
    back. Estimated sigma is that which leaves unit variance after stabilising.

    References:
        Gudbjartsson and Patz, "The Rician distribution of noisy MRI data", MRM 1995.

    Args:
        sigma: standard deviation in each of the two parts, one number or one per channel, in the
            image's intensities; estimated if None.
        smoothing: as of :class:`GaussianNoise`.

    Raises:
        ValueError: if ``sigma`` is not positive, or ``smoothing`` not 0 to 1.

    Example:
        >>> noise = RicianNoise(sigma=2.0)
        >>> restored = noise.restore(noise.stabilise(torch.tensor([[100.0]])))
        >>> round(restored.item())  # sqrt(100^2 - 2^2)
        100
    """

    def add(self, signal: Tensor, generator: torch.Generator) -> Tensor:
        """A noisy sample of a signal (C, ...)."""
        sigma, widths = _column(self.sigma, signal), self.widths(signal.ndim - 1)
        real = signal + sigma * _normal(signal, generator, widths)
        return torch.hypot(real, sigma * _normal(signal, generator, widths))

    def estimated(self, image: Tensor, mask: Tensor | None = None) -> Self:
        """The model with what is not given estimated, from 5 channels on as repeats."""
        sigma, smoothing = known_noise(image, mask, self.sigma, self.smoothing)
        for _ in range(6 if self.sigma is None else 0):
            stable = replace(self, sigma=sigma).stabilise(image)
            left, smoothing = known_noise(stable, mask, None, self.smoothing)
            sigma = tuple((torch.tensor(sigma) * torch.tensor(left)).tolist())
        found = replace(self, sigma=sigma, smoothing=smoothing)
        known = self.sigma is not None or self.smoothing is not None
        return found if known else found._told_by_air(image, mask)

    def _told_by_air(self, image: Tensor, mask: Tensor | None) -> Self:
        """The model of what an image holds where there is no signal, if that is less and white.

        The scene only adds to what is seen of noise where there is one.
        """
        sizes = _column(self.sigma, image).flatten().tolist()
        air = [air_level(channel, mask) for channel in image]
        told = [s if a is None else a / WITHOUT_SIGNAL for s, a in zip(sizes, air, strict=True)]
        if all(t > LESS * s for t, s in zip(told, sizes, strict=True)):
            return self
        white = (0.0,) * (image.ndim - 1)
        return replace(self, sigma=tuple(map(min, sizes, told)), smoothing=white)

    def stabilise(self, image: Tensor) -> Tensor:
        """The integral of 1 over the standard deviation that goes with each mean."""
        means, values, _, _ = _rician_tables()
        ratio = image / _column(self.sigma, image)
        return _interpolated(ratio, means, values) + _beyond(ratio, means)

    def restore(self, means: Tensor) -> Tensor:
        """The signal with these means; within ``FLOOR`` of pure noise it fades to none."""
        _, _, signals, expected = _rician_tables()
        rise = ((means - float(expected[0])) / FLOOR).clamp(0, 1)
        signal = _interpolated(means, expected, signals) + _beyond(means, expected)
        return signal * rise**2 * (3 - 2 * rise) * _column(self.sigma, means)

    def mean(self, signal: Tensor) -> Tensor:
        """The mean of stabilised samples of a signal of 0 or more, which ``restore`` undoes."""
        _, _, signals, expected = _rician_tables()
        return _interpolated(signal / _column(self.sigma, signal), signals, expected)


@lru_cache(maxsize=1)
def _rician_tables() -> tuple[_Table, _Table, _Table, _Table]:
    # For sigma = 1: noisy mean and its stabilised value; signal and the mean of its stabilised
    # samples. Beyond a signal of 30 the noise is Gaussian to 1e-3, and the table goes on in a line.
    from scipy.special import ive
    from scipy.stats import rice

    signals = np.concatenate([np.linspace(0, 12, 601), np.geomspace(12.1, 1e4, 2000)])
    q = signals**2 / 4
    means = math.sqrt(math.pi / 2) * ((1 + 2 * q) * ive(0, q) + 2 * q * ive(1, q))
    spread = np.where(signals > 30, 1.0, np.sqrt(np.maximum(2 + signals**2 - means**2, 0.1)))
    noisy, low = np.r_[0, means], signals <= 12
    samples = np.linspace(0, 20, 1001)
    density = rice.pdf(samples, signals[low, None])
    density /= density.sum(axis=1, keepdims=True)
    for _ in range(8):  # the integral alone leaves 0.89 to 1.05
        slope = 1 / np.r_[spread[0], spread]
        values = np.r_[0, np.cumsum(np.diff(noisy) * (slope[1:] + slope[:-1]) / 2)]
        stable = np.interp(samples, noisy, values)
        expected = density @ stable
        spread[low] *= np.sqrt(density @ stable**2 - expected**2)
    expected = np.r_[expected, values[1:][~low]]
    # The two meet to 1e-3; the table must rise.
    return noisy, values, signals, np.maximum.accumulate(expected)


@dataclass(frozen=True)
class PhotonNoise(NoiseModel):
    """Photon and readout noise, y = (Poisson(counts x) + readout n) / counts.

    Stabilised by the generalised Anscombe transformation; the inverse is exact and unbiased.

    Args:
        counts: mean photons where the signal is 1; the published experiments have 30.
        readout: standard deviation of the readout, in counts; published: 2.

    Raises:
        ValueError: if ``counts`` is not positive or ``readout`` negative.

    Example:
        >>> PhotonNoise().stabilise(torch.zeros(1, 1)).item()  # 2 sqrt(3/8 + 2^2)
        4.183300018310547
    """

    counts: float = 30.0
    readout: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.counts < math.inf:
            raise ValueError(f"counts must be positive, got {self.counts}")
        if not 0 <= self.readout < math.inf:
            raise ValueError(f"readout must be 0 or more, got {self.readout}")

    def add(self, signal: Tensor, generator: torch.Generator) -> Tensor:
        """A noisy sample of a signal of 0 or more, of any shape."""
        if float(signal.min()) < 0:
            raise ValueError(f"signal must be 0 or more, got {float(signal.min())}")
        photons = torch.poisson(self.counts * signal, generator=generator)
        return (photons + self.readout * _normal(signal, generator, ())) / self.counts

    def estimated(self, image: Tensor, mask: Tensor | None = None) -> Self:
        """The model as it is: it has nothing to estimate."""
        return self

    def stabilise(self, image: Tensor) -> Tensor:
        """2 sqrt(counts y + 3/8 + readout²), or 0 where that is not real."""
        return 2 * (self.counts * image + 0.375 + self.readout**2).clamp_min(0).sqrt()

    def restore(self, means: Tensor) -> Tensor:
        """The signal of 0 or more with these means."""
        signals, expected = _photon_tables(self.readout)
        # Beyond the table as there, but for what rounding leaves out.
        many = means.square() / 4 + 0.25 - (0.375 + self.readout**2)
        few = _interpolated(means, expected, signals)
        return torch.where(means > float(expected[-1]), many, few) / self.counts


@lru_cache(maxsize=8)
def _photon_tables(readout: float) -> tuple[_Table, _Table]:
    # Mean counts up to 200, each with the mean of its stabilised samples; beyond, the mean of
    # 2 sqrt(y + c) is 2 sqrt(x + c) - v / (4 (x + c)^1.5) up to a higher order.
    from scipy.stats import norm, poisson

    low, high = np.linspace(0, 200, 801), np.geomspace(201, 1e6, 1200)
    shift = 0.375 + readout**2
    blur = readout * norm.ppf((np.arange(32) + 0.5) / 32)
    photons = np.arange(320)
    values = 2 * np.sqrt(np.maximum(photons[:, None] + blur + shift, 0)).mean(axis=1)
    expected = poisson.pmf(photons, low[:, None]) @ values
    far = 2 * np.sqrt(high + shift) - (high + readout**2) / 4 / (high + shift) ** 1.5
    return np.r_[low, high], np.maximum.accumulate(np.r_[expected, far])


def _interpolated(x: Tensor, places: _Table, values: _Table) -> Tensor:
    y = np.interp(x.detach().cpu().double().numpy(), places, values)
    return torch.from_numpy(np.asarray(y)).to(x)


def _beyond(x: Tensor, places: _Table) -> Tensor:
    # So far above its noise a signal is as it is: with a slope of one.
    return (x - float(places[-1])).clamp_min(0)


def _normal(like: Tensor, generator: torch.Generator, widths: tuple[float, ...]) -> Tensor:
    return smooth_noise(like.shape, widths, generator).to(like)


def _check_sigma(sigma: float | tuple[float, ...] | None) -> None:
    for each in (sigma,) if isinstance(sigma, int | float) else sigma or ():
        if not 0 < each < math.inf:
            raise ValueError(f"sigma must be positive, got {sigma}")


def _check_smoothing(smoothing: float | tuple[float, ...] | None) -> None:
    for each in (smoothing,) if isinstance(smoothing, int | float) else smoothing or ():
        if not 0 <= each <= MOST_SMOOTHING:
            raise ValueError(f"smoothing must be 0 to {MOST_SMOOTHING} voxels, got {smoothing}")


def _column(sigma: float | tuple[float, ...] | None, like: Tensor) -> Tensor:
    if sigma is None:
        raise ValueError("sigma must be known, got None; call estimated(image) first")
    values = torch.as_tensor(sigma, dtype=like.dtype, device=like.device).reshape(-1)
    if len(values) not in (1, len(like)):
        raise ValueError(f"sigma must be one number or one per channel, got {sigma}")
    return values.reshape(-1, *[1] * (like.ndim - 1))
