"""Files of chunks: what is written comes back chunk by chunk, and contradictions are refused."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

from oinr_monai.coding.container import INDEX, ROOM, ChunkReader, ChunkWriter, _frame

CHUNKS = [(0, b"first"), (5, b""), (2, bytes(range(256)) * 3), (200, b"x")]


def write(
    path: Path, header: dict[str, Any] | None = None, more: dict[str, Any] | None = None
) -> int:
    header = {"a": 1, "b": ["c", 0.5]} if header is None else header
    with path.open("wb") as file:
        writer = ChunkWriter(file, header, len(CHUNKS))
        for coder, chunk in CHUNKS:
            writer.add(coder, chunk)
        return writer.finish(header | (more or {}))


def test_chunks_come_back_and_no_more_is_read(tmp_path: Path) -> None:
    size = write(tmp_path / "a")
    assert size == (tmp_path / "a").stat().st_size
    reader = ChunkReader.of(tmp_path / "a")
    assert reader.header == {"a": 1, "b": ["c", 0.5]}
    assert reader.chunks == len(CHUNKS)
    before = reader.bytes_read
    assert before == reader.first == size - sum(len(chunk) for _, chunk in CHUNKS)
    for number in (2, 0, 3, 1):
        assert reader.chunk(number) == CHUNKS[number][1]
    assert reader.bytes_read == size
    assert reader.index["coders"].tolist() == [coder for coder, _ in CHUNKS]
    sums = [np.int64(zlib.crc32(chunk)).astype(np.int32) for _, chunk in CHUNKS]
    assert reader.index["checksums"].tolist() == sums


def test_it_is_a_file_of_safetensors(tmp_path: Path) -> None:
    write(tmp_path / "a")
    with safe_open(tmp_path / "a", "np") as file:
        assert set(file.keys()) == {*INDEX, "chunks"}
        assert file.get_tensor("chunks").tobytes() == b"".join(chunk for _, chunk in CHUNKS)
        assert json.loads(file.metadata()["oinr"])["a"] == 1
    assert int.from_bytes((tmp_path / "a").read_bytes()[:8], "little") % 8 == 0


def test_what_is_known_in_the_end_has_room(tmp_path: Path) -> None:
    write(tmp_path / "a", more={"a": 10**40})
    assert ChunkReader.of(tmp_path / "a").header["a"] == 10**40
    assert ROOM > 60


def test_the_open_file_is_read_though_another_takes_its_place(tmp_path: Path) -> None:
    write(tmp_path / "a")
    reader = ChunkReader.of(tmp_path / "a")
    (tmp_path / "b").write_bytes(b"something else")
    (tmp_path / "b").replace(tmp_path / "a")
    assert reader.chunk(0) == b"first"


def changed(path: Path, edit: Callable[[dict[str, Any]], None]) -> Path:
    """The file with another frame."""
    data = path.read_bytes()
    room = int.from_bytes(data[:8], "little")
    frame = json.loads(data[8 : 8 + room])
    edit(frame)
    path.write_bytes(data[:8] + json.dumps(frame).encode().ljust(room) + data[8 + room :])
    return path


def without(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda frame: frame.pop(name)


EDITS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no metadata": without("__metadata__"),
    "no header": lambda frame: frame["__metadata__"].pop("oinr"),
    "no index": without("coders"),
    "no chunks": without("chunks"),
    "a shape of two numbers": lambda frame: frame["coders"].update(shape=[4, 1]),
    "a shape of another kind": lambda frame: frame["coders"].update(shape="4"),
    "a number of another kind": lambda frame: frame["coders"].update(shape=[4.0]),
    "truth for a number": lambda frame: frame["coders"].update(shape=[True]),
    "fewer chunks": lambda frame: frame["coders"].update(shape=[3]),
    "no chunks at all": lambda frame: frame["coders"].update(shape=[0]),
    "very many": lambda frame: frame["coders"].update(shape=[1 << 50]),
    "another type": lambda frame: frame["coders"].update(dtype="I8"),
    "something else": lambda frame: frame.update(more=frame["coders"]),
}


@pytest.mark.parametrize("name", EDITS)
def test_a_frame_that_is_not_of_its_chunks_is_refused(name: str, tmp_path: Path) -> None:
    write(tmp_path / "a")
    with pytest.raises((ValueError, AttributeError, KeyError)):
        ChunkReader.of(changed(tmp_path / "a", EDITS[name]))


@pytest.mark.parametrize("place", ["ends", "checksums", "coders", "header"])
def test_an_index_or_a_header_that_was_changed_is_refused(place: str, tmp_path: Path) -> None:
    write(tmp_path / "a")
    data = bytearray((tmp_path / "a").read_bytes())
    room = int.from_bytes(data[:8], "little")
    frame = json.loads(data[8 : 8 + room])
    if place == "header":
        at = data.index(b'\\"a\\": 1') + 7
        data[at : at + 1] = b"2"
    else:
        at = 8 + room + frame[place]["data_offsets"][0]
        data[at] ^= 1
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(ValueError, match="contents that differ from their checksum"):
        ChunkReader.of(tmp_path / "a")


def test_a_chunk_that_was_changed_is_refused_when_it_is_read(tmp_path: Path) -> None:
    write(tmp_path / "a")
    data = bytearray((tmp_path / "a").read_bytes())
    data[-1] ^= 1
    (tmp_path / "a").write_bytes(data)
    reader = ChunkReader.of(tmp_path / "a")
    assert reader.chunk(2) == CHUNKS[2][1]
    with pytest.raises(ValueError, match="chunk 3 that differs from its checksum"):
        reader.chunk(3)


def test_chunks_end_after_they_start(tmp_path: Path) -> None:
    class Backwards(ChunkWriter):
        def finish(self, header: Any) -> int:
            self.index["ends"][1] -= 1
            return super().finish(header)

    with (tmp_path / "a").open("wb") as file:
        writer = Backwards(file, {}, len(CHUNKS))
        for coder, chunk in CHUNKS:
            writer.add(coder, chunk)
        writer.finish({})
    with pytest.raises(ValueError, match="chunks that end before they start"):
        ChunkReader.of(tmp_path / "a")


def test_tensors_of_a_frame_follow_each_other() -> None:
    frame = _frame("text", 5, 77)
    offsets = [frame[name]["data_offsets"] for name in (*INDEX, "chunks")]
    assert offsets == [[0, 40], [40, 60], [60, 65], [65, 142]]
    assert frame["chunks"]["shape"] == [77]
