"""JSON that every reader takes: without the numbers that it cannot say."""

from __future__ import annotations

import json
import math
from typing import Any

__all__ = ["finite", "strict_json"]


def finite(value: object) -> Any:  # noqa: ANN401 (a value as JSON has it)
    """The same values, with null for what JSON cannot say: infinite, or not a number.

    Example:
        >>> finite({"psnr": float("inf"), "shape": (4, 4)})
        {'psnr': None, 'shape': [4, 4]}
    """
    if isinstance(value, dict):
        return {name: finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def strict_json(value: object, **options: Any) -> str:
    """The value as JSON text, null for numbers that are not finite.

    Args:
        value: nested mappings and sequences of numbers and words.
        options: further arguments of ``json.dumps``.

    Raises:
        TypeError: if there is something in it that JSON does not have.

    Example:
        >>> strict_json([1.5, float("nan")])
        '[1.5, null]'
    """
    return json.dumps(finite(value), allow_nan=False, **options)
