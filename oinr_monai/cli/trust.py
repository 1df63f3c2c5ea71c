"""How far answers are to be trusted: the options that ask for it, and where it is written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import IMAGE_SUFFIXES
from .target import Belonging, Target

if TYPE_CHECKING:
    from monai.data import MetaTensor

__all__ = ["ErrorMap", "error_target", "write_errors"]

ErrorMap = Annotated[
    Path | None,
    typer.Option(metavar="MAP", help="Write half widths of 90 % intervals, in the image's units."),
]


def error_target(
    path: Path | None, answer: Path, inputs: Sequence[Path | None], overwrite: bool
) -> Target | None:
    """Where a map goes, found before the work to be a file to write to; None for no map.

    Args:
        path: what the option names.
        answer: what -o names, another file.
        inputs: files that it must not replace.
        overwrite: whether it may all the same.
    """
    if path is None:
        return None
    if path.resolve() == answer.resolve():
        raise ValueError(f"--error-map must be another file than -o, got {path}")
    return Target.of(path, Belonging(False, None, None, False), IMAGE_SUFFIXES, inputs, overwrite)


def write_errors(target: Target, widths: Sequence[MetaTensor]) -> None:
    """Write half widths (C, *spatial), those of frames one after the other."""
    import torch
    from monai.data import MetaTensor

    from oinr_monai.restoration.restored import HALF_WIDTH

    whole = torch.cat([each.as_tensor() for each in widths])
    target.write(MetaTensor(whole, affine=widths[0].affine), HALF_WIDTH)
