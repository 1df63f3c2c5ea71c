"""Laws of shapes: balls in closed form, mm, and that it does not matter how a label lies."""

from __future__ import annotations

import math
from itertools import permutations, product

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from torch import Tensor

from oinr_monai import shape_features


def ball(radius: float, spacing: float = 1.0) -> MetaTensor:
    size = 2 * math.ceil(radius / spacing) + 3
    places = torch.stack(torch.meshgrid(*[torch.arange(float(size)) - (size - 1) / 2] * 3))
    mask = (spacing * places).norm(dim=0) <= radius
    affine = torch.diag(torch.tensor([spacing] * 3 + [1.0])).double()
    return MetaTensor(mask.float()[None], affine=affine)


@pytest.fixture
def lump(generator: torch.Generator) -> MetaTensor:
    """A lump without symmetries, at an edge of its image."""
    waves = torch.randn(1, 1, 4, 4, 3, generator=generator)
    smooth = torch.nn.functional.interpolate(waves, (15, 12, 10), mode="trilinear")[0]
    mask = (smooth > 0.2).float()
    mask[:, 12:], mask[:, :, 10:] = 0, 0
    return MetaTensor(mask, affine=torch.diag(torch.tensor([1.0, 1.5, 2.0, 1.0])).double())


@pytest.mark.filterwarnings("ignore:torch.meshgrid")
@pytest.mark.parametrize("spacing", [1.0, 0.5])
def test_a_ball_in_closed_form(spacing: float) -> None:
    radius = 9.0
    sigma = 2 * spacing
    table = shape_features(ball(radius, spacing), scales=[sigma])
    at = f"at{sigma:g}mm"
    wanted = {
        "volume_mm3": 4 / 3 * math.pi * radius**3,
        f"area_mm2_{at}": 4 * math.pi * radius**2,
        f"mean_curvature_per_mm_{at}": 1 / radius,
        f"gaussian_curvature_per_mm2_{at}": 1 / radius**2,
        f"curvature1_p50_per_mm_{at}": 1 / radius,
        f"curvature2_p50_per_mm_{at}": 1 / radius,
        "extent1_mm": radius / math.sqrt(5),
        "extent3_mm": radius / math.sqrt(5),
        "depth_p100_mm": radius,
    }
    for column, number in wanted.items():
        assert table[column][0] == pytest.approx(number, rel=0.15), column


@pytest.mark.filterwarnings("ignore:torch.meshgrid")
def test_lengths_are_in_mm() -> None:
    one, twice = (shape_features(ball(r, h), scales=[h]) for r, h in ((6.0, 1.0), (12.0, 2.0)))
    for name, other in zip(one.columns, twice.columns, strict=True):
        power = {"mm": 1, "mm2": 2, "mm3": 3}.get(name.partition("_at")[0].rpartition("_")[2], 0)
        power *= -1 if "_per_mm" in name else 1
        power -= 3 if "_per_volume" in name else 0
        if "per_volume" not in name:
            assert twice[other][0] == pytest.approx(2**power * one[name][0], rel=1e-4, abs=1e-6)


def test_it_does_not_matter_how_a_label_lies(lump: MetaTensor) -> None:
    wanted = shape_features(lump, scales=[1.0, 2.6]).values
    for order, flips in list(product(permutations(range(3)), product((1, -1), repeat=3)))[::5]:
        values = lump.as_tensor().permute(0, *[d + 1 for d in order])
        values = values.flip([d + 1 for d in range(3) if flips[d] < 0])
        matrix = torch.zeros(4, 4).double()
        matrix[3, 3] = 1
        for d in range(3):
            matrix[order[d], d] = flips[d] * lump.affine[order[d], order[d]]
        found = shape_features(MetaTensor(values.contiguous(), affine=matrix), scales=[1.0, 2.6])
        np.testing.assert_allclose(found.values, wanted, rtol=2e-3, atol=2e-4)


def test_a_row_for_each_label_which_does_not_depend_on_the_others(lump: MetaTensor) -> None:
    both = torch.zeros(1, 32, 16, 14)
    both[:, 2:17, 2:14, 2:12] = 7 * lump.as_tensor()
    both[:, 26:30, 4:9, 4:9] = 3
    table = shape_features(MetaTensor(both, affine=lump.affine), scales=[1.5])
    assert table.rows == [3, 7]
    alone = shape_features(lump, scales=[1.5])
    np.testing.assert_allclose(table.values[1], alone.values[0], rtol=2e-3, atol=2e-4)


def test_one_voxel_has_a_shape() -> None:
    mask = torch.zeros(1, 3, 3, 3)
    mask[0, 1, 1, 1] = 1
    assert np.isfinite(shape_features(mask).values).all()


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (torch.ones(1, 4, 4), {}, r"labels must have shape \(1, X, Y, Z\)"),
        (torch.zeros(1, 4, 4, 4), {}, "labels must hold a label"),
        (torch.full((1, 4, 4, 4), 0.5), {}, "labels must be whole"),
        (torch.ones(1, 4, 4, 4), {"scales": [1.0, 0.0]}, "scales must be positive"),
        (torch.ones(1, 4, 4, 4), {"scales": []}, "scales must be positive"),
    ],
)
def test_arguments_are_checked(labels: Tensor, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        shape_features(labels, **options)
