"""Fields side by side."""

from __future__ import annotations

import pytest
import torch

from oinr_monai import CoordinateField, Field, JointField
from tests.fields.makers import MAKERS, inner_lattice, make

pytestmark = pytest.mark.usefixtures("double")


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_joint_field_is_its_parts_side_by_side(dims: int) -> None:
    parts = [make(name, dims) for name in MAKERS if name != "JointField"]
    joint, places = JointField(parts), inner_lattice(dims)
    expected = torch.cat([part(places, 2) for part in parts], dim=1)
    assert joint.channels == sum(part.channels for part in parts)
    assert torch.equal(joint(places, 2), expected)


@pytest.mark.parametrize(
    "fields", [[], [CoordinateField((9.0,)), CoordinateField((9.0, 9.0))]], ids=["none", "mixed"]
)
def test_bad_joint_fields(fields: list[Field]) -> None:
    with pytest.raises(ValueError, match="fields must share their spatial dimensions"):
        JointField(fields)
