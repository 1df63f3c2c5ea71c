"""The command line, ``oinr``."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; see :func:`oinr_monai.cli.app.main`, which is imported when it is needed."""
    from .app import main as run

    return run(arguments)
