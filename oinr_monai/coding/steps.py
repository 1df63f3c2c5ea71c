"""The size of the steps that a quality asks for, found on some of the chunks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from .quality import Bits, Coded, MaxError, Psnr, Quality
from .quantised import Wavelets
from .wavelets import analyse

__all__ = ["Survey", "first_step"]

# Rounds of the search on the sample; each leaves a fraction of the error of the one before.
ROUNDS = 8

# Chunks that are coded to tell the bits.
CODED = 6

# Steps that are so close to those before are good enough, since the sample tells no more.
CLOSE = 0.01

# Steps to try where the greatest error is bounded, in parts of it; the larger they are, the more
# samples are put right. Chosen by hand.
PARTS = (1.2, 1.6, 2.1)


@dataclass(frozen=True)
class Survey:
    """What is known of samples before they are coded.

    Args:
        range: greatest sample less the least.
        sample: some of their chunks, in stacks of one shape (B, *shape).
        voxels: how many lie in chunks that are not the same throughout ...
        share: ... which is this part of all.
    """

    range: float
    sample: Sequence[Tensor]
    voxels: int
    share: float

    def some(self, count: int) -> list[Tensor]:
        """About so many chunks of the sample, from all over it."""
        apart = math.ceil(sum(map(len, self.sample)) / count)
        return [each[::apart] for each in self.sample]

    def size(self, coder: Wavelets) -> float:
        """Bits a voxel that the whole would take, as far as the sample tells."""
        some = self.some(CODED)
        data = [one or b"" for each in some for one in coder.encode(each)]
        return self.share * 8 * sum(map(len, data)) / sum(each.numel() for each in some)

    def psnr(self, coder: Wavelets, coefficients: Sequence[Tensor]) -> float:
        """Peak signal-to-noise ratio that the whole would have."""
        squares = sum(coder.distortion(each) * each.numel() for each in coefficients)
        mean = self.share * squares / max(sum(each.numel() for each in coefficients), 1)
        return 10 * math.log10(self.range**2 / mean) if mean else math.inf


def first_step(quality: Quality, survey: Survey) -> float:
    """Steps that are about as large as a quality lets them be."""
    if not survey.sample:
        return 1.0
    if isinstance(quality, MaxError):
        candidates = [part * quality.error for part in PARTS]
        return min(candidates, key=lambda step: survey.size(Wavelets(step, quality.error)))
    step = survey.range / 256
    coefficients = [analyse(each) for each in survey.sample]
    for _ in range(ROUNDS):
        coder = Wavelets(step)
        bits = survey.size(coder) if isinstance(quality, Bits) else 0.0
        psnr = survey.psnr(coder, coefficients) if isinstance(quality, Psnr) else 0.0
        factor = quality.factor(Coded(0, bits, 0.0, psnr))
        step *= factor
        if abs(factor - 1) < CLOSE:
            break
    return step
