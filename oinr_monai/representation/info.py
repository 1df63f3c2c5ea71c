"""Settings and scores of a fit as a file keeps them: what is read again is checked."""

from __future__ import annotations

import re
from typing import Any, Literal

import numpy as np

from oinr_monai.images.meta import SOURCE_MARK, STORED_DTYPE
from oinr_monai.images.time_axis import TIME_AXIS

from .arguments import check_names, fits, mapping_of, told

__all__ = ["WALL_TIMES", "checked_info"]

# Items that a file does not keep: the same fit would be another file each time.
WALL_TIMES = ("seconds",)

# Types of the items that are read again; any other may be there and be anything.
KNOWN: dict[str, object] = {
    "settings": dict[str, Any],
    "steps": int,
    "seconds": float,
    "interrupted": bool,
    "device": str,
    "parameters": int,
    "psnr_grid": float | None,
    "psnr_between": float | None,
    "psnr_blends": float | None,
    "psnr_members": list[float],
    "start": str,
    "image": str,
    SOURCE_MARK: str,
    STORED_DTYPE: str,
    "fitted": list[str],
    "times": list[float] | None,
    "weights": list[float],
    "noise": dict[str, Any],
    "iou": dict[str, float],
    "dice": dict[str, float],
}

# Those that are mappings of their own, with the types of all their items.
RECORDS: dict[str, dict[str, object]] = {
    TIME_AXIS: {
        "step": float,
        "start": float,
        "unit": Literal["sec", "msec", "usec", "hz", "ppm", "rads", "unknown"],
    },
    "descent": {"steps": int, "rate": float},
}

SETTINGS: dict[str, object] = {"preset": str, "seed": int}

DIGESTS = re.compile(r"[0-9a-f]{16}(\+[0-9a-f]{16})*")


def checked_info(value: object) -> dict[str, Any]:
    """The ``info`` that a JSON value is.

    Raises:
        ValueError: if it is no mapping, or an item that is read again is of another type.

    Example:
        >>> checked_info({"steps": 3, "made": "here"})
        {'steps': 3, 'made': 'here'}
    """
    info = mapping_of("info", value)
    for name in KNOWN.keys() & info.keys():
        # A score may be infinite; what one computes with may not.
        _check("info " + name, info[name], KNOWN[name], finite=name in ("times", "weights"))
    settings = info.get("settings", {})
    for name in SETTINGS.keys() & settings.keys():
        _check(f"info settings {name}", settings[name], SETTINGS[name])
    for name in RECORDS.keys() & info.keys():
        _check_record(f"info {name}", mapping_of(f"info {name}", info[name]), RECORDS[name])
    if np.dtype(info.get(STORED_DTYPE, "f4")).kind not in "biuf":
        raise ValueError(f"info {STORED_DTYPE} must be a type of numbers, got another")
    if "image" in info and not DIGESTS.fullmatch(info["image"]):
        raise ValueError(f"info image must be a digest of 16 digits, got {told(info['image'])}")
    return info


def _check_record(name: str, items: dict[str, Any], record: dict[str, object]) -> None:
    check_names(name, items, set(record))
    for key, hint in record.items():
        _check(f"{name} {key}", items[key], hint)


def _check(name: str, value: object, hint: object, finite: bool = True) -> None:
    if not fits(value, hint, finite):
        written = hint.__name__ if isinstance(hint, type) else hint
        raise ValueError(f"{name} must be {written}, got {told(value)}")
