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

    from oinr_monai.restoration.restored import Restored

__all__ = [
    "ErrorMap",
    "Samples",
    "error_target",
    "sample_targets",
    "write_errors",
    "write_samples",
]

ErrorMap = Annotated[
    Path | None,
    typer.Option(metavar="MAP", help="Write half widths of 90 % intervals, in the image's units."),
]

Samples = Annotated[
    int,
    typer.Option(
        min=0, metavar="N", help="Write N images that the truth may be, OUT-1, OUT-2, ..."
    ),
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


def sample_targets(
    count: int, answer: Path, inputs: Sequence[Path | None], overwrite: bool
) -> list[Target]:
    """Where samples go, beside the answer and named after it; found before the work.

    Args:
        count: how many.
        answer: what -o names.
        inputs: files that they must not replace.
        overwrite: whether they may all the same.
    """
    if count == 0:
        return []
    suffix = next((s for s in IMAGE_SUFFIXES if answer.name.lower().endswith(s)), None)
    if suffix is None:
        raise ValueError(f"--samples must go with -o {' or '.join(IMAGE_SUFFIXES)}, got {answer}")
    stem, ending = answer.name[: -len(suffix)], answer.name[-len(suffix) :]
    plain = Belonging(False, None, None, False)
    return [
        Target.of(answer.with_name(f"{stem}-{i}{ending}"), plain, IMAGE_SUFFIXES, inputs, overwrite)
        for i in range(1, count + 1)
    ]


def write_samples(targets: Sequence[Target], found: Sequence[Restored], seed: int) -> None:
    """Write images that the truth may be, with the frames of a series one after the other."""
    import torch
    from monai.data import MetaTensor

    if targets:
        drawn = zip(
            *[each.samples(len(targets), seed + i) for i, each in enumerate(found)], strict=True
        )
        for target, frames in zip(targets, drawn, strict=True):
            whole = torch.cat([each.as_tensor() for each in frames])
            target.write(MetaTensor(whole, affine=frames[0].affine), "what the truth may be")
