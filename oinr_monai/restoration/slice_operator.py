r"""The operator of super-resolution: it reads a coarse lattice and answers at finer places.

A voxel of the coarse lattice holds a whole number of finer ones along each axis. The operator is a
chain of kernel integrals on the coarse lattice, whose nodes lie at fixed offsets in mm, and its
last layer writes the values at the fine places within each coarse voxel,

.. math:: G[y](x_i + \delta_j) = \sum_o W_{jo} h(x_i + o \circ s) + b_j,

so that all of its work is done on the few coarse voxels.

References:
    Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel
    Convolutional Neural Network", CVPR 2016 (the last layer).
    Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPR
    Workshops 2017 (the blocks).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import cycle

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["LEAK", "Block", "SliceOperator", "integral", "planes"]


# Places of the fine lattice are worked out in tiles of so many coarse voxels, each with a halo;
# chosen by hand.
TILE_PLACES = 2_000_000


# Coarse voxels by which an image is continued, beyond which there are zeros, as around the patches
# that are learned from: there, what is one coarse voxel from the zeros counts.
BORDER = 3


# Slope of the last activation on its negative side; chosen by hand.
LEAK = 0.1


class SliceOperator(nn.Module):
    """Residual blocks of kernel integrals, and one value per fine place at the end.

    It starts as zero, so that what it is added to is where learning begins.

    Args:
        spatial_dims: number of spatial dimensions D, 2 or 3.
        channels: channels C of the image.
        factor: fine places in a coarse voxel along each axis.
        width: channels of the blocks.
        blocks: number of blocks, of two integrals each.

    Example:
        >>> operator = SliceOperator(3, channels=1, factor=(1, 1, 4), width=8, blocks=1)
        >>> operator(torch.zeros(2, 1, 6, 7, 5)).shape
        torch.Size([2, 1, 6, 7, 20])
    """

    def __init__(
        self, spatial_dims: int, channels: int, factor: Sequence[int], width: int, blocks: int
    ) -> None:
        super().__init__()
        self.spatial_dims, self.channels, self.factor = spatial_dims, channels, tuple(factor)
        self.head = integral(channels, width, (3,) * spatial_dims)
        kernels = cycle(planes(spatial_dims))
        self.blocks = nn.Sequential(
            *[Block(width, next(kernels), next(kernels)) for _ in range(blocks)]
        )
        self.tail = integral(width, channels * math.prod(factor), (3,) * spatial_dims)
        for name in ("weight", "bias"):
            nn.init.zeros_(self.tail.get_parameter(name))
        self.to(memory_format=_channels_last(spatial_dims))  # type: ignore[call-overload]

    @property
    def radius(self) -> int:
        """Coarse voxels around a place that its answer depends on."""
        return 2 * len(self.blocks) + 2

    def forward(self, coarse: Tensor) -> Tensor:
        """Map (B, C, *coarse) to (B, C, *fine)."""
        coarse = coarse.contiguous(memory_format=_channels_last(self.spatial_dims))
        h = self.blocks(self.head(coarse))
        # The leak keeps a gradient where all of the stream has turned negative.
        answers = self.tail(F.leaky_relu(h, LEAK))
        return _spread(answers, self.channels, self.factor)

    @torch.no_grad()
    def whole(self, coarse: Tensor) -> Tensor:
        """Map a whole image (C, *coarse) to (C, *fine), tile by tile along its first axis.

        The image is continued beyond its borders by their own values.
        """
        plane = math.prod(coarse.shape[2:])
        rows = max(TILE_PLACES // plane, 1)
        padded = F.pad(coarse[None], (BORDER,) * 2 * self.spatial_dims, mode="replicate")
        parts = []
        for start in range(0, coarse.shape[1], rows):
            stop = min(start + rows, coarse.shape[1])
            low = max(start + BORDER - self.radius, 0)
            answer = self(padded[:, :, low : stop + BORDER + self.radius])[0].float()
            first = (start + BORDER - low, *[BORDER] * (self.spatial_dims - 1))
            inner = zip(first, (stop - start, *coarse.shape[2:]), self.factor, strict=True)
            window = [slice(a * f, (a + n) * f) for a, n, f in inner]
            parts.append(answer[(slice(None), *window)])
        return torch.cat(parts, dim=1)


class Block(nn.Module):
    """x + K2 relu(a K1 x + b), nearly x at first; with or without constants."""

    def __init__(
        self, width: int, first: Sequence[int], second: Sequence[int], bias: bool = True
    ) -> None:
        super().__init__()
        self.first = integral(width, width, first, bias)
        self.second = integral(width, width, second, bias)
        with torch.no_grad():
            self.second.weight.mul_(0.1)
            if bias:
                self.second.get_parameter("bias").zero_()

    def forward(self, x: Tensor, gain: Tensor | None = None, move: Tensor | None = None) -> Tensor:
        """Map (B, width, *coarse) to the same shape.

        Args:
            x: features.
            gain: a, for each channel (B, width, 1, ...); 1 if None.
            move: b, likewise; 0 if None.
        """
        inner = self.first(x)
        if gain is not None:
            inner = inner * gain
        if move is not None:
            inner = inner + move
        increment: Tensor = self.second(F.relu(inner))
        return x + increment


def planes(dims: int) -> list[tuple[int, ...]]:
    """Kernels of blocks, to be taken by turns: in three dimensions in the planes of two axes.

    That is a third of the cost of cubes.
    """
    if dims == 2:
        return [(3, 3)]
    return [(3, 3, 1), (1, 3, 3), (3, 1, 3)]


def integral(
    before: int, after: int, kernel: Sequence[int], bias: bool = True
) -> nn.Conv2d | nn.Conv3d:
    """A kernel integral on a lattice, between channels, that keeps its size."""
    kind = nn.Conv2d if len(kernel) == 2 else nn.Conv3d
    padding = tuple(k // 2 for k in kernel)
    return kind(before, after, tuple(kernel), padding=padding, bias=bias)  # type: ignore[arg-type]


def _channels_last(dims: int) -> torch.memory_format:
    return torch.channels_last if dims == 2 else torch.channels_last_3d


def _spread(answers: Tensor, channels: int, factor: Sequence[int]) -> Tensor:
    # (B, C f1 f2 .., n1, n2, ..) to (B, C, n1 f1, n2 f2, ..)
    dims = len(factor)
    split = answers.unflatten(1, (channels, *factor))
    order = [0, 1] + [axis for d in range(dims) for axis in (2 + dims + d, 2 + d)]
    fine = split.permute(order)
    shape = [n * f for n, f in zip(answers.shape[2:], factor, strict=True)]
    return fine.reshape(len(answers), channels, *shape)
