"""What tells inputs, settings and results from others: digests of their bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["digest_of_files", "digest_of_work"]


def digest_of_files(paths: Iterable[Path]) -> str:
    """Sixteen digits of the bytes of files, and of all files of folders, in the order given.

    Where they lie does not matter, but the names within a folder do.

    Raises:
        OSError: if one is missing or cannot be read.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     one, two = Path(folder, "a"), Path(folder, "b")
        ...     _ = one.write_bytes(b"same"), two.write_bytes(b"same")
        ...     digest_of_files([one]) == digest_of_files([two])
        True
    """
    every = hashlib.blake2b(digest_size=8)
    for path in paths:
        inside = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else []
        for each in inside or [path]:
            with each.open("rb") as file:
                found = hashlib.file_digest(file, hashlib.blake2b).digest()
            every.update(str(each.relative_to(path)).encode() + b"\0" + found)
        every.update(b"\0")
    return every.hexdigest()


def digest_of_work(files: Iterable[Path], settings: Mapping[str, Any]) -> str:
    """Sixteen digits that change with any byte of the inputs, and with any setting."""
    told = json.dumps(settings, sort_keys=True, default=repr).encode()
    return hashlib.blake2b(digest_of_files(files).encode() + told, digest_size=8).hexdigest()
