"""What a command keeps while it works, so that it can go on where an interrupt stopped it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from .console import say

__all__ = ["Resume", "kept", "stopped"]


Resume = Annotated[bool, typer.Option("--resume", help="Go on where Ctrl-C stopped.")]


@contextmanager
def kept(output: Path, resume: bool, part: int | None = None) -> Iterator[Path]:
    """The checkpoint beside ``output``: begun anew unless resumed, gone when the block ends well.

    Args:
        output: what the command will write.
        resume: whether to go on from a checkpoint that is there.
        part: which of several that one output is made of.
    """
    name = output.name if part is None else f"{output.name}.{part}"
    path = output.with_name(f"{name}.checkpoint")
    if not resume:
        path.unlink(missing_ok=True)
    elif part is None and not path.is_file():
        say(f"nothing to resume, {path} does not exist; starting anew")
    yield path
    path.unlink(missing_ok=True)


def stopped(steps: int, what_is_left: str) -> NoReturn:
    """End the command as interrupted, saying what is left and how to go on."""
    say(
        f"interrupted after {steps} steps; {what_is_left}; repeat the command with --resume to go"
        " on"
    )
    raise typer.Exit(130)
