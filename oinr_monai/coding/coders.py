"""Coders of chunks: each makes bytes of the samples of some chunks of one shape, and back."""

from __future__ import annotations

import math
import struct
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .coefficients import read_coefficients, write_coefficients
from .entropy import packed, unpacked
from .pictures import FAST, packed_picture, unpacked_picture
from .tokens import LARGEST
from .wavelets import analyse_integers, synthesise_integers

__all__ = ["Coder", "Constant", "Deltas", "Floats", "Lifted", "Pictures", "Scale"]


# Before a picture: the least number, and whether it is of 16 bits, and turned.
PICTURE = struct.Struct("<iB")


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
        return [_planes(each) for each in values.cpu().contiguous().numpy()]

    def decode(self, data: Sequence[bytes], shape: tuple[int, ...]) -> Tensor:
        """Every bit as it was."""
        return torch.from_numpy(np.stack([_of_planes(each, shape, np.float32) for each in data]))


def _planes(values: NDArray[np.float32] | NDArray[np.int32]) -> bytes:
    return packed(np.ascontiguousarray(values.view(np.uint8).reshape(-1, 4).T))


def _of_planes(data: bytes, shape: tuple[int, ...], kind: type) -> NDArray[np.generic]:
    planes = unpacked(data, 4 * math.prod(shape)).reshape(4, -1)
    return np.ascontiguousarray(planes.T).view(kind).reshape(shape)


@final
@dataclass(frozen=True)
class Scale:
    """Whole numbers k that samples ``slope k + intercept`` are made of.

    Args:
        slope: what a step of the whole numbers is in the samples.
        intercept: the sample of 0.
    """

    slope: float = 1.0
    intercept: float = 0.0

    def whole(self, values: Tensor) -> tuple[NDArray[np.int32], list[bool]]:
        """The whole numbers of chunks (B, *shape), and of which chunks they are all."""
        if (self.slope, self.intercept) == (1.0, 0.0):
            steps = values.round()
        else:
            steps = torch.round((values.double() - self.intercept) / self.slope)
        fits = (self.samples(steps) == values) & (steps.abs() < LARGEST >> 3)
        kept = torch.where(fits, steps, 0.0).to(torch.int32).cpu().numpy()
        return kept, fits.flatten(1).all(1).tolist()

    def samples(self, steps: Tensor) -> Tensor:
        """The samples that whole numbers make, as they are made when an image is read."""
        if (self.slope, self.intercept) == (1.0, 0.0):
            return steps.float()
        return (steps.double() * self.slope + self.intercept).float()


@dataclass(frozen=True)
class WholeNumbers(Coder):
    """Coders of samples that are whole numbers.

    Args:
        scale: of which whole numbers samples are made.
    """

    scale: Scale

    def encode(self, values: Tensor) -> list[bytes | None]:
        """The bytes of chunks; None where samples are no such numbers, or too far apart."""
        steps, fits = self.scale.whole(values)
        data = iter(self.pack(steps if all(fits) else steps[fits]) if any(fits) else ())
        return [next(data) if fit else None for fit in fits]

    def decode(self, data: Sequence[bytes], shape: tuple[int, ...]) -> Tensor:
        """The samples that the numbers make."""
        return self.scale.samples(self.unpack(data, shape))

    @abstractmethod
    def pack(self, steps: NDArray[np.int32]) -> Sequence[bytes | None]:
        """The bytes of whole numbers (B, *shape)."""

    @abstractmethod
    def unpack(self, data: Sequence[bytes], shape: tuple[int, ...]) -> Tensor:
        """The whole numbers (B, *shape) of bytes, which may be anybody's."""


@final
@dataclass(frozen=True)
class Deltas(WholeNumbers):
    """Differences of whole numbers along the last axis, packed."""

    def pack(self, steps: NDArray[np.int32]) -> list[bytes]:
        """Planes of bytes of the differences."""
        return [_planes(np.diff(each, prepend=np.int32(0))) for each in steps]

    def unpack(self, data: Sequence[bytes], shape: tuple[int, ...]) -> Tensor:
        """Their sums."""
        chunks = [_of_planes(each, shape, np.int32).astype(np.int64).cumsum(-1) for each in data]
        return torch.from_numpy(np.stack(chunks))


@final
@dataclass(frozen=True)
class Pictures(WholeNumbers):
    """Whole numbers within 16 bits of their least, the planes of a chunk below each other.

    Args:
        scale: of which whole numbers samples are made.
        turned: whether rows of the picture lie along the first axis, not along the last.
        effort: that of the encoder.
    """

    turned: bool = False
    effort: int = FAST

    def pack(self, steps: NDArray[np.int32]) -> list[bytes | None]:
        """The least number, two flags and a picture."""
        return [self._one(each) for each in steps]

    def unpack(self, data: Sequence[bytes], shape: tuple[int, ...]) -> Tensor:
        """The numbers of each picture."""
        return torch.from_numpy(np.stack([self._of(each, shape) for each in data]))

    def _one(self, steps: NDArray[np.int32]) -> bytes | None:
        least, span = int(steps.min()), int(steps.max()) - int(steps.min())
        if span >= 1 << 16:
            return None
        wide = span >= 1 << 8
        turned = steps.T if self.turned else steps
        picture = (turned - least).reshape(-1, turned.shape[-1])
        narrow = picture.astype(np.uint16) if wide else picture.astype(np.uint8)
        frame = packed_picture(narrow, self.effort)
        flags = wide | self.turned << 1
        return None if frame is None else PICTURE.pack(least, flags) + frame

    def _of(self, data: bytes, shape: tuple[int, ...]) -> NDArray[np.int64]:
        if len(data) < PICTURE.size:
            raise ValueError("a chunk without its picture")
        least, flags = PICTURE.unpack_from(data)
        if flags > 3:
            raise ValueError("a picture with flags that are not known")
        wide, turned = flags & 1, flags >> 1
        lies = shape[::-1] if turned else shape
        size = (math.prod(lies[:-1]), lies[-1])
        kind = np.dtype(np.uint16 if wide else np.uint8)
        found = unpacked_picture(data[PICTURE.size :], size, kind).reshape(lies)
        return (found.T if turned else found).astype(np.int64) + least


@final
@dataclass(frozen=True)
class Lifted(WholeNumbers):
    """Coefficients of a wavelet transform of whole numbers."""

    def pack(self, steps: NDArray[np.int32]) -> list[bytes]:
        """The coefficients."""
        return write_coefficients(analyse_integers(torch.from_numpy(steps)).numpy())

    def unpack(self, data: Sequence[bytes], shape: tuple[int, ...]) -> Tensor:
        """What the coefficients make."""
        return synthesise_integers(torch.from_numpy(read_coefficients(data, shape)))
