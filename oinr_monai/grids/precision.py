"""Reduced precision is for operators in training: places and values need all bits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext

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

    Every public function that computes intensities or places is one; an operator may still be told
    to work in bfloat16 within.

    Example:
        >>> with torch.autocast("cpu", torch.bfloat16), full_precision():
        ...     (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
        torch.float32
    """
    with ExitStack() as stack:
        for kind in REDUCING:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield
