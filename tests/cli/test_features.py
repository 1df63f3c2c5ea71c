"""The whole, regions and voxels as numbers with names and units, in a shell."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from oinr_monai import jet_features, shape_features
from oinr_monai.analysis.table import FeatureTable
from oinr_monai.cli.app import main
from oinr_monai.images.files import read_image
from oinr_monai.images.labels import read_labels
from tests.cli.scans import save_nifti

SHAPE = (12, 11, 10)


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fit in closed form of ``image.nii.gz``, with ``labels.nii.gz`` beside it."""
    folder = tmp_path_factory.mktemp("features")
    values = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    save_nifti(folder / "image.nii.gz", values)
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:6, 2:8, 2:8], labels[7:10, 2:8, 2:8] = 1, 2
    affine = nib.load(folder / "image.nii.gz").affine
    nib.save(nib.Nifti1Image(labels, affine), folder / "labels.nii.gz")
    options = ["--degree", "5", "--json"]
    assert main(["fit", str(folder / "image.nii.gz"), "-o", str(folder / "i.oinr"), *options]) == 0
    return folder / "i.oinr"


def read(path: str | Path) -> list[dict[str, str]]:
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_whole_is_one_row(run: Callable[..., Any], exact: Path, tmp_path: Path) -> None:
    options = ("--maps", "laplacian,vesselness", "--sigma", 1, 2)
    done = run("features", exact, "-o", tmp_path / "whole.csv", *options)
    (row,) = read(done["output"])
    values = nib.load(exact.with_name("image.nii.gz")).get_fdata()
    assert (row["image"], row["voxels"]) == ("image", str(values.size))
    assert float(row["intensity_mean"]) == pytest.approx(values.mean(), abs=1e-5)
    assert {"laplacian_p95_at1mm", "vesselness_mean_at2mm"} <= set(row)
    assert [each["column"] for each in read(done["codebook"])] == list(row)[1:]


def test_regions_have_shapes_and_units(
    run: Callable[..., Any], exact: Path, tmp_path: Path
) -> None:
    labels = exact.with_name("labels.nii.gz")
    done = run("features", exact, "-o", tmp_path / "r.csv", "--labels", labels, "--shape")
    rows, units = read(done["output"]), {x["column"]: x["unit"] for x in read(done["codebook"])}
    assert done["labels"] == [1, 2]
    wanted = shape_features(read_labels(labels))["extent1_mm"]
    found = [float(row["extent1_mm"]) for row in rows]
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    assert units["extent1_mm"] == "mm"
    assert units["gradient_magnitude_mean"] == "intensity/mm"


def test_voxels_are_channels_with_names(
    run: Callable[..., Any], exact: Path, tmp_path: Path
) -> None:
    maps = ("--maps", "value,hessian_eigenvalues")
    done = run("features", exact, "-o", tmp_path / "v.nii.gz", *maps, "--sigma", 1.5)
    written = nib.load(done["output"]).get_fdata()
    image = read_image(exact.with_name("image.nii.gz"))
    wanted = jet_features(image, ["value", "hessian_eigenvalues"], [1.5])
    np.testing.assert_allclose(np.moveaxis(written, -1, 0), wanted.numpy(), atol=1e-4)
    assert [each["column"] for each in read(done["codebook"])] == wanted.meta["channel_names"]
    arrays = np.load(run("features", exact, "-o", tmp_path / "v.npz", *maps)["output"])
    assert arrays["features"].shape == (3 * 4, *SHAPE)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["-o", "a.csv", "--maps", "slope"], "--maps must be among"),
        (["-o", "a.csv", "--factor", "2"], "the whole image has a grid of its own"),
        (["-o", "a.nii.gz"], "must have hidden layers for features"),
        (["-o", "a.csv", "--shape"], "--shape must be of --labels"),
        (["-o", "a.npz", "--maps", "value", "--layer", "1"], "--layer must not be given with"),
        (["-o", "a.txt"], "must end in .nii.gz or .npz"),
        (["-o", "a.nii.gz", "--labels", "labels.nii.gz"], "must end in .csv or .npz or .parquet"),
    ],
)
def test_what_cannot_be_is_refused(
    refused: Callable[..., str], exact: Path, options: list[str], reason: str
) -> None:
    assert reason in refused("features", exact, *options)


def test_parquet_holds_the_same(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    table = FeatureTable("label", [1, 2], ["voxels", "area_mm2"], np.array([[8.0, 1.5], [5, 2.5]]))
    table.save(tmp_path / "t.parquet")
    found = parquet.read_table(tmp_path / "t.parquet").to_pydict()
    assert found == {"label": [1, 2], "voxels": [8.0, 5.0], "area_mm2": [1.5, 2.5]}


def test_without_a_writer_of_parquet_the_remedy_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    table = FeatureTable("label", [1], ["voxels"], np.array([[8.0]]))
    with pytest.raises(ValueError, match=r"Parquet needs `pip install oinr-monai\[parquet\]`"):
        table.save(tmp_path / "t.parquet")
    assert not list(tmp_path.iterdir())
