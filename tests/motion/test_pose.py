"""What a step may change of a pose: its tangents are derivatives, and what it makes is a motion."""

from __future__ import annotations

import pytest
import torch

from oinr_monai import Grid, LocalCorrelation, SquaredDifferences
from oinr_monai.motion import AffineMotion, rigid_about
from oinr_monai.motion.matching import Matching, match_pose, unlikeness
from oinr_monai.motion.pair import ImagePair
from oinr_monai.motion.pose import AnyMatrix, Freedom, RigidBody
from oinr_monai.motion.pyramid import Level, ViewScale
from tests.motion.makers import texture

GRID = Grid((20, 18, 16), Grid((20, 18, 16), torch.eye(4)).shift([-10.0, -9.0, -8.0]).affine)


@pytest.mark.parametrize("freedom", [RigidBody(), AnyMatrix()])
@pytest.mark.parametrize("dims", [2, 3])
def test_tangents_are_the_derivatives_of_a_step(
    freedom: Freedom, dims: int, generator: torch.Generator
) -> None:
    motion = rigid_about(torch.tensor([0.3, -0.2, 0.5][3 - (2 * dims - 3) :]), *torch.ones(2, dims))
    centre, reach, step = torch.tensor([4.0, -2.0, 1.0][:dims]).double(), 20.0, 1e-5
    points = torch.randn(7, dims, generator=generator, dtype=torch.float64) * 10
    moved = motion.at(points)
    tangents = freedom.tangents(moved - centre, reach)
    assert tangents.shape == (len(freedom.generators(dims)) + dims, dims, 7)
    for tangent, change in zip(tangents, step * torch.eye(len(tangents)).double(), strict=True):
        after = freedom.moved(motion, change, centre, reach)
        torch.testing.assert_close((after.at(points) - moved) / step, tangent.T, rtol=0, atol=1e-4)
        assert after.is_rigid or isinstance(freedom, AnyMatrix)
    assert len(tangents) == (dims * (dims + 1) if isinstance(freedom, AnyMatrix) else 3 * dims - 3)


def level(truth: AffineMotion) -> Level:
    fixed = texture(truth.at(GRID.points().flatten(0, -2))).view(1, *GRID.shape).float()
    moving = GRID.pad(4)
    pair = ImagePair.of(
        GRID.to_image(fixed), moving.to_image(texture(moving.points())[None].float())
    )
    return Level.of(pair, ViewScale(0.0, 1.0))


def test_how_values_change_with_a_pose_is_their_derivative() -> None:
    looked, start = (
        level(AffineMotion.identity(3)),
        rigid_about(*0.05 * torch.ones(2, 3), GRID.origin),
    )
    matching = Matching(looked, AnyMatrix(), SquaredDifferences(robust=1e3))
    here, slopes = matching.pull(start)
    force = slopes @ here.slope.flatten().double()
    centre = start.at(matching._centre[None])[0]
    for k in range(len(slopes)):
        change = torch.zeros(len(slopes)).double()
        change[k] = 1e-2
        ends = [
            matching.pull(AnyMatrix().moved(start, sign * change, centre, matching._reach))[0]
            for sign in (-1, 1)
        ]
        slope = (ends[1].unlikeness - ends[0].unlikeness) / 2e-2
        assert slope == pytest.approx(float(force[k]), rel=0.1, abs=2e-4)


def test_a_pose_is_found_from_nearby() -> None:
    truth = rigid_about(
        torch.tensor([0.05, -0.1, 0.08]), torch.tensor([0.8, -0.5, 0.4]), torch.zeros(3)
    )
    looked = level(truth)
    found = match_pose(looked, AffineMotion.identity(3), RigidBody(), LocalCorrelation(2), 1e-8)
    assert float((found.motion.matrix - truth.matrix).abs().max()) < 0.02
    assert found.unlikeness == pytest.approx(unlikeness(looked, found.motion, LocalCorrelation(2)))
    assert found.unlikeness < 0.01


def test_images_that_hardly_overlap_are_not_alike() -> None:
    looked, kind = level(AffineMotion.identity(3)), LocalCorrelation(2)
    # The moving image reaches 4 voxels and a half beyond: so much of 20 planes is left.
    for shift, infinite in ((19.0, False), (20.0, True), (200.0, True)):
        away = AffineMotion.of(torch.eye(3), [shift, 0.0, 0.0])
        assert (unlikeness(looked, away, kind) == float("inf")) == infinite
    away = AffineMotion.of(torch.eye(3), [200.0, 0.0, 0.0])
    stays = match_pose(looked, away, RigidBody(), kind, 1e-8)
    assert stays.unlikeness == float("inf")
    assert torch.equal(stays.motion.matrix, away.matrix)
