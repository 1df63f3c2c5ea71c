"""Labels stay the whole numbers that they are, through every door."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray

from oinr_monai import FitConfig, OccupancyConfig, Representation, fit_occupancy, label_map
from oinr_monai.cli.app import main
from oinr_monai.images.files import read_image, write_image
from oinr_monai.images.labels import as_labels, read_labels
from oinr_monai.images.metrics import dice
from tests.field.inputs import counts

# Names of an atlas: nine digits, neighbours in number, which float32 rounds onto each other.
IDS = [312_782_546, 312_782_550, 312_782_554, 997]
LARGE = [2**53 - 3, 2**53 - 1, 7_000_000_001, 5]
AFFINE = np.diag([-1.5, 1.25, 4.0, 1.0])


def regions(ids: list[int], dtype: Any = np.uint32) -> NDArray[Any]:
    """Four neighbours of 4 x 8 x 4 voxels each."""
    labels = np.zeros((18, 10, 6), dtype)
    for i, label in enumerate(ids):
        labels[1 + 4 * i : 5 + 4 * i, 1:9, 1:5] = label
    return labels


def save(path: Path, labels: NDArray[Any], slope: float = 1.0) -> Path:
    if path.suffix in {".nrrd", ".mha"}:
        sitk.WriteImage(sitk.GetImageFromArray(labels.T), str(path))
        return path
    nifti = nib.Nifti1Image(labels, AFFINE, dtype=labels.dtype)
    if slope != 1:
        nifti.header.set_slope_inter(slope, 0)
    nib.save(nifti, path)
    return path


def stored(path: Path) -> NDArray[Any]:
    """The numbers of a NIfTI file as it holds them."""
    image: Any = nib.load(path)
    assert np.issubdtype(image.get_data_dtype(), np.integer)
    return np.asarray(image.dataobj)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize(
    ("ids", "dtype"),
    [(IDS, np.uint32), (IDS, np.int32), (IDS, np.float64), (LARGE, np.int64), (LARGE, np.uint64)],
)
def test_labels_are_read_and_written_as_they_are(
    suffix: str, ids: list[int], dtype: Any, tmp_path: Path
) -> None:
    labels = read_labels(save(tmp_path / f"a{suffix}", regions(ids, dtype)))
    assert labels.dtype == torch.int64
    np.testing.assert_array_equal(labels.numpy()[0], regions(ids, np.int64))
    write_image(tmp_path / f"b{suffix}", labels)
    again = read_labels(tmp_path / f"b{suffix}")
    assert torch.equal(again.as_tensor(), labels.as_tensor())
    torch.testing.assert_close(again.affine, labels.affine)


@pytest.fixture(scope="module")
def atlas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An atlas, an image of its shape, and the fits of both."""
    folder = tmp_path_factory.mktemp("atlas")
    save(folder / "atlas.nii.gz", regions(IDS))
    image = counts((18, 10, 6)).astype(np.float32)
    nib.save(nib.Nifti1Image(image, AFFINE), folder / "image.nii.gz")
    for name, more in (("image", ["exact"]), ("atlas", ["fast", "--steps", "300", "--labels"])):
        command = ["fit", folder / f"{name}.nii.gz", "-o", folder / f"{name}.oinr", "--preset"]
        assert main([*map(str, command), *more]) == 0
    return folder


def test_each_label_is_a_row_of_features(atlas: Path, tmp_path: Path) -> None:
    out, labels = tmp_path / "a.csv", atlas / "atlas.nii.gz"
    done = main(["features", str(atlas / "image.oinr"), "-o", str(out), "--labels", str(labels)])
    assert done == 0
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == [str(each) for each in sorted(IDS)]
    assert [row["voxels"] for row in rows] == [str(4 * 8 * 4)] * 4


def test_a_fit_of_labels_gives_them_back(atlas: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.nii.gz"
    assert main(["sample", str(atlas / "atlas.oinr"), "--labels", "-o", str(out)]) == 0
    assert set(np.unique(stored(out))) == {0, *IDS}
    assert (stored(out) == regions(IDS)).mean() > 0.9
    scores = Representation.load(atlas / "atlas.oinr").info["dice"]
    assert set(scores) == {str(each) for each in IDS}


def test_scores_and_surfaces_are_of_one_label(
    atlas: Path, run: Callable[..., Any], tmp_path: Path
) -> None:
    found = run("evaluate", atlas / "atlas.oinr", "--image", atlas / "atlas.nii.gz")
    assert set(found["dice"]) == {str(each) for each in IDS}
    merged = save(tmp_path / "merged.nii.gz", np.where(regions(IDS) > 1000, IDS[0], 0))
    others = run("evaluate", atlas / "atlas.oinr", "--image", merged)
    assert 0.3 < others["dice"][str(IDS[0])] < 0.7
    one = run("mesh", atlas / "atlas.oinr", "-o", tmp_path / "a.stl", "--label", IDS[1])
    assert one["volume_mm3"] == pytest.approx(4 * 8 * 4 * 1.5 * 1.25 * 4, rel=0.3)


def test_overlaps_tell_neighbours_apart() -> None:
    first, second = (torch.full((1, 4, 4), each) for each in IDS[:2])
    assert dice(first, second) == {IDS[1]: 0.0}


def test_arrays_of_any_type(tmp_path: Path) -> None:
    for dtype in (np.uint32, np.int64, np.float64, ">u4"):
        np.testing.assert_array_equal(as_labels(regions(IDS, dtype)), regions(IDS, np.int64))
    flipped = regions(IDS)[::-1]
    np.testing.assert_array_equal(as_labels(flipped), flipped.astype(np.int64))
    config = OccupancyConfig(FitConfig("fast", steps=5))
    fitted = fit_occupancy(regions(IDS)[None], config)
    assert fitted.info["occupancy"]["labels"] == sorted(IDS)
    assert label_map(fitted).dtype == torch.int64


@pytest.mark.parametrize(
    ("labels", "slope", "reason"),
    [
        (regions(IDS, np.float32), 1.0, "labels must be stored as integers above 16777216"),
        (regions([1, 2, 3, 4], np.int16), 0.9997711, "labels must be whole numbers, got 0.999771"),
        (regions([1, 2, 3, 4]) + 0.25, 1.0, "labels must be whole numbers, got 0.25 and 1079 oth"),
        (regions([1, 2, 3, np.nan], np.float64), 1.0, "labels must be whole numbers below 2^63"),
        (regions([1, 2, 3, 2**63 + 5], np.uint64), 1.0, "labels must be whole numbers below 2^63"),
    ],
)
def test_what_cannot_be_labels_is_refused(
    labels: NDArray[Any],
    slope: float,
    reason: str,
    atlas: Path,
    refused: Callable[..., str],
    tmp_path: Path,
) -> None:
    path = save(tmp_path / "a.nii.gz", labels, slope)
    image, out = atlas / "image.oinr", tmp_path / "out"
    assert reason in refused("features", image, "-o", f"{out}.csv", "--labels", path)
    assert reason in refused("fit", path, "-o", f"{out}.oinr", "--labels")
    assert reason in refused("evaluate", atlas / "atlas.oinr", "--image", path)


def test_a_slope_that_rounding_alone_made_is_none(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", regions([10, 20, 30, 40], np.int16), 0.1)
    assert read_labels(path).unique().tolist() == [0, 1, 2, 3, 4]


def test_labels_that_do_not_fit_a_picture(
    atlas: Path, refused: Callable[..., str], tmp_path: Path
) -> None:
    slab = MetaTensor(torch.tensor(regions(IDS, np.int64)[None, :, :, 2]))
    with pytest.raises(ValueError, match=r"must be below 65536 for PNG, got 3.12.*; write NIfTI"):
        write_image(tmp_path / "a.png", slab)
    write_image(tmp_path / "a.png", slab.clamp(max=1000))
    assert read_image(tmp_path / "a.png").unique().tolist() == [0, 997, 1000]
    assert "must end in" in refused("sample", atlas / "atlas.oinr", "--labels", "-o", "a.jpg")
