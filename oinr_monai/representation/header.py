"""The header of an .oinr file: everything that it says beside the weights, checked in one place."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch

from oinr_monai.coding.strict_json import strict_json
from oinr_monai.grids.grid import Grid
from oinr_monai.images.intensity import IntensityScale

from .arguments import check_names, fits, mapping_of, told
from .info import WALL_TIMES, Info

__all__ = ["FORMAT_VERSION", "Header", "SampledHeader"]

FORMAT_VERSION = 1

REQUIRED = {"format_version", "encoding", "network", "grid", "scale"}
OPTIONAL = {"spacing", "info"}

# Items of the header of samples.
SAMPLED = {"degree", "quality", "grid", "scale", "mean", "std", "info"}

# Voxels along an axis and in all, beyond any image.
LONGEST_AXIS, MOST_VOXELS = 1 << 31, 1 << 40

# How much finer or coarser than the voxels the nodes of an operator may lie.
SPACING_RATIO = 1e3


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
    info: Info

    @classmethod
    def of(cls, items: Mapping[str, Any]) -> Header:
        """The header that these JSON values are.

        Raises:
            ValueError: if one is missing, of another type or length, or out of its range.
        """
        check_names("header", items, REQUIRED, OPTIONAL)
        grid = _grid(items["grid"])
        spacing = _numbers("spacing", items.get("spacing", grid.spacing.tolist()))
        _check_spacing(spacing, grid)
        return cls(
            mapping_of("encoding", items["encoding"]),
            mapping_of("network", items["network"]),
            grid,
            spacing,
            _scale(items["scale"]),
            Info.of(mapping_of("info", items.get("info", {}))),
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
            **_of_image(self.grid, self.scale, self.info),
        }
        items = json.loads(strict_json(items))
        Header.of(items)
        return cast("dict[str, Any]", items)


@dataclass(frozen=True)
class SampledHeader:
    """What an .oinr file of samples says beside them.

    Args:
        degree: of the spline through the samples.
        quality: what was promised of them when they were coded.
        grid: where they lie.
        scale: intensity scale of the image.
        mean: of each channel, by which samples are standardised.
        std: of each channel.
        info: settings and scores of the fit.
    """

    degree: int
    quality: str
    grid: Grid
    scale: IntensityScale
    mean: tuple[float, ...]
    std: tuple[float, ...]
    info: Info

    @classmethod
    def of(cls, items: Mapping[str, Any]) -> SampledHeader:
        """The header that these JSON values are.

        Raises:
            ValueError: if one is missing, of another type or length, or out of its range.
        """
        check_names("header", items, SAMPLED)
        degree = items["degree"]
        if type(degree) is not int:
            raise ValueError(f"degree must be a whole number, got {told(degree)}")
        return cls(
            degree,
            _text("quality", items["quality"]),
            _grid(items["grid"]),
            _scale(items["scale"]),
            _numbers("mean", items["mean"]),
            _numbers("std", items["std"]),
            Info.of(mapping_of("info", items["info"])),
        )

    def items(self) -> dict[str, Any]:
        """The header as JSON values, of which :meth:`of` makes it again.

        Raises:
            ValueError: if it is one that would not be read.
            TypeError: if ``info`` holds what JSON does not.
        """
        items = {
            "degree": self.degree,
            "quality": self.quality,
            "mean": list(self.mean),
            "std": list(self.std),
            **_of_image(self.grid, self.scale, self.info),
        }
        items = json.loads(json.dumps(items))
        SampledHeader.of(items)
        return cast("dict[str, Any]", items)


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name} must be text, got {told(value)}")
    return value


def _of_image(grid: Grid, scale: IntensityScale, info: Info) -> dict[str, Any]:
    return {
        "grid": {"shape": list(grid.shape), "affine": grid.affine.tolist()},
        "scale": asdict(scale),
        "info": {name: value for name, value in info.items() if name not in WALL_TIMES},
    }


def _numbers(name: str, value: object) -> tuple[float, ...]:
    if not fits(value, list[float]) or not value:
        raise ValueError(f"{name} must be finite numbers, got {told(value)}")
    return tuple(map(float, cast("list[float]", value)))


def _grid(value: object) -> Grid:
    items = mapping_of("grid", value)
    check_names("grid", items, {"shape", "affine"})
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
    items = mapping_of("scale", value)
    check_names("scale", items, {"mean", "std", "outside"})
    scale = IntensityScale(**{name: _numbers(f"scale {name}", v) for name, v in items.items()})
    if not len(scale.mean) == len(scale.std) == len(scale.outside):
        raise ValueError(f"scale must have as many mean as std and outside, got {told(items)}")
    if min(scale.std) <= 0:
        raise ValueError(f"scale std must be positive, got {told(scale.std)}")
    return scale
