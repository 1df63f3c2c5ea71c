r"""An operator that takes noise out of volumes, and carries over from scan to scan.

It sees the noisy values less their mean, and as further channels what is told of the noise: its
standard deviation :math:`\sigma`, and :math:`\sigma_d = \sigma \sqrt{1 - \rho_d}` where neighbours
along axis d correlate by :math:`\rho_d`, which is the size of their difference over the root of 2
(all are alike where noise is white),

.. math:: G[y, s] = y + T(h_0 + U h_1), \qquad h_1 = B(D h_0), \quad h_0 = H[y, s], \qquad
          s = (\sigma, \sigma_1, \sigma_2, \sigma_3),

with kernels on the image's lattice (H, T), half of the work on every second place along each axis
(D, B, U), and no constants anywhere, so that it is homogeneous: :math:`G[cy, cs] = c\, G[y, s]` for
c > 0. One set of weights serves every level of noise and every unit.

References:
    Zhang et al., "Plug-and-Play Image Restoration With Deep Denoiser Prior", TPAMI 2022 (the level
    as a channel).
    Mohan et al., "Robust and Interpretable Blind Image Denoising via Bias-Free Convolutional Neural
    Networks", ICLR 2020.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from importlib.resources import as_file, files
from itertools import cycle
from typing import Any, final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from oinr_monai.coding.tensor_file import FileKind, write_tensor_file
from oinr_monai.fitting.checkpoint import fingerprint
from oinr_monai.grids.constants import constant
from oinr_monai.scanner.smooth_noise import correlation

from .carried_file import read_carried
from .slice_operator import Block, integral, planes

__all__ = ["CarriedDenoiser", "shipped_denoiser", "told_noise"]

# The most of each that a file may ask for: many times what ours have.
MOST = {"width": 512, "wide": 512, "blocks": 64}

# What it sees: noisy values, and what is told of the noise.
SEEN = 5

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
    """One set of weights for every level of noise, white or smooth; it starts as the identity.

    Args:
        width: channels at every place.
        wide: channels at every second place.
        blocks: blocks at every second place.

    Example:
        >>> denoiser = CarriedDenoiser(width=4, wide=8, blocks=1)
        >>> noisy = torch.randn(6, 8, 4)
        >>> torch.allclose(denoiser.clean(noisy, sigma=0.5), noisy, atol=1e-6)
        True
    """

    def __init__(self, width: int, wide: int, blocks: int) -> None:
        super().__init__()
        self.sizes = {"width": width, "wide": wide, "blocks": blocks}
        kernel = cycle(planes(3))
        self.head = integral(SEEN, width, (3, 3, 3), bias=False)
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
        """Map noisy values and what is told (B, 5, x, y, z) to clean ones (B, 1, x, y, z)."""
        x, y, z = seen.shape[2:]
        even = F.pad(seen, (0, z % 2, 0, y % 2, 0, x % 2), mode="replicate")
        even = even.contiguous(memory_format=torch.channels_last_3d)
        fine = self.blocks["before"](self.head(even))
        coarse = self.blocks["within"](self.down(fine))
        found = self.tail(F.relu(self.blocks["after"](fine + self.up(coarse))))
        return seen[:, :1] + found[:, :, :x, :y, :z]

    @torch.no_grad()
    def clean(self, noisy: Tensor, sigma: float, smoothing: Sequence[float] = ()) -> Tensor:
        """Take noise out of a volume, tile by tile along its first axis.

        The volume is mirrored beyond its borders.

        Args:
            noisy: (x, y, z).
            sigma: standard deviation of the noise.
            smoothing: of the noise along each axis, in voxels; none where it is white.
        """
        middle = noisy.mean()
        padded = _mirrored(noisy - middle)[None, None]
        kind: dict[str, Any] = {"dtype": padded.dtype, "device": padded.device}
        told = constant(told_noise, sigma, tuple(smoothing), **kind).view(1, -1, 1, 1, 1)
        rows = 2 * max(TILE_PLACES // (2 * padded[0, 0, 0].numel()), 1)
        parts = []
        for start in range(0, padded.shape[2], rows):
            stop = min(start + rows, padded.shape[2])
            low = max(start - self.radius, 0)
            part = padded[:, :, low : stop + self.radius]
            seen = torch.cat([part, told.expand(-1, -1, *part.shape[2:])], dim=1)
            parts.append(self(seen)[0, 0, start - low : stop - low].float())
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


def told_noise(sigma: float, smoothing: Sequence[float] = ()) -> Tensor:
    """What an operator is told of noise (4,): its size, and that of differences along each axis.

    Example:
        >>> told_noise(2.0).tolist()
        [2.0, 2.0, 2.0, 2.0]
    """
    alike = [correlation(width, lag=1) for width in smoothing or (0.0,) * 3]
    return sigma * torch.tensor([1.0, *((1 - each) ** 0.5 for each in alike)])


def _mirrored(volume: Tensor) -> Tensor:
    for axis, size in enumerate(volume.shape):
        places = constant(_mirrored_places, size, dtype=torch.long, device=volume.device)
        volume = volume.index_select(axis, places)
    return volume


def _mirrored_places(size: int) -> Tensor:
    return torch.from_numpy(np.pad(np.arange(size), BORDER, mode="symmetric"))
