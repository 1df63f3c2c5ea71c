"""Ctrl-C and SIGTERM while the program loads: it goes without a word, for there is nothing yet.

A module that is half imported cannot be interrupted tidily, and what an import makes of a
``KeyboardInterrupt`` is its own affair.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePath
from types import FrameType

__all__ = ["INTERRUPTED", "interruptible", "is_program", "leave", "leave_when_asked"]

INTERRUPTED = 130


def is_program(arguments: Sequence[str]) -> bool:
    """Whether this command line of Python runs the commands, and does not merely use the package.

    Example:
        >>> is_program(["python", "-m", "oinr_monai", "info"])
        True
        >>> is_program(["python", "/usr/bin/oinr", "info"]), is_program(["python", "train.py"])
        (True, False)
    """
    rest = list(arguments[1:])
    while rest and rest[0].startswith("-") and rest[0] != "-m":
        del rest[: 2 if rest[0] in ("-W", "-X") else 1]
    name = PurePath(rest[0]).stem if rest else ""
    return name == "oinr" or rest[:2] == ["-m", "oinr_monai"]


def leave(number: int, frame: FrameType | None) -> None:
    """End the process at once, as the handler of a signal."""
    os._exit(INTERRUPTED)


def leave_when_asked() -> None:
    """Until :func:`interruptible`, end at once when asked, if this process is the program."""
    if not is_program(sys.orig_argv) or threading.current_thread() is not threading.main_thread():
        return
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    for number, handler in usual.items():
        if signal.getsignal(number) == handler:
            signal.signal(number, leave)


@contextmanager
def interruptible() -> Iterator[None]:
    """A block that Ctrl-C and SIGTERM end by a ``KeyboardInterrupt``; what ignores them still does.

    Example:
        >>> before = signal.getsignal(signal.SIGTERM)
        >>> with interruptible():
        ...     pass
        >>> signal.getsignal(signal.SIGTERM) == before
        True
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in before.items():
        if handler in (leave, signal.SIG_DFL):
            signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
