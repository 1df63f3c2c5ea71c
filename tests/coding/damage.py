"""Damaged files of coded samples; as a program, as many as it is told to read."""

from __future__ import annotations

import copy
import random
import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from oinr_monai.coding import Bits, Lossless, MaxError, Psnr, Quality, open_samples, write_samples
from oinr_monai.coding.container import ChunkReader, ChunkWriter
from tests.mutants import Mutator, bounded


@dataclass
class InMemory:
    values: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.values.shape)

    def read(self, start: Sequence[int], stop: Sequence[int]) -> Tensor:
        return self.values[(slice(None), *map(slice, start, stop))].float()


def volume(*shape: int) -> Tensor:
    axes = torch.meshgrid(*[torch.arange(float(n)) for n in shape[1:]], indexing="ij")
    smooth = sum(torch.sin(0.17 * x + i) for i, x in enumerate(axes))
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return 100 * smooth + 2 * noise


WHOLE: list[tuple[Tensor, Quality]] = [
    (volume(1, 61, 20, 18), Psnr(45.0)),
    (volume(1, 58, 15, 12), MaxError(0.4)),
    (volume(2, 30, 300), Bits(4.0)),
    (volume(1, 20, 19, 18), Lossless()),
    (volume(1, 60, 19, 18).round(), Lossless()),
    (volume(1, 300, 40).round().clamp(min=60), Lossless()),
    (volume(2, 500).round(), Lossless()),
]


class Damage:
    """Draws damaged copies of whole files, the same ones for a seed."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.random, self.files = folder, random.Random(seed), []
        for i, (values, quality) in enumerate(WHOLE):
            write_samples(folder / f"{i}.oinr", InMemory(values), {"name": i}, quality)
            self.files.append(folder / f"{i}.oinr")
        self.mutator = Mutator([path.read_bytes() for path in self.files], seed)
        self.readers = [ChunkReader.of(path) for path in self.files]

    def draw(self, path: Path) -> str:
        """Write a damaged file, half of them with their checksums made right, and say how."""
        which = self.random.randrange(len(self.files))
        if self.random.random() < 0.5:
            what, content = self.mutator._raw(which)
            path.write_bytes(content)
            return f"file {which}: {what}"
        return f"file {which}: {self._consistent(which, path)}"

    def _consistent(self, which: int, path: Path) -> str:
        reader, r = self.readers[which], self.random
        header = copy.deepcopy(reader.header)
        chunks = [reader.chunk(i) for i in range(reader.chunks)]
        coders = reader.index["coders"].tolist()
        kind = r.choice(["header", "bytes", "bytes", "bytes", "coder", "chunks"])
        if kind == "header":
            what = self.mutator._change(header["samples"] if r.random() < 0.7 else header)
        elif kind == "bytes":
            at = r.randrange(len(chunks))
            what, chunks[at] = self._bytes(chunks[at])
        elif kind == "coder":
            at = r.randrange(len(chunks))
            coders[at], what = r.randrange(8), f"another coder of {at}"
        else:
            other = self.readers[r.randrange(len(self.readers))]
            a, b = r.randrange(len(chunks)), r.randrange(other.chunks)
            chunks[a], what = other.chunk(b), "a chunk of another file"
            if r.random() < 0.5:
                coders[a] = int(other.index["coders"][b])
        self._write(path, header, chunks, coders)
        return f"{kind}: {what}"

    def _bytes(self, chunk: bytes) -> tuple[str, bytes]:
        data, r = bytearray(chunk), self.random
        for _ in range(r.choice([1, 1, 2, 8])):
            # Half of them where sizes stand.
            at = r.randrange(min(len(data), 24) if r.random() < 0.5 else len(data)) if data else 0
            name = r.choice(["flip", "noise", "ones", "cut", "grow"])
            if name == "flip" and data:
                data[at] ^= 1 << r.randrange(8)
            elif name in ("noise", "ones"):
                size = r.choice([1, 2, 4, 16])
                data[at : at + size] = r.randbytes(size) if name == "noise" else b"\xff" * size
            elif name == "cut":
                del data[at : at + r.choice([1, 2, 64, 10**6])]
            else:
                data += r.randbytes(r.choice([1, 2, 100]))
        return "bytes", bytes(data)

    def _write(
        self, path: Path, header: dict[str, Any], chunks: Sequence[bytes], coders: Sequence[int]
    ) -> None:
        with path.open("wb") as file:
            writer = ChunkWriter(file, header, len(chunks))
            for coder, chunk in zip(coders, chunks, strict=True):
                writer.add(coder, chunk)
            writer.finish(header)


def outcome(path: Path) -> str:
    """Read what may be damaged: "refused" by the documented error, or "read"."""
    try:
        with bounded():
            samples = open_samples(path)
            stop = [min(n, 64) for n in samples.shape[1:]]
            samples.read([0] * len(stop), stop)
    except ValueError as error:
        said = str(error)
        assert re.match(rf"{re.escape(str(path))} must ", said), said
        assert len(said) <= 300, said
        assert said.isprintable(), said
        return "refused"
    return "read"


def battery(folder: Path, seed: int, count: int) -> dict[str, int]:
    """Read so many damaged files, and count what came of them."""
    damage, counts = Damage(folder, seed), {"refused": 0, "read": 0}
    while sum(counts.values()) < count:
        path = folder / "damaged.oinr"
        try:
            what = damage.draw(path)
        except (ValueError, OverflowError):  # a header that cannot be written
            continue
        try:
            counts[outcome(path)] += 1
        except BaseException as error:
            raise AssertionError(f"{what}: {type(error).__name__}: {error}") from error
    return counts


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        found = battery(Path(place), int(sys.argv[1]), int(sys.argv[2]))
    assert found["refused"] > 0.6 * int(sys.argv[2]), found
    print(found)
