"""Samples written to a file in chunks, as good as was promised, which is checked."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from oinr_monai.grids.samples import Samples
from oinr_monai.images.replacing import replacing

from .chunks import Chunk, Chunking
from .coders import Coder, Lifted, Pictures, Scale
from .container import ChunkWriter
from .decoder import FORMAT_VERSION, Parameters, alike
from .pictures import THOROUGH
from .quality import Coded, Lossless, MaxError, Quality
from .steps import Survey, first_step

__all__ = ["Coded", "write_samples"]

# Times that all samples are coded before a quality is given up.
TRIES = 8

# Chunks that a sample has at most.
SAMPLED = 30

# Chunks on which coders of whole numbers are compared. Wavelets, and pictures with more effort,
# take two to three times as long, and have to be this much smaller: in volumes of so few voxels
# that it is about a second, and in larger ones. Chosen by hand.
LOOKED_AT, FEW, WORTH_OF_FEW, WORTH = 4, 1 << 23, 0.96, 0.9

# Voxels that may be in memory at once.
WINDOW = 1 << 23

# A coder, and what a file calls it by.
Numbered = tuple[int, Coder]


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
    survey = work.survey()
    error = quality.error if isinstance(quality, MaxError) else 0.0
    step = 1.0 if isinstance(quality, Lossless) else first_step(quality, survey)
    with replacing(path) as temporary:
        for _ in range(TRIES):
            parameters = Parameters(slope, intercept, step, error, work.device)
            order = _order(quality, parameters, survey)
            coded = work.write(temporary, header, parameters, order, survey.range)
            if quality.met(coded):
                return coded
            step *= quality.factor(coded)
        raise ValueError(f"quality must be one that can be met, got {quality}; choose Lossless()")


def _order(quality: Quality, parameters: Parameters, survey: Survey) -> list[Numbered]:
    """Coders with their numbers, those first that are to be asked first."""
    every = {name: (i, coder) for i, (name, coder) in enumerate(parameters.coders.items())}
    last = [every["deltas"], every["floats"]]
    if not isinstance(quality, Lossless):
        return [every["constant"], every["wavelets"], *last]
    return [every["constant"], *_best(parameters, survey), *last]


def _best(parameters: Parameters, survey: Survey) -> list[Numbered]:
    """What serves a sample of whole numbers best; coders that are slower have to be worth it."""
    names, sample = list(parameters.coders), survey.some(LOOKED_AT)
    scale = Scale(parameters.slope, parameters.intercept)
    plain, turned = Pictures(scale), Pictures(scale, turned=True)
    quick = {coder: _size(coder, sample) for coder in (plain, turned)}
    fast = min(quick, key=lambda coder: quick[coder])
    thorough, lifted = replace(fast, effort=THOROUGH), Lifted(scale)
    sizes: dict[Coder, int] = {coder: _size(coder, sample) for coder in (thorough, lifted)}
    slower = min(sizes, key=lambda coder: sizes[coder])
    worth = WORTH_OF_FEW if survey.voxels <= FEW else WORTH
    best = slower if sizes[slower] < worth * quick[fast] else fast
    return [(names.index("lifted" if best is lifted else "pictures"), best)]


def _size(coder: Coder, sample: Sequence[Tensor]) -> int:
    data = [one for each in sample for one in coder.encode(each)]
    return sum(len(each) for each in data if each is not None)


@dataclass(frozen=True)
class _Work:
    """The coding of one volume."""

    samples: Samples
    chunking: Chunking
    device: torch.device

    def windows(self) -> Iterator[list[Chunk]]:
        """All chunks, so many at a time as may be in memory."""
        row: list[Chunk] = []
        room = WINDOW
        for chunk in self.chunking:
            room -= math.prod(chunk.shape)
            if row and room < 0:
                yield row
                row, room = [], WINDOW - math.prod(chunk.shape)
            row.append(chunk)
        yield row

    def batches(self, chunks: Iterable[Chunk]) -> Iterator[tuple[list[Chunk], Tensor]]:
        """Chunks of the same shape together, (B, *shape), as many as are coded at once."""
        for row in alike(chunks, lambda chunk: chunk.shape):
            yield row, self._read(row)

    def _read(self, chunks: Sequence[Chunk]) -> Tensor:
        parts: dict[tuple[int, ...], Tensor] = {}
        for chunk in chunks:
            if chunk.start not in parts:
                parts[chunk.start] = self.samples.read(chunk.start, chunk.stop)
        values = torch.stack([parts[chunk.start][chunk.channel] for chunk in chunks])
        return values.to(self.device, torch.float32)

    def survey(self) -> Survey:
        """Range and a sample of the chunks, those aside that are the same throughout."""
        low, high, wanted = math.inf, -math.inf, []
        for chunks, values in chain.from_iterable(map(self.batches, self.windows())):
            least, most = values.flatten(1).amin(1), values.flatten(1).amax(1)
            low, high = min(low, float(least.min())), max(high, float(most.max()))
            if not math.isfinite(low) or not math.isfinite(high) or bool(values.isnan().any()):
                raise ValueError(
                    "samples must be finite, got NaN or infinite ones; replace them with numbers"
                )
            differ = (least < most).tolist()
            wanted += [each for each, some in zip(chunks, differ, strict=True) if some]
        voxels = sum(math.prod(each.shape) for each in wanted)
        some = wanted[:: math.ceil(len(wanted) / SAMPLED) or 1]
        stacks = [values for _, values in self.batches(some)] if some else []
        return Survey(high - low, stacks, voxels, voxels / math.prod(self.chunking.shape))

    def write(
        self,
        path: Path,
        header: Mapping[str, Any],
        parameters: Parameters,
        order: Sequence[Numbered],
        span: float,
    ) -> Coded:
        """Write all chunks, decode them, and tell the differences."""
        about = {"shape": list(self.chunking.shape), "chunk": list(self.chunking.edges)}
        items: dict[str, Any] = {
            "format_version": FORMAT_VERSION,
            "header": dict(header),
            "samples": {**about, **parameters.items()},
        }
        worst, squares = 0.0, 0.0
        with path.open("wb") as file:
            writer = ChunkWriter(file, items, len(self.chunking))
            for window in self.windows():
                coded: dict[int, tuple[int, bytes]] = {}
                for chunks, values in self.batches(window):
                    found = _coded(order, values)
                    coded.update(zip([chunk.number for chunk in chunks], found, strict=True))
                    error = _decoded(parameters, found, chunks[0].shape) - values
                    worst = max(worst, float(error.abs().max()))
                    squares += float(error.square().sum(dtype=torch.float64))
                for chunk in window:
                    writer.add(*coded[chunk.number])
            voxels = math.prod(self.chunking.shape)
            psnr = 10 * math.log10(span**2 * voxels / squares) if squares and span else math.inf
            size = writer.finish(items)
        return Coded(size, 8 * size / voxels, worst, psnr)


def _coded(order: Sequence[Numbered], values: Tensor) -> list[tuple[int, bytes]]:
    """For each chunk the number of the first coder that can keep it, and its bytes."""
    found: dict[int, tuple[int, bytes]] = {}
    for number, coder in order:
        left = [i for i in range(len(values)) if i not in found]
        if not left:
            break
        data = coder.encode(values[left])
        found |= {i: (number, each) for i, each in zip(left, data, strict=True) if each is not None}
    return [found[i] for i in range(len(values))]


def _decoded(
    parameters: Parameters, coded: Sequence[tuple[int, bytes]], shape: tuple[int, ...]
) -> Tensor:
    coders = list(parameters.coders.values())
    values = torch.empty(len(coded), *shape, device=parameters.device)
    for number in {number for number, _ in coded}:
        rows = [i for i, (each, _) in enumerate(coded) if each == number]
        data = [coded[i][1] for i in rows]
        values[rows] = coders[number].decode(data, shape).to(values.device)
    return values
