"""What the commands take: their common options, and checks of what these name."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from importlib import import_module
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperCommand, TyperGroup

from .console import hush, say
from .leaving import INTERRUPTED, interruptible

__all__ = [
    "IMAGE_SUFFIXES",
    "NOTHING_WRITTEN",
    "SEEDS",
    "WIDEST",
    "Command",
    "Commands",
    "Device",
    "Factor",
    "File",
    "Json",
    "Like",
    "Output",
    "Overwrite",
    "Preset",
    "Report",
    "Seconds",
    "Seed",
    "SeriesUid",
    "Sigma",
    "Spacing",
    "Steps",
]


# Nothing that is seen of a body is wider, in mm.
WIDEST = 1e4

NOTHING_WRITTEN = "interrupted; nothing is written"

# What a command needs before signals are heeded, where that is not everything.
LOADED = {"info": "oinr_monai.representation.representation"}

IMAGE_SUFFIXES = (".jpeg", ".jpg", ".mha", ".nii", ".nii.gz", ".nrrd", ".png")


Json = Annotated[bool, typer.Option("--json", help="Print one JSON object, and nothing else.")]


Preset = Annotated[
    Literal["fast", "balanced", "best", "exact"] | None,
    typer.Option(help="Quality against time; exact trains nothing, for derivatives."),
]


Steps = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Steps to take, not the preset's.")
]


Seconds = Annotated[
    float | None, typer.Option(metavar="S", help="Seconds for a fit, instead of steps.")
]


# What torch takes for a seed, as numbers with a sign.
SEEDS: dict[str, Any] = {"min": -(2**63), "max": 2**63 - 1}

Seed = Annotated[
    int, typer.Option(metavar="N", help="Seed of the start and of the places seen.", **SEEDS)
]


Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where to compute.")]


Output = Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="File to write.")]


Report = Annotated[
    Path | None,
    typer.Option("--report", metavar="HTML", help="Write a page about it as well, to look at."),
]


SeriesUid = Annotated[
    list[str] | None,
    typer.Option("--series", metavar="UID", help="Series of a DICOM folder; again for its mask."),
]


Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace the file even if it is an input.")
]


class Commands(TyperGroup):
    """Commands, each under its heading."""

    def format_commands(
        self,
        ctx: typer.Context,  # type: ignore[override]
        formatter: Any,  # noqa: ANN401
    ) -> None:
        """Write their names, and in whole sentences what they do."""
        for heading, commands in groupby(self.commands.items(), _heading):
            rows = [(name, (each.help or "").split("\n\n")[0]) for name, each in commands]
            with formatter.section(heading):
                formatter.write_dl(rows)


def _heading(item: tuple[str, Any]) -> str:
    return item[1].rich_help_panel or "Commands"


class Command(TyperCommand):
    """A command, whose ``--spacing`` and ``--sigma`` take as many numbers as follow them.

    What it needs is loaded, and signals are heeded, once its arguments are right.
    """

    def parse_args(
        self,
        ctx: typer.Context,  # type: ignore[override]
        args: list[str],
    ) -> list[str]:
        """Parse with the numbers after each of them taken together."""
        return super().parse_args(ctx, _join_numbers(args, ("--spacing", "--sigma")))

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]  # noqa: ANN401
        """Run it, in whose course Ctrl-C and SIGTERM are a ``KeyboardInterrupt``."""
        import_module(LOADED.get(self.name or "", "oinr_monai.names"))
        with warnings.catch_warnings(), interruptible():
            hush()
            try:
                return super().invoke(ctx)
            except KeyboardInterrupt:  # which the command did not heed
                say(NOTHING_WRITTEN)
                raise typer.Exit(INTERRUPTED) from None


def _join_numbers(arguments: Sequence[str], options: Sequence[str]) -> list[str]:
    joined: list[str] = []
    numbers: list[str] | None = None
    for argument in [*arguments, ""]:
        if numbers is not None and _is_number(argument):
            numbers.append(argument)
            continue
        joined += [",".join(numbers)] if numbers else []
        numbers = [] if argument in options else None
        joined.append(argument)
    return joined[:-1]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _spacings(text: str) -> list[float]:
    values = _numbers(text)
    if not 1 <= len(values) <= 3:
        raise typer.BadParameter(f"{text!r} must be one number of mm per axis, such as 1 1 2")
    return values


def _sigmas(text: str) -> list[float]:
    values = _numbers(text)
    if not values or not all(0 <= value <= WIDEST for value in values):
        raise typer.BadParameter(
            f"{text!r} must be widths in mm, at most {WIDEST:g}, such as 1 or 0.5 1 2"
        )
    return values


def _numbers(text: str) -> list[float]:
    parts = text.replace(",", " ").split()
    return [float(part) for part in parts] if all(map(_is_number, parts)) else []


File = Annotated[Path, typer.Argument(metavar="REP.oinr", help="A representation.")]


Factor = Annotated[
    int | None, typer.Option(min=1, metavar="F", help="F times finer than the fitted grid.")
]


Spacing = Annotated[
    Any,
    typer.Option(parser=_spacings, metavar="X Y Z", help="Spacing in mm, one number per axis."),
]


Like = Annotated[
    Path | None, typer.Option(metavar="REF", help="On the grid of this image, rotated or not.")
]


Sigma = Annotated[
    Any,
    typer.Option(
        parser=_sigmas, metavar="MM...", help="Scale; several for vesselness and sheetness."
    ),
]
