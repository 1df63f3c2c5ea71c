"""From a mask, or any representation, to a mesh in a shell."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.analysis.meshes import read_obj, read_ply, read_stl
from tests.cli.scans import FAST, load_values, oblique_affine, save_nifti

SHAPE = (20, 18, 14)


def volume_of(corners: np.ndarray) -> float:
    return float(np.linalg.det(corners - corners.mean(axis=(0, 1))).sum() / 6)


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    voxels = np.zeros(SHAPE, "u1")
    voxels[3:9, 4:14, 3:11], voxels[9:17, 4:14, 3:11] = 1, 3
    return save_nifti(tmp_path_factory.mktemp("labels") / "labels.nii.gz", voxels)


@pytest.fixture
def occupancy(run: Callable[..., Any], labels: Path) -> Path:
    path = labels.with_name("labels.oinr")
    if not path.is_file():
        done = run("fit", labels, "-o", path, "--labels", *FAST, "--steps", 500)
        assert list(done["iou"]) == list(done["dice"]) == ["1", "3"]
        assert min(done["iou"].values()) > 0.85
    return path


@pytest.mark.parametrize(
    ("name", "read"), [("a.stl", read_stl), ("a.PLY", read_ply), ("a.obj", read_obj)]
)
def test_mesh_of_a_label(
    name: str, read: Callable[..., Any], run: Callable[..., Any], occupancy: Path, tmp_path: Path
) -> None:
    done = run("mesh", occupancy, "-o", tmp_path / name, "--label", 3, "--factor", 2)
    corners, _ = read(tmp_path / name)
    assert done["shape"] == [2 * n for n in SHAPE]
    assert done["faces"] == len(corners)
    assert done["vertices"] == len(corners) // 2 + 2
    voxel = abs(np.linalg.det(oblique_affine()[:3, :3]))
    assert done["volume_mm3"] == pytest.approx(8 * 10 * 8 * voxel, rel=0.05)
    assert volume_of(corners) == pytest.approx(done["volume_mm3"], rel=1e-4)
    areas = np.linalg.norm(
        np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1
    )
    assert done["area_mm2"] == pytest.approx(areas.sum() / 2, rel=1e-4)


def test_mesh_of_an_intensity(run: Callable[..., Any], fitted: Path, tmp_path: Path) -> None:
    done = run("mesh", fitted, "-o", tmp_path / "a.stl", "--level", 40, "--spacing", 1, 1, 2)
    assert all(h <= wanted + 1e-6 for h, wanted in zip(done["spacing"], (1, 1, 2), strict=True))
    assert done["volume_mm3"] > 0


def test_labels_come_out_again(
    run: Callable[..., Any], occupancy: Path, labels: Path, tmp_path: Path
) -> None:
    scores = run("evaluate", occupancy, "--image", labels)
    assert min(scores["iou"].values()) > 0.85
    run("sample", occupancy, "-o", tmp_path / "labels.nii.gz", "--labels")
    written, truth = load_values(tmp_path / "labels.nii.gz"), load_values(labels)
    for label in (1, 3):
        both, either = (written == label) & (truth == label), (written == label) | (truth == label)
        assert scores["iou"][str(label)] == pytest.approx(both.sum() / either.sum())
        overlap = scores["iou"][str(label)]
        assert scores["dice"][str(label)] == pytest.approx(2 * overlap / (1 + overlap))
    assert set(np.unique(written)) == {0, 1, 3}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["-o", "a.stl"], "--label must be given, one of 1, 3"),
        (["-o", "a.stl", "--label", "2"], "label must be one of 1, 3, got 2"),
        (["-o", "a.stl", "--label", "1", "--level", "0.5"], "must not be given together"),
        (["-o", "a.stl", "--label", "1", "--factor", "2", "--spacing", "1"], "choose one"),
        (["-o", "a.stl", "--level", "7"], "level must be below"),
        (["-o", "a.vtk", "--label", "1"], "must end in"),
        (["-o", "no/a.stl", "--label", "1"], "must be an existing folder"),
        (["-o", "a.stl", "--label", "1", "--spacing", "0"], "positive"),
    ],
)
def test_mesh_refuses(
    refused: Callable[..., str], occupancy: Path, options: list[str], reason: str
) -> None:
    assert reason in refused("mesh", occupancy, *options)


def test_labels_are_refused_where_there_are_none(
    refused: Callable[..., str], fitted: Path, scan: Path, occupancy: Path
) -> None:
    assert "--level must be given" in refused("mesh", fitted, "-o", "a.stl")
    assert "whole numbers" in refused("fit", scan, "-o", "a.oinr", "--labels")
    assert "must go with one image" in refused("fit", scan, scan, "-o", "a.oinr", "--labels")
    assert "must be a fit of labels" in refused("sample", fitted, "-o", "a.nii.gz", "--labels")
    assert "whole numbers" in refused("evaluate", occupancy, "--image", scan)
