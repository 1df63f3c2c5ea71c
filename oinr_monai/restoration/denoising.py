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

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from monai.engines import SupervisedTrainer
from torch import Tensor

from oinr_monai.fields.spline import SplineField
from oinr_monai.fitting.device import chosen_device, seeded
from oinr_monai.fitting.handlers import BestWeights, Clock, OneCycle
from oinr_monai.grids.checks import check_positive
from oinr_monai.grids.grid import Grid
from oinr_monai.grids.splines import interpolating_coefficients
from oinr_monai.images.intensity import IntensityScale
from oinr_monai.images.meta import inherit
from oinr_monai.images.scans import Scan, checked_scans
from oinr_monai.representation.neural_field import NeuralField
from oinr_monai.representation.representation import Representation
from oinr_monai.scanner.noise import GaussianNoise, NoiseModel, PhotonNoise
from oinr_monai.scanner.noise_level import FEWEST_REPEATS, details_hold_anatomy

from .sine_curve import with_tail
from .stein import HELD_OUT, PLACES, Patches, Residual, on_device, risk

__all__ = ["DenoiseConfig", "add_photon_noise", "denoise"]


# Looks at a voxel, on average: more, and the operator learns the noise of a small image by heart.
VISITS = 20


# Peak learning rate.
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


def denoise(
    image: Tensor | np.ndarray,
    config: DenoiseConfig | None = None,
    *,
    mask: Tensor | np.ndarray | None = None,
) -> Representation:
    """Denoise an image as a continuous representation; no clean image is needed.

    An interrupt (Ctrl-C) ends it early with the best weights so far, marked in its ``info``.

    Args:
        image: (C, *spatial) with 1 to 3 spatial dimensions; the channels are denoised together.
        config: how to denoise.
        mask: voxels to learn from, (*spatial) or (1, *spatial); all if None.

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
    with torch.inference_mode(False), torch.enable_grad():
        (scan,) = checked_scans([image], mask)
        result = _Task(_finite(scan), scan.grid, scan.mask, config, started).run()
    return inherit(result, image)


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


class _Task:
    """One image: the noisy samples, the operator that learns from them, and its clock."""

    def __init__(
        self,
        image: Tensor,
        grid: Grid,
        mask: Tensor | None,
        config: DenoiseConfig,
        started: float,
    ) -> None:
        self.grid, self.config = grid, config
        self.answered = IntensityScale.of(image, mask)
        self.device = chosen_device(config.device)
        self.noise = config.noise.estimated(image, mask)
        if self.noise != config.noise and len(image) < FEWEST_REPEATS:
            _warn_of_anatomy(image, self.noise)
        stable = self.noise.stabilise(image)
        self.scale = IntensityScale.of(stable, mask)
        self.samples = self.scale.standardise(stable)
        sigma = (1 / torch.tensor(self.scale.std)).view(-1, *[1] * grid.spatial_dims)
        with seeded(config.seed):
            self.network = Residual(len(image), sigma).to(self.device)
        voxels = image[0].numel() if mask is None else int(mask.sum())
        self.clock = Clock(*config.budget(voxels), started=started)
        self.patches = Patches(self.samples, mask, sigma, self.network.operator.radius, config.seed)
        self.best = BestWeights(self.network, self._held_out(), self.clock, times=4)
        self.best.take()

    def run(self) -> Representation:
        interrupted = self._train()
        self.network.load_state_dict(self.best.weights)
        result = Representation(self._field(), self.grid, self.answered, self._info(interrupted))
        return result.to(self.device)

    def _train(self) -> bool:
        optimizer = torch.optim.Adam(
            [{"params": list(self.network.operator.parameters()), "peak": RATE}], betas=(0.9, 0.99)
        )
        trainer = SupervisedTrainer(
            device=self.device,
            max_epochs=1,
            epoch_length=self.clock.steps or 1 << 40,
            train_data_loader=self._batches(),
            network=self.network,
            optimizer=optimizer,
            loss_function=risk,
            prepare_batch=on_device,
            train_handlers=[self.clock, OneCycle(optimizer, self.clock), self.best],
            decollate=False,
        )
        trainer.logger.setLevel("CRITICAL")
        try:
            trainer.run()
        except KeyboardInterrupt:
            return True
        self.best.take()
        return False

    def _batches(self) -> Iterator[dict[str, Any]]:
        generator = torch.Generator().manual_seed(self.config.seed)
        while True:
            yield self.patches.draw(generator)

    def _held_out(self) -> Callable[[], float]:
        # The same patches and probes at each score; other probes than any step has.
        generator = torch.Generator().manual_seed(self.config.seed + 1)
        batches = [self.patches.draw(generator, held_out=True) for _ in range(HELD_OUT)]

        def score() -> float:
            with torch.no_grad():
                risks = [
                    float(risk(self.network(inputs), label))
                    for inputs, label in (on_device(batch, self.device) for batch in batches)
                ]
            return -sum(risks) / len(risks)

        return score

    def _field(self) -> NeuralField:
        network = self.network.joined()
        if not self.noise.linear:
            network = with_tail(network, self._curves(), self._reach())
        spacing = self.grid.spacing.tolist()
        margin = [h * network.radius for h in spacing]
        encoding = SplineField(self.grid.extent.tolist(), spacing, len(self.samples), margin)
        encoding.coefficients.requires_grad_(False).copy_(
            interpolating_coefficients(self.samples, network.radius + 1)
        )
        return NeuralField(encoding, network, spacing)

    def _reach(self) -> float:
        # Standardised answers lie well within this: sines repeat beyond.
        return 1.1 * float(self.samples.abs().max())

    def _curves(self) -> Callable[[Tensor], Tensor]:
        # From standardised stabilised answers (C, N) to standardised intensities.
        mean, std = (torch.tensor(v)[:, None] for v in (self.scale.mean, self.scale.std))

        def curves(z: Tensor) -> Tensor:
            return self.answered.standardise(self.noise.restore(z * std + mean))

        return curves

    def _info(self, interrupted: bool) -> dict[str, Any]:
        return {
            "settings": {
                **{name: getattr(self.config, name) for name in ("steps", "seconds", "seed")},
                "device": self.config.device,
            },
            "noise": {"model": type(self.noise).__name__, **asdict(self.noise)},
            "risk": -self.best.best - 1,
            "steps": self.clock.step,
            "seconds": round(self.clock.elapsed, 3),
            "interrupted": interrupted,
            "device": str(self.device),
        }
