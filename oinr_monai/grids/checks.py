"""Checks at the door: each raises an error that names the argument, the rule and the value.

They are ordinary Python for constructors and eager calls, not for code that TorchScript compiles.
"""

import math
import os
from collections.abc import Collection, Sequence

from torch import Tensor

__all__ = ["check_one_of", "check_positive", "check_room", "check_shape", "per_axis"]


def check_one_of(name: str, value: object, allowed: Collection[object]) -> None:
    """Check that a value is among those allowed.

    Args:
        name: the argument's name, for the message.
        value: the value.
        allowed: the values allowed, in the order in which the message lists them.

    Raises:
        ValueError: if ``value`` is not in ``allowed``.

    Example:
        >>> check_one_of("preset", "slow", ("fast", "balanced", "best"))
        Traceback (most recent call last):
        ValueError: preset must be one of 'fast', 'balanced', 'best', got 'slow'
    """
    if value not in allowed:
        listed = ", ".join(repr(choice) for choice in allowed)
        raise ValueError(f"{name} must be one of {listed}, got {value!r}")


def check_positive(owner: object, *names: str) -> None:
    """Check that numbers that ``owner`` keeps are above 0 and finite, those that are None aside.

    Args:
        owner: the object, such as settings that have just been made.
        names: the attributes to check, which the message names.

    Raises:
        ValueError: if one of them is 0, negative, infinite or not a number.

    Example:
        >>> from types import SimpleNamespace
        >>> check_positive(SimpleNamespace(seconds=None, steps=0), "seconds", "steps")
        Traceback (most recent call last):
        ValueError: steps must be positive, got 0
    """
    for name in names:
        value = getattr(owner, name)
        if value is not None and not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")
        if value is not None and value == math.inf:
            raise ValueError(f"{name} must be finite, got {value}")


def check_room(shape: Sequence[int], channels: int = 1) -> None:
    """Check that an image can be held in the memory of this machine, before it is computed.

    Args:
        shape: voxels along each axis.
        channels: numbers for each voxel, in float32.

    Raises:
        ValueError: if it takes more than the machine has.

    Example:
        >>> check_room((10**6, 10**6, 10**6))
        Traceback (most recent call last):
        ValueError: the result must fit into memory, got shape (1000000, 1000000, 1000000) ...
    """
    needed = 4 * channels * math.prod(shape)
    room = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > room:
        raise ValueError(
            f"the result must fit into memory, got shape {tuple(shape)} and {channels} channels,"
            f" {needed / 2**30:.3g} GiB where this machine has {room / 2**30:.3g};"
            " choose a coarser grid"
        )


def check_shape(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    """Check that a tensor has exactly this shape.

    Args:
        name: the argument's name, for the message.
        tensor: the tensor.
        shape: the shape that it must have.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> import torch
        >>> check_shape("mask", torch.zeros(1, 8, 8), (1, 8, 9))
        Traceback (most recent call last):
        ValueError: mask must have shape (1, 8, 9), got (1, 8, 8)
    """
    if tuple(tensor.shape) != tuple(shape):
        raise ValueError(f"{name} must have shape {tuple(shape)}, got {tuple(tensor.shape)}")


def per_axis(
    name: str, value: float | Sequence[float] | Tensor, dims: int, least: float | None = None
) -> list[float]:
    """One number, or one for each axis, as one for each.

    Args:
        name: the argument's name, for the message.
        value: the number or numbers.
        dims: number of axes.
        least: the least allowed; any above 0 if None.

    Raises:
        ValueError: if one is too small or not finite, or there are neither one nor ``dims``.

    Example:
        >>> per_axis("spacing", 2, dims=3)
        [2.0, 2.0, 2.0]
        >>> per_axis("spacing", (1.0, 0.0), dims=2)
        Traceback (most recent call last):
        ValueError: spacing must be positive, one number or 2, got (1.0, 0.0)
    """
    values = [float(each) for each in (value if isinstance(value, Sequence | Tensor) else [value])]
    right = [each > 0 if least is None else each >= least for each in values]
    if len(values) not in (1, dims) or not all(right) or not all(map(math.isfinite, values)):
        rule = "positive" if least is None else f"{least:g} or more"
        raise ValueError(f"{name} must be {rule}, one number or {dims}, got {value}")
    return values * dims if len(values) == 1 else values
