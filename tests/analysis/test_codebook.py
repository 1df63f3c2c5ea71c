"""Every column that is written has a unit and a meaning."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from oinr_monai import FitConfig, fit, region_features, shape_features
from oinr_monai.analysis import channel_names
from oinr_monai.analysis.codebook import codebook
from oinr_monai.analysis.derivatives import MAPS
from oinr_monai.analysis.first_order import FIRST_ORDER, first_order


def test_all_columns_of_all_tables_are_told() -> None:
    x = torch.stack(torch.meshgrid(*[torch.arange(12.0) - 5.5] * 3, indexing="ij"))
    ball = (x.norm(dim=0) < 4).float()[None]
    trained = fit(ball + x[:1], FitConfig("fast", steps=2))
    three = [name for name in MAPS if name != "structure_tensor"]
    of_regions = region_features(trained, ball, maps=three, scales=[0.0, 1.5])
    shapes = shape_features(ball, scales=[1.5])
    names = [*shapes.columns, *of_regions.columns, *channel_names(list(MAPS), [2.0], 3, 2)]
    told = codebook(names)
    assert [column.name for column in told] == names
    assert all(column.unit and column.meaning for column in told)
    assert len({(column.meaning, column.unit) for column in told}) == len(set(names))


def test_units_follow_the_names() -> None:
    units = {
        "volume_mm3": "mm^3",
        "curvature1_p10_per_mm_at1.5mm": "1/mm",
        "intensity_std": "intensity",
        "intensity_entropy": "bit",
        "gradient_magnitude_skewness_at2mm": "1",
        "gradient_x_at1mm": "intensity/mm",
        "channel1_hessian_xy_at1mm": "intensity/mm^2",
        "hessian1_p50_at1mm": "1",
        "vesselness_at1mm": "1",
    }
    assert {column.name: column.unit for column in codebook(list(units))} == units
    with pytest.raises(ValueError, match="columns must be those of our tables, got 'speed'"):
        codebook(["speed"])


def test_first_order_statistics_are_their_definitions() -> None:
    x = np.random.default_rng(0).gamma(2.0, size=5_000) * 30
    told = dict(zip(FIRST_ORDER, first_order(x), strict=True))
    t = (x - x.mean()) / x.std()
    assert told["skewness"] == pytest.approx(np.mean(t**3))
    assert told["kurtosis"] == pytest.approx(np.mean(t**4) - 3)
    assert told["skewness"] == pytest.approx(2**0.5, abs=0.1)  # of this distribution
    # A histogram of equal parts, and one of a single value.
    even = dict(zip(FIRST_ORDER, first_order(np.arange(320.0)), strict=True))
    assert even["entropy"] == pytest.approx(5.0)
    assert even["uniformity"] == pytest.approx(1 / 32)
    flat = dict(zip(FIRST_ORDER, first_order(np.full(9, 7.0)), strict=True))
    assert [flat[name] for name in ("std", "skewness", "kurtosis", "entropy")] == [0, 0, 0, 0]
    assert flat["uniformity"] == 1
    moved = dict(zip(FIRST_ORDER, first_order(3 * x + 50), strict=True))
    for name in ("skewness", "kurtosis", "entropy", "uniformity"):
        assert moved[name] == pytest.approx(told[name], rel=1e-3)
    for name in ("std", "mean_absolute_deviation"):
        assert moved[name] == pytest.approx(3 * told[name])
