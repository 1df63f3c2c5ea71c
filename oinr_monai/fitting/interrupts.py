"""Ctrl-C while something is learned: heeded after the step, not in the midst of it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch

__all__ = ["Interrupts", "learning"]


class Interrupts:
    """Whether somebody asked for an end, by Ctrl-C or what the program treats alike.

    Example:
        >>> Interrupts().asked
        False
    """

    def __init__(self) -> None:
        self.asked = self.heeded = False

    def note(self, number: int, frame: FrameType | None) -> None:
        """Remember the signal, as its handler."""
        self.asked = True


# Only the outermost block of a program sets handlers: those within it see its interrupts.
_outermost: list[Interrupts] = []


@contextmanager
def learning() -> Iterator[Interrupts]:
    """A block that learns: gradients are on, and an interrupt waits until it can be heeded.

    A transform or an inferer may be called where gradients are off. An interrupt that nothing in
    the block heeded is raised as ``KeyboardInterrupt`` at its end; outside the main thread, which
    alone gets signals, the block changes nothing about them.

    Example:
        >>> with torch.no_grad(), learning() as interrupts:
        ...     torch.is_grad_enabled(), interrupts.asked
        (True, False)
    """
    with torch.inference_mode(False), torch.enable_grad():
        if _outermost or threading.current_thread() is not threading.main_thread():
            yield _outermost[0] if _outermost else Interrupts()
            return
        interrupts = Interrupts()
        _outermost.append(interrupts)
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        raising = [n for n, handler in before.items() if handler is signal.default_int_handler]
        for number in raising:
            signal.signal(number, interrupts.note)
        try:
            yield interrupts
        finally:
            _outermost.clear()
            for number in raising:
                signal.signal(number, before[number])
    if interrupts.asked and not interrupts.heeded:
        raise KeyboardInterrupt
