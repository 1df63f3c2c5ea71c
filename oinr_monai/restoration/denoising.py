r"""Denoise an image; no clean one is needed.

Volumes begin with an operator that learned from other scans
(:mod:`~oinr_monai.restoration.carried_denoiser`). Where there is none, one learns from the noisy
image alone. Its input function is the cubic B-spline through the noisy samples, stabilised to unit
variance of the noise; the operator is a small :class:`ConvOINR` that reads it. With noise of known
size, the error that it makes against the clean image can be estimated without it, by Stein's
formula,

.. math:: R = E |G(y) - y|^2 - 1 + 2 \operatorname{div} G(y), \qquad
          \operatorname{div} G(y) \approx z \cdot (G(y + \epsilon z) - G(y)) / \epsilon,

with fresh normal z. It is the loss, and the score that chooses the weights.

References:
    Stein, "Estimation of the mean of a multivariate normal distribution", Ann. Statist. 1981.
    Ramani, Blu and Unser, "Monte-Carlo SURE", IEEE Transactions on Image Processing 2008.
    Pal et al., "Implicit Representations via Operator Learning", ICML 2024 (the operator; there it
    is fitted to the noisy image itself).
"""

from __future__ import annotations

import os
import time
import warnings
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from oinr_monai.fitting.descent import Watch
from oinr_monai.fitting.interrupts import learning
from oinr_monai.grids.checks import check_positive
from oinr_monai.grids.precision import full_precision
from oinr_monai.images.meta import inherit
from oinr_monai.images.scans import Scan, checked_scans
from oinr_monai.representation.representation import Representation
from oinr_monai.scanner.noise import GaussianNoise, NoiseModel, PhotonNoise
from oinr_monai.scanner.noise_level import FEWEST_REPEATS, details_hold_anatomy

from .carried_denoiser import CarriedDenoiser, shipped_denoiser
from .carried_denoising import CarriedDenoising
from .noise_descent import NoiseDescent
from .own_denoising import OwnDenoising
from .restored import Restored
from .series_denoising import denoised_series, is_series

__all__ = ["DenoiseConfig", "add_photon_noise", "denoise", "denoise_trusted"]


@dataclass(frozen=True)
class DenoiseConfig:
    """How to denoise. Every default follows the image.

    Args:
        noise: the kind of noise, and its size where it is known.
        steps: steps to learn from this image, each on one patch. Of volumes, none if neither
            budget is given: they begin with ``start``, which needs none. Of what begins with
            nothing, at most 2,000, and fewer on small images, whose noise would be learnt by heart.
        seconds: seconds to take, instead of steps; with both, whichever is spent first.
        seed: seed of the start, the patches and the probes.
        device: "auto", "cpu" or "cuda".
        start: an operator that learned from other volumes, to begin with on volumes; by default
            the one that the package ships; None to begin with nothing.

    Raises:
        ValueError: if a budget is not positive.

    Example:
        >>> DenoiseConfig().settings()["start"].startswith("CarriedDenoiser(")
        True
    """

    noise: NoiseModel = field(default_factory=GaussianNoise)
    steps: int | None = None
    seconds: float | None = None
    seed: int = 0
    device: str = "auto"
    start: CarriedDenoiser | None = field(default_factory=shipped_denoiser)

    def __post_init__(self) -> None:
        check_positive(self, "steps", "seconds")

    def settings(self) -> dict[str, Any]:
        """The arguments but the noise as JSON values; of the start, what tells it from others."""
        kept = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "noise"}
        return kept | {"start": None if self.start is None else repr(self.start)}


@full_precision()
def denoise(
    image: Tensor | np.ndarray,
    config: DenoiseConfig | None = None,
    *,
    mask: Tensor | np.ndarray | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> Representation:
    """Denoise an image as a continuous representation; no clean image is needed.

    An interrupt (Ctrl-C) ends it early with the best weights so far, marked in its ``info``.

    Args:
        image: (C, *spatial) with 1 to 3 spatial dimensions. The channels are denoised together,
            but for volumes that begin with an operator of other scans. Those of 5 channels or more
            are taken for a series, from which nothing is learned if no budget is given: noise is
            what its frames do not have in common (:mod:`~oinr_monai.restoration.low_rank`).
        config: how to denoise.
        mask: voxels to learn from, (*spatial) or (1, *spatial); all if None.
        checkpoint: file that keeps the state of learning, which goes on from it if it exists.
        progress: show a bar on stderr.

    Returns:
        The clean image as a function; ``sample()`` gives it on the image's own grid. Its ``info``
        holds the noise with its sigma, steps, seconds, and ``risk``: the estimated mean squared
        error over the variance of the noise, both stabilised, that chose the weights. It is too low
        on images of few voxels, whose noise the operator can partly remember.

    Raises:
        ValueError: if the image is empty, constant, not finite or of the wrong shape, or holds no
            noise that could be estimated.

    Example:
        >>> noisy = torch.linspace(0, 9, 32).sin().expand(1, 32, 32) + 0.1 * torch.randn(1, 32, 32)
        >>> clean = denoise(noisy, DenoiseConfig(steps=5))
        >>> clean.sample(clean.grid.refine(2)).shape
        torch.Size([1, 63, 63])
    """
    config = config or DenoiseConfig()
    started = time.monotonic()
    watch = Watch(checkpoint, progress=progress)
    with learning() as interrupts:
        (scan,) = checked_scans([image], mask)
        if config.start is not None and is_series(scan.image, config):
            result = denoised_series(config.start, scan, _finite(scan), config, started)
        else:
            descent = _descent(scan, config, started)
            result = descent.result(descent.run(watch, interrupts))
    return inherit(result, image)


@full_precision()
def denoise_trusted(
    image: Tensor | np.ndarray,
    config: DenoiseConfig | None = None,
    *,
    mask: Tensor | np.ndarray | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> Restored:
    """Denoise an image as :func:`denoise` does, and say how far to trust it.

    Noise is added to the clean image and taken out again, which tells where errors are large, and
    Stein's estimate of the risk tells how much larger they are than that: see
    :mod:`~oinr_monai.restoration.noise_errors`. All of it holds for noise of the kind and size that
    is told or estimated.

    Args:
        image: (C, *spatial) with 1 to 3 spatial dimensions.
        config: how to denoise.
        mask: voxels to learn from, (*spatial) or (1, *spatial); all if None.
        checkpoint: file that keeps the state of learning.
        progress: show a bar on stderr.

    Returns:
        The clean image, and its intervals. ``answer.info["trust"]`` says what they were learned
        from.

    Raises:
        ValueError: as :func:`denoise`.

    Example:
        >>> noisy = torch.linspace(0, 9, 32).sin().expand(1, 32, 32) + 0.1 * torch.randn(1, 32, 32)
        >>> denoise_trusted(noisy, DenoiseConfig(steps=5)).half_width().shape
        torch.Size([1, 32, 32])
    """
    config, started = config or DenoiseConfig(), time.monotonic()
    watch = Watch(checkpoint, progress=progress)
    with learning() as interrupts:
        (scan,) = checked_scans([image], mask)
        descent = _descent(scan, config, started)
        interrupted = descent.run(watch, interrupts)
        errors = descent.errors()
        result = descent.result(interrupted)
    result.info |= {"trust": errors.statement()}
    return Restored(inherit(result, image), errors)


def _descent(scan: Scan, config: DenoiseConfig, started: float) -> NoiseDescent:
    image = _finite(scan)
    descent: NoiseDescent
    if config.start is None or scan.grid.spatial_dims < 3:
        descent = OwnDenoising(scan, image, config, started)
    else:
        descent = CarriedDenoising(config.start, scan, image, config, started)
    if not config.noise.known and len(image) < FEWEST_REPEATS:
        _warn_of_anatomy(image, descent.noise)
    return descent


def _finite(scan: Scan) -> Tensor:
    # What does not count may be anything; it takes the nearest finite voxel.
    finite = torch.isfinite(scan.image).all(dim=0)
    return scan.image if bool(finite.all()) else replace(scan, mask=finite).filled


def _warn_of_anatomy(image: Tensor, noise: NoiseModel) -> None:
    if details_hold_anatomy(image):
        warnings.warn(
            f"sigma was estimated as {asdict(noise)['sigma']} from details that seem to hold "
            "anatomy, and may be too large; give sigma, or all repeats of the scan at once",
            stacklevel=5,
        )


def add_photon_noise(
    image: Tensor, generator: torch.Generator, counts: float = 30.0, readout: float = 2.0
) -> Tensor:
    """The published noise: (Poisson(counts x) + readout n) / counts, for x from 0 to 1.

    References:
        Pal et al., "Implicit Representations via Operator Learning", ICML 2024.

    Args:
        image: the clean image, any shape, 0 or more.
        generator: source of randomness, on the image's device.
        counts: mean photons where the image is 1.
        readout: standard deviation of the readout, in counts.

    Raises:
        ValueError: if the image is negative anywhere, or a number is out of range.

    Example:
        >>> add_photon_noise(torch.ones(1, 4, 4), torch.Generator()).shape
        torch.Size([1, 4, 4])
    """
    return PhotonNoise(counts, readout).add(image, generator)
