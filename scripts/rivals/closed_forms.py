"""What keeps a block without training: least-squares splines, transforms and codecs.

All of them keep samples and are asked between them by the cubic B-spline through what was kept, but
for the least-squares spline, which is asked itself. The largest coefficients of a transform are
counted alone, not where they were, which favours them. The setting of a codec is the one of a
bisection whose bytes come nearest to what is asked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from scipy import fft
from torch import Tensor

from oinr_monai.coding.wavelets import analyse, synthesise
from oinr_monai.grids.least_squares import least_squares_coefficients
from oinr_monai.grids.positions import Lattice, Positions, Scatter
from oinr_monai.grids.splines import CubicInterpolant, jet
from scripts.rivals.codecs import CODECS, LOSSLESS_FROM, OURS, Codec
from scripts.shared.fits import LEAST_SQUARES
from scripts.shared.problem import Answers, Problem


@dataclass(frozen=True)
class Kept:
    """What a closed form came to.

    Args:
        answers: what it says.
        parameters: numbers it keeps; 0 where it keeps bytes.
        bytes: what it keeps, in bytes.
        seconds: processor seconds of coding, decoding and the spline, of the setting chosen.
    """

    answers: Answers
    parameters: int
    bytes: int
    seconds: float


def answers_of(spline: Callable[[Positions, int], Tensor], problem: Problem) -> Answers:
    """What a function of voxel coordinates, which answers by jets, says."""
    axes = tuple(torch.arange(n, dtype=torch.float64) for n in problem.volume.shape)
    found = spline(Scatter(tuple(problem.voxels.T)), 1)[:, 0]
    slopes = problem.grid.gradient_to_world(found[1:].T.double())
    finer = None
    if problem.finer is not None:
        # The first voxel of the finer volume that is left lies a quarter of a voxel in.
        inner = (0.25 + torch.arange(n).double() / 2 for n in problem.finer.shape[1:])
        finer = spline(Lattice(tuple(inner)), 0)[0, 0]
    return Answers(spline(Lattice(axes), 0)[0, 0], found[0], slopes, finer)


def through(samples: Tensor) -> Callable[[Positions, int], Tensor]:
    """The cubic spline through samples (X, Y, Z)."""
    return CubicInterpolant(samples[None].float()).jet


def all_samples(problem: Problem, numbers: int) -> Kept:
    """The cubic spline through the samples as they are, a number for each."""
    started = time.process_time()
    spline = through(problem.volume)
    seconds = time.process_time() - started
    return Kept(answers_of(spline, problem), numbers, 4 * numbers, seconds)


# ---- the spline itself, with fewer knots ---------------------------------------------------------


def least_squares_spline(problem: Problem, numbers: int) -> Kept:
    """The cubic spline of least squares with about so many knots, against the one through all.

    The squares are those at the samples and halfway between them along each axis: at the samples
    alone the spline is free to swing between them where knots are nearly as close as samples.
    """
    started = time.process_time()
    volume = problem.volume
    knots = [max(round(n * (numbers / volume.numel()) ** (1 / 3)), 4) for n in volume.shape]
    places = [
        1 + torch.arange(n, dtype=torch.float64) * (k - 3) / (n - 1)
        for n, k in zip(volume.shape, knots, strict=True)
    ]
    samples = CubicInterpolant(volume[None].float())
    coefficients = least_squares_coefficients(samples, places, knots).float()
    steps = [(n - 1) / (k - 3) for n, k in zip(problem.volume.shape, knots, strict=True)]

    def spline(positions: Positions, order: int) -> Tensor:
        axes = tuple(x / h + 1 for x, h in zip(positions.axes, steps, strict=True))
        return jet(coefficients, type(positions)(axes), order, steps)

    seconds, kept = time.process_time() - started, coefficients.numel()
    return Kept(answers_of(spline, problem), kept, 4 * kept, seconds)


# ---- transforms ----------------------------------------------------------------------------------


def largest(
    there: Callable[[Tensor], Tensor],
    back: Callable[[Tensor], Tensor],
    problem: Problem,
    numbers: int,
) -> Kept:
    """The largest coefficients of a transform."""
    started = time.process_time()
    found = there(problem.volume)
    least = found.abs().flatten().kthvalue(found.numel() - min(numbers, found.numel()) + 1).values
    spline = through(back(torch.where(found.abs() >= least, found, 0.0)))
    seconds = time.process_time() - started
    return Kept(answers_of(spline, problem), numbers, 4 * numbers, seconds)


def dct(volume: Tensor) -> Tensor:
    """The orthonormal cosine transform of the block as a whole."""
    return torch.from_numpy(fft.dctn(volume.numpy(), norm="ortho"))


def inverse_dct(found: Tensor) -> Tensor:
    """Undo it."""
    return torch.from_numpy(fft.idctn(found.numpy(), norm="ortho"))


def wavelets(volume: Tensor) -> Tensor:
    """The nearly orthonormal transform by Cohen-Daubechies-Feauveau 9/7, four levels."""
    return analyse(volume[None])


def inverse_wavelets(found: Tensor) -> Tensor:
    """Undo it."""
    return synthesise(found)[0]


# ---- codecs --------------------------------------------------------------------------------------


def coded(codec: Codec, problem: Problem, numbers: int) -> Kept:
    """What a codec keeps in the bytes that so many numbers take, and the spline through it."""
    low, high = problem.volume.aminmax()
    span = high - low
    # SPERR reads the memory as it lies.
    volume = ((problem.volume - low) / span).contiguous().numpy()
    setting = codec.setting(volume, 4 * numbers)
    started = time.process_time()
    data = codec.encode(volume, setting)
    decoded = low + span * torch.from_numpy(np.array(codec.decode(data, volume.shape)))
    spline = through(decoded)
    seconds = time.process_time() - started
    return Kept(answers_of(spline, problem), 0, len(data), seconds)


def our_codec(problem: Problem, numbers: int) -> Kept:
    """Our codec, which keeps every bit where that takes no more bytes."""
    codec, volume = CODECS[OURS], problem.volume.contiguous().numpy()
    started = time.process_time()
    data = codec.encode(volume, LOSSLESS_FROM)
    if len(data) > 4 * numbers:
        return coded(codec, problem, numbers)
    spline = through(torch.from_numpy(codec.decode(data, volume.shape)))
    seconds = time.process_time() - started
    return Kept(answers_of(spline, problem), 0, len(data), seconds)


# Each by its name, called with a problem and the numbers it may keep, or their bytes.
EVERYTHING = "cubic spline, all samples"
TRANSFORMS = {
    "largest of the DCT + spline": partial(largest, dct, inverse_dct),
    "largest of CDF 9/7 + spline": partial(largest, wavelets, inverse_wavelets),
}
OUR_CODEC, SPERR = "our codec + spline", "SPERR + spline"
CODED: dict[str, Callable[[Problem, int], Kept]] = {
    OUR_CODEC: our_codec,
    **{f"{name} + spline": partial(coded, codec) for name, codec in CODECS.items() if name != OURS},
}
CLOSED_FORMS: dict[str, Callable[[Problem, int], Kept]] = {
    EVERYTHING: all_samples,
    LEAST_SQUARES: least_squares_spline,
    **TRANSFORMS,
    **CODED,
}
