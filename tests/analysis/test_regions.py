from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from torch import Tensor

from oinr_monai import FitConfig, Grid, Representation, fit
from oinr_monai.analysis.regions import STATISTICS, region_features
from oinr_monai.analysis.table import FeatureTable

QUICK = FitConfig(preset="fast", steps=60)


def slope_image() -> MetaTensor:
    """3 per mm along world x, on voxels of 2 x 1 x 1 mm."""
    affine = torch.diag(torch.tensor([2.0, 1.0, 1.0, 1.0], dtype=torch.float64))
    image = (6 * torch.arange(10.0)).view(1, -1, 1, 1).expand(1, 10, 8, 8)
    return MetaTensor(image.contiguous(), affine=affine)


@pytest.fixture(scope="module")
def slope() -> Representation:
    return fit(slope_image(), FitConfig(preset="fast", steps=400))


def halves(shape: tuple[int, ...], affine: Tensor) -> MetaTensor:
    """Label 1 over the first half of x, label 7 over the second."""
    labels = torch.ones(1, *shape, dtype=torch.int16)
    labels[:, shape[0] // 2 :] = 7
    return MetaTensor(labels, affine=affine)


def test_summaries_of_a_slope_are_those_in_closed_form() -> None:
    exact = fit(slope_image())
    table = region_features(exact, halves(exact.grid.shape, exact.grid.affine))
    assert table.rows == [1, 7]
    assert table["volume_mm3"].tolist() == [5 * 64 * 2.0] * 2
    np.testing.assert_allclose(table["intensity_mean"], [12, 42], atol=1e-4)
    np.testing.assert_allclose(table["intensity_p50"], [12, 42], atol=1e-4)
    np.testing.assert_allclose(table["intensity_std"], 6 * np.std(range(5)), atol=1e-4)
    np.testing.assert_allclose(table["gradient_magnitude_p50"], 3, atol=0.02)


def test_summaries_are_those_of_the_maps(slope: Representation) -> None:
    labels = halves(slope.grid.shape, slope.grid.affine)
    table = region_features(slope, labels, maps=["gradient"], layer=1)
    inside = labels.as_tensor()[0] == 7
    values = slope.features(layer=1).as_tensor()[3][inside].double().numpy()
    expected = [values.mean(), values.std(), *np.percentile(values, (5, 25, 50, 75, 95))]
    found = [table[f"layer1_3_{name}"][1] for name in STATISTICS]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)
    along_x = slope.gradient().as_tensor()[0][inside].double().mean()
    assert table["gradient_0_mean"][1] == pytest.approx(float(along_x), rel=1e-5)


def test_the_label_map_has_a_grid_of_its_own(slope: Representation) -> None:
    """Finer, turned by a quarter about z and reaching beyond the image, which is left out."""
    affine = torch.eye(4, dtype=torch.float64)
    affine[:2, :2] = torch.tensor([[0.0, -0.5], [0.5, 0.0]])
    affine[:2, 3] = torch.tensor([30.0, 0.0])  # x = 30 - j / 2, y = i / 2
    labels = MetaTensor(torch.ones(1, 15, 70, 8), affine=affine)
    table = region_features(slope, labels)
    # x from 0 to 18 mm and half a voxel more at both ends, at every 0.5 mm: -1 to 19.
    columns = sum(-1 <= 30 - j / 2 <= 19 for j in range(70))
    assert table["voxels"].tolist() == [15 * 8 * columns]
    assert table["volume_mm3"][0] == pytest.approx(table["voxels"][0] / 4)
    places = [min(max(30 - j / 2, 0), 18) for j in range(70) if -1 <= 30 - j / 2 <= 19]
    assert table["intensity_mean"][0] == pytest.approx(3 * np.mean(places), abs=0.5)


@pytest.mark.parametrize(("dims", "content"), [(1, "length_mm"), (2, "area_mm2")])
def test_fewer_dimensions(dims: int, content: str) -> None:
    image = torch.linspace(0, 6, 12).sin().view(1, 12, *[1] * (dims - 1))
    found = fit(image.expand(1, *[12] * dims), QUICK)
    table = region_features(found, torch.ones(1, *[12] * dims, dtype=torch.uint8))
    assert table[content].tolist() == [12.0**dims]


def test_tables_are_written_with_named_columns(tmp_path: Path) -> None:
    table = FeatureTable("label", [1, 7], ["a", "b"], np.array([[1.5, 2.0], [3.0, 1 / 3]]))
    table.save(tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [["label", "a", "b"], ["1", "1.5", "2"], ["7", "3", "0.333333333"]]
    table.save(tmp_path / "t.npz")
    with np.load(tmp_path / "t.npz", allow_pickle=False) as kept:
        assert np.array_equal(kept["values"], table.values)
        assert kept["columns"].tolist() == ["a", "b"]
        assert kept["rows"].tolist() == [1, 7]


def test_bad_input(slope: Representation, tmp_path: Path) -> None:
    grid: Grid = slope.grid
    with pytest.raises(ValueError, match="background alone"):
        region_features(slope, grid.to_image(torch.zeros(1, *grid.shape)))
    with pytest.raises(ValueError, match="labels must be whole numbers"):
        region_features(slope, grid.to_image(torch.full((1, *grid.shape), 0.5)))
    far = grid.shift([1000.0, 0, 0])
    with pytest.raises(ValueError, match="labels must lie within the image"):
        region_features(slope, far.to_image(torch.ones(1, *grid.shape)))
    with pytest.raises(ValueError, match="with 3 spatial dimensions"):
        region_features(slope, torch.ones(1, 4, 4))
    with pytest.raises(ValueError, match=r"must end in \.csv or \.npz"):
        FeatureTable("label", [], [], np.zeros((0, 0))).save(tmp_path / "t.txt")
    with pytest.raises(ValueError, match=r"values must have shape \(1, 1\)"):
        FeatureTable("label", [1], ["a"], np.zeros((2, 1)))
