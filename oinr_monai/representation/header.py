"""The header of an .oinr file: everything that it says beside the weights, checked in one place."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast

import numpy as np
import torch

from oinr_monai.grids.grid import Grid
from oinr_monai.images.intensity import IntensityScale
from oinr_monai.images.meta import SOURCE_MARK, STORED_DTYPE
from oinr_monai.images.time_axis import TIME_AXIS

from .arguments import fits, told

__all__ = ["FORMAT_VERSION", "WALL_TIMES", "Header"]

FORMAT_VERSION = 1

# Items of ``info`` that a file does not keep: the same fit would be another file each time.
WALL_TIMES = ("seconds",)

REQUIRED = {"format_version", "encoding", "network", "grid", "scale"}
OPTIONAL = {"spacing", "info"}

# Voxels along an axis and in all, beyond any image.
LONGEST_AXIS, MOST_VOXELS = 1 << 31, 1 << 40

# How much finer or coarser than the voxels the nodes of an operator may lie.
SPACING_RATIO = 1e3

# Types of the items of ``info`` that are read again; any other may be there and be anything.
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


# Those that are mappings of their own, with the types of their items.
RECORDS: dict[str, dict[str, object]] = {
    TIME_AXIS: {
        "step": float,
        "start": float,
        "unit": Literal["sec", "msec", "usec", "hz", "ppm", "rads", "unknown"],
    },
    "descent": {"steps": int, "rate": float},
}


@dataclass(frozen=True)
class Header:
    """What an .oinr file says beside its weights.

    Args:
        encoding: description of the input function, as :func:`describe` gives it.
        network: description of the operator.
        grid: grid of the image that was fitted.
        spacing: distance between the operator's nodes along each axis, in mm.
        scale: intensity scale of the image.
        info: settings and scores of the fit.
    """

    encoding: dict[str, Any]
    network: dict[str, Any]
    grid: Grid
    spacing: tuple[float, ...]
    scale: IntensityScale
    info: dict[str, Any]

    @classmethod
    def of(cls, items: Mapping[str, Any]) -> Header:
        """The header that these JSON values are.

        Raises:
            ValueError: if one is missing, of another type or length, or out of its range.
        """
        _check_names("header", items, REQUIRED, OPTIONAL)
        grid = _grid(items["grid"])
        spacing = _numbers("spacing", items.get("spacing", grid.spacing.tolist()))
        _check_spacing(spacing, grid)
        return cls(
            _mapping("encoding", items["encoding"]),
            _mapping("network", items["network"]),
            grid,
            spacing,
            _scale(items["scale"]),
            _info(items.get("info") or {}),
        )

    def items(self) -> dict[str, Any]:
        """The header as JSON values, of which :meth:`of` makes it again.

        Raises:
            ValueError: if it is one that would not be read.
            TypeError: if ``info`` holds what JSON does not.
        """
        items = {
            "format_version": FORMAT_VERSION,
            "encoding": self.encoding,
            "network": self.network,
            "spacing": list(self.spacing),
            "grid": {"shape": list(self.grid.shape), "affine": self.grid.affine.tolist()},
            "scale": asdict(self.scale),
            "info": {name: v for name, v in self.info.items() if name not in WALL_TIMES},
        }
        items = json.loads(json.dumps(items))
        Header.of(items)
        return cast("dict[str, Any]", items)


def _mapping(name: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{name} must be a mapping, got {told(value)}")
    return value


def _check_names(
    name: str, items: Mapping[str, Any], required: set[str], optional: Collection[str] = ()
) -> None:
    missing, extra = required - set(items), set(items) - required - set(optional)
    if missing or extra:
        raise ValueError(
            f"{name} must have {', '.join(sorted(required))}, got {told(sorted(items))}"
        )


def _numbers(name: str, value: object) -> tuple[float, ...]:
    if not fits(value, list[float]) or not value:
        raise ValueError(f"{name} must be finite numbers, got {told(value)}")
    return tuple(map(float, cast("list[float]", value)))


def _grid(value: object) -> Grid:
    items = _mapping("grid", value)
    _check_names("grid", items, {"shape", "affine"})
    shape, rows = items["shape"], items["affine"]
    if not fits(shape, list[int]) or not all(1 <= n <= LONGEST_AXIS for n in shape):
        raise ValueError(f"grid shape must be 1 to 3 positive sizes, got {told(shape)}")
    if math.prod(shape) > MOST_VOXELS:
        raise ValueError(f"grid shape must have at most {MOST_VOXELS} voxels, got {told(shape)}")
    if not fits(rows, list[list[float]]) or [len(row) for row in rows] != [4] * 4:
        raise ValueError(f"grid affine must be 4 x 4 finite numbers, got {told(rows)}")
    if rows[3] != [0, 0, 0, 1]:
        raise ValueError(f"grid affine must end in 0 0 0 1, got {told(rows[3])}")
    grid = Grid(tuple(shape), torch.tensor(rows, dtype=torch.float64))
    if not bool(torch.isfinite(torch.cat([grid.extent, 1 / grid.spacing])).all()):
        raise ValueError(f"grid affine must have finite lengths, got {told(rows)}")
    return grid


def _check_spacing(spacing: tuple[float, ...], grid: Grid) -> None:
    voxels = grid.spacing.tolist()
    if len(spacing) != len(voxels):
        raise ValueError(
            f"spacing must be {len(voxels)} numbers, one per axis, got {told(spacing)}"
        )
    ratios = [h / v for h, v in zip(spacing, voxels, strict=True)]
    if not all(1 / SPACING_RATIO <= ratio <= SPACING_RATIO for ratio in ratios):
        raise ValueError(
            f"spacing must lie within {SPACING_RATIO:g} times that of the voxels, {told(voxels)}, "
            f"got {told(spacing)}"
        )


def _scale(value: object) -> IntensityScale:
    items = _mapping("scale", value)
    _check_names("scale", items, {"mean", "std", "outside"})
    scale = IntensityScale(**{name: _numbers(f"scale {name}", v) for name, v in items.items()})
    if not len(scale.mean) == len(scale.std) == len(scale.outside):
        raise ValueError(f"scale must have as many mean as std and outside, got {told(items)}")
    if min(scale.std) <= 0:
        raise ValueError(f"scale std must be positive, got {told(scale.std)}")
    return scale


def _info(value: object) -> dict[str, Any]:
    info = _mapping("info", value)
    for name, each in info.items():
        if not fits(each, KNOWN.get(name, Any), finite=name in ("times", "weights")):
            raise ValueError(f"info {name} must be {_written(KNOWN[name])}, got {told(each)}")
    for name in RECORDS.keys() & info.keys():
        _check_record(name, info[name])
    if np.dtype(info.get(STORED_DTYPE, "f4")).kind not in "biuf":
        raise ValueError(f"info {STORED_DTYPE} must be a type of numbers, got another")
    return info


def _check_record(name: str, value: object) -> None:
    record, items = RECORDS[name], _mapping(f"info {name}", value)
    _check_names(f"info {name}", items, set(record))
    for key, hint in record.items():
        if not fits(items[key], hint):
            raise ValueError(f"info {name} {key} must be {_written(hint)}, got {told(items[key])}")


def _written(hint: object) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint)
