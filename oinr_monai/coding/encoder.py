"""Samples written to a file in chunks, as good as was promised, which is checked."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from oinr_monai.grids.samples import Samples
from oinr_monai.images.replacing import replacing

from .chunks import Chunk, Chunking
from .coders import Coder, Constant, Floats, Integers, Wavelets
from .container import ChunkWriter
from .decoder import AT_ONCE, FORMAT_VERSION
from .quality import Bits, Lossless, MaxError, Psnr, Quality

__all__ = ["Coded", "write_samples"]

# Tries of a step before a quality is given up.
TRIES = 12


@dataclass(frozen=True)
class Coded:
    """What came of coding, measured on all voxels.

    Args:
        bytes: size of the file.
        bits_per_voxel: bits of the file for each voxel of each channel.
        max_error: greatest difference of a decoded sample.
        psnr: peak signal-to-noise ratio over the range of the samples, in dB; infinite if equal.
    """

    bytes: int
    bits_per_voxel: float
    max_error: float
    psnr: float


def write_samples(
    path: str | os.PathLike[str],
    samples: Samples,
    header: Mapping[str, Any],
    quality: Quality,
    *,
    slope: float = 1.0,
    intercept: float = 0.0,
    device: torch.device | str = "cpu",
) -> Coded:
    """Write samples in chunks, complete or not at all; some chunks are in memory at a time.

    Args:
        path: the file.
        samples: what to write, (C, *spatial).
        header: JSON values for whoever reads the file.
        quality: what is promised; it is checked, voxel by voxel, before the file is in its place.
        slope: the samples are whole numbers times this, ...
        intercept: ... plus this; if they are not, nothing is assumed of them.
        device: where they are transformed.

    Raises:
        ValueError: if samples are not finite, or the quality cannot be met.
        OSError: if the file cannot be written.

    Example:
        >>> import tempfile
        >>> from types import SimpleNamespace
        >>> image = torch.rand(1, 20, 30)
        >>> crop = lambda start, stop: image[:, start[0] : stop[0], start[1] : stop[1]]
        >>> samples = SimpleNamespace(shape=(1, 20, 30), read=crop)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     coded = write_samples(f"{folder}/a.oinr", samples, {}, MaxError(0.01))
        >>> coded.max_error <= 0.01
        True
    """
    work = _Work(samples, Chunking.of(samples.shape), torch.device(device))
    with replacing(path) as temporary:
        for coders, items in work.plans(quality, slope, intercept):
            about = {"format_version": FORMAT_VERSION, "header": dict(header), "samples": items}
            coded = work.write(temporary, about, coders)
            if work.met(quality, coded):
                return coded
        raise ValueError(f"quality must be one that can be met, got {quality}; choose Lossless()")


@dataclass
class _Work:
    """The coding of one volume."""

    samples: Samples
    chunking: Chunking
    device: torch.device

    def __post_init__(self) -> None:
        self.low, self.high = math.inf, -math.inf
        self.last: Coded | None = None

    @property
    def range(self) -> float:
        return self.high - self.low

    def batches(self) -> Iterator[tuple[list[Chunk], Tensor]]:
        """Some chunks of the same shape after the other, (B, *shape), in the order of the file."""
        row: list[Chunk] = []
        for chunk in self.chunking:
            full = sum(math.prod(each.shape) for each in row) + math.prod(chunk.shape) > AT_ONCE
            if row and (full or chunk.shape != row[0].shape):
                yield row, self._read(row)
                row = []
            row.append(chunk)
        yield row, self._read(row)

    def _read(self, chunks: Sequence[Chunk]) -> Tensor:
        parts: dict[tuple[int, ...], Tensor] = {}
        for chunk in chunks:
            if chunk.start not in parts:
                parts[chunk.start] = self.samples.read(chunk.start, chunk.stop)
        values = torch.stack([parts[chunk.start][chunk.channel] for chunk in chunks])
        values = values.to(self.device, torch.float32)
        if not bool(torch.isfinite(values).all()):
            raise ValueError("samples must be finite, got NaN or infinite ones; replace them first")
        return values

    def plans(
        self, quality: Quality, slope: float, intercept: float
    ) -> Iterator[tuple[dict[int, Coder], dict[str, Any]]]:
        """Coders to try one after the other, and what the header says of them."""
        items: dict[str, Any] = {
            "shape": list(self.chunking.shape),
            "chunk": list(self.chunking.edges),
            "slope": slope,
            "intercept": intercept,
            "step": 1.0,
        }
        if isinstance(quality, Lossless):
            yield {0: Constant(), 1: Floats(), 2: Integers(slope, intercept)}, items
            return
        step = self._first_step(quality)
        for _ in range(TRIES):
            yield {0: Constant(), 3: Wavelets(step)}, {**items, "step": step}
            step *= self._change(quality)

    def _first_step(self, quality: Quality) -> float:
        for _, values in self.batches():
            self.low = min(self.low, float(values.min()))
            self.high = max(self.high, float(values.max()))
        span = self.range or 1.0
        if isinstance(quality, MaxError):
            return quality.error
        if isinstance(quality, Psnr):
            return span * 10 ** (-quality.decibels / 20) * math.sqrt(12)
        return span / 256

    def _change(self, quality: Quality) -> float:
        if self.last is None:
            return 1.0
        if isinstance(quality, MaxError):
            return 0.8 * quality.error / self.last.max_error
        if isinstance(quality, Psnr):
            return 10 ** ((self.last.psnr - quality.decibels - 0.2) / 20)
        if isinstance(quality, Bits):
            return 2 ** (self.last.bits_per_voxel / quality.bits_per_voxel - 0.97)
        raise TypeError(f"quality must be one of this module, got {quality}")

    def met(self, quality: Quality, coded: Coded) -> bool:
        """Whether what was measured is what was promised."""
        self.last = coded
        if isinstance(quality, Lossless):
            return coded.max_error == 0
        if isinstance(quality, MaxError):
            return coded.max_error <= quality.error
        if isinstance(quality, Psnr):
            over = coded.psnr - quality.decibels
            return over >= 0 and (over <= 0.5 or coded.psnr == math.inf)
        return isinstance(quality, Bits) and coded.bits_per_voxel <= quality.bits_per_voxel

    def write(self, path: Path, header: Mapping[str, Any], coders: Mapping[int, Coder]) -> Coded:
        """Write all chunks, decode them, and tell the differences."""
        worst, squares = 0.0, 0.0
        with path.open("wb") as file:
            writer = ChunkWriter(file, header, len(self.chunking))
            for chunks, values in self.batches():
                self.low = min(self.low, float(values.min()))
                self.high = max(self.high, float(values.max()))
                numbers, data = _smallest(coders, values)
                for number, each in zip(numbers, data, strict=True):
                    writer.add(number, each)
                error = self._decoded(coders, numbers, data, chunks[0].shape) - values
                worst = max(worst, float(error.abs().max()))
                squares += float(error.double().square().sum())
            size = writer.finish(header)
        return self._coded(size, worst, squares)

    def _coded(self, size: int, worst: float, squares: float) -> Coded:
        voxels = math.prod(self.chunking.shape)
        ratio = self.range**2 * voxels / squares if squares else math.inf
        psnr = 10 * math.log10(ratio) if 0 < ratio < math.inf else ratio or -math.inf
        return Coded(size, 8 * size / voxels, worst, psnr)

    def _decoded(
        self,
        coders: Mapping[int, Coder],
        numbers: Sequence[int],
        data: Sequence[bytes],
        shape: tuple[int, ...],
    ) -> Tensor:
        parts = [
            coders[number].decode([each], shape) for number, each in zip(numbers, data, strict=True)
        ]
        return torch.cat(parts).to(self.device)


def _smallest(coders: Mapping[int, Coder], values: Tensor) -> tuple[list[int], list[bytes]]:
    """For each chunk the coder whose bytes are fewest, and those."""
    answers = {number: coder.encode(values) for number, coder in coders.items()}
    numbers, data = [], []
    for i in range(len(values)):
        found = {n: each[i] for n, each in answers.items() if each[i] is not None}
        number = min(found, key=lambda n: len(found[n] or b""))
        numbers.append(number)
        data.append(found[number] or b"")
    return numbers, data
