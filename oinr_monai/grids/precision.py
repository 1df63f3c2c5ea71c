"""Reduced precision is for operators in training: places and values need all bits.

What operators learn in, and restore with, is bfloat16 where a device gains from it. All else is in
single precision as it is written down: not in what torch may take for it, TF32 on a GPU, where
convolutions do so unless they are told, and bfloat16 on some processors.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
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
        self.lock, self.within, self.back = threading.Lock(), 0, ExitStack()

    def __enter__(self) -> None:
        with self.lock:
            if self.within == 0:
                self.back = _put_right()
            self.within += 1

    def __exit__(self, *error: object) -> None:
        with self.lock:
            self.within -= 1
            if self.within == 0:
                self.back.close()


def _put_right() -> ExitStack:
    """Put right what is set to shorten single precision; what puts it back again."""
    back, products = ExitStack(), _read(torch.get_float32_matmul_precision)
    if products not in ("highest", None):
        torch.set_float32_matmul_precision("highest")
        back.callback(torch.set_float32_matmul_precision, products)
    for part, name, exact in _parts():
        met = getattr(part, name)
        if met not in (exact, "none"):
            setattr(part, name, exact)
            back.callback(setattr, part, name, met)
    return back


def _parts() -> Iterator[tuple[Any, str, object]]:
    """Parts of torch that may shorten it, by the settings that can be read: torch minds a mix."""
    backends: Any = torch.backends
    older, newer = ("allow_tf32", False), ("fp32_precision", "ieee")
    if _read(lambda: backends.cudnn.allow_tf32) is None:
        yield backends.cudnn.conv, *newer
        yield backends.cudnn.rnn, *newer
    else:
        yield backends.cudnn, *older
    if hasattr(backends, "fp32_precision"):
        for part in (backends.cuda.matmul, backends.mkldnn.matmul, backends.mkldnn.conv):
            yield part, *newer
    else:  # before torch 2.9
        yield backends.cuda.matmul, *older


def _read(setting: Callable[[], Any]) -> Any:  # noqa: ANN401
    """A setting as older torch has it; None where the newer ones say what it cannot."""
    try:
        return setting()
    except RuntimeError:
        return None


_AS_WRITTEN = _AsWritten()
