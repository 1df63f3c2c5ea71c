"""What a law is, and how a battery of them is run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import ParamSpec

import torch
from torch import Tensor

__all__ = ["Battery", "agree", "generator", "in_precision", "law", "require"]

P = ParamSpec("P")


@dataclass(frozen=True)
class Battery(Collection[Callable[..., None]]):
    """The laws of one kind of part: iterate over them to test each, or call it to test all at once.

    Args:
        laws: functions that raise AssertionError where what they are given breaks a law.

    Example:
        >>> def positive(number: float) -> None:
        ...     require(number > 0, f"number must be positive, got {number}")
        >>> def whole(number: float) -> None:
        ...     require(number == round(number), f"number must be whole, got {number}")
        >>> Battery((positive, whole))(-1.5)
        Traceback (most recent call last):
        AssertionError: positive: number must be positive, got -1.5
        whole: number must be whole, got -1.5
    """

    laws: tuple[Callable[..., None], ...]

    def __iter__(self) -> Iterator[Callable[..., None]]:
        return iter(self.laws)

    def __len__(self) -> int:
        return len(self.laws)

    def __contains__(self, law: object) -> bool:
        return law in self.laws

    def __call__(self, *parts: object) -> None:
        """Try every law; AssertionError has a line for each that is broken."""
        broken = []
        for each in self.laws:
            try:
                each(*parts)
            except AssertionError as error:
                broken.append(f"{each.__name__}: {error}")
            except Exception as error:
                reason = " ".join(f"{type(error).__name__}: {error}".split())
                broken.append(f"{each.__name__}: it must answer, got {reason}")
        require(not broken, "\n".join(broken))


def law(function: Callable[P, None]) -> Callable[P, None]:
    """Run a law in double precision and from one seed; the caller's settings stay as they were."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with in_precision(torch.float64), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            function(*args, **kwargs)

    return run


@contextmanager
def in_precision(dtype: torch.dtype) -> Iterator[None]:
    """Make ``dtype`` the default, in which fields without parameters answer."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def generator(seed: int = 0) -> torch.Generator:
    """Random numbers that are the same each time."""
    return torch.Generator().manual_seed(seed)


def require(holds: bool, message: str) -> None:
    """Raise AssertionError with this message where something does not hold."""
    if not holds:
        raise AssertionError(message)


def agree(what: str, found: Tensor, expected: Tensor, within: float) -> None:
    """Require two tensors to have one shape, and to differ by no more than ``within``.

    It counts in parts of the largest number expected, or of 1 where that is larger.
    """
    require(
        found.shape == expected.shape,
        f"{what} must have shape {tuple(expected.shape)}, got {tuple(found.shape)}",
    )
    if expected.numel() == 0:
        return
    size = max(float(expected.detach().abs().max()), 1.0)
    off = float((found - expected).detach().abs().max()) / size
    require(off <= within, f"{what} must agree within {within:g}, got {off:.3g}")
