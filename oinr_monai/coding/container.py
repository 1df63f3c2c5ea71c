"""The file of coded samples: a header, an index of chunks with checksums, and the chunks.

It is a safetensors file, written and read in a stream: the index comes first, its size known from
the number of chunks, and the chunks follow. The checksum of the header holds header and index, each
chunk has one of its own.
"""

from __future__ import annotations

import json
import os
import weakref
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .strict_json import strict_json
from .tensor_file import FileKind, check_frame, parsed, with_checksum, without_checksum

__all__ = ["OINR", "ChunkReader", "ChunkWriter"]

OINR = FileKind("oinr", "{path} must be a whole .oinr file: {reason}; fit the image again")

# Of each chunk: where it ends, its checksum, and the number of its coder.
INDEX = {"ends": ("I64", np.int64), "checksums": ("I32", np.int32), "coders": ("U8", np.uint8)}

# Characters for what is only known at the end: the numbers that a header leaves open.
ROOM = 96


def _frame(text: str, chunks: int, size: int) -> dict[str, Any]:
    """What safetensors says of the tensors."""
    frame: dict[str, Any] = {"__metadata__": {OINR.key: text}}
    start = 0
    for name, (dtype, kind) in INDEX.items():
        stop = start + chunks * np.dtype(kind).itemsize
        frame[name] = {"dtype": dtype, "shape": [chunks], "data_offsets": [start, stop]}
        start = stop
    frame["chunks"] = {"dtype": "U8", "shape": [size], "data_offsets": [start, start + size]}
    return frame


def _index_bytes(chunks: int) -> int:
    return sum(chunks * np.dtype(kind).itemsize for _, kind in INDEX.values())


class ChunkWriter:
    """Writes chunks one after the other, then the header and the index before them.

    Args:
        file: an empty file, open for writing.
        header: what the file says; what it says at the end may be longer by ``ROOM`` characters.
        chunks: how many there will be.

    Raises:
        ValueError: if the header is one that would not be read.
    """

    def __init__(self, file: BinaryIO, header: Mapping[str, Any], chunks: int) -> None:
        self.file, self.chunks = file, chunks
        text = strict_json(header)
        parsed(text)
        self.room = len(json.dumps(_frame(text, chunks, 0))) + ROOM
        self.room += -self.room % 8
        self.size = 0
        self.index: dict[str, list[int]] = {name: [] for name in INDEX}
        file.seek(8 + self.room + _index_bytes(chunks))

    def add(self, coder: int, chunk: bytes) -> None:
        """Write the next chunk."""
        self.file.write(chunk)
        self.size += len(chunk)
        self.index["ends"].append(self.size)
        self.index["checksums"].append(zlib.crc32(chunk))
        self.index["coders"].append(coder)

    def finish(self, header: Mapping[str, Any]) -> int:
        """Write what comes before the chunks, and return the bytes of the file."""
        index = {name: np.array(self.index[name]).astype(kind) for name, (_, kind) in INDEX.items()}
        tensors = {name: torch.from_numpy(values) for name, values in index.items()}
        text = with_checksum(strict_json(header), tensors)
        frame = json.dumps(_frame(text, self.chunks, self.size)).encode()
        self.file.seek(0)
        self.file.write(self.room.to_bytes(8, "little") + frame.ljust(self.room))
        for values in index.values():
            self.file.write(values.tobytes())
        return 8 + self.room + _index_bytes(self.chunks) + self.size


@dataclass(eq=False)
class ChunkReader:
    """Header and index of a file, and its chunks as they are asked for.

    The file stays open, so that one that takes its place is not mistaken for it.

    Args:
        file: descriptor of the open file, which is closed when nobody needs it any more.
        header: the header's items.
        index: of each chunk, where it ends, its checksum and its coder.
        first: place of the first chunk in the file.
        bytes_read: bytes of the file that were read so far.
    """

    file: int
    header: dict[str, Any]
    index: dict[str, NDArray[Any]]
    first: int
    bytes_read: int

    def __post_init__(self) -> None:
        weakref.finalize(self, os.close, self.file)

    @classmethod
    def of(cls, path: Path) -> ChunkReader:
        """Open a file that may hold anything; no more is read than its own size explains.

        Raises:
            ValueError: if it is damaged or of another kind.
        """
        check_frame(path)
        with path.open("rb") as file:
            return cls._opened(file)

    @classmethod
    def _opened(cls, file: BinaryIO) -> ChunkReader:
        size = os.fstat(file.fileno()).st_size
        room = int.from_bytes(file.read(8), "little")
        frame = json.loads(file.read(room))
        text = _text(frame)
        header, given = without_checksum(text)
        items = parsed(header)
        chunks = _length(frame, "coders")
        first = 8 + room + _index_bytes(chunks)
        if chunks < 1 or size < first or frame != _frame(text, chunks, size - first):
            raise ValueError("an index that is not of its chunks")
        index = {
            name: np.frombuffer(file.read(chunks * np.dtype(kind).itemsize), kind)
            for name, (_, kind) in INDEX.items()
        }
        known = _checked(items, header, given, index)
        return cls(os.dup(file.fileno()), known, index, first, first)

    @property
    def chunks(self) -> int:
        """How many there are."""
        return len(self.index["coders"])

    def chunk(self, number: int) -> bytes:
        """The bytes of a chunk.

        Raises:
            ValueError: if they differ from their checksum.
        """
        ends = self.index["ends"]
        start, stop = int(ends[number - 1]) if number else 0, int(ends[number])
        found = os.pread(self.file, stop - start, self.first + start)
        self.bytes_read += len(found)
        if np.int64(zlib.crc32(found)).astype(np.int32) != self.index["checksums"][number]:
            raise ValueError(f"chunk {number} that differs from its checksum")
        return found


def _text(frame: object) -> str:
    known = frame.get("__metadata__") if isinstance(frame, dict) else None
    text = known.get(OINR.key) if isinstance(known, dict) else None
    if not isinstance(text, str):
        raise ValueError("safetensors without its header")
    return text


def _length(frame: dict[str, Any], name: str) -> int:
    known = frame.get(name)
    shape = known.get("shape") if isinstance(known, dict) else None
    if not isinstance(shape, list) or len(shape) != 1 or type(shape[0]) is not int:
        raise ValueError("an index that is not of its chunks")
    return int(shape[0])


def _checked(
    items: dict[str, Any], text: str, given: str | None, index: dict[str, NDArray[Any]]
) -> dict[str, Any]:
    tensors: dict[str, Tensor] = {n: torch.from_numpy(v.copy()) for n, v in index.items()}
    if given is None or without_checksum(with_checksum(text, tensors))[1] != given:
        raise ValueError("contents that differ from their checksum")
    ends = index["ends"]
    steps = np.diff(ends, prepend=0)
    if steps.min() < 0:
        raise ValueError("chunks that end before they start")
    return items
