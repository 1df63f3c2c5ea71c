"""Files of coded samples, read box by box."""

from __future__ import annotations

import math
import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .chunks import MOST_VOXELS, Chunk, Chunking
from .coders import Coder, Constant, Deltas, Floats, Lifted, Pictures, Scale
from .container import OINR, ChunkReader
from .quantised import Wavelets
from .tensor_file import LONGEST_MESSAGE, OtherFileError, one_line, short_path

__all__ = ["FORMAT_VERSION", "CodedSamples", "Parameters", "alike", "open_samples"]

FORMAT_VERSION = 2

# Bytes of decoded chunks that are kept, and voxels that are decoded at once.
CACHE, AT_ONCE = 1 << 26, 1 << 21

# Voxels along an axis and in all, beyond any image.
LONGEST_AXIS, MOST_SAMPLES = 1 << 31, 1 << 42


class CodedSamples:
    """Samples of a file, of which what is asked for is read and decoded.

    Args:
        path: the file.
        device: where samples are put together, and answered.

    Raises:
        ValueError: if it is damaged.
        OtherFileError: if it is of another format.
    """

    def __init__(self, path: str | os.PathLike[str], device: torch.device | str = "cpu") -> None:
        self.path, self.device = Path(path), torch.device(device)
        with self._told():
            self.reader = ChunkReader.of(self.path)
            self._check_version(self.reader.header)
            self.header, samples = _parts(self.reader.header)
            self._chunking = _chunking(samples)
            self._coders = list(Parameters.of(samples, self.device).coders.values())
            if len(self._chunking) != self.reader.chunks:
                raise ValueError(f"{self.reader.chunks} chunks for {len(self._chunking)}")
        self._cache: OrderedDict[int, Tensor] = OrderedDict()

    @property
    def shape(self) -> tuple[int, ...]:
        """Channels, then voxels along each axis: (C, *spatial)."""
        return self._chunking.shape

    @property
    def bytes_read(self) -> int:
        """Bytes of the file that were read so far."""
        return self.reader.bytes_read

    def read(self, start: Sequence[int], stop: Sequence[int]) -> Tensor:
        """The samples (C, *box), in float32, of the voxels ``start`` to ``stop - 1``.

        Raises:
            ValueError: if the box is not of the grid, or a chunk that it needs is damaged.
        """
        inside = all(0 <= a < b <= n for a, b, n in zip(start, stop, self.shape[1:], strict=True))
        if not inside:
            raise ValueError(
                f"box must lie within {self.shape[1:]}, got {tuple(start)} to {tuple(stop)}"
            )
        size = [b - a for a, b in zip(start, stop, strict=True)]
        box = torch.empty((self.shape[0], *size), device=self.device)
        for chunk, values in self._chunks(list(self._chunking.around(start, stop))):
            there, here = _overlap(chunk, start, stop)
            box[chunk.channel][there] = values[here]
        return box

    def _chunks(self, wanted: Sequence[Chunk]) -> Iterator[tuple[Chunk, Tensor]]:
        missing = []
        for chunk in wanted:
            kept = self._cache.get(chunk.number)
            if kept is None:
                missing.append(chunk)
            else:
                self._cache.move_to_end(chunk.number)
                yield chunk, kept
        coders = self.reader.index["coders"]
        for some in alike(missing, lambda chunk: int(coders[chunk.number])):
            with self._told():
                decoded = self._decoded(some)
            for chunk, values in zip(some, decoded, strict=True):
                self._keep(chunk, values)
                yield chunk, values

    def _decoded(self, chunks: Sequence[Chunk]) -> Tensor:
        coder = self._coder(int(self.reader.index["coders"][chunks[0].number]))
        data = [self.reader.chunk(chunk.number) for chunk in chunks]
        return coder.decode(data, chunks[0].shape).to(self.device)

    def _coder(self, number: int) -> Coder:
        if number >= len(self._coders):
            raise ValueError(f"a coder {number} that is not known; upgrade oinr-monai")
        return self._coders[number]

    def _keep(self, chunk: Chunk, values: Tensor) -> None:
        self._cache[chunk.number] = values
        while sum(4 * each.numel() for each in self._cache.values()) > CACHE:
            self._cache.popitem(last=False)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OtherFileError:
            raise
        except Exception as error:  # whatever classes say to bytes that somebody made up
            raise ValueError(OINR.message(self.path, error)) from error

    def _check_version(self, items: Mapping[str, Any]) -> None:
        version = items.get("format_version")
        if type(version) is not int or version != FORMAT_VERSION:
            told = one_line(repr(version), 60)
            said = f"{short_path(self.path)} must have format version {FORMAT_VERSION}, got {told}"
            raise OtherFileError(one_line(f"{said}; upgrade oinr-monai", LONGEST_MESSAGE))


def open_samples(path: str | os.PathLike[str], device: torch.device | str = "cpu") -> CodedSamples:
    """Open a file of coded samples, which may come from anywhere.

    Args:
        path: the file.
        device: where samples are put together, and answered.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged.
        OtherFileError: if it is of another format.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"{short_path(Path(path))} must be an existing .oinr file; write one with `oinr fit`"
        )
    return CodedSamples(path, device)


def _parts(items: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    header, samples = items.get("header"), items.get("samples")
    if not isinstance(header, dict) or not isinstance(samples, dict):
        raise ValueError("a header without its samples")
    return header, samples


def _sizes(name: str, value: object, least: int, most: int) -> tuple[int, ...]:
    if (
        not isinstance(value, list)
        or not least <= len(value) <= most
        or not all(type(n) is int and 1 <= n <= LONGEST_AXIS for n in value)
    ):
        raise ValueError(f"{name} must be {least} to {most} positive sizes")
    return tuple(value)


def _chunking(samples: Mapping[str, Any]) -> Chunking:
    shape = _sizes("shape", samples.get("shape"), 2, 4)
    edges = _sizes("chunk", samples.get("chunk"), len(shape) - 1, len(shape) - 1)
    if math.prod(shape) > MOST_SAMPLES or math.prod(edges) > MOST_VOXELS:
        raise ValueError(f"shape and chunk of at most {MOST_SAMPLES} and {MOST_VOXELS} samples")
    if any(e > n for e, n in zip(edges, shape[1:], strict=True)):
        raise ValueError("chunk must fit into the shape")
    return Chunking(shape, edges)


@dataclass(frozen=True)
class Parameters:
    """What the coders of a file need to know.

    Args:
        slope: samples that are kept as whole numbers are slope times those ...
        intercept: ... plus this.
        step: size of the steps of wavelet coefficients.
        error: bound of the error, 0 if there is none.
        device: where samples are put together.
    """

    slope: float
    intercept: float
    step: float
    error: float
    device: torch.device

    @classmethod
    def of(cls, samples: Mapping[str, Any], device: torch.device) -> Parameters:
        """Those of a header.

        Raises:
            ValueError: if one is missing or out of its range.
        """
        found = {}
        for name in ("slope", "intercept", "step", "error"):
            value = samples.get(name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"{name} must be a number")
            found[name] = float(value)
        if not all(map(math.isfinite, found.values())) or not found["slope"]:
            raise ValueError("slope, intercept, step and error must be finite, slope not 0")
        if found["step"] <= 0 or found["error"] < 0:
            raise ValueError("step must be positive, and error not negative")
        return cls(**found, device=device)

    def items(self) -> dict[str, float]:
        """The JSON values that :meth:`of` reads."""
        return {name: getattr(self, name) for name in ("slope", "intercept", "step", "error")}

    @cached_property
    def coders(self) -> dict[str, Coder]:
        """The coders, in the order of their numbers in a file."""
        scale = Scale(self.slope, self.intercept)
        return {
            "constant": Constant(),
            "floats": Floats(),
            "deltas": Deltas(scale),
            "pictures": Pictures(scale),
            "lifted": Lifted(scale),
            "wavelets": Wavelets(self.step, self.error, self.device),
        }


def alike(chunks: Iterable[Chunk], kind: Callable[[Chunk], object]) -> Iterator[list[Chunk]]:
    """Chunks of the same shape and kind together, as many as are coded at once."""
    groups: dict[tuple[object, tuple[int, ...]], list[Chunk]] = {}
    for chunk in chunks:
        groups.setdefault((kind(chunk), chunk.shape), []).append(chunk)
    for (_, shape), group in groups.items():
        count = max(AT_ONCE // math.prod(shape), 1)
        for first in range(0, len(group), count):
            yield group[first : first + count]


def _overlap(
    chunk: Chunk, start: Sequence[int], stop: Sequence[int]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """The part of a chunk within a box, as slices of the box and of the chunk."""
    low = [max(a, c) for a, c in zip(start, chunk.start, strict=True)]
    high = [min(b, c) for b, c in zip(stop, chunk.stop, strict=True)]
    there = tuple(slice(a - s, b - s) for a, b, s in zip(low, high, start, strict=True))
    here = tuple(slice(a - s, b - s) for a, b, s in zip(low, high, chunk.start, strict=True))
    return there, here
