r"""Tasks that a denoiser learns to carry over from: parts of scans with noise on them.

A part is seen sharp, or through slices some voxels thick; noise is Gaussian, or Rician and
stabilised, in which case the answer is the mean of the stabilised samples; it is white, or smooth
along two axes or three. Values come in units of the square root of the noise's size: answers to
little noise and to much count alike then.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from oinr_monai.scanner.forward_model import along_axes
from oinr_monai.scanner.noise import GaussianNoise, RicianNoise
from oinr_monai.scanner.profiles import Boxcar

from .carried_denoiser import told_noise
from .pairs import AxisModel, Pair, draw_patches
from .scan_parts import ScanParts

__all__ = ["NoisyTask", "NoisyTasks"]

# All that follows is chosen by hand. Size of the noise over the standard deviation of the part.
SIZES = (0.02, 0.8)

# The part of the tasks whose noise is Rician, and that are seen through thick slices; the most
# voxels in one.
RICIAN, THICK, THICKEST = 0.4, 0.5, 4

# The part of the tasks whose noise is smooth, and of those along all axes; by how many voxels.
SMOOTH, ALL_AXES, SMOOTHING = 0.5, 0.6, (0.35, 1.0)

# Side of a patch, in voxels; even, as the operator asks for.
SIDE = 32


@dataclass(frozen=True)
class NoisyTask:
    """Noisy values, and what is to be added to them.

    Args:
        pair: noisy values and what is told of the noise (5, x, y, z), as
            :class:`~oinr_monai.CarriedDenoiser` sees them; clean less noisy ones (1, x, y, z).
    """

    pair: Pair

    def patches(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """What is seen (1, 5, x, y, z), and what is missing (1, 1, x, y, z)."""
        return draw_patches([self.pair], generator, [0, 1, 2], [], SIDE)


@final
class NoisyTasks(ScanParts):
    """Random tasks of denoising made of several scans."""

    def drawn(self) -> NoisyTask:
        """A part of a scan, and noise."""
        clean = self._turned(self._seen(self.part()))
        size, smoothing = math.exp(self.between(*map(math.log, SIZES))), self._smoothing()
        fall = self._rician if self.chance(RICIAN) else self._gaussian
        noisy, clean = fall(clean, size, smoothing)
        unit, middle = size**0.5, noisy.mean()
        noisy, clean = (noisy - middle) / unit, (clean - middle) / unit
        told = told_noise(size / unit, smoothing).view(-1, 1, 1, 1)
        seen = torch.cat([noisy, told.expand(-1, *noisy.shape[1:])])
        return NoisyTask(Pair(seen, clean - noisy, (1, 1, 1)))

    def _turned(self, values: Tensor) -> Tensor:
        order = torch.randperm(3, generator=self.generator) + 1
        return values.permute(0, *order.tolist())

    def _smoothing(self) -> tuple[float, float, float]:
        widths = [self.between(*SMOOTHING) for _ in range(3)]
        if not self.chance(ALL_AXES):
            widths[self.whole(3)] = 0.0
        first, second, third = widths if self.chance(SMOOTH) else (0.0,) * 3
        return first, second, third

    def _seen(self, values: Tensor) -> Tensor:
        factor = 2 + self.whole(THICKEST - 1)
        if not self.chance(THICK) or values.shape[3] < 2 * SIDE:
            return values
        # As deep as a patch, where the part holds enough slices.
        factor = min(factor, values.shape[3] // SIDE)
        count = values.shape[3] // factor
        model = AxisModel.of(count, float(factor), factor, Boxcar(float(factor)))
        return along_axes(values[..., : count * factor], [None, None, model.coarse])

    def _gaussian(
        self, clean: Tensor, size: float, smoothing: tuple[float, ...]
    ) -> tuple[Tensor, Tensor]:
        return GaussianNoise(size, smoothing).add(clean, self.generator), clean

    def _rician(
        self, clean: Tensor, size: float, smoothing: tuple[float, ...]
    ) -> tuple[Tensor, Tensor]:
        model = RicianNoise(size, smoothing)
        signal = clean - clean.min()
        noisy = model.stabilise(model.add(signal, self.generator))
        return noisy * size, model.mean(signal) * size
