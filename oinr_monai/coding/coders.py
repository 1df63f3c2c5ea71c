"""Coders of chunks: each makes bytes of the samples of some chunks of one shape, and back."""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from .entropy import packed, unpacked
from .wavelets import analyse, subbands, synthesise

__all__ = ["Coder", "Constant", "Floats", "Integers", "Wavelets", "coder_of"]


class Coder(ABC):
    """Makes bytes of chunks, and chunks of bytes, which may be anybody's."""

    @abstractmethod
    def encode(self, values: Tensor) -> list[bytes | None]:
        """The bytes of chunks (B, *shape), float32; None of one that this coder cannot keep."""

    @abstractmethod
    def decode(self, data: Sequence[bytes], shape: tuple[int, ...]) -> Tensor:
        """The chunks (B, *shape), float32.

        Raises:
            ValueError: if the bytes are not of such chunks.
        """


@final
class Constant(Coder):
    """One number for all samples of a chunk."""

    def encode(self, values: Tensor) -> list[bytes | None]:
        """Four bytes, where all samples are equal."""
        flat = values.flatten(1)
        same = (flat == flat[:, :1]).all(1)
        return [
            struct.pack("<f", float(each[0])) if equal else None
            for each, equal in zip(flat, same.tolist(), strict=True)
        ]

    def decode(self, data: Sequence[bytes], shape: tuple[int, ...]) -> Tensor:
        """The number, everywhere."""
        if any(len(each) != 4 for each in data):
            raise ValueError("a constant chunk that is not a number")
        numbers = torch.tensor([struct.unpack("<f", each)[0] for each in data])
        return numbers.view(-1, *[1] * len(shape)).expand(-1, *shape).clone()


@final
class Floats(Coder):
    """The four bytes of each sample, those of a rank together."""

    def encode(self, values: Tensor) -> list[bytes | None]:
        """Planes of bytes, packed."""
        return [packed(np.ascontiguousarray(_bytes_of(each).T)) for each in values]

    def decode(self, data: Sequence[bytes], shape: tuple[int, ...]) -> Tensor:
        """Every bit as it was."""
        voxels = int(np.prod(shape))
        planes = [unpacked(each, 4 * voxels).reshape(4, voxels).T for each in data]
        chunks = [np.ascontiguousarray(each).view(np.float32).reshape(shape) for each in planes]
        return torch.from_numpy(np.stack(chunks))


def _bytes_of(values: Tensor) -> np.ndarray:
    return values.cpu().contiguous().numpy().view(np.uint8).reshape(-1, 4)


@final
@dataclass(frozen=True)
class Integers(Coder):
    """Whole numbers k that the samples ``slope k + intercept`` are made of.

    Args:
        slope: what a step of the whole numbers is in the samples.
        intercept: the sample of 0.
    """

    slope: float
    intercept: float

    def encode(self, values: Tensor) -> list[bytes | None]:
        """Differences along the last axis, packed; None where samples are no such numbers."""
        found: list[bytes | None] = []
        for each in values:
            steps = torch.round((each.double() - self.intercept) / self.slope)
            fits = (
                bool(torch.equal(self._samples(steps), each)) and float(steps.abs().max()) < 2**30
            )
            found.append(self._packed(steps) if fits else None)
        return found

    def decode(self, data: Sequence[bytes], shape: tuple[int, ...]) -> Tensor:
        """The samples that the numbers make."""
        voxels = int(np.prod(shape))
        chunks = []
        for each in data:
            planes = unpacked(each, 4 * voxels).reshape(4, voxels).T
            differences = np.ascontiguousarray(planes).view(np.int32).reshape(shape)
            steps = torch.from_numpy(differences.astype(np.int64).cumsum(-1))
            chunks.append(self._samples(steps.double()))
        return torch.stack(chunks)

    def _samples(self, steps: Tensor) -> Tensor:
        return (steps.double() * self.slope + self.intercept).float()

    def _packed(self, steps: Tensor) -> bytes:
        differences = np.diff(steps.cpu().numpy().astype(np.int32), prepend=np.int32(0))
        return packed(np.ascontiguousarray(differences.view(np.uint8).reshape(-1, 4).T))


@final
@dataclass(frozen=True)
class Wavelets(Coder):
    """Coefficients of a wavelet transform in steps of the same size.

    Args:
        step: size of a step, of coefficients of norm 1.
    """

    step: float

    def encode(self, values: Tensor) -> list[bytes | None]:
        """The steps of every coefficient, packed."""
        coefficients = analyse(values)
        steps = torch.round(coefficients / self._sizes(values))
        planes = steps.to(torch.int32).cpu().numpy().view(np.uint8).reshape(len(values), -1, 4)
        return [packed(np.ascontiguousarray(each.T)) for each in planes]

    def decode(self, data: Sequence[bytes], shape: tuple[int, ...]) -> Tensor:
        """The samples that the coefficients make."""
        voxels = int(np.prod(shape))
        planes = [unpacked(each, 4 * voxels).reshape(4, voxels).T for each in data]
        steps = [np.ascontiguousarray(each).view(np.int32).reshape(shape) for each in planes]
        coefficients = torch.from_numpy(np.stack(steps)).float()
        return synthesise(coefficients * self._sizes(coefficients))

    def _sizes(self, values: Tensor) -> Tensor:
        sizes = torch.empty(values.shape[1:])
        for band in subbands(tuple(values.shape[1:])):
            sizes[band.box] = self.step / band.norm
        return sizes.to(values.device)


def coder_of(number: int, slope: float, intercept: float, step: float) -> Coder:
    """The coder that a file's index calls by a number.

    Raises:
        ValueError: if there is none.
    """
    coders: list[Coder] = [Constant(), Floats(), Integers(slope, intercept), Wavelets(step)]
    if not 0 <= number < len(coders):
        raise ValueError(f"a coder {number} that is not known; upgrade oinr-monai")
    return coders[number]
