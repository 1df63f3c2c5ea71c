"""Frames of a series that moved: poses, displacements and what they show."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest
import torch
from monai.data import MetaTensor

from oinr_monai import Grid
from oinr_monai.motion import AffineMotion, realign, rigid_about
from tests.motion.makers import texture
from tests.phantoms import rotation

AXES = torch.eye(4, dtype=torch.float64)
AXES[:3, :3] = rotation(0.2, 0.1, -0.3) * torch.tensor([-1.5, 1.5, 2.0])
GRID = Grid((18, 20, 14), AXES)
MIDDLE = GRID.to_world((torch.tensor(GRID.shape, dtype=torch.float64) - 1) / 2)
STEPS = [([0.0, 0.0, 0.0], [0.0, 0.0, 0.0]), ([0.03, 0.0, -0.05], [0.7, -0.4, 0.0]),
         ([0.06, -0.04, 0.02], [1.4, 0.5, -0.9])]  # fmt: skip
TRUTH = [rigid_about(torch.tensor(t), torch.tensor(s), MIDDLE) for t, s in STEPS]


def frame(motion: AffineMotion) -> MetaTensor:
    """The texture where it lies after a motion."""
    places = motion.inverse().at(GRID.points().flatten(0, -2)) - MIDDLE
    return GRID.to_image(texture(places).view(1, *GRID.shape).float())


@pytest.fixture(scope="module")
def frames() -> list[MetaTensor]:
    return [frame(motion) for motion in TRUTH]


def test_poses_and_displacements_come_back(frames: list[MetaTensor]) -> None:
    found = realign(frames)
    inner = GRID.points()[3:-3, 3:-3, 3:-3].flatten(0, -2)
    for motion, truth in zip(found.motions, TRUTH, strict=True):
        assert motion.is_rigid
        assert float((motion.at(inner) - truth.at(inner)).norm(dim=1).max()) < 0.05
    points = GRID.points().flatten(0, -2)
    there = [truth.at(points) for truth in TRUTH]
    rms = [float((a - b).square().sum(dim=1).mean().sqrt()) for a, b in
           ((there[1], points), (there[2], points), (there[2], there[1]))]  # fmt: skip
    assert found.displacements == pytest.approx([0, *rms[:2]], abs=0.03)
    assert found.steps == pytest.approx([0, rms[0], rms[2]], abs=0.03)
    for each in found.frames:
        assert float((each - frames[0])[0, 4:-4, 4:-4, 4:-4].abs().max()) < 0.05
    assert torch.equal(found.frames[0], frames[0])


def test_what_does_not_move_stays(frames: list[MetaTensor]) -> None:
    found = realign([frames[0]] * 3)
    assert max(found.displacements + found.steps) < 1e-3


def test_rows_tell_where_each_frame_lies(frames: list[MetaTensor], tmp_path: Path) -> None:
    realign(frames[:2]).write(tmp_path / "poses.csv")
    with (tmp_path / "poses.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["frame"] for row in rows] == ["0", "1"]
    assert {float(value) for name, value in rows[0].items() if name != "frame"} == {0.0}
    turn, shift = STEPS[1]
    assert [float(rows[1][axis]) for axis in "xyz"] == pytest.approx(shift, abs=0.02)
    told = [float(rows[1][f"turn_{axis}"]) for axis in "xyz"]
    assert told == pytest.approx([math.degrees(each) for each in turn], abs=0.1)
    assert float(rows[1]["framewise_displacement_mm"]) > 0.5


def test_pictures_turn_about_one_axis(tmp_path: Path) -> None:
    flat = Grid((24, 22), torch.eye(4))
    middle = torch.tensor([11.5, 10.5])
    turn = rigid_about(torch.tensor([0.1]), torch.zeros(2), middle)
    shown = [texture(each.inverse().at(flat.points().flatten(0, -2)) - middle).view(1, 24, 22)
             for each in (AffineMotion.identity(2), turn)]  # fmt: skip
    found = realign([each.float() for each in shown])
    found.write(tmp_path / "poses.csv")
    with (tmp_path / "poses.csv").open() as file:
        row = list(csv.DictReader(file))[1]
    assert float(row["turn_z"]) == pytest.approx(math.degrees(0.1), abs=0.3)
    assert "turn_x" not in row


def test_frames_must_go_together(frames: list[MetaTensor]) -> None:
    with pytest.raises(ValueError, match="frames must be two or more of one shape"):
        realign(frames[:1])
    with pytest.raises(ValueError, match="frames must be two or more of one shape"):
        realign([frames[0], frames[1][..., 1:]])
