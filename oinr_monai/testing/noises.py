"""Laws of noise models: what they add, they can even out, find the size of, and take back."""

from __future__ import annotations

import torch
from torch import Tensor

from oinr_monai.scanner.noise import NoiseModel

from .law import Battery, agree, generator, law, require

__all__ = ["noise_laws"]

# Samples of one level: a mean of them is known to 0.0022 of their standard deviation.
SAMPLES = 200_000


@law
def samples_are_drawn_from_the_generator(
    noise: NoiseModel, unknown: NoiseModel, level: float
) -> None:
    """The same generator draws the same sample, of the signal's shape and precision."""
    for dtype in (torch.float32, torch.float64):
        signal = torch.full((1, 30, 40), level, dtype=dtype)
        one, same, other = (noise.add(signal, generator(seed)) for seed in (1, 1, 2))
        of, wanted = (one.dtype, one.shape), (dtype, signal.shape)
        require(of == wanted, f"sample must be {wanted}, got {of}")
        agree("sample of the same generator", same, one, within=0)
        require(not torch.equal(one, other), "samples of other generators must differ, got equal")


@law
def stabilised_noise_has_unit_variance(
    noise: NoiseModel, unknown: NoiseModel, level: float
) -> None:
    """After stabilising, the noise has a standard deviation of 1."""
    spread = float(noise.stabilise(_samples(noise, level)).std())
    require(abs(spread - 1) <= 0.05, f"standard deviation must be 1 within 0.05, got {spread:.3f}")


@law
def means_come_back_without_bias(noise: NoiseModel, unknown: NoiseModel, level: float) -> None:
    """The signal of the mean of stabilised samples is theirs, to 0.04 of the noise."""
    samples = _samples(noise, level)
    found = float(noise.restore(noise.stabilise(samples).mean(1, keepdim=True)))
    off = abs(found - level) / float(samples.std())
    require(off <= 0.04, f"signal must be {level:g}, got {found:g}, off by {off:.3f} of the noise")


@law
def linear_noise_is_scaled(noise: NoiseModel, unknown: NoiseModel, level: float) -> None:
    """Where a model says that it is linear, stabilising and restoring are scalings."""
    if noise.linear:
        image = torch.linspace(0, level, 50)[None]
        agree("twice the image", noise.stabilise(2 * image), 2 * noise.stabilise(image), 1e-6)
        agree("image restored", noise.restore(noise.stabilise(image)), image, within=1e-6)


@law
def unknown_noise_is_estimated(noise: NoiseModel, unknown: NoiseModel, level: float) -> None:
    """What is not known is found in an image: its noise then has unit variance within 0.15."""
    found = unknown.estimated(noise.add(level * _scene(), generator(1)).float())
    spread = float(found.stabilise(_samples(noise, level)).std())
    require(abs(spread - 1) <= 0.15, f"standard deviation must be 1 within 0.15, got {spread:.3f}")


noise_laws = Battery(
    (
        samples_are_drawn_from_the_generator,
        stabilised_noise_has_unit_variance,
        means_come_back_without_bias,
        linear_noise_is_scaled,
        unknown_noise_is_estimated,
    )
)
"""Laws of a model of noise, given with all that it can know, and once more without what it can
estimate from an image, and with the level of the signal to try it at."""


def _samples(noise: NoiseModel, level: float) -> Tensor:
    return noise.add(torch.full((1, SAMPLES), level), generator())


def _scene() -> Tensor:
    """Two smooth blobs on a plateau with an edge (1, 96, 96), from 0.5 to 1.5."""
    x, y = torch.meshgrid(torch.linspace(-1, 1, 96), torch.linspace(-1, 1, 96), indexing="ij")
    blob = torch.exp(-8 * ((x - 0.2) ** 2 + (y - 0.2) ** 2))
    return (0.5 + 0.5 * (x**2 + y**2 < 0.64) + 0.5 * blob)[None]
