"""Motions in files: one safetensors file with a JSON header, which may come from anywhere."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from oinr_monai.coding.tensor_file import (
    FileKind,
    OtherFileError,
    open_tensor_file,
    write_tensor_file,
)
from oinr_monai.grids.checks import check_one_of
from oinr_monai.grids.grid import Grid

from .affine import AffineMotion
from .composition import MotionChain
from .displacement import Displacement, Undone
from .motion import Motion
from .vector_spline import VectorSpline
from .velocity import Velocity

__all__ = ["motion_from", "parts_of", "read_motion", "write_motion"]

FORMAT = 1

MOTION = FileKind("oinr_motion", "{path}: must be a motion, got {reason}; write it again")

# Knots of a file, and motions one after the other: many times what ours have.
MOST_KNOTS, MOST_PARTS = 1 << 28, 64


def write_motion(path: str | os.PathLike[str], motion: Motion) -> None:
    """Write a motion, complete or not at all.

    Raises:
        OSError: if the file cannot be written.
    """
    parts, tensors = parts_of(motion)
    write_tensor_file(path, MOTION.key, {"format": FORMAT, "parts": parts}, tensors)


def parts_of(motion: Motion) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
    """What there is to tell of each part of a motion as JSON values, and their tensors."""
    parts = motion.parts if isinstance(motion, MotionChain) else (motion,)
    told = [{"kind": _NAMES[type(part)], **part.arguments()} for part in parts]
    tensors = {
        f"{i}.{name}": tensor
        for i, part in enumerate(parts)
        for name, tensor in part.tensors().items()
    }
    return told, tensors


def motion_from(parts: Sequence[Mapping[str, Any]], tensors: Mapping[str, Tensor]) -> Motion:
    """The motion that :func:`parts_of` told of."""
    found = []
    for i, part in enumerate(parts):
        held = {name: tensors[f"{i}.{name}"] for name in _tensors_of(part)}
        found.append(_KINDS[part["kind"]](part, held))
    return found[0] if len(found) == 1 else MotionChain(tuple(found))


def read_motion(path: str | os.PathLike[str]) -> Motion:
    """Read what :func:`write_motion` wrote.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no motion, damaged, or of a newer format.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    with open_tensor_file(path, MOTION) as file:
        if int(file.header["format"]) > FORMAT:
            raise OtherFileError(
                f"{path}: must be of format {FORMAT} or older, got {file.header['format']};"
                " update oinr-monai"
            )
        parts = file.header["parts"]
        if not isinstance(parts, list) or not 1 <= len(parts) <= MOST_PARTS:
            raise ValueError(f"parts that are no list of 1 to {MOST_PARTS}")
        wanted = {
            f"{i}.{name}": tensor
            for i, part in enumerate(parts)
            for name, tensor in _tensors_of(part).items()
        }
        return motion_from(parts, file.tensors(wanted))


def _tensors_of(part: Mapping[str, Any]) -> dict[str, Tensor]:
    # Of the shapes that the header tells, and without memory.
    check_one_of("kind", part["kind"], _KINDS)
    if part["kind"] == "affine":
        size = _whole(part["spatial_dims"], 2, 3) + 1
        return {"matrix": _none(size, size)}
    knots = [_whole(n, 4, MOST_KNOTS) for n in part["knots"]]
    if len(knots) not in (2, 3):
        raise ValueError(f"knots along {len(knots)} axes")
    return {"coefficients": _none(len(knots), *knots), "affine": _none(4, 4)}


def _none(*shape: int) -> Tensor:
    return torch.empty(shape, dtype=torch.float64, device="meta")


def _whole(value: object, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"a size that must be {least} to {most}, got {value!r}")
    return value


def _spline(part: Mapping[str, Any], held: Mapping[str, Tensor]) -> VectorSpline:
    return VectorSpline(held["coefficients"], Grid(tuple(part["knots"]), held["affine"]))


def _velocity(part: Mapping[str, Any], held: Mapping[str, Tensor]) -> Velocity:
    steps = part["steps"]
    return Velocity(_spline(part, held), None if steps is None else _whole(steps, 1, 1 << 16))


_KINDS: dict[str, Callable[[Mapping[str, Any], Mapping[str, Tensor]], Motion]] = {
    "affine": lambda _, held: AffineMotion(held["matrix"]),
    "displacement": lambda part, held: Displacement(_spline(part, held)),
    "undone": lambda part, held: Undone(Displacement(_spline(part, held))),
    "velocity": _velocity,
}

_NAMES: dict[type[Motion], str] = {
    AffineMotion: "affine",
    Displacement: "displacement",
    Undone: "undone",
    Velocity: "velocity",
}
