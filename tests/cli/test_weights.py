"""Features of regions, weights of cohorts and classes told from them, in a shell."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from oinr_monai import FitConfig, fit
from oinr_monai.analysis.weight_vectors import weight_vector

QUICK = FitConfig(preset="fast", steps=30)


def wave(k: float) -> torch.Tensor:
    return torch.sin(torch.linspace(0, k, 12)).expand(1, 12, 12)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Slow and fast waves, their table and their representations."""
    folder = tmp_path_factory.mktemp("cohort")
    rows = [("subject", "image", "speed")]
    for i, k in enumerate((2.8, 3.0, 3.2, 8.8, 9.0, 9.2)):
        fit(wave(k), QUICK).save(folder / f"s{i}.oinr")
        rows.append((f"s{i}", f"{i}.png", "slow" if i < 3 else "fast"))
    with (folder / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder


def test_regions_of_a_label_map(run: Callable[..., Any], tmp_path: Path) -> None:
    volume = torch.linspace(0, 3, 8).sin().view(1, 8, 1, 1).expand(1, 8, 8, 8)
    fit(volume, QUICK).save(tmp_path / "v.oinr")
    labels = np.repeat([3, 5], 4).astype("u1")[:, None, None] * np.ones((8, 8, 8), "u1")
    nib.save(nib.Nifti1Image(labels, np.eye(4)), tmp_path / "labels.nii.gz")
    options = ("--labels", tmp_path / "labels.nii.gz", "--layer", 1)
    done = run("features", tmp_path / "v.oinr", "-o", tmp_path / "r.csv", *options)
    assert done["labels"] == [3, 5]
    with (tmp_path / "r.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["label"], row["voxels"], row["volume_mm3"]) for row in rows] == [
        ("3", "256", "256"),
        ("5", "256", "256"),
    ]
    assert {"intensity_mean", "laplacian_p95", "layer1_0_std"} <= set(rows[0])


@pytest.mark.parametrize("source", ["", "manifest.csv"])
def test_weights_of_a_cohort(
    run: Callable[..., Any], cohort: Path, tmp_path: Path, source: str
) -> None:
    from oinr_monai import Representation

    done = run("cohort", "features", cohort / source, "-o", tmp_path / "w.npz")
    assert done["representations"] == 6
    with np.load(tmp_path / "w.npz") as kept:
        assert kept["rows"].tolist() == [f"s{i}" for i in range(6)]
        fourth = weight_vector(Representation.load(cohort / "s4.oinr"))
        assert np.array_equal(kept["values"][4], fourth.numpy())


@pytest.mark.parametrize("options", [("--classifier", "linear"), ("--start",)])
def test_classes_told_from_weights(
    run: Callable[..., Any], cohort: Path, options: tuple[str, ...]
) -> None:
    options = (*options, cohort / "s0.oinr") if options == ("--start",) else options
    common = ("--representations", cohort, "--label", "speed", "--folds", 3)
    done = run("cohort", "classify", cohort / "manifest.csv", *common, *options)
    assert done["majority"] == 0.5
    assert done["classes"] == {"fast": 3, "slow": 3}
    assert len(done["folds"]) == 3
    if "linear" in options:
        assert done["accuracy"] == 1.0


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["classify", "manifest.csv", "--label", "mood"], "--label must be among subject"),
        (["classify", "manifest.csv", "--label", "speed"], "as many rows as there are folds"),
        (["classify", "absent.csv", "--label", "speed"], "absent.csv"),
        (["features", "empty", "-o", "w.csv"], "must hold .oinr files"),
        (["features", "manifest.csv", "-o", "w.txt"], "must end in .csv or .npz or .parquet"),
        (["features", "manifest.csv", "-o", "w.csv", "--representations", "empty"], "s0.oinr"),
    ],
)
def test_bad_input_is_one_line(
    refused: Callable[..., str],
    cohort: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    reason: str,
) -> None:
    monkeypatch.chdir(cohort)
    (cohort / "empty").mkdir(exist_ok=True)
    assert reason in refused("cohort", *arguments)
    assert not (cohort / "w.csv").exists()


def test_labels_bring_their_own_grid(refused: Callable[..., str], cohort: Path) -> None:
    options = ("--labels", cohort / "manifest.csv", "--factor", 2)
    line = refused("features", cohort / "s0.oinr", "-o", cohort / "r.csv", *options)
    assert "--labels has a grid of its own" in line
