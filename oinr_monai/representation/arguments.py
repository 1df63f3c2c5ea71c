"""JSON values that a class is to be built from, held against what its constructor says of them."""

from __future__ import annotations

import inspect
import math
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from torch import nn

from oinr_monai.coding.tensor_file import one_line

__all__ = ["check_arguments", "check_names", "fits", "mapping_of", "told"]

# Whole numbers that every machine counts with.
LARGEST = 1 << 63


def check_arguments(cls: type, arguments: Mapping[str, Any]) -> None:
    """Check the names and types of constructor arguments before the class is called.

    What an annotation does not tell in plain types or modules is left to the class; so are ranges.

    Args:
        cls: the class.
        arguments: its arguments by name, JSON values or modules built of them.

    Raises:
        ValueError: if one has no such name or is of another type, or one is missing.

    Example:
        >>> from oinr_monai.fields.coordinates import CoordinateField
        >>> check_arguments(CoordinateField, {"extent": ["9"]})
        Traceback (most recent call last):
        ValueError: extent of CoordinateField must be Sequence[float], got ['9']
    """
    signature = inspect.signature(cls)
    try:
        signature.bind(**arguments)
    except TypeError as error:
        raise ValueError(f"arguments of {cls.__name__} must be its own: {error}") from error
    hints = _hints_of(cls)
    for name, value in arguments.items():
        if not fits(value, hints.get(name, Any)):
            written = signature.parameters[name].annotation
            raise ValueError(f"{name} of {cls.__name__} must be {written}, got {told(value)}")


@cache
def _hints_of(cls: type) -> dict[str, Any]:
    try:
        return get_type_hints(inspect.getattr_static(cls, "__init__"))
    except NameError:  # of names that a plug-in imports for type checkers alone
        return {}


def told(value: object) -> str:
    """A JSON value for a message."""
    return one_line(repr(value), 60)


def fits(value: object, hint: object, finite: bool = True) -> bool:
    """Whether a JSON value is of a type; of one that JSON cannot say, anything is.

    Args:
        value: what ``json.loads`` returns.
        hint: the type.
        finite: whether floating-point numbers must be finite.

    Example:
        >>> fits([1, 2.5], Sequence[float]), fits(True, int), fits(None, int | None)
        (True, False, True)
    """
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(fits(value, part, finite) for part in parts)
    if origin is Literal:
        return any(value == part and type(value) is type(part) for part in parts)
    if origin is tuple and parts[-1] is not Ellipsis:
        return isinstance(value, list) and _fit(value, parts, finite)
    if origin in (Sequence, list, tuple):
        return isinstance(value, list) and _fit(value, parts[:1] * len(value), finite)
    if origin is dict:
        return isinstance(value, dict) and _fit(value.values(), parts[1:] * len(value), finite)
    return _is_plain(value, hint, finite)


def _fit(values: Collection[object], hints: Sequence[object], finite: bool) -> bool:
    return len(values) == len(hints) and all(map(fits, values, hints, [finite] * len(hints)))


def _is_plain(value: object, hint: object, finite: bool) -> bool:
    if hint is int:
        return type(value) is int and -LARGEST <= value < LARGEST
    if hint is float:
        return _is_number(value, finite)
    if hint in (bool, str, None, NoneType):
        return type(value) is (NoneType if hint is None else hint)
    # What a description held in place of a value is a module by now.
    return not (isinstance(hint, type) and issubclass(hint, nn.Module)) or isinstance(value, hint)


def _is_number(value: object, finite: bool) -> bool:
    if type(value) is int:
        return -LARGEST <= value < LARGEST
    return type(value) is float and (not finite or math.isfinite(value))


def mapping_of(name: str, value: object) -> dict[str, Any]:
    """The mapping that a value is, or ValueError."""
    if not isinstance(value, dict):
        raise ValueError(f"{name} must be a mapping, got {told(value)}")
    return value


def check_names(
    name: str, items: Mapping[str, Any], required: set[str], optional: Collection[str] = ()
) -> None:
    """Raise ValueError if a mapping has not all of the required items, or others."""
    missing, extra = required - set(items), set(items) - required - set(optional)
    if missing or extra:
        raise ValueError(
            f"{name} must have {', '.join(sorted(required))}, got {told(sorted(items))}"
        )
