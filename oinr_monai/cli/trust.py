"""How far answers are to be trusted: the options that ask for it, and where it is written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from .options import IMAGE_SUFFIXES
from .target import Belonging, Target

__all__ = ["ERROR_MAP", "ErrorMap", "error_target"]

# What a map says of itself.
ERROR_MAP = "half width of the 90 % interval"

ErrorMap = Annotated[
    Path | None,
    typer.Option(metavar="MAP", help="Write half widths of 90 % intervals, in the image's units."),
]


def error_target(path: Path, others: Sequence[Path], overwrite: bool) -> Target:
    """Where a map goes, found before the work to be a file to write to.

    Args:
        path: what the option names.
        others: files that it must not replace: the inputs, and the answer itself.
        overwrite: whether it may replace an input.
    """
    if path.resolve() == others[-1].resolve():
        raise ValueError(f"--error-map must be another file than -o, got {path}")
    return Target.of(path, Belonging(False, None, None, False), IMAGE_SUFFIXES, others, overwrite)
