"""What the command line says: results, one-line errors, and silence about the rest."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

__all__ = ["about", "hush", "message_of", "options", "refuse", "say", "show", "usage_of"]


def show(fields: dict[str, Any], as_json: bool) -> None:
    """Print fields as one JSON object, or as a line each."""
    if as_json:
        from oinr_monai.coding.strict_json import strict_json

        typer.echo(strict_json(fields))
        return
    width = max(len(name) for name in fields)
    for name, value in fields.items():
        typer.echo(f"{name:<{width}}  {_text(value)}")


def _text(value: object) -> str:
    if isinstance(value, dict):
        known = ((name, each) for name, each in value.items() if each is not None)
        return ", ".join(f"{name} {_text(each)}" for name, each in known)
    if isinstance(value, list):
        nested = any(isinstance(each, list) for each in value)
        return ("; " if nested else " ").join(_text(each) for each in value)
    return f"{value:.5g}" if isinstance(value, float) else str(value)


@contextmanager
def about(path: Path) -> Iterator[None]:
    """Name the file in errors about what it holds."""
    try:
        yield
    except ValueError as error:
        if str(path) in str(error):
            raise
        raise ValueError(f"{path}: {error}") from error


@contextmanager
def options(*names: str) -> Iterator[None]:
    """Name arguments as the options that they were given by, in errors about them."""
    try:
        yield
    except ValueError as error:
        subject, must, rest = str(error).partition(" must ")
        for name in names:
            subject = re.sub(rf"\b{name}\b", f"--{name}", subject)
        raise ValueError(f"{subject}{must}{rest}") from error


def say(message: str) -> None:
    """Print one line on stderr."""
    typer.echo(f"oinr: {' '.join(message.split())}", err=True)


def refuse(message: str) -> int:
    """Say what is wrong and return the exit status of bad input, 2."""
    say(message)
    return 2


def usage_of(error: typer.TyperException) -> str:
    """What was wrong with the arguments, and where to read how they go."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "oinr"
    message = error.format_message().replace("Value error, ", "").rstrip(".")
    return f"{message}; see `{command} --help`"


def message_of(error: Exception) -> str:
    """What an error says, with its file and a remedy."""
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror}; choose another place"
    return str(error)


def hush() -> None:
    """Silence what other packages announce to developers, and say all else in one line each."""
    from oinr_monai.fitting.notes import CheckpointNote
    from oinr_monai.images.notes import ImageNote

    warnings.filterwarnings("ignore", message="`torch.jit.", category=DeprecationWarning)
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated", category=UserWarning)
    for ours in (CheckpointNote, ImageNote):
        warnings.simplefilter("always", ours)
    warnings.showwarning = _tell


def _tell(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
    say(str(message))
