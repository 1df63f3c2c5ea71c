"""Reduced precision is for operators in training: places and values need all bits.

What operators learn in, and restore with, is bfloat16 where a device gains from it. All else is in
single precision as it is written down: not in what torch may take for it, TF32 on a GPU, where
convolutions do so unless they are told, and bfloat16 on some processors.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import torch

__all__ = ["full_precision", "precision"]

# Kinds of devices that know reduced precision.
REDUCING = ("cpu", "cuda")


def precision(device: torch.device, reduced: bool = False) -> AbstractContextManager[object]:
    """A block whose products on ``device`` are in bfloat16, or in full precision in any case.

    Example:
        >>> with precision(torch.device("cpu"), reduced=True):
        ...     (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
        torch.bfloat16
    """
    if device.type not in REDUCING:
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16, enabled=reduced)


@contextmanager
def full_precision() -> Iterator[None]:
    """A block, or a decorated function, that ``torch.autocast`` around it does not reach.

    Nor does ``torch.set_float32_matmul_precision``, nor TF32. Every public function that computes
    intensities or places is one; an operator may still be told to work in bfloat16 within.

    Example:
        >>> with torch.autocast("cpu", torch.bfloat16), full_precision():
        ...     (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
        torch.float32
    """
    with ExitStack() as stack:
        for kind in REDUCING:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        stack.enter_context(_AS_WRITTEN)
        yield


class _AsWritten(AbstractContextManager[None]):
    """Products and convolutions in single precision are in single precision, in all threads.

    The last thread that leaves puts the settings back that the first one met.
    """

    def __init__(self) -> None:
        self.lock, self.within = threading.Lock(), 0
        self.met: list[tuple[Any, Any]] = []

    def __enter__(self) -> None:
        with self.lock:
            if self.within == 0:
                self.met = [(part, getattr(part, SETTING)) for part in _shortening()]
                for part, _ in self.met:
                    setattr(part, SETTING, EXACT)
            self.within += 1

    def __exit__(self, *error: object) -> None:
        with self.lock:
            self.within -= 1
            if self.within == 0:
                for part, setting in self.met:
                    setattr(part, SETTING, setting)


_AS_WRITTEN = _AsWritten()

# How torch is told, since 2.9 and before.
SETTING, EXACT = (
    ("fp32_precision", "ieee")
    if hasattr(torch.backends, "fp32_precision")
    else ("allow_tf32", False)
)


def _shortening() -> list[Any]:
    """Parts of torch that take something shorter for single precision."""
    backends: Any = torch.backends
    parts: list[Any] = [backends.cuda.matmul]
    if SETTING == "allow_tf32":
        parts.append(backends.cudnn)
    else:
        parts += [backends.cudnn.conv, backends.mkldnn.matmul, backends.mkldnn.conv]
    return [part for part in parts if getattr(part, SETTING) not in (EXACT, "none")]
