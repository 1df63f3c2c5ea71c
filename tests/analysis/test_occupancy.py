"""Masks and label maps as occupancies: what goes in comes out, with smooth surfaces in between."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.metrics import compute_iou
from torch import Tensor

from oinr_monai import (
    FitConfig,
    FitOccupancyOINRd,
    LabelsOINRd,
    OccupancyConfig,
    OINRInferer,
    Representation,
    fit_occupancy,
    isosurface,
    label_map,
    label_surface,
)
from oinr_monai.analysis.isosurface import covering
from oinr_monai.analysis.occupancy import AROUND, _fade, labels_in, soft_occupancy
from oinr_monai.grids.positions import Lattice
from oinr_monai.grids.splines import CubicInterpolant
from oinr_monai.images.metrics import dice, iou
from oinr_monai.plugin.ask_transforms import LabelsOINR
from tests.analysis.meshes import angles, is_closed

QUICK = OccupancyConfig(FitConfig("fast", steps=500))
CENTER = torch.tensor([15.3, 16.1, 14.7], dtype=torch.float64)


def sphere(radius: float, size: int = 32) -> Tensor:
    axes = torch.meshgrid(*[torch.arange(size, dtype=torch.float64)] * 3, indexing="ij")
    return ((torch.stack(axes, -1) - CENTER).norm(dim=-1) < radius)[None].float()


def two_labels(affine: Tensor) -> MetaTensor:
    labels = torch.zeros(1, 22, 20, 12)
    labels[:, 4:11, 4:16, 3:9] = 2
    labels[:, 11:18, 4:16, 3:9] = 5
    return MetaTensor(labels, affine=affine)


@pytest.fixture(scope="module")
def fitted() -> Representation:
    """Labels 2 and 5 side by side, on oblique left-handed voxels."""
    affine = torch.tensor(
        [[-0.8, 0.3, 0.0, 31.0], [0.2, 1.1, 0.4, -47.0], [0.1, -0.2, 2.5, 12.0], [0, 0, 0, 1]],
        dtype=torch.float64,
    )
    return fit_occupancy(two_labels(affine), OccupancyConfig(FitConfig("fast", steps=900)))


# The smooth indicator


# 6 voxels is the worst radius: too curved for the smoothing, too flat for a finer one to take over.
@pytest.mark.parametrize(
    ("radius", "overlap"), [(4.0, 0.98), (6.0, 0.94), (8.0, 0.98), (10.0, 0.98)]
)
def test_smoothing_hardly_moves_spheres(radius: float, overlap: float) -> None:
    mask = sphere(radius)
    soft = soft_occupancy(mask)
    assert float(soft.min()) >= 0
    assert float(soft.max()) <= 1
    # A Gaussian of this sigma would shrink the radius by sigma^2 / radius, a seventh of it or more.
    assert iou(soft > 0.5, mask)[1] > overlap


def test_smoothing_keeps_thin_parts() -> None:
    mask = torch.zeros(1, 30, 30, 20)
    mask[:, 4:26, 4:26, 6] = 1
    mask[:, 10, 10, 8:18] = 1
    mask[:, 20:22, 20:22, 9:17] = 1
    assert iou(soft_occupancy(mask) > 0.5, mask)[1] > 0.95


def test_without_smoothing_it_is_the_indicator() -> None:
    labels = two_labels(torch.eye(4))
    exact = soft_occupancy(labels, smoothing=0)
    assert torch.equal(exact.as_tensor(), torch.cat([labels == 2, labels == 5]).float())


def test_labels_that_share_a_border_share_their_surface() -> None:
    labels = torch.zeros(1, 40)
    labels[:, :20], labels[:, 20:] = 1, 2
    soft = soft_occupancy(labels)
    torch.testing.assert_close(soft.sum(dim=0).as_tensor(), torch.ones(40))


def test_between_voxels_the_target_hardly_rings() -> None:
    axis = torch.linspace(0, 31, 311, dtype=torch.float64)
    plane = Lattice((axis, axis, CENTER[2:]))
    beyond = []
    for smoothing in (3.5, 0):
        soft = soft_occupancy(sphere(9.0), smoothing).as_tensor()
        values = CubicInterpolant(soft)(plane)
        beyond.append(max(float(values.max()) - 1, -float(values.min())))
    assert beyond[0] < 0.03
    assert beyond[1] > 0.1


# Fits


def test_a_voxelised_sphere_is_round_again() -> None:
    radius, mask = 10.0, sphere(10.0)
    representation = fit_occupancy(mask, OccupancyConfig(FitConfig("fast", steps=500)))
    assert representation.info["iou"]["1"] > 0.99
    surface = label_surface(representation)
    assert is_closed(surface)
    assert float(angles(surface, CENTER).quantile(0.95)) < 2
    assert surface.volume == pytest.approx(float(mask.sum()), rel=0.02)
    assert surface.area == pytest.approx(4 * math.pi * radius**2, rel=0.02)
    # The steps of the voxels themselves are far from round.
    stairs = isosurface(fit_occupancy(mask, OccupancyConfig(FitConfig("fast", steps=200), 0)), 0.5)
    assert float(angles(stairs, CENTER).quantile(0.95)) > 5


def test_labels_come_back(fitted: Representation) -> None:
    labels = two_labels(fitted.grid.affine)
    found = label_map(fitted)
    assert found.shape == labels.shape
    assert torch.equal(found.affine.double(), labels.affine.double())
    assert set(found.unique().tolist()) == {0, 2, 5}
    assert min(iou(found, labels).values()) > 0.93
    assert fitted.info["iou"] == {str(k): v for k, v in iou(found, labels).items()}
    assert fitted.info["dice"] == {str(k): v for k, v in dice(found, labels).items()}


def test_each_label_has_its_surface(fitted: Representation) -> None:
    voxel = abs(float(torch.linalg.det(fitted.grid.matrix)))
    for label, middle in ((2, [7.0, 9.5, 5.5]), (5, [14.0, 9.5, 5.5])):
        surface = label_surface(fitted, label, covering(fitted.grid, 0.9))
        assert is_closed(surface)
        assert surface.volume == pytest.approx(7 * 12 * 6 * voxel, rel=0.04)
        wanted = fitted.grid.to_world(torch.tensor(middle, dtype=torch.float64))
        assert float((surface.vertices.mean(dim=0) - wanted).norm()) < 0.5
    with pytest.raises(ValueError, match="label must be one of 2, 5, got None"):
        label_surface(fitted)
    with pytest.raises(ValueError, match="label must be one of 2, 5, got 1"):
        label_surface(fitted, 1)


def test_files_keep_the_labels(fitted: Representation, tmp_path: Path) -> None:
    fitted.save(tmp_path / "labels.oinr")
    loaded = Representation.load(tmp_path / "labels.oinr")
    assert torch.equal(label_map(loaded), label_map(fitted))
    assert json.loads(json.dumps(loaded.info["occupancy"])) == {"labels": [2, 5], "smoothing": 3.5}


def test_transforms_and_the_inferer() -> None:
    labels = two_labels(torch.eye(4))
    item = FitOccupancyOINRd("label", QUICK, output_keys="fit")({"label": labels})
    fine = LabelsOINRd("fit", factor=2)(item)["fit"]
    assert fine.shape == (1, 43, 39, 23)
    whole = LabelsOINRd("fit", like="label")(item)["fit"]
    assert torch.equal(fine[:, ::2, ::2, ::2].as_tensor(), whole.as_tensor())
    answer = OINRInferer(QUICK, answer=LabelsOINR())(labels[None])
    assert torch.equal(answer[0].as_tensor(), whole.as_tensor())


# Scores and refusals


def test_scores_are_those_of_monai(generator: torch.Generator) -> None:
    ours, truth = (torch.randint(3, (1, 9, 8, 7), generator=generator) for _ in range(2))
    hot = [torch.stack([m[0] == k for k in (1, 2)])[None].float() for m in (ours, truth)]
    wanted = compute_iou(*hot, include_background=True)[0].tolist()
    assert list(iou(ours, truth).values()) == pytest.approx(wanted, rel=1e-6)
    for label, score in dice(ours, truth).items():
        overlap = iou(ours, truth)[label]
        assert score == pytest.approx(2 * overlap / (1 + overlap))


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (torch.zeros(1, 6, 6), "background alone"),
        (torch.full((1, 6, 6), 0.5), "whole numbers"),
        (-torch.ones(1, 6, 6), "whole numbers"),
        (torch.arange(400.0)[None], "at most 255"),
        (torch.full((1, 4, 4), math.nan), "whole numbers"),
        (np.ones((2, 4, 4)), "must have shape"),
    ],
)
def test_what_is_no_label_map(labels: Tensor, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        labels_in(labels)
    with pytest.raises(ValueError, match=reason):
        fit_occupancy(labels)


def test_smoothing_must_not_be_negative() -> None:
    with pytest.raises(ValueError, match="smoothing must be 0 or more, got -1"):
        OccupancyConfig(smoothing=-1)


@pytest.mark.parametrize("smoothing", [0.0, 0.3, 0.39])
def test_what_is_finer_than_voxels_is_not_smoothed(smoothing: float) -> None:
    mask = sphere(5.0, 20)
    assert torch.equal(soft_occupancy(mask, smoothing).as_tensor(), mask)
    assert not torch.equal(soft_occupancy(mask, 0.5).as_tensor(), mask)


def test_what_is_put_back_fades_around_it() -> None:
    near = _fade(AROUND * np.array([0.0, 1.0, 1.25, 1.5, 1.75, 2.0, 5.0]))
    np.testing.assert_allclose(near[[0, 1, 3, 5, 6]], [1, 1, 0.5, 0, 0], atol=1e-6)
    assert near[1] > near[2] > near[3] > near[4] > near[5]
