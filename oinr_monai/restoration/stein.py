"""The risk of a denoiser without the truth, by Stein's identity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from oinr_monai.operators.conv import ConvOINR

__all__ = ["HELD_OUT", "PLACES", "Patches", "Residual", "on_device", "risk"]


# Hidden channels and kernel width of the operator, for each number of dimensions: in 3-D those of
# docs/measured/denoising.md, in 2-D and 1-D chosen by hand.
OPERATORS = {1: ((16, 16), 9), 2: ((16, 16), 5), 3: ((16, 16), 3)}


# Places of a patch, 12 cubed (docs/measured/denoising.md); held-out patches, and the step of the
# divergence in units of the noise, both chosen by hand.
PLACES, HELD_OUT, STEP = 1_728, 16, 0.1


# Voxels of a whole image that are cleaned at a time; chosen by hand.
SLAB_PLACES = 200_000


# Side of the blocks that are held out, in voxels; chosen by hand.
BLOCK = 8


# Slope of the sines through which the noisy image passes the operator as it is: off by slope² z³ /
# 6 at z standard deviations.
SLOPE = 0.003


# Noisy patch and probe (C, *size), size of the noise (C, 1, ...) and weight (*size).
_Label = tuple[Tensor, Tensor, Tensor, Tensor]


class Residual(nn.Module):
    """What the steps train: y less what the operator takes for noise; it starts as the identity."""

    def __init__(self, channels: int, sigma: Tensor) -> None:
        super().__init__()
        dims = sigma.ndim - 1
        narrow, width = OPERATORS[dims]
        hidden = [max(each, 4 * channels) for each in narrow]
        self.operator = ConvOINR(
            dims, channels, channels, hidden, width, omega_0=1.0, padding="valid"
        )
        self.sigma = nn.Parameter(sigma, requires_grad=False)
        with torch.no_grad():
            for layer in self.operator.integrals:
                nn.init.normal_(layer.weight, std=layer.weight[0].numel() ** -0.5)
            self.operator.last.start(0.0, 0.0)

    def forward(self, noisy: Tensor) -> Tensor:
        """Noisy patches (B, C, *size + 2 R) to clean ones (B, C, *size)."""
        radius = self.operator.radius
        centre = [slice(radius, n - radius) for n in noisy.shape[2:]]
        return noisy[(slice(None), slice(None), *centre)] + self.sigma * self.operator(noisy)

    @torch.no_grad()
    def whole(self, noisy: Tensor) -> Tensor:
        """A whole noisy image (C, *spatial) to a clean one, slab by slab along its first axis."""
        radius, device = self.operator.radius, self.sigma.device
        halo = [(0, 0)] + [(radius, radius)] * (noisy.ndim - 1)
        padded = torch.from_numpy(np.pad(noisy.numpy(), halo, mode="reflect"))
        rows = max(SLAB_PLACES // max(noisy[0, :1].numel(), 1), 1)
        parts = []
        for start in range(0, noisy.shape[1], rows):
            part = padded[:, start : min(start + rows, noisy.shape[1]) + 2 * radius]
            parts.append(self(part[None].to(device))[0].cpu())
        return torch.cat(parts, dim=1)

    @torch.no_grad()
    def joined(self) -> ConvOINR:
        """The same as one operator, in which sines of a small slope hand y on.

        The slope leaves an error of slope² y³ / 6, less than rounding to 1e-5 of the image's range.
        """
        old = self.operator.cpu()
        own, sigma = old.out_channels, self.sigma.cpu().flatten()
        wider = [width + own for width in old.channels]
        new = ConvOINR(old.spatial_dims, own, own, wider, old.kernel_size, omega_0=old.omega_0)
        for before, after in zip(old.integrals, new.integrals, strict=True):
            after.start(0.0, 0.0)
            rows, columns = before.weight.shape[:2]
            after.weight[:rows, :columns] = before.weight
            after.get_parameter("bias")[:rows] = before.get_parameter("bias")
            taps = after.weight.flatten(2)[..., before.weight[0, 0].numel() // 2]
            taps[-own:, -own:] += torch.eye(own)
        new.first.weight[-own:] *= SLOPE
        new.last.weight[:, :-own] *= sigma.view(-1, 1, *[1] * old.spatial_dims)
        new.last.weight[:, -own:] /= SLOPE
        new.last.get_parameter("bias").mul_(sigma)
        return new


class Patches:
    """Random patches of the noisy samples with a halo, each beside a copy with a probe added.

    Args:
        samples: standardised samples (C, *spatial).
        mask: voxels that count (*spatial), or None.
        sigma: size of the noise of the samples, (C, 1, ...).
        radius: halo of the operator.
        seed: seed of the blocks that are held out.
    """

    def __init__(
        self, samples: Tensor, mask: Tensor | None, sigma: Tensor, radius: int, seed: int
    ) -> None:
        dims = samples.ndim - 1
        halo = np.pad(samples.numpy(), [(0, 0)] + [(radius, radius)] * dims, mode="reflect")
        self.samples, self.radius = torch.from_numpy(halo), radius
        self.sigma = sigma
        side = round(PLACES ** (1 / dims))
        where = torch.ones(samples.shape[1:], dtype=torch.bool) if mask is None else mask
        held = _blocks(where.shape, torch.Generator().manual_seed(seed))
        self.learnt, self.held = (where & ~held).float(), (where & held).float()
        low, high = where.nonzero().amin(0).tolist(), (where.nonzero().amax(0) + 1).tolist()
        self.low = low
        self.size = [min(side, last - first) for first, last in zip(low, high, strict=True)]
        self.room = [last - first - n for first, last, n in zip(low, high, self.size, strict=True)]

    def draw(self, generator: torch.Generator, held_out: bool = False) -> dict[str, Any]:
        """``image``: patch and probed patch (2, C, *size + 2 R); ``label``: what the risk needs."""
        start = [
            first + int(torch.randint(n + 1, (), generator=generator))
            for first, n in zip(self.low, self.room, strict=True)
        ]
        inner = tuple(slice(i, i + n) for i, n in zip(start, self.size, strict=True))
        outer = tuple(slice(s.start, s.stop + 2 * self.radius) for s in inner)
        # White noise has no direction: mirror images of a patch are as good as other patches.
        mirrored = torch.rand(len(inner), generator=generator) < 0.5
        axes = [axis - len(inner) for axis in mirrored.nonzero().flatten().tolist()]
        noisy = self.samples[(slice(None), *outer)].flip(axes)
        weight = (self.held if held_out else self.learnt)[inner].flip(axes)
        probe = torch.randn(noisy.shape, generator=generator)
        centre = (slice(None), *[slice(self.radius, self.radius + n) for n in self.size])
        pair = torch.stack([noisy, noisy + STEP * self.sigma * probe])
        return {"image": pair, "label": (noisy[centre], probe[centre], self.sigma, weight)}


def _blocks(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    # Whole blocks, one in eight: what was learnt by heart nearby is of no use inside them.
    cells = [-(-n // BLOCK) for n in shape]
    held = torch.rand(cells, generator=generator) < 1 / 8
    held.view(-1)[0] = True
    for axis, n in enumerate(shape):
        held = held.repeat_interleave(BLOCK, dim=axis).narrow(axis, 0, n)
    return held


def on_device(batch: dict[str, Any], device: torch.device) -> tuple[Tensor, _Label]:
    """What the operator sees of a batch, and what the risk needs, on a device."""
    noisy, probe, sigma, weight = (each.to(device) for each in batch["label"])
    return batch["image"].to(device), (noisy, probe, sigma, weight)


def risk(answers: Tensor, label: _Label) -> Tensor:
    """Stein's estimate, plus one, in units of the variance of the noise."""
    noisy, probe, sigma, weight = label
    answer, probed = answers
    misfit = ((answer - noisy) / sigma) ** 2
    divergence = probe * (probed - answer) / (sigma * STEP)
    each = (misfit + 2 * divergence).mean(dim=0)
    return (each * weight).sum() / weight.sum().clamp_min(1)
