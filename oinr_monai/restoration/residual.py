"""The operator that learns to denoise from one image alone."""

from __future__ import annotations

from typing import final

import numpy as np
import torch
from torch import Tensor, nn

from oinr_monai.operators.conv import ConvOINR

from .cleaner import Cleaner

__all__ = ["Residual"]


# Hidden channels and kernel width of the operator, for each number of dimensions: in 3-D those of
# docs/measured/denoising.md, in 2-D and 1-D chosen by hand.
OPERATORS = {1: ((16, 16), 9), 2: ((16, 16), 5), 3: ((16, 16), 3)}

# Voxels of a whole image that are cleaned at a time; chosen by hand.
SLAB_PLACES = 200_000

# Slope of the sines through which the noisy image passes the operator as it is: off by slope² z³ /
# 6 at z standard deviations.
SLOPE = 0.003


@final
class Residual(Cleaner):
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

    @property
    def halo(self) -> int:
        """The radius of the operator."""
        return self.operator.radius

    def forward(self, noisy: Tensor) -> Tensor:
        """Noisy patches (B, C, *size + 2 halo) to clean ones (B, C, *size)."""
        radius = self.halo
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
