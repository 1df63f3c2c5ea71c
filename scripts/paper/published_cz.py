"""The published Calderon-Zygmund operator on images, rebuilt from the facts of its code.

References:
    Pal et al., "Implicit Representations via Operator Learning", ICML 2024, and the released
    code, https://github.com/vsingh-group/oinr; the non-standard form of an operator in wavelets
    is that of Beylkin, Coifman, Rokhlin, "Fast Wavelet Transforms and Numerical Algorithms I",
    Comm. Pure Appl. Math. 1991.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn as nn
import torch.nn.functional as F
from pytorch_wavelets import DWT1DForward, DWT1DInverse
from torch import Tensor

from scripts.paper.published import WholeImage, checked, noisy_encoding


class BandedLayer(nn.Module):
    """Many small convolutions side by side, each with another kernel in each piece of the signal.

    Every pair of latent channels has a map of its own from (detail, approximation) to (detail,
    approximation), of width 3, in each of 6 equally long pieces; what does not divide goes to
    the last piece. Weights start normal with variance 2 / (latent 2 2 pieces width), biases
    normal with standard deviation 0.02.

    Args:
        latent: the latent channels, whose pairs are latent².
    """

    pieces = 6
    width = 3

    def __init__(self, latent: int) -> None:
        super().__init__()
        pairs = latent**2
        std = math.sqrt(2 / (latent * 2 * 2 * self.pieces * self.width))
        self.weight = nn.Parameter(std * torch.randn(self.pieces, 2 * pairs, 2, self.width))
        self.bias = nn.Parameter(0.02 * torch.randn(self.pieces, 2 * pairs))

    def forward(self, signal: Tensor) -> Tensor:
        """Map (B, 2 pairs, L) to (B, 2 pairs, L), zeros around."""
        length = signal.shape[-1] // self.pieces
        cuts = [*(i * length for i in range(self.pieces)), signal.shape[-1]]
        padded = F.pad(signal, (self.width // 2, self.width // 2))
        groups = signal.shape[1] // 2
        parts = [
            F.conv1d(padded[..., a : b + self.width - 1], weight, bias, groups=groups)
            for (a, b), weight, bias in zip(pairwise(cuts), self.weight, self.bias, strict=True)
            if b > a
        ]
        return torch.cat(parts, dim=-1)


class DenseLayer(nn.Module):
    """A full matrix along the signal for every pair of latent channels, without bias.

    Starts normal with variance 2 / (latent length²), as published.
    """

    def __init__(self, latent: int, length: int) -> None:
        super().__init__()
        std = math.sqrt(2 / (latent * length**2))
        self.weight = nn.Parameter(std * torch.randn(latent**2, length, length))

    def forward(self, signal: Tensor) -> Tensor:
        """Map (B, pairs, length) to (B, pairs, length)."""
        return torch.einsum("ptq,bpq->bpt", self.weight, signal)


class WaveletOperator(nn.Module):
    """An operator on sequences in the non-standard wavelet form, rectifiers after each layer.

    A linear map takes the encoding to the latent channels; db2 wavelets take these apart level by
    level. Every pair (output, input) of latent channels has banded layers on the (detail,
    approximation) of each level and dense layers on the coarsest approximation; their results are
    put together again from the coarsest level up, summed over the inputs, and mapped to the signal.

    Args:
        in_channels: channels of the encoding.
        out_channels: channels of the signal.
        length: length of the sequence, a multiple of 2^levels.

    Raises:
        ValueError: if ``length`` is not a multiple of 2^levels.
    """

    latent = 20
    levels = 10
    depth = 4

    def __init__(self, in_channels: int, out_channels: int, length: int) -> None:
        super().__init__()
        if length % 2**self.levels:
            raise ValueError(f"length must be a multiple of {2**self.levels}, got {length}")
        self.first = nn.Linear(in_channels, self.latent, bias=False)
        self.dense = nn.Sequential(*[self._dense(length >> self.levels) for _ in range(self.depth)])
        self.banded = nn.ModuleList(self._banded() for _ in range(self.levels))
        self.last = nn.Linear(self.latent, out_channels, bias=False)
        self.down = DWT1DForward(wave="db2", J=1, mode="periodization")
        self.up = DWT1DInverse(wave="db2", mode="periodization")

    def _dense(self, length: int) -> nn.Sequential:
        return nn.Sequential(DenseLayer(self.latent, length), nn.ReLU())

    def _banded(self) -> nn.Sequential:
        layers = [
            layer for _ in range(self.depth) for layer in (BandedLayer(self.latent), nn.ReLU())
        ]
        return nn.Sequential(*layers)

    def forward(self, sequence: Tensor) -> Tensor:
        """Map (B, L, in_channels) to (B, L, out_channels)."""
        approximation = F.relu(self.first(sequence)).transpose(1, 2)
        pairs = []
        for _ in range(self.levels):
            approximation, (detail,) = self.down(approximation)
            pairs.append(torch.stack([detail, approximation], dim=2))
        answer = self.dense(approximation.repeat(1, self.latent, 1))
        for pair, banded in zip(reversed(pairs), reversed(self.banded), strict=True):
            answer = self._finer(answer, banded(pair.flatten(1, 2).repeat(1, self.latent, 1)))
        summed = answer.unflatten(1, (self.latent, self.latent)).sum(dim=2)
        return self.last(summed.transpose(1, 2))

    def _finer(self, coarse: Tensor, level: Tensor) -> Tensor:
        # (B, pairs, L) and (B, 2 pairs, L) to (B, pairs, 2 L)
        detail, approximation = level.unflatten(1, (-1, 2)).unbind(dim=2)
        parts = ((coarse + approximation).flatten(0, 1)[:, None], detail.flatten(0, 1)[:, None])
        finer = self.up((parts[0], [parts[1]]))
        return finer[:, 0].unflatten(0, coarse.shape[:2])


class FlattenedOperator(nn.Module):
    """The operator on images, flattened to sequences line by line."""

    def __init__(self, operator: WaveletOperator) -> None:
        super().__init__()
        self.operator = operator

    def forward(self, field: Tensor) -> Tensor:
        """Map (B, E, X, Y) to (B, C, X, Y)."""
        signal = self.operator(field.flatten(2).transpose(1, 2))
        return signal.transpose(1, 2).unflatten(2, field.shape[2:])


class PublishedCZ(WholeImage):
    """The published Calderon-Zygmund operator, the encoding with one noise channel.

    Args:
        image: intensities in [0, 1], shape (C, X, Y), X Y a multiple of 1024.
    """

    published_steps = 2_000
    learning_rate = 1e-3
    octaves = 10
    published_parameters: dict[tuple[int, ...], int] = {(1, 256, 256): 7_898_440}

    def __init__(self, image: Tensor) -> None:
        shape = tuple(image.shape)
        operator = WaveletOperator(4 * self.octaves + 1, shape[0], math.prod(shape[1:]))
        network = checked(FlattenedOperator(operator), self.published_parameters.get(shape))
        field = noisy_encoding(shape[1:], self.octaves)
        super().__init__(network, "O-INR, published Calderon-Zygmund recipe", field, image)
