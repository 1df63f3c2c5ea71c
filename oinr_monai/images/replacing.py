"""Files that are written complete or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .scratch import Scratch

__all__ = ["put_in_place", "replacing", "writing"]


def put_in_place(temporary: Path, path: Path) -> None:
    """Move a file to where it belongs; one that it replaces hands on its mode and its link."""
    place = Path(os.path.realpath(path))
    if place.is_file():
        os.chmod(temporary, stat.S_IMODE(place.stat().st_mode))
    os.replace(temporary, place)


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path whose file takes the place of ``path`` when the block ends without error.

    A link stays one, and the file that it leads to is replaced; modes are kept.

    Args:
        path: the file to write; its folder must exist.

    Yields:
        A path with the same name in a temporary folder beside it.

    Raises:
        OSError: if the file cannot be written there.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with replacing(f"{folder}/note.txt") as temporary:
        ...         _ = temporary.write_text("done")
        ...     os.listdir(folder)
        ['note.txt']
    """
    path = Path(path)
    place = Path(os.path.realpath(path))
    if not place.parent.is_dir():
        raise FileNotFoundError(f"{path}: {place.parent} is not a folder; create it first")
    with writing(path), Scratch(place.parent) as folder:
        temporary = folder / path.name
        yield temporary
        put_in_place(temporary, place)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Name what is written in the errors of writing it, with the reason that the system gives."""
    try:
        yield
    except OSError as error:
        first = error
        while isinstance(first.__cause__, OSError):
            first = first.__cause__
        problem = first.strerror or str(first)
        raise OSError(f"{path}: cannot be written ({problem}); choose another place") from error
