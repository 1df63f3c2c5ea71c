"""Where the commands write, and whether they can: found out before the work."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .console import about
from .options import IMAGE_SUFFIXES

if TYPE_CHECKING:
    from oinr_monai.grids.grid import Grid

__all__ = [
    "check_folder",
    "check_not_source",
    "check_output",
    "check_result",
    "check_unused",
    "check_writable",
]


def check_output(
    path: Path,
    suffixes: tuple[str, ...],
    inputs: Sequence[Path | None] = (),
    overwrite: bool = False,
) -> None:
    """Find out before the work whether its result can be written.

    Args:
        path: the file.
        suffixes: what it may end in.
        inputs: files that it must not replace, None for those not given.
        overwrite: whether it may.
    """
    if not path.name.lower().endswith(suffixes):
        raise ValueError(f"{path}: must end in {' or '.join(suffixes)}")
    if path.is_dir():
        raise ValueError(f"{path}: is a folder; give the path of a file")
    check_writable(path)
    check_unused(path, inputs, overwrite)


def check_unused(path: Path, inputs: Sequence[Path | None], overwrite: bool) -> None:
    """Raise where the file is among the inputs, unless it may be replaced."""
    given = [each for each in inputs if each is not None and each.exists()]
    if not overwrite and path.exists() and any(path.samefile(each) for each in given):
        raise ValueError(f"{path}: is an input; give --overwrite to replace it, or another -o")


def check_not_source(path: Path, info: Mapping[str, Any], overwrite: bool) -> None:
    """Raise where the file is one that the representation was fitted to.

    Args:
        path: the file to write.
        info: what the representation knows of its fit.
        overwrite: whether it may be replaced.
    """
    from oinr_monai.images.identity import file_mark
    from oinr_monai.images.meta import SOURCE_MARK

    known = str(info.get(SOURCE_MARK, "")).split("+")
    if not overwrite and path.is_file() and file_mark(path) in known:
        raise ValueError(
            f"{path}: is the image that was fitted; give --overwrite to replace it, or another -o"
        )


def check_folder(path: Path) -> None:
    """Find out before the work whether a folder can be written, or made."""
    if path.exists() and not path.is_dir():
        raise ValueError(f"{path}: is a file; give the path of a folder")
    check_writable(path / "any" if path.is_dir() else path)


def check_writable(path: Path) -> None:
    """Raise where nothing can be written to this path."""
    folder = Path(os.path.realpath(path)).parent
    if not folder.is_dir():
        raise ValueError(f"{path}: {path.parent} must be an existing folder; create it first")
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ValueError(
            f"{path}: cannot be written ({error.strerror}); choose another place"
        ) from error


def check_result(
    path: Path, channels: int, grid: Grid, meta: Mapping[str, Any], *, held: bool = True
) -> None:
    """Find out before the work whether a result of this size can be held and written.

    Args:
        path: the file.
        channels: channels of the result.
        grid: its grid.
        meta: what the image says of itself, or the ``info`` of its fit: the pixel depth.
        held: whether it is in memory as a whole.
    """
    from oinr_monai.grids.checks import check_room
    from oinr_monai.images.files import check_storable

    if held:
        check_room(grid.shape, channels)
    if path.name.lower().endswith(IMAGE_SUFFIXES):
        with about(path):
            check_storable(path, channels, grid.shape, meta)
