"""The risk of a denoiser without the truth, by Stein's identity.

Of noise with covariance C it takes probes with the same: their mean of z . J z is the trace of C J.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from oinr_monai.scanner.smooth_noise import smooth_noise

__all__ = ["Drawn", "Patches", "noisy_places", "risk"]


# The step of the divergence in units of the noise; chosen by hand.
STEP = 0.1


# Side of the blocks that are held out, in voxels; chosen by hand.
BLOCK = 8


@dataclass(frozen=True)
class Drawn:
    """A patch that a step looks at.

    Args:
        inner: its voxels.
        flips: axes along which it is mirrored.
        probe: noise of unit variance (C, *size + 2 halo).
        held_out: whether it scores.
    """

    inner: tuple[slice, ...]
    flips: tuple[int, ...]
    probe: Tensor
    held_out: bool


# Noisy patch and probe (C, *size), size of the noise (C, 1, ...) and weight (*size).
_Label = tuple[Tensor, Tensor, Tensor, Tensor]

# What the operator sees of a patch, and what the risk needs.
_Batch = tuple[Tensor, _Label]


class Patches:
    """Random patches of the noisy samples with a halo, each beside a copy with a probe added.

    Args:
        samples: standardised samples (C, *spatial).
        mask: voxels that count (*spatial), or None.
        sigma: size of the noise of the samples, (C, 1, ...).
        smoothing: of the noise along each axis, in voxels: probes are as smooth.
        halo: voxels around a patch that its answer needs.
        places: of a patch.
        seed: seed of the blocks that are held out.
    """

    def __init__(
        self,
        samples: Tensor,
        mask: Tensor | None,
        sigma: Tensor,
        smoothing: Sequence[float],
        halo: int,
        places: int,
        seed: int,
    ) -> None:
        dims = samples.ndim - 1
        around = np.pad(samples.numpy(), [(0, 0)] + [(halo, halo)] * dims, mode="reflect")
        self.samples, self.halo = torch.from_numpy(around), halo
        self.sigma, self.smoothing = sigma, smoothing
        side = round(places ** (1 / dims))
        where = noisy_places(samples, mask)
        held = _blocks(where.shape, torch.Generator().manual_seed(seed))
        self.learnt, self.held = (where & ~held).float(), (where & held).float()
        low, high = where.nonzero().amin(0).tolist(), (where.nonzero().amax(0) + 1).tolist()
        self.low = low
        self.size = [min(side, last - first) for first, last in zip(low, high, strict=True)]
        self.room = [last - first - n for first, last, n in zip(low, high, self.size, strict=True)]

    def to(self, device: torch.device) -> Patches:
        """The same on another device."""
        made = copy.copy(self)
        kept = self.samples, self.sigma, self.learnt, self.held
        made.samples, made.sigma, made.learnt, made.held = (each.to(device) for each in kept)
        return made

    def draw(self, generator: torch.Generator, held_out: bool = False) -> Drawn:
        """A patch at random, and a probe, on the host."""
        start = [
            first + int(torch.randint(n + 1, (), generator=generator))
            for first, n in zip(self.low, self.room, strict=True)
        ]
        inner = tuple(slice(i, i + n) for i, n in zip(start, self.size, strict=True))
        # Noise has no direction: mirror images of a patch are as good as other patches.
        mirrored = torch.rand(len(inner), generator=generator) < 0.5
        flips = tuple(axis - len(inner) for axis, turned in enumerate(mirrored.tolist()) if turned)
        around = (len(self.samples), *[n + 2 * self.halo for n in self.size])
        return Drawn(inner, flips, smooth_noise(around, self.smoothing, generator), held_out)

    def sent(self, drawn: Sequence[Drawn]) -> Iterator[_Batch]:
        """Patch and probed patch (2, C, *size + 2 R), and what the risk needs."""
        device = self.samples.device
        probes = torch.stack([each.probe for each in drawn])
        pinned = probes.pin_memory() if device.type == "cuda" else probes
        return map(self._batch, drawn, pinned.to(device, non_blocking=True))

    def _batch(self, drawn: Drawn, probe: Tensor) -> _Batch:
        outer = tuple(slice(s.start, s.stop + 2 * self.halo) for s in drawn.inner)
        noisy = self.samples[(slice(None), *outer)].flip(drawn.flips)
        weight = (self.held if drawn.held_out else self.learnt)[drawn.inner].flip(drawn.flips)
        centre = (slice(None), *[slice(self.halo, self.halo + n) for n in self.size])
        pair = torch.stack([noisy, noisy + STEP * self.sigma * probe])
        return pair, (noisy[centre], probe[centre], self.sigma, weight)


def noisy_places(samples: Tensor, mask: Tensor | None) -> Tensor:
    """Where samples (C, *spatial) that count differ from a neighbour, as a mask (*spatial).

    What was blanked, as around a brain without its skull, has no noise that could be taken out, and
    would make every estimate of what is left of it too small.

    Args:
        samples: the image.
        mask: what counts of it; all if None. Where that leaves nothing, it is the answer.

    Example:
        >>> noisy_places(torch.tensor([[0.0, 0.0, 0.0, 2.0, 1.0]]), None).tolist()
        [False, False, True, True, True]
    """
    found = torch.zeros(samples.shape[1:], dtype=torch.bool)
    for axis, size in enumerate(found.shape):
        steps = samples.diff(dim=axis + 1).ne(0).any(dim=0)
        found.narrow(axis, 0, size - 1).logical_or_(steps)
        found.narrow(axis, 1, size - 1).logical_or_(steps)
    counted = torch.ones_like(found) if mask is None else mask
    return counted & found if bool((counted & found).any()) else counted


def _blocks(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    # Whole blocks, one in eight: what was learnt by heart nearby is of no use inside them.
    cells = [-(-n // BLOCK) for n in shape]
    held = torch.rand(cells, generator=generator) < 1 / 8
    held.view(-1)[0] = True
    for axis, n in enumerate(shape):
        held = held.repeat_interleave(BLOCK, dim=axis).narrow(axis, 0, n)
    return held


def risk(answers: Tensor, label: _Label) -> Tensor:
    """Stein's estimate, plus one, in units of the variance of the noise."""
    noisy, probe, sigma, weight = label
    answer, probed = answers
    misfit = ((answer - noisy) / sigma) ** 2
    divergence = probe * (probed - answer) / (sigma * STEP)
    each = (misfit + 2 * divergence).mean(dim=0)
    return (each * weight).sum() / weight.sum().clamp_min(1)
