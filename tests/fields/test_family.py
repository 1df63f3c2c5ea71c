"""A blend of fields that move: a member at its own place, and what lies in between."""

from __future__ import annotations

import json

import pytest
import torch

from oinr_monai import FamilyField, SplineField
from oinr_monai.grids.positions import Scatter
from oinr_monai.representation.registry import build, describe

EXTENT = {1: (7.0,), 2: (7.0, 9.0), 3: (7.0, 9.0, 5.0)}


def family(dims: int, members: int = 3, motion: bool = True) -> FamilyField:
    torch.manual_seed(0)
    knots = (2.0,) * dims
    field = FamilyField(EXTENT[dims], knots, 4, members, (3.0,) * dims if motion else None)
    for member in [*field.members, *field.motions]:
        torch.nn.init.normal_(member.coefficients, std=0.4)
    return field.double()


def inside(dims: int, count: int = 40) -> Scatter:
    generator = torch.Generator().manual_seed(1)
    axes = [
        2 + torch.rand(count, generator=generator, dtype=torch.float64) * (e - 4)
        for e in EXTENT[dims]
    ]
    return Scatter(tuple(axes))


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_one_member_alone_is_its_own_field(dims: int) -> None:
    field, points = family(dims), inside(dims)
    for i, member in enumerate(field.members):
        weights = [float(i == j) for j in range(3)]
        assert torch.equal(field.blend(weights)(points, 2), member(points, 2))
        # With the others present but weightless, nothing moves either.
        whole = family(dims)
        whole.weights = tuple(weights)
        assert torch.allclose(whole(points, 2), member(points, 2), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_without_motion_a_blend_is_the_average(dims: int) -> None:
    field, points = family(dims, motion=False), inside(dims)
    a, b, c = (member(points, 2) for member in field.members)
    blended = field.blend([0.2, 0.3, 0.5])(points, 2)
    assert torch.allclose(blended, 0.2 * a + 0.3 * b + 0.5 * c, rtol=0, atol=1e-12)


def test_motions_that_agree_move_nothing() -> None:
    field, points = family(2), inside(2)
    for motion in field.motions:
        motion.coefficients.data.copy_(field.motions[0].coefficients)
    still = sum(member(points) for member in field.members) / 3
    assert torch.allclose(field(points), still, rtol=0, atol=1e-12)


def test_a_member_is_read_where_it_lies() -> None:
    # Constant motions: the blend at x reads each member at x + u_i - mean u.
    field, points = family(2, members=2), inside(2)
    shifts = torch.tensor([[0.6, -0.4], [-0.2, 0.8]], dtype=torch.float64)
    for motion, shift in zip(field.motions, shifts, strict=True):
        motion.coefficients.data.copy_(shift.view(2, 1, 1).expand_as(motion.coefficients))
    blended = field.blend([0.25, 0.75])(points)
    mean = 0.25 * shifts[0] + 0.75 * shifts[1]
    parts = [
        member(points.shifted((shift - mean).tolist()))
        for member, shift in zip(field.members, shifts, strict=True)
    ]
    assert torch.allclose(blended, 0.25 * parts[0] + 0.75 * parts[1], rtol=0, atol=1e-12)


def test_a_description_rebuilds_a_blend() -> None:
    blend = family(2).blend([0.4, 0.0, 0.6])
    again = build(json.loads(json.dumps(describe(blend)))).double()
    again.load_state_dict(blend.state_dict())
    assert isinstance(again, FamilyField)
    assert len(again.members) == 2
    assert torch.equal(again(inside(2)), blend(inside(2)))


def test_blends_share_their_members() -> None:
    field = family(2)
    blend = field.blend([0.5, 0.5, 0.0])
    assert isinstance(blend, FamilyField)
    assert blend.members[0] is field.members[0]
    assert isinstance(field.blend([0.0, 0.0, 1.0]), SplineField)


@pytest.mark.parametrize(
    ("weights", "message"),
    [([0.5, 0.5], "weights must be 3, one for each member, got 2"), ([1.0] * 3, "have sum 1")],
)
def test_errors(weights: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        family(2).blend(weights)
    with pytest.raises(ValueError, match="members must be 1 or more, got 0"):
        FamilyField((9.0,), (3.0,), 2, members=0)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_gradients_alone_are_those_beside_hessians(dims: int) -> None:
    field, points = family(dims), inside(dims)
    assert torch.equal(field(points, 1), field(points, 2)[: 1 + dims])
