r"""Denoise an image with an operator that learns from the noisy image alone.

The input function is the cubic B-spline through the noisy samples, stabilised to unit variance of
the noise; the operator is a small :class:`ConvOINR` that reads it. With noise of known size, the
error that it makes against the clean image can be estimated without it, by Stein's formula,

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
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from oinr_monai.fields.spline import SplineField
from oinr_monai.fitting.descent import Descent, Watch
from oinr_monai.fitting.device import chosen_device, seeded
from oinr_monai.fitting.handlers import BestWeights, Clock
from oinr_monai.fitting.interrupts import learning
from oinr_monai.grids.checks import check_positive
from oinr_monai.grids.precision import full_precision
from oinr_monai.grids.splines import interpolating_coefficients
from oinr_monai.images.intensity import IntensityScale
from oinr_monai.images.meta import inherit
from oinr_monai.images.scans import Scan, checked_scans
from oinr_monai.representation.info import Info
from oinr_monai.representation.neural_field import NeuralField
from oinr_monai.representation.representation import Representation
from oinr_monai.scanner.noise import GaussianNoise, NoiseModel, PhotonNoise
from oinr_monai.scanner.noise_level import FEWEST_REPEATS, details_hold_anatomy

from .noise_errors import NoiseErrors
from .restored import Restored
from .sine_curve import with_tail
from .stein import HELD_OUT, PLACES, Patches, Residual, on_device, risk

__all__ = ["DenoiseConfig", "add_photon_noise", "denoise", "denoise_trusted"]


# Looks at a voxel, on average: more, and the operator learns the noise of a small image by heart
# (docs/measured/denoising.md).
VISITS = 20


# Peak learning rate, chosen by hand.
RATE = 3e-3


@dataclass(frozen=True)
class DenoiseConfig:
    """How to denoise. Every default follows the image.

    Args:
        noise: the kind of noise, and its size where it is known.
        steps: steps to learn from, each on one patch; at most 2,000 if neither budget is given,
            and fewer on small images, whose noise would be learnt by heart.
        seconds: seconds to take, instead of steps; with both, whichever is spent first.
        seed: seed of the start, the patches and the probes.
        device: "auto", "cpu" or "cuda".

    Raises:
        ValueError: if a budget is not positive.

    Example:
        >>> DenoiseConfig().budget(voxels=64**3)
        (2000, None)
    """

    noise: NoiseModel = field(default_factory=GaussianNoise)
    steps: int | None = None
    seconds: float | None = None
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        check_positive(self, "steps", "seconds")

    def budget(self, voxels: int) -> tuple[int | None, float | None]:
        """Steps and seconds that may be taken on so many voxels; None is no limit."""
        if self.steps is not None:
            return self.steps, self.seconds
        enough = max(VISITS * voxels // PLACES, 100)
        return (enough, self.seconds) if self.seconds is not None else (min(enough, 2_000), None)


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
        image: (C, *spatial) with 1 to 3 spatial dimensions; the channels are denoised together.
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
        descent = _Denoising(scan, _finite(scan), config, started)
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
        descent = _Denoising(scan, _finite(scan), config, started)
        interrupted = descent.run(watch, interrupts)
        errors = descent.errors()
        result = descent.result(interrupted)
    result.info |= {"trust": errors.statement()}
    return Restored(inherit(result, image), errors)


def _finite(scan: Scan) -> Tensor:
    # What does not count may be anything; it takes the nearest finite voxel.
    finite = torch.isfinite(scan.image).all(dim=0)
    return scan.image if bool(finite.all()) else replace(scan, mask=finite).filled


def _warn_of_anatomy(image: Tensor, noise: NoiseModel) -> None:
    if details_hold_anatomy(image):
        warnings.warn(
            f"sigma was estimated as {asdict(noise)['sigma']} from details that seem to hold "
            "anatomy, and is too large then; give sigma, or all repeats of the scan at once",
            stacklevel=6,
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


class _Denoising(Descent):
    """The descent of an operator towards the least risk on one noisy image."""

    title = "denoise"

    def __init__(self, scan: Scan, image: Tensor, config: DenoiseConfig, started: float) -> None:
        self.grid, self.config, mask = scan.grid, config, scan.mask
        self.digest = scan.digest
        self.mask, self.answered = mask, IntensityScale.of(image, mask)
        self.device = chosen_device(config.device)
        self.noise = config.noise.estimated(image, mask)
        if self.noise != config.noise and len(image) < FEWEST_REPEATS:
            _warn_of_anatomy(image, self.noise)
        stable = self.noise.stabilise(image)
        self.scale = IntensityScale.of(stable, mask)
        self.samples = self.scale.standardise(stable)
        sigma = (1 / torch.tensor(self.scale.std)).view(-1, *[1] * self.grid.spatial_dims)
        with seeded(config.seed):
            self.residual = Residual(len(image), sigma).to(self.device)
        radius = self.residual.operator.radius
        self.patches = Patches(self.samples, mask, sigma, radius, config.seed)
        voxels = image[0].numel() if mask is None else int(mask.sum())
        clock = Clock(*config.budget(voxels), started=started)
        learned = {"params": list(self.residual.operator.parameters()), "peak": RATE}
        optimizer = torch.optim.Adam([learned], betas=(0.9, 0.99))
        best = BestWeights(self.residual, self._held_out(), clock, times=4)
        super().__init__(self.residual, optimizer, clock, config.seed, best)
        best.take()

    @property
    def identity(self) -> object:
        """The samples, what counts of them, the noise and the settings."""
        return self.digest, self.noise, self.config, repr(self.residual)

    def draw(self) -> dict[str, Any]:
        """A patch, and a copy with a probe added."""
        return self.patches.draw(self.generator)

    def loss(self, batch: dict[str, Any]) -> Tensor:
        """The risk."""
        inputs, label = on_device(batch, self.device)
        return risk(self.residual(inputs), label)

    def result(self, interrupted: bool) -> Representation:
        """The clean image."""
        field = self._field()
        result = Representation(field, self.grid, self.answered, self._info(interrupted))
        return result.to(self.device)

    def errors(self) -> NoiseErrors:
        """Errors of the clean image."""
        sigma = self.residual.sigma.detach().cpu()
        mean, std = (torch.tensor(v).view_as(sigma) for v in (self.scale.mean, self.scale.std))

        def clean(noisy: Tensor) -> Tensor:
            return self.residual.whole(noisy * sigma) / sigma

        def restore(values: Tensor) -> Tensor:
            shape = values.shape
            restored = self.noise.restore((values * sigma * std + mean).flatten(1))
            return restored.view(shape)

        unseen = self.patches.held > 0
        noisy, seed = self.samples / sigma, self.config.seed
        return NoiseErrors(noisy, clean, unseen, self.mask, restore, seed)

    def _held_out(self) -> Callable[[], float]:
        # The same patches and probes at each score; other probes than any step has.
        generator = torch.Generator().manual_seed(self.config.seed + 1)
        batches = [self.patches.draw(generator, held_out=True) for _ in range(HELD_OUT)]

        def score() -> float:
            with torch.no_grad():
                risks = [float(self.loss(batch)) for batch in batches]
            return -sum(risks) / len(risks)

        return score

    def _field(self) -> NeuralField:
        operator = self.residual.joined()
        if not self.noise.linear:
            operator = with_tail(operator, self._curves(), self._reach())
        spacing = self.grid.spacing.tolist()
        margin = [h * operator.radius for h in spacing]
        splines = SplineField(self.grid.extent.tolist(), spacing, len(self.samples), margin)
        splines.coefficients.requires_grad_(False).copy_(
            interpolating_coefficients(self.samples, operator.radius + 1)
        )
        return NeuralField(splines, operator, spacing)

    def _reach(self) -> float:
        # Standardised answers lie well within this: sines repeat beyond.
        return 1.1 * float(self.samples.abs().max())

    def _curves(self) -> Callable[[Tensor], Tensor]:
        # From standardised stabilised answers (C, N) to standardised intensities.
        mean, std = (torch.tensor(v)[:, None] for v in (self.scale.mean, self.scale.std))

        def curves(z: Tensor) -> Tensor:
            return self.answered.standardise(self.noise.restore(z * std + mean))

        return curves

    def _info(self, interrupted: bool) -> Info:
        return replace(
            self.taken(interrupted),
            settings={n: v for n, v in asdict(self.config).items() if n != "noise"},
            image=self.digest,
            noise={"model": type(self.noise).__name__, **asdict(self.noise)},
            risk=-self.best.best - 1,
        )
