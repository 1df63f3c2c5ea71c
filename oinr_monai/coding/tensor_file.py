"""Files of tensors with a JSON header, which may come from anywhere: read with care, written whole.

They are safetensors files. What a header says is checked against the tensors that are there before
anything is allocated, so that reading takes no more memory than the file's own size explains.
"""

from __future__ import annotations

import json
import math
import os
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from oinr_monai.images.replacing import replacing

from .strict_json import strict_json

__all__ = [
    "LONGEST_MESSAGE",
    "FileKind",
    "OtherFileError",
    "TensorFile",
    "check_finite",
    "check_frame",
    "one_line",
    "open_tensor_file",
    "parsed",
    "short_path",
    "with_checksum",
    "without_checksum",
    "write_tensor_file",
]

# Characters of a message, and of a path in it.
LONGEST_MESSAGE, LONGEST_PATH = 300, 120

# Characters of a header, levels of its lists, and tensors beside it: many times what ours have.
LONGEST_HEADER, DEEPEST_HEADER, MOST_TENSORS = 1 << 20, 32, 1 << 14

# Bytes of what safetensors says of the tensors, and of a header in it.
LONGEST_FRAME = 1 << 23

# The last item of a header, of the rest of it and of the tensors.
CHECKSUM = re.compile(r', "crc32": "([0-9a-f]{8})"}$')

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


@dataclass(frozen=True)
class FileKind:
    """A kind of file, and what is said of one that is damaged.

    Args:
        key: name of the header in the safetensors metadata.
        damaged: message, with ``{path}`` and ``{reason}``.
    """

    key: str
    damaged: str

    def message(self, path: Path, error: Exception) -> str:
        """What is wrong with a file, in one line of at most ``LONGEST_MESSAGE`` characters."""
        fixed = self.damaged.format(path=short_path(path), reason="")
        reason = one_line(str(error), LONGEST_MESSAGE - len(fixed))
        return self.damaged.format(path=short_path(path), reason=reason)


class OtherFileError(ValueError):
    """A whole file, but not the one that was asked for."""


@dataclass(frozen=True)
class TensorFile:
    """What a file says of itself, and the tensors that can be read from it.

    Args:
        header: the header's items.
        file: the open safetensors file.
        checksum: checksum that the file carries, or None.
        text: the rest of the header, as it stands there.
    """

    header: dict[str, Any]
    file: Any
    checksum: str | None
    text: str

    @property
    def names(self) -> list[str]:
        """Names of the tensors."""
        return sorted(self.file.keys())

    @property
    def floating(self) -> torch.dtype:
        """The one type of all floating-point tensors.

        Raises:
            ValueError: if there is none, or several.
        """
        found = {self.kind(name)[0] for name in self.names}
        floating = [dtype for dtype in found if dtype is not None and dtype.is_floating_point]
        if len(floating) != 1:
            raise ValueError(f"tensors must share one floating-point type, got {len(floating)}")
        return floating[0]

    def kind(self, name: str) -> tuple[torch.dtype | None, tuple[int, ...]]:
        """Type, None if it is of no use here, and shape of a tensor, which is not read."""
        known = self.file.get_slice(name)
        return DTYPES.get(known.get_dtype()), tuple(known.get_shape())

    def tensors(self, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors, on the CPU.

        Args:
            like: tensors of the names, types and shapes that must be there; none is read, so that
                they may be on the meta device.

        Raises:
            ValueError: if others are there, or the checksum is wrong.
        """
        _check_names(self.names, like)
        for name, wanted in like.items():
            kind = self.kind(name)
            if kind != (wanted.dtype, tuple(wanted.shape)):
                raise ValueError(
                    f"{name} must be {_told(wanted.dtype, wanted.shape)}, got {_told(*kind)}"
                )
        # The file stays mapped to memory: what is read from it must not change with it.
        found = {name: self.file.get_tensor(name).clone() for name in like}
        if self.checksum not in (None, _checksum(self.text, found)):
            raise ValueError("contents that differ from their checksum")
        return found


def check_finite(name: str, tensor: Tensor) -> None:
    """Raise ValueError if a number of a tensor is infinite or NaN."""
    if tensor.numel() and not all(math.isfinite(float(end)) for end in torch.aminmax(tensor)):
        raise ValueError(f"{name} must be finite, got NaN or infinite numbers")


@contextmanager
def open_tensor_file(path: Path, kind: FileKind) -> Iterator[TensorFile]:
    """Open a file that may hold anything.

    Args:
        path: the file.
        kind: what it should be.

    Raises:
        ValueError: with the kind's message, if it is not, or if what the block makes of it fails.
    """
    try:
        check_frame(path)
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(kind.key)
            if text is None:
                raise ValueError("safetensors without its header")
            if len(file.keys()) > MOST_TENSORS:
                raise ValueError(f"{len(file.keys())} tensors, more than {MOST_TENSORS}")
            plain, given = without_checksum(text)
            yield TensorFile(parsed(plain), file, given, plain)
    except OtherFileError:
        raise
    except Exception as error:  # whatever classes say to arguments that somebody made up
        raise ValueError(kind.message(path, error)) from error


def check_frame(path: Path) -> None:
    """Raise ValueError if what safetensors says of its tensors is longer than it may be."""
    # What safetensors itself would read takes seconds at its own limit of 100 MB.
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
    if size > LONGEST_FRAME:
        raise ValueError(f"{size} bytes before the tensors, more than {LONGEST_FRAME}")


def write_tensor_file(
    path: str | os.PathLike[str], key: str, header: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> None:
    """Write tensors and a header, complete or not at all; equal ones give equal bytes.

    Raises:
        ValueError: if the header is longer than one that would be read.
        OSError: if the file cannot be written.
    """
    text = strict_json(header)
    parsed(text)
    state = _apart({name: t.detach().cpu().contiguous() for name, t in tensors.items()})
    with replacing(path) as temporary:
        temporary.write_bytes(save(state, metadata={key: with_checksum(text, state)}))


def _apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    # Parts may share their weights; in a file each has its own.
    seen: set[int] = set()
    for name, tensor in tensors.items():
        storage = tensor.untyped_storage().data_ptr()
        tensors[name] = tensor.clone() if storage in seen else tensor
        seen.add(storage)
    return tensors


def one_line(text: str, length: int) -> str:
    r"""The text in one line of printable characters, its middle left out where it is longer.

    Example:
        >>> one_line("a long\nmessage without an end", 20)
        'a long mes...n end'
    """
    line = "".join(c if c.isprintable() else "?" for c in " ".join(text[: 100 * length].split()))
    if len(line) <= length:
        return line
    kept = max(length - 3, 0)
    return f"{line[: kept - kept // 3]}...{line[len(line) - kept // 3 :]}"


def short_path(path: Path) -> str:
    """The path for a message: its end, where it is too long for a line."""
    text = one_line(str(path), 1 << 16)
    return text if len(text) <= LONGEST_PATH else f"...{text[3 - LONGEST_PATH :]}"


def parsed(text: str) -> dict[str, Any]:
    """The mapping that a header is, whose length and depth are bounded.

    Raises:
        ValueError: if it is none, too long or deep, or has a name twice.
    """
    if len(text) > LONGEST_HEADER:
        raise ValueError(f"a header of {len(text)} characters, more than {LONGEST_HEADER}")
    header = json.loads(text, object_pairs_hook=_once)
    if not isinstance(header, dict):
        raise ValueError(f"a header that is a {type(header).__name__}, not a mapping")
    _check_depth(header, DEEPEST_HEADER)
    return header


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    items = dict(pairs)
    if len(items) < len(pairs):
        raise ValueError("a header with a name that occurs twice")
    return items


def _check_depth(value: object, levels: int) -> None:
    if levels == 0:
        raise ValueError(f"a header of more than {DEEPEST_HEADER} levels")
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            _check_depth(each, levels - 1)


def _check_names(names: list[str], wanted: Mapping[str, Tensor]) -> None:
    missing, extra = sorted(set(wanted) - set(names)), sorted(set(names) - set(wanted))
    if missing:
        raise ValueError(f"{len(missing)} tensors too few, without {missing[0]}")
    if extra:
        raise ValueError(f"{len(extra)} tensors too many, with {extra[0]}")


def _told(dtype: torch.dtype | None, shape: tuple[int, ...]) -> str:
    return f"{'of no use' if dtype is None else str(dtype).removeprefix('torch.')} {tuple(shape)}"


def with_checksum(text: str, tensors: Mapping[str, Tensor]) -> str:
    """A header with a checksum of it and of the tensors as its last item."""
    return f'{text[:-1]}, "crc32": "{_checksum(text, tensors)}"}}'


def without_checksum(text: str) -> tuple[str, str | None]:
    """A header without its checksum, and that, or None if it has none."""
    found = CHECKSUM.search(text)
    return (text, None) if found is None else (f"{text[: found.start()]}}}", found[1])


def _checksum(text: str, tensors: Mapping[str, Tensor]) -> str:
    value = zlib.crc32(text.encode())
    for name in sorted(tensors):
        flat = tensors[name].reshape(-1)
        value = zlib.crc32(flat.view(torch.uint8).numpy().data, zlib.crc32(name.encode(), value))
    return f"{value:08x}"
