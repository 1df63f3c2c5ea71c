r"""An operator that takes white noise out of volumes, and carries over from scan to scan.

It sees the noisy values less their mean, and the noise's standard deviation as a second channel,

.. math:: G[y, \sigma] = y + T(h_0 + U h_1), \qquad h_1 = B(D h_0), \quad h_0 = H[y, \sigma],

with kernels on the image's lattice (H, T), half of the work on every second place along each axis
(D, B, U), and no constants anywhere, so that it is homogeneous: :math:`G[cy, c\sigma] = c\,
G[y, \sigma]` for c > 0. One set of weights serves every level of noise and every unit.

References:
    Zhang et al., "Plug-and-Play Image Restoration With Deep Denoiser Prior", TPAMI 2022 (the level
    as a channel).
    Mohan et al., "Robust and Interpretable Blind Image Denoising via Bias-Free Convolutional Neural
    Networks", ICLR 2020.
"""

from __future__ import annotations

import os
from functools import cache
from importlib.resources import as_file, files
from itertools import cycle
from typing import final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from oinr_monai.coding.tensor_file import FileKind, write_tensor_file
from oinr_monai.fitting.checkpoint import fingerprint

from .carried_file import read_carried
from .slice_operator import Block, integral, planes

__all__ = ["CarriedDenoiser", "shipped_denoiser"]

# The most of each that a file may ask for: many times what ours have.
MOST = {"width": 512, "wide": 512, "blocks": 64}

# Voxels beyond the image's borders, in which it is mirrored.
BORDER = 4

# A volume is cleaned in tiles of so many voxels, each with a halo; chosen by hand.
TILE_PLACES = 1_500_000

KIND = FileKind(
    "carried_denoiser",
    "start must be an operator that learn_denoising made and saved, got {path} ({reason})",
)


@final
class CarriedDenoiser(nn.Module):
    """One set of weights for every level of white noise; it starts as the identity.

    Args:
        width: channels at every place.
        wide: channels at every second place.
        blocks: blocks at every second place.

    Example:
        >>> denoiser = CarriedDenoiser(width=4, wide=8, blocks=1)
        >>> noisy = torch.randn(1, 1, 6, 8, 4)
        >>> torch.equal(denoiser(torch.cat([noisy, torch.ones_like(noisy)], dim=1)), noisy)
        True
    """

    def __init__(self, width: int, wide: int, blocks: int) -> None:
        super().__init__()
        self.sizes = {"width": width, "wide": wide, "blocks": blocks}
        kernel = cycle(planes(3))
        self.head = integral(2, width, (3, 3, 3), bias=False)
        self.down = nn.Conv3d(width, wide, 2, stride=2, bias=False)
        self.up = nn.ConvTranspose3d(wide, width, 2, stride=2, bias=False)
        self.tail = integral(width, 1, (3, 3, 3), bias=False)
        self.blocks = nn.ModuleDict(
            {
                "before": Block(width, next(kernel), next(kernel), bias=False),
                "within": nn.Sequential(
                    *[Block(wide, next(kernel), next(kernel), bias=False) for _ in range(blocks)]
                ),
                "after": Block(width, next(kernel), next(kernel), bias=False),
            }
        )
        nn.init.zeros_(self.tail.weight)
        self.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

    def __repr__(self) -> str:
        digest = fingerprint(*self.state_dict().values())
        return f"{type(self).__name__}({', '.join(map(str, self.sizes.values()))}, {digest})"

    @property
    def radius(self) -> int:
        """Voxels around a place that its answer depends on; even, as the places within are."""
        return 2 * (4 + 2 * self.sizes["blocks"])

    def forward(self, seen: Tensor) -> Tensor:
        """Map noisy values and the noise's size (B, 2, x, y, z) to clean ones (B, 1, x, y, z)."""
        x, y, z = seen.shape[2:]
        even = F.pad(seen, (0, z % 2, 0, y % 2, 0, x % 2), mode="replicate")
        even = even.contiguous(memory_format=torch.channels_last_3d)
        fine = self.blocks["before"](self.head(even))
        coarse = self.blocks["within"](self.down(fine))
        found = self.tail(F.relu(self.blocks["after"](fine + self.up(coarse))))
        return seen[:, :1] + found[:, :, :x, :y, :z]

    @torch.no_grad()
    def clean(self, noisy: Tensor, sigma: float) -> Tensor:
        """Take noise of size sigma out of a volume (x, y, z), tile by tile along its first axis.

        The volume is mirrored beyond its borders.
        """
        middle = noisy.mean()
        padded = _mirrored(noisy - middle)[None, None]
        rows = 2 * max(TILE_PLACES // (2 * padded[0, 0, 0].numel()), 1)
        parts = []
        for start in range(0, padded.shape[2], rows):
            stop = min(start + rows, padded.shape[2])
            low = max(start - self.radius, 0)
            part = padded[:, :, low : stop + self.radius]
            answer = self(torch.cat([part, torch.full_like(part, sigma)], dim=1))[0, 0]
            parts.append(answer[start - low : stop - low].float())
        inner = tuple(slice(BORDER, BORDER + n) for n in noisy.shape)
        return torch.cat(parts)[inner] + middle

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the operator, complete or not at all.

        Raises:
            OSError: if the file cannot be written.
        """
        write_tensor_file(path, KIND.key, self.sizes, self.state_dict())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> CarriedDenoiser:
        """Read an operator, from a file that may hold anything.

        Raises:
            OSError: if there is no such file.
            ValueError: if it holds no such operator, or is damaged.
        """
        return read_carried(path, KIND, MOST, cls)


@cache
def shipped_denoiser() -> CarriedDenoiser:
    """The operator that the package ships, which ``scripts/learn_denoising.py`` made.

    Example:
        >>> shipped_denoiser().sizes["blocks"]
        4
    """
    with as_file(files("oinr_monai.restoration") / "denoising.safetensors") as path:
        return CarriedDenoiser.load(path)


def _mirrored(volume: Tensor) -> Tensor:
    return torch.from_numpy(np.pad(volume.cpu().numpy(), BORDER, mode="symmetric")).to(volume)
