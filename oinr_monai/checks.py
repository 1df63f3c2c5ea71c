"""Checks at the door: each raises an error that names the argument, the rule and the value.

They are ordinary Python for constructors and eager calls, not for code that TorchScript compiles.
"""

import math
from collections.abc import Collection

from torch import Tensor

__all__ = [
    "check_field",
    "check_finite",
    "check_one_of",
    "check_positive",
    "check_shape",
    "check_spatial_dims",
]

_AXES = ("X", "Y", "Z")


def check_positive(name: str, value: float) -> None:
    """Check that a number is positive and finite.

    Args:
        name: the argument's name, for the message.
        value: the number.

    Raises:
        TypeError: if ``value`` is not a real number.
        ValueError: if ``value`` is zero, negative, infinite or NaN.

    Example:
        >>> check_positive("spacing", 0.0)
        Traceback (most recent call last):
        ValueError: spacing must be positive and finite, got 0.0
    """
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{name} must be positive and finite, got {value!r}")


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


def check_finite(name: str, tensor: Tensor) -> None:
    """Check that no value is NaN or infinite.

    Args:
        name: the argument's name, for the message.
        tensor: the values, any shape.

    Raises:
        ValueError: if some value is NaN or infinite.

    Example:
        >>> import torch
        >>> check_finite("affine", torch.tensor([0.0, torch.nan, torch.inf]))
        Traceback (most recent call last):
        ValueError: affine must be finite, got 1 NaN and 1 infinite values of 3
    """
    if not tensor.isfinite().all():
        nan, infinite = int(tensor.isnan().sum()), int(tensor.isinf().sum())
        raise ValueError(
            f"{name} must be finite, got {nan} NaN and {infinite} infinite values"
            f" of {tensor.numel()}"
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


def check_spatial_dims(spatial_dims: int) -> None:
    """Check that the number of spatial dimensions is 1, 2 or 3.

    Args:
        spatial_dims: number of spatial dimensions D.

    Raises:
        ValueError: if ``spatial_dims`` is anything else.

    Example:
        >>> check_spatial_dims(4)
        Traceback (most recent call last):
        ValueError: spatial_dims must be 1, 2 or 3, got 4
    """
    if spatial_dims not in (1, 2, 3):
        raise ValueError(f"spatial_dims must be 1, 2 or 3, got {spatial_dims!r}")


def check_field(field: Tensor, channels: int, spatial_dims: int) -> None:
    """Check that a field is a batch with the channels and spatial dimensions expected.

    Args:
        field: the encoded coordinates, which must have shape (B, ``channels``, *spatial).
        channels: number of channels.
        spatial_dims: number of spatial dimensions D, 1 to 3.

    Raises:
        ValueError: if the shape is another.

    Example:
        >>> import torch
        >>> check_field(torch.zeros(1, 5, 8, 8, 8), channels=12, spatial_dims=3)
        Traceback (most recent call last):
        ValueError: field must have shape (B, 12, X, Y, Z), got (1, 5, 8, 8, 8)
    """
    if field.ndim != spatial_dims + 2 or field.shape[1] != channels:
        expected = ", ".join(("B", str(channels), *_AXES[:spatial_dims]))
        raise ValueError(f"field must have shape ({expected}), got {tuple(field.shape)}")
