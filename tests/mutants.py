"""Damaged copies of files of tensors with a JSON header, and what reading one may cost."""

from __future__ import annotations

import copy
import json
import random
import signal
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from oinr_monai.coding.tensor_file import with_checksum

MEMORY, SECONDS = 300 * 2**20, 2.0


# ---- costs --------------------------------------------------------------------------------------


@contextmanager
def bounded() -> Iterator[None]:
    """Fails where the block takes over 2 s of processor time or 300 MB more than there were."""

    def late(*args: object) -> None:
        raise AssertionError(f"over {SECONDS} s of processor time")

    before = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    handler = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, handler)
    grown = _resident("VmHWM") - before
    assert grown < MEMORY, f"{grown / 2**20:.0f} MB more"


def _resident(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    raise LookupError(name)


# ---- damage -------------------------------------------------------------------------------------


@dataclass
class Mutator:
    """Draws damaged copies of whole files, the same ones for a seed.

    Args:
        files: contents of whole files, of any kinds.
        seed: seed of the choices.
    """

    files: Sequence[bytes]
    seed: int = 0

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.parsed = [_parse(each) for each in self.files]

    def draw(self) -> tuple[int, str, bytes]:
        """Which file, what was done to it, and what came of it."""
        which = self.random.randrange(len(self.files))
        kind = self.random.choice(
            [
                self._raw,
                self._raw,
                self._in_header,
                self._in_header,
                self._in_header,
                self._in_tensors,
                self._in_frame,
            ]
        )
        what, content = kind(which)
        return which, f"file {which}: {what}", content

    # Bytes, anywhere.

    def _raw(self, which: int) -> tuple[str, bytes]:
        data, r = bytearray(self.files[which]), self.random
        start = r.randrange(len(data) if r.random() < 0.5 else min(len(data), 2_000))
        length = r.choice([1, 1, 2, 4, 8, 64, 512])
        stop = start + length
        other = self.files[r.randrange(len(self.files))]
        place = r.randrange(len(other))
        name = r.choice(["flip", "noise", "zeros", "cut", "cut out", "double", "splice", "grow"])
        if name == "flip":
            data[start] ^= 1 << r.randrange(8)
        elif name in ("noise", "zeros"):
            data[start:stop] = bytes(length) if name == "zeros" else r.randbytes(length)
        elif name in ("cut", "cut out"):
            del data[start : len(data) if name == "cut" else stop]
        elif name == "double":
            data[start:start] = data[start:stop]
        elif name == "splice":
            data[start:stop] = other[place : place + length]
        else:
            data += r.randbytes(length)
        return f"{name} at {start}, {length}", bytes(data)

    # Values of the header, the rest made to fit.

    def _in_header(self, which: int) -> tuple[str, bytes]:
        parts = copy.deepcopy(self.parsed[which])
        said = [self._change(parts.header) for _ in range(self.random.choice([1, 1, 1, 2, 4]))]
        text = json.dumps(parts.header)
        if self.random.random() < 0.05:
            text = self._on_text(text)
        return "; ".join(said), parts.joined(text, self.random.random() < 0.5)

    def _change(self, header: Any) -> str:
        holder, key = self.random.choice(list(_places(header)))
        value, r = holder[key], self.random
        if r.random() < 0.15:
            del holder[key]
            return f"del {key}"
        if r.random() < 0.1 and isinstance(holder, dict):
            holder[f"{key}2"] = holder.pop(key)
            return f"rename {key}"
        holder[key] = r.choice([self._near, self._near, self._far, self._moved])(value, header)
        return f"{key} = {holder[key]!r:.80}"

    def _near(self, value: Any, header: Any) -> Any:
        r = self.random
        if isinstance(value, bool):
            return not value
        if isinstance(value, int | float):
            value = max(min(value, 1e300), -1e300) if value == value else 0.0
            near = [-value, value + 1, value - 1, value * 2, value / 2, value * 10, value * 1000]
            return r.choice([*near, float(value), int(value), 0])
        if isinstance(value, str):
            return r.choice([value[:-1], value + "x", value.lower(), ""])
        if isinstance(value, list) and value:
            return r.choice([value[:-1], [*value, value[-1]], value[::-1], value * 50, []])
        if isinstance(value, dict) and value:
            return {**value, "more": 1} if r.random() < 0.5 else list(value.values())
        return r.choice([0, 1, "", [], {}])

    def _far(self, value: Any, header: Any) -> Any:
        r = self.random
        nested: Any = value
        for _ in range(r.choice([1, 3, 10, 50, 300])):
            nested = [nested] if r.random() < 0.9 else {"class": "JointField", "arguments": nested}
        return r.choice(
            [
                None,
                True,
                False,
                0,
                -1,
                1,
                2,
                3,
                7,
                64,
                10**4,
                10**6,
                10**9,
                10**12,
                2**31,
                2**63,
                2**64,
                10**400,
                1e-320,
                1e-30,
                1e-9,
                0.5,
                1e9,
                1e30,
                1e300,
                float("nan"),
                float("inf"),
                -float("inf"),
                "",
                "x" * 10_000,
                "9",
                "\x1b[31m\n",
                "nan",
                "\ud800",
                [],
                {},
                nested,
                [0] * 1000,
                [1e300] * 3,
                [10**9] * 3,
                {"class": "SIREN", "arguments": {}},
                {"class": "JointField", "arguments": {"fields": []}},
                {"class": "os.system", "arguments": {"command": "true"}},
                [value] * 200,
            ]
        )

    def _moved(self, value: Any, header: Any) -> Any:
        # What stands elsewhere in this header, or in another.
        source = header if self.random.random() < 0.5 else self.random.choice(self.parsed).header
        holder, key = self.random.choice(list(_places(source)))
        return copy.deepcopy(holder[key])

    def _on_text(self, text: str) -> str:
        r, place = self.random, self.random.randrange(len(text))
        return r.choice(
            [
                text[:place],
                text[:place] + text[place + 1 :],
                f"{text[:place]}{{{text[place:]}",
                text[:-1] + ', "format_version": 1}',
                text[:-1] + "," + text[1:],
                "[" * 5_000,
                text * 2,
                text + " " * (1 << 20),
                "null",
                "1",
                '""',
                "[" * 100_000 + "]" * 100_000,
            ]
        )

    # Tensors.

    def _in_tensors(self, which: int) -> tuple[str, bytes]:
        parts, r = copy.deepcopy(self.parsed[which]), self.random
        names = sorted(parts.tensors)
        a, b = r.choice(names), r.choice(names)
        tensor = parts.tensors[a]
        changes: dict[str, Callable[[], object]] = {
            "swap": lambda: parts.tensors.update({a: parts.tensors[b], b: tensor}),
            "drop": lambda: parts.tensors.pop(a),
            "rename": lambda: parts.tensors.update({f"{a}.x": parts.tensors.pop(a)}),
            "add": lambda: parts.tensors.update(more=torch.zeros(3)),
            "many": lambda: parts.tensors.update({f"t{i}": torch.zeros(0) for i in range(20_000)}),
            "type": lambda: parts.tensors.update(
                {
                    a: tensor.to(
                        r.choice(
                            [
                                torch.float64,
                                torch.float16,
                                torch.bfloat16,
                                torch.int32,
                                torch.int64,
                                torch.uint8,
                                torch.bool,
                                torch.complex64,
                                torch.int16,
                            ]
                        )
                    )
                }
            ),
            "all types": lambda: parts.tensors.update(
                {n: t.to(torch.float16) for n, t in parts.tensors.items()}
            ),
            "flat": lambda: parts.tensors.update({a: tensor.flatten()}),
            "turned": lambda: parts.tensors.update(
                {a: tensor.transpose(0, -1).contiguous() if tensor.ndim else tensor[None]}
            ),
            "longer": lambda: parts.tensors.update(
                {a: torch.cat([tensor, tensor]) if tensor.ndim else tensor.repeat(2)}
            ),
            "empty": lambda: parts.tensors.update({a: tensor.flatten()[:0]}),
            "number": lambda: (
                tensor.flatten()
                .view(-1)
                .__setitem__(slice(0, 1), r.choice([float("nan"), float("inf"), -1e30, 1e38, 0.0]))
            ),
            "all numbers": lambda: tensor.fill_(r.choice([0.0, 1e38, -1e38, 1e-38])),
        }
        name = r.choice(list(changes))
        changes[name]()
        return f"{name} {a} {b}", parts.joined(json.dumps(parts.header), r.random() < 0.5)

    # What safetensors says of its tensors.

    def _in_frame(self, which: int) -> tuple[str, bytes]:
        data = self.files[which]
        size = struct.unpack("<Q", data[:8])[0]
        frame = json.loads(data[8 : 8 + size])
        said = self._change(frame)
        text = json.dumps(frame).encode()
        length = (
            len(text)
            if self.random.random() < 0.9
            else self.random.choice(
                [0, 1, len(text) - 1, len(text) + 1, 2**20, 2**40, 2**63, 2**64 - 1]
            )
        )
        return f"frame {said}", struct.pack("<Q", length) + text + data[8 + size :]


@dataclass
class _Parts:
    key: str
    header: Any
    tensors: dict[str, Tensor]

    def joined(self, text: str, checked: bool) -> bytes:
        text = with_checksum(text, self.tensors) if checked else text
        return save(self.tensors, metadata={self.key: text})


def _parse(content: bytes) -> _Parts:
    size = struct.unpack("<Q", content[:8])[0]
    known = json.loads(content[8 : 8 + size])["__metadata__"]
    ((key, text),) = known.items()
    header = json.loads(text)
    del header["crc32"]
    return _Parts(key, header, load(content))


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a nested value, as what holds it and its key there."""
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])
