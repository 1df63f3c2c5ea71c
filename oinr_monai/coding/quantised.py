"""Chunks with an error: coefficients of wavelets in steps, and samples that are put right."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .coders import Coder
from .coefficients import read_coefficients, write_coefficients
from .entropy import packed, unpacked
from .tokens import LARGEST
from .wavelets import analyse, subbands, synthesise

__all__ = ["Wavelets"]

# A coefficient is rounded up from this part of a step on: small ones cost more than they are worth.
# Chosen by hand.
ROUNDED_UP = 0.64

# Sizes whose mean is told, so that they are put back where most of them were: 1, 2, and the others.
TOLD = 3

CPU = torch.device("cpu")

# Before the coefficients: the means, in 1/128 of a step, samples put right, and bytes of those.
HEAD = struct.Struct(f"<{TOLD}bII")

# A part of the error that samples put right may be off by: steps of twice as much.
PUT_RIGHT = 0.95


@final
@dataclass(frozen=True)
class Wavelets(Coder):
    """Coefficients of CDF 9/7 in steps of the same size, and samples that are off put right.

    Args:
        step: size of a step, of coefficients of norm 1.
        error: what no sample may be off by; 0 where any may.
        device: where coefficients become samples.
    """

    step: float
    error: float = 0.0
    device: torch.device = CPU

    def distortion(self, coefficients: Tensor) -> float:
        """The mean squared error of samples whose coefficients are given, nearly."""
        scaled = coefficients / self._sizes(coefficients)
        sizes = torch.floor(scaled.abs() + (1 - ROUNDED_UP))
        off = scaled.abs() - sizes
        off -= _shifts(_means(off, sizes), sizes)
        return self.step**2 * float(off.square().mean(dtype=torch.float64))

    def encode(self, values: Tensor) -> list[bytes | None]:
        """Means, samples that are put right, and the steps of every coefficient."""
        scaled = analyse(values) / self._sizes(values)
        sizes = torch.floor(scaled.abs() + (1 - ROUNDED_UP))
        if float(sizes.max()) > LARGEST:
            return [None] * len(values)
        means = _means(scaled.abs() - sizes, sizes)
        steps = torch.where(scaled < 0, -sizes, sizes)
        data = write_coefficients(steps.to(torch.int32).cpu().numpy())
        rights = self._rights(values, steps, means)
        return [
            HEAD.pack(*mean, count, len(right)) + right + each
            for mean, (count, right), each in zip(means.tolist(), rights, data, strict=True)
        ]

    def decode(self, data: Sequence[bytes], shape: tuple[int, ...]) -> Tensor:
        """The samples that the coefficients make, put right."""
        if any(len(each) < HEAD.size for each in data):
            raise ValueError("a chunk without its means")
        heads = [HEAD.unpack_from(each) for each in data]
        firsts = [HEAD.size + head[-1] for head in heads]
        steps = read_coefficients([each[at:] for each, at in zip(data, firsts, strict=True)], shape)
        means = torch.tensor([head[:TOLD] for head in heads])
        values = self._samples(torch.from_numpy(steps).to(self.device, torch.float32), means)
        for chunk, each, head in zip(values, data, heads, strict=True):
            self._put_right(chunk.view(-1), head[-2], each[HEAD.size : HEAD.size + head[-1]])
        return values

    def _sizes(self, values: Tensor) -> Tensor:
        return self.step * _unit_sizes(tuple(values.shape[1:])).to(values.device)

    def _samples(self, steps: Tensor, means: Tensor) -> Tensor:
        shift = _shifts(means, steps.abs())
        coefficients = (steps + shift * steps.sign()) * self._sizes(steps)
        # One by one: products of several chunks at once may be rounded in another way.
        return torch.cat([synthesise(each[None]) for each in coefficients])

    def _rights(self, values: Tensor, steps: Tensor, means: Tensor) -> list[tuple[int, bytes]]:
        """For each chunk, how many samples are put right, and which, by how much."""
        if not self.error:
            return [(0, b"")] * len(values)
        off = (values - self._samples(steps, means)).flatten(1).cpu()
        return [self._right(each.numpy()) for each in off]

    def _right(self, off: NDArray[np.float32]) -> tuple[int, bytes]:
        # What float32 rounds away when the sample is put right is less than the part that is left.
        places = np.flatnonzero(np.abs(off) > self.error)
        if not len(places):
            return 0, b""
        by = np.round(off[places] / (2 * PUT_RIGHT * self.error)).clip(-(2**15), 2**15 - 1)
        gaps = np.diff(places, prepend=0).astype(np.uint32)
        columns = [gaps.view(np.uint8).reshape(-1, 4), by.astype(np.int16).view(np.uint8)]
        every = np.concatenate([columns[0], columns[1].reshape(-1, 2)], axis=1)
        return len(places), packed(np.ascontiguousarray(every.T))

    def _put_right(self, samples: Tensor, count: int, data: bytes) -> None:
        if count == 0:
            return
        if count > len(samples):
            raise ValueError("more samples put right than there are")
        every = np.ascontiguousarray(unpacked(data, 6 * count).reshape(6, count).T)
        places = np.ascontiguousarray(every[:, :4]).view(np.uint32)[:, 0].astype(np.int64).cumsum()
        if places[-1] >= len(samples):
            raise ValueError("a sample put right that is not there")
        by = np.ascontiguousarray(every[:, 4:]).view(np.int16)[:, 0].astype(np.float32)
        amounts = torch.from_numpy(by) * (2 * PUT_RIGHT * self.error)
        samples[torch.from_numpy(places).to(self.device)] += amounts.to(self.device)


def _kinds(sizes: Tensor) -> list[Tensor]:
    """Where sizes are 1, 2, ... and ``TOLD`` or more."""
    return [*(sizes == size for size in range(1, TOLD)), sizes >= TOLD]


def _means(off: Tensor, sizes: Tensor) -> Tensor:
    """For each chunk, how far sizes of a kind are off in the mean, (B, TOLD), in 1/128."""
    sums = [(off * kind).flatten(1).sum(1) / kind.flatten(1).sum(1) for kind in _kinds(sizes)]
    means = torch.stack(sums, dim=1).nan_to_num(0.0)
    return (128 * means).round().clamp(-127, 127).to(torch.int32)


def _shifts(means: Tensor, sizes: Tensor) -> Tensor:
    """The mean of the kind of each size."""
    shift = torch.zeros_like(sizes)
    for mean, kind in zip(means.to(sizes.device, sizes.dtype).T / 128, _kinds(sizes), strict=True):
        shift += kind * mean.view(-1, *[1] * (sizes.ndim - 1))
    return shift


@lru_cache(maxsize=64)
def _unit_sizes(shape: tuple[int, ...]) -> Tensor:
    sizes = torch.empty(shape)
    for band in subbands(shape):
        sizes[band.box] = 1 / band.norm
    return sizes
