"""Motions in files: what is written comes back, and what contradicts itself is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from oinr_monai import Motion
from oinr_monai.coding.tensor_file import write_tensor_file
from oinr_monai.motion import AffineMotion, Displacement, Velocity
from oinr_monai.motion.composition import MotionChain
from oinr_monai.motion.motion_file import MOST_PARTS, parts_of
from tests.motion.makers import knots, wobble

KNOTS = knots((4, 5), 4.0)


def motions(generator: torch.Generator) -> dict[str, Motion]:
    field = wobble(generator, 0.5, KNOTS)
    matrix = AffineMotion.of(torch.eye(2) * 1.1, [1.0, -2.0])
    there = Displacement(field)
    flows = (Velocity(field), Velocity(field, steps=7))
    return {
        "affine": matrix,
        "displacement": there,
        "undone": there.inverse(),
        "velocity": flows[0],
        "steps": flows[1],
        "chain": MotionChain((flows[1], matrix, there, there.inverse())),
    }


def write(path: Path, parts: Any, tensors: dict[str, torch.Tensor], number: Any = 1) -> Path:
    write_tensor_file(path, "oinr_motion", {"format": number, "parts": parts}, tensors)
    return path


def test_every_kind_comes_back_as_it_was(generator: torch.Generator, tmp_path: Path) -> None:
    for name, motion in motions(generator).items():
        motion.save(tmp_path / name)
        found = Motion.load(tmp_path / name)
        assert type(found) is type(motion)
        assert parts_of(found)[0] == parts_of(motion)[0]
        assert all(map(torch.equal, parts_of(found)[1].values(), parts_of(motion)[1].values()))


CHANGES: list[tuple[str, str, Any]] = [
    ("affine", "kind", "elastic"),
    ("affine", "kind", None),
    ("displacement", "kind", "elastic"),
    ("affine", "spatial_dims", 1),
    ("affine", "spatial_dims", 3),
    ("affine", "spatial_dims", 4),
    ("affine", "spatial_dims", 2.0),
    ("displacement", "knots", [3, 5]),
    ("displacement", "knots", [5, 4]),
    ("displacement", "knots", [4]),
    ("displacement", "knots", [4, 5, 4, 4]),
    ("displacement", "knots", [4, True]),
    ("displacement", "knots", [4, 1 << 40]),
    ("undone", "knots", ["4", 5]),
    ("velocity", "steps", 0),
    ("velocity", "steps", (1 << 16) + 1),
    ("velocity", "steps", True),
    ("velocity", "steps", 2.5),
]


@pytest.mark.parametrize(("kind", "name", "value"), CHANGES)
def test_what_contradicts_itself_is_refused(
    kind: str, name: str, value: object, generator: torch.Generator, tmp_path: Path
) -> None:
    parts, tensors = parts_of(motions(generator)[kind])
    assert Motion.load(write(tmp_path / "whole", parts, tensors)).spatial_dims == 2
    parts[0][name] = value
    reason = "kind must be one of" if name == "kind" else ""
    with pytest.raises(ValueError, match=f"must be a motion, got .*{reason}"):
        Motion.load(write(tmp_path / "wrong", parts, tensors))


def test_the_most_parts_and_steps_are_read(generator: torch.Generator, tmp_path: Path) -> None:
    field = wobble(generator, 0.5, KNOTS)
    for count, fits in ((MOST_PARTS, True), (MOST_PARTS + 1, False)):
        chain = MotionChain((Velocity(field, steps=1 << 16), *[Displacement(field)] * (count - 1)))
        chain.save(tmp_path / "long")
        if fits:
            assert parts_of(Motion.load(tmp_path / "long"))[0] == parts_of(chain)[0]
        else:
            with pytest.raises(ValueError, match=f"parts that are no list of 1 to {MOST_PARTS}"):
                Motion.load(tmp_path / "long")
    for parts in ([], {"kind": "affine"}, None):
        with pytest.raises(ValueError, match="must be a motion"):
            Motion.load(write(tmp_path / "none", parts, {"x": torch.zeros(1)}))


def test_a_newer_format_is_told(generator: torch.Generator, tmp_path: Path) -> None:
    parts, tensors = parts_of(motions(generator)["affine"])
    with pytest.raises(ValueError, match="must be of format 1 or older, got 2; update"):
        Motion.load(write(tmp_path / "newer", parts, tensors, number=2))


def test_one_part_or_two_dimensions_make_no_chain(generator: torch.Generator) -> None:
    flat, deep = AffineMotion.identity(2), AffineMotion.identity(3)
    for parts in ((), (flat,), (flat, deep)):
        with pytest.raises(ValueError, match="parts must be two motions or more of one dimension"):
            MotionChain(parts)
    field = wobble(generator, 0.5, KNOTS)
    with pytest.raises(ValueError, match="steps must be positive, got 0"):
        Velocity(field, steps=0)
