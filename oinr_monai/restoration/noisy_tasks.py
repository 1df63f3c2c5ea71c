r"""Tasks that a denoiser learns to carry over from: parts of scans with noise on them.

A part is seen sharp, or through slices some voxels thick; noise is Gaussian, or Rician and
stabilised, in which case the answer is the mean of the stabilised samples. Values come in units of
the square root of the noise's size: answers to little noise and to much count alike then.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from oinr_monai.scanner.forward_model import along_axes
from oinr_monai.scanner.noise import RicianNoise
from oinr_monai.scanner.profiles import Boxcar

from .pairs import AxisModel, Pair, draw_patches
from .scan_parts import ScanParts

__all__ = ["NoisyTask", "NoisyTasks"]

# All that follows is chosen by hand. Size of the noise over the standard deviation of the part.
SIZES = (0.02, 0.8)

# The part of the tasks whose noise is Rician, and that are seen through thick slices; the most
# voxels in one.
RICIAN, THICK, THICKEST = 0.4, 0.5, 4

# Side of a patch, in voxels; even, as the operator asks for.
SIDE = 32


@dataclass(frozen=True)
class NoisyTask:
    """Noisy values, and what is to be added to them.

    Args:
        pair: noisy values and the noise's size (2, x, y, z); clean less noisy ones (1, x, y, z).
    """

    pair: Pair

    def patches(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Noisy values and size (1, 2, x, y, z), and what is missing (1, 1, x, y, z)."""
        swaps = [(0, 1), (1, 2), (0, 2)]
        return draw_patches([self.pair], generator, [0, 1, 2], swaps, SIDE)


@final
class NoisyTasks(ScanParts):
    """Random tasks of denoising made of several scans."""

    def drawn(self) -> NoisyTask:
        """A part of a scan, and noise."""
        clean = self._seen(self.part())
        size = math.exp(self.between(*(math.log(x) for x in SIZES)))
        noisy, clean = (
            self._rician(clean, size) if self.chance(RICIAN) else self._white(clean, size)
        )
        unit, middle = size**0.5, noisy.mean()
        noisy, clean, sigma = (noisy - middle) / unit, (clean - middle) / unit, size / unit
        seen = torch.cat([noisy, torch.full_like(noisy, sigma)])
        return NoisyTask(Pair(seen, clean - noisy, (1, 1, 1)))

    def _seen(self, values: Tensor) -> Tensor:
        factor = 2 + self.whole(THICKEST - 1)
        if not self.chance(THICK) or values.shape[3] < 2 * SIDE:
            return values
        # As deep as a patch, where the part holds enough slices.
        factor = min(factor, values.shape[3] // SIDE)
        count = values.shape[3] // factor
        model = AxisModel.of(count, float(factor), factor, Boxcar(float(factor)))
        return along_axes(values[..., : count * factor], [None, None, model.coarse])

    def _white(self, clean: Tensor, size: float) -> tuple[Tensor, Tensor]:
        return clean + size * torch.randn(clean.shape, generator=self.generator), clean

    def _rician(self, clean: Tensor, size: float) -> tuple[Tensor, Tensor]:
        model = RicianNoise(size)
        signal = clean - clean.min()
        noisy = model.stabilise(model.add(signal, self.generator))
        return noisy * size, model.mean(signal) * size
