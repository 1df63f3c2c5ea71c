"""Constants that are sent to a device once, and not each time that they are used."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

__all__ = ["constant", "forget_constants", "numbers"]

# Tensors that are kept, all of them small. Chosen by hand.
MOST = 512


def constant(
    make: Callable[..., Tensor],
    *arguments: Any,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    """What a function makes of hashable arguments, in a type and on a device; nobody changes it.

    To send it waits for the device, or makes it wait, and costs more than what it is used for.

    Example:
        >>> ends = constant(torch.ones, 3, dtype=torch.float64, device=torch.device("cpu"))
        >>> ends is constant(torch.ones, 3, dtype=torch.float64, device=torch.device("cpu"))
        True
    """
    if (
        torch.compiler.is_compiling() or torch.compiler.is_exporting()
    ):  # a program has constants of its own
        return make(*arguments).to(device, dtype)
    return _kept(make, arguments, dtype, device)


@lru_cache(maxsize=MOST)
def _kept(
    make: Callable[..., Tensor],
    arguments: tuple[Hashable, ...],
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    # A tensor of inference mode could not be used in training later.
    with torch.inference_mode(False), torch.no_grad():
        return make(*arguments).to(device, dtype)


def numbers(values: tuple[float, ...] | tuple[tuple[float, ...], ...], like: Tensor) -> Tensor:
    """Numbers, in rows or not, as a tensor of the type and on the device of another.

    Example:
        >>> numbers((1.0, 2.0), torch.zeros(5)).tolist()
        [1.0, 2.0]
    """
    return constant(_exactly, values, dtype=like.dtype, device=like.device)


def _exactly(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, device="cpu")


def forget_constants() -> None:
    """Forget all that is kept, as where a device goes away."""
    _kept.cache_clear()
