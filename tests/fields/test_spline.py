"""Splines against their own basis."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from torch import Tensor

from oinr_monai import SplineField
from oinr_monai.grids.positions import Scatter
from tests.fields.makers import EXTENT, SPACING, inner_lattice, make

pytestmark = pytest.mark.usefixtures("double")


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_spline_field_is_constant_beyond_its_margin(dims: int) -> None:
    field = make("NoiseField", dims)
    edge = Scatter(tuple(torch.tensor([0.0, e], dtype=torch.float64) for e in EXTENT[:dims]))
    beyond = Scatter(
        tuple(torch.tensor([-0.7, e + 0.9], dtype=torch.float64) for e in EXTENT[:dims])
    )
    # The last knot lies at or past the end of the domain; here the spacing divides the extent.
    jet = field(beyond, 2)
    assert torch.allclose(jet[0], field(edge)[0], rtol=0, atol=1e-9)
    assert float(jet[1:].abs().max()) == 0
    assert float(field(edge, 2)[1:].abs().max()) > 1e-3


def test_spline_field_is_the_sum_of_its_basis() -> None:
    field = make("SplineField", 1)
    x = torch.linspace(0, 9, 37, dtype=torch.float64)

    def basis(u: Tensor) -> Tensor:
        a = u.abs()
        near, far = 2 / 3 - a**2 + a**3 / 2, (2 - a).clamp_min(0) ** 3 / 6
        return torch.where(a < 1, near, far)

    knots = torch.arange(field.coefficients.shape[1], dtype=torch.float64)
    place = (x + field.margin[0]) / field.knot_spacing[0] + 1
    expected = field.coefficients @ basis(place[None] - knots[:, None])
    assert torch.allclose(field(Scatter((x,)))[0], expected, rtol=0, atol=1e-12)


def test_spline_field_costs_what_it_says() -> None:
    extent, spacing = (60.0, 30.0, 90.0), (3.0, 2.0, 5.0)
    field = SplineField(extent, spacing, 4)
    knots = math.prod(math.ceil(e / h) + 3 for e, h in zip(extent, spacing, strict=True))
    assert field.coefficients.numel() == 4 * knots


def test_spline_field_needs_positive_knot_spacing() -> None:
    with pytest.raises(ValueError, match="knot_spacing must be positive"):
        SplineField((9.0, 9.0), (3.0, 0.0), 2)


def test_kernel_taps_reach_along_the_right_axes() -> None:
    # One tap of weight one at offset (1, -1) reads the field one spacing on and one back.
    field, places = make("SplineField", 2), inner_lattice(2)
    for index in product(range(3), repeat=2):
        weight = torch.zeros(1, 3, 3, 3, dtype=torch.float64)
        weight[0, 1, index[0], index[1]] = 1
        offset = [(i - 1) * h for i, h in zip(index, SPACING, strict=False)]
        expected = field(places.shifted(offset))[:, 1:2]
        assert torch.allclose(
            field.integrate(weight, places, SPACING[:2]), expected, rtol=0, atol=1e-12
        )
