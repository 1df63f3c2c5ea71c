"""How far answers are to be trusted: the options that ask for it, and where it is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

import typer

from .options import IMAGE_SUFFIXES
from .target import Belonging, Target

if TYPE_CHECKING:
    from monai.data import MetaTensor

    from oinr_monai.grids.grid import Grid
    from oinr_monai.restoration.restored import Restored

__all__ = ["ErrorMap", "Samples", "Trust"]

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


@dataclass(frozen=True)
class Trust:
    """What is written of how far an answer is to be trusted.

    Args:
        errors: where half widths go, if anywhere.
        samples: where images go that the truth may be.
    """

    errors: Target | None
    samples: Sequence[Target]

    @classmethod
    def of(
        cls,
        error_map: Path | None,
        samples: int,
        answer: Path,
        inputs: Sequence[Path | None],
        overwrite: bool,
    ) -> Self:
        """Where all of it goes, found before the work to be files to write to.

        Args:
            error_map: what the option names, if anything.
            samples: how many; they lie beside the answer and are named after it.
            answer: what -o names.
            inputs: files that must not be replaced.
            overwrite: whether they may all the same.
        """

        def target(path: Path) -> Target:
            plain = Belonging(False, None, None, False)
            return Target.of(path, plain, IMAGE_SUFFIXES, inputs, overwrite)

        drawn = _beside(answer, samples)
        if error_map is not None and error_map.resolve() in {p.resolve() for p in (answer, *drawn)}:
            raise ValueError(
                f"--error-map must be another file than -o and its samples, got {error_map}"
            )
        return cls(None if error_map is None else target(error_map), [target(p) for p in drawn])

    @property
    def option(self) -> str | None:
        """The name of an option that asks for it; None where nothing does."""
        if self.errors is not None:
            return "--error-map"
        return "--samples" if self.samples else None

    def check(self, channels: int, grid: Grid) -> None:
        """Find out before the work whether all of it can be held and written."""
        for each in [*self.samples, *([] if self.errors is None else [self.errors])]:
            each.check(channels, grid, {}, grid)

    def write(self, found: Sequence[Restored], widths: Sequence[MetaTensor], seed: int) -> None:
        """Write it, with the frames of a series one after the other.

        Args:
            found: the answers, of one frame each.
            widths: half widths of each.
            seed: of the samples.
        """
        from oinr_monai.restoration.restored import HALF_WIDTH

        if self.errors is not None:
            self.errors.write(_together(widths), HALF_WIDTH)
        if self.samples:
            count = len(self.samples)
            drawn = zip(*[x.samples(count, seed + i) for i, x in enumerate(found)], strict=True)
            for target, frames in zip(self.samples, drawn, strict=True):
                target.write(_together(frames), "what the truth may be")


def _beside(answer: Path, count: int) -> list[Path]:
    # Files of samples, OUT-1, OUT-2, ...
    if count == 0:
        return []
    suffix = next((s for s in IMAGE_SUFFIXES if answer.name.lower().endswith(s)), None)
    if suffix is None:
        raise ValueError(f"--samples must go with -o {' or '.join(IMAGE_SUFFIXES)}, got {answer}")
    stem, ending = answer.name[: -len(suffix)], answer.name[-len(suffix) :]
    return [answer.with_name(f"{stem}-{i}{ending}") for i in range(1, count + 1)]


def _together(frames: Sequence[MetaTensor]) -> MetaTensor:
    import torch
    from monai.data import MetaTensor

    whole = torch.cat([each.as_tensor() for each in frames])
    return MetaTensor(whole, affine=frames[0].affine)
