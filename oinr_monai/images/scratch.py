"""Folders for files in the making, which leave nothing behind, a killed process's included."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path
from types import TracebackType

__all__ = ["Scratch", "sweep"]

PREFIX = ".oinr-"


class Scratch:
    """A hidden folder for files in the making; it goes when it is closed, or its block ends.

    While it is open it is locked, which ends with its process, however that ends. A process that
    makes its first one in a place sweeps those there that nobody holds any more. Where a file
    system knows no locks, none is swept.

    Args:
        place: the folder to make it in; that of temporary files if None.

    Raises:
        OSError: if it cannot be made there.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with Scratch(Path(folder)) as scratch:
        ...         _ = (scratch / "half.bin").write_bytes(b"1")
        ...     os.listdir(folder)
        []
    """

    def __init__(self, place: Path | None = None) -> None:
        place = place or Path(tempfile.gettempdir())
        _sweep(place)
        self.path, self._lock = _made(place)

    def close(self) -> None:
        """Remove it, and all that is in it."""
        _remove(self.path, self._lock)

    def __enter__(self) -> Path:
        return self.path

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _made(place: Path) -> tuple[Path, int]:
    while True:
        path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
        try:
            lock = os.open(path, os.O_RDONLY)
        except FileNotFoundError:  # another process swept it before it was locked
            continue
        if _locks(lock, otherwise=True) and path.exists():
            return path, lock
        os.close(lock)


def _locks(folder: int, otherwise: bool) -> bool:
    """Whether the folder is this process's now; ``otherwise`` where there are no locks."""
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return otherwise
    return True


def sweep(place: Path) -> None:
    """Remove the folders in a place that nobody holds any more.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     left = Path(folder, ".oinr-left")  # by a process that was killed
        ...     left.mkdir()
        ...     sweep(Path(folder))
        ...     left.exists()
        False
    """
    for path in place.glob(f"{PREFIX}*"):
        try:
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:  # it has just gone, or belongs to somebody else
            continue
        if _locks(lock, otherwise=False):
            _remove(path, lock)
        else:
            os.close(lock)


_sweep = cache(sweep)


def _remove(path: Path, lock: int) -> None:
    shutil.rmtree(path, ignore_errors=True)
    os.close(lock)
