"""Coordinates alone are what a SIREN reads."""

from __future__ import annotations

import pytest
import torch

from oinr_monai import ConvOINR, CoordinateField
from tests.fields.makers import EXTENT, inner_lattice

pytestmark = pytest.mark.usefixtures("double")


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_coordinates_of_width_one_are_a_siren(dims: int) -> None:
    torch.manual_seed(0)
    field = CoordinateField(EXTENT[:dims])
    network = ConvOINR(dims, dims, 2, (6, 5), kernel_size=1, omega_0=30).double()
    points = inner_lattice(dims).points()
    h = torch.stack([2 * x / e - 1 for x, e in zip(points.axes, EXTENT, strict=False)], dim=1)
    for layer in network.layers[:-1]:
        h = torch.sin(30 * (h @ layer.weight.flatten(1).T + layer.bias))
    siren = h @ network.last.weight.flatten(1).T + network.last.bias
    answer = network(field(points).unflatten(2, (-1, *[1] * (dims - 1))))
    assert torch.allclose(answer.flatten(2)[0].T, siren, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_each_axis_has_the_channels_that_it_says(dims: int) -> None:
    field = CoordinateField(EXTENT[:dims])
    widths = [field.table(d, torch.rand(5), 0).shape[1] for d in range(dims)]
    assert list(field.channels_per_axis) == widths
    assert sum(widths) == field.channels
