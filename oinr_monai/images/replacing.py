"""Files that are written complete or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["replacing"]


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path whose file takes the place of ``path`` when the block ends without error.

    Args:
        path: the file to write; its folder must exist.

    Yields:
        A path with the same name in a temporary folder beside it.

    Raises:
        OSError: if the file cannot be written there.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with replacing(f"{folder}/note.txt") as temporary:
        ...         _ = temporary.write_text("done")
        ...     os.listdir(folder)
        ['note.txt']
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: {path.parent} is not a folder; create it first")
    try:
        with tempfile.TemporaryDirectory(prefix=".oinr-", dir=path.parent) as folder:
            temporary = Path(folder) / path.name
            yield temporary
            os.replace(temporary, path)
    except OSError as error:
        problem = error.strerror or str(error)
        raise OSError(f"{path}: cannot be written ({problem}); choose another place") from error
