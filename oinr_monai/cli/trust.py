"""How far answers are to be trusted: the options that ask for it, and where it is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

__all__ = ["ErrorMap", "Hidden", "Samples", "Share", "Trust"]

ErrorMap = Annotated[
    Path | None,
    typer.Option(metavar="MAP", help="Write half widths of 90 % intervals, in the image's units."),
]

Share = Annotated[
    Path | None,
    typer.Option(metavar="MAP", help="Write which part of what is shown the operator added."),
]

Hidden = Annotated[
    Path | None,
    typer.Option(metavar="MAP", help="Write what contrast a small lesion may hide at each place."),
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
        maps: where each map goes, by the option that asks for it.
        samples: where images go that the truth may be.
    """

    maps: Mapping[str, Target]
    samples: Sequence[Target]

    @classmethod
    def of(
        cls,
        maps: Mapping[str, Path | None],
        samples: int,
        answer: Path,
        inputs: Sequence[Path | None],
        overwrite: bool,
    ) -> Self:
        """Where all of it goes, found before the work to be files to write to.

        Args:
            maps: what the options of maps name, if anything.
            samples: how many; they lie beside the answer and are named after it.
            answer: what -o names.
            inputs: files that must not be replaced.
            overwrite: whether they may all the same.
        """

        def target(path: Path) -> Target:
            plain = Belonging(False, None, None, False)
            return Target.of(path, plain, IMAGE_SUFFIXES, inputs, overwrite)

        drawn = _beside(answer, samples)
        taken = {p.resolve() for p in (answer, *drawn)}
        asked = {option: path for option, path in maps.items() if path is not None}
        for option, path in asked.items():
            if path.resolve() in taken:
                raise ValueError(
                    f"{option} must be another file than -o, its samples and other maps, got {path}"
                )
            taken.add(path.resolve())
        return cls({name: target(p) for name, p in asked.items()}, [target(p) for p in drawn])

    @property
    def option(self) -> str | None:
        """The name of an option that asks for it; None where nothing does."""
        return next(iter([*self.maps, *(["--samples"] if self.samples else [])]), None)

    def check(self, channels: int, grid: Grid) -> None:
        """Find out before the work whether all of it can be held and written."""
        for each in [*self.samples, *self.maps.values()]:
            each.check(channels, grid, {}, grid)

    def write(self, found: Sequence[Restored], seed: int) -> dict[str, MetaTensor]:
        """Write it, with the frames of a series one after the other.

        Args:
            found: the answers, of one frame each.
            seed: of the samples.

        Returns:
            Maps of the first frame, as a page calls them; the half widths though not asked for.
        """
        from oinr_monai.restoration.restored import HALF_WIDTH, HIDDEN, SHARE

        frames = {"error": [each.half_width() for each in found]}
        said = {
            "--error-map": ("error", HALF_WIDTH),
            "--share": ("share", SHARE),
            "--hidden": ("hidden", HIDDEN),
        }
        for option, target in self.maps.items():
            name, words = said[option]
            if name != "error":
                frames[name] = [getattr(each, name)() for each in found]
            target.write(_together(frames[name]), words)
        self._draw(found, seed)
        return {name: each[0] for name, each in frames.items() if each}

    def _draw(self, found: Sequence[Restored], seed: int) -> None:
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
