"""Scans read and written within MONAI's pipelines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, LoadImage, LoadImaged
from pydicom import dcmread

from oinr_monai import SaveDICOM, SaveDICOMd, ScanReader
from oinr_monai.images.dicom_reference import read_reference
from oinr_monai.images.files import read_image, write_image
from tests.field.inputs import SHAPE, affine_of, counts, write_series

TILTED = (0.0, 0.6, 4.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_series(tmp_path / "series", counts(), step=TILTED)


def test_a_folder_is_loaded_as_the_package_reads_it(folder: Path) -> None:
    loaded = LoadImage(reader=ScanReader, ensure_channel_first=True)(folder)
    assert torch.equal(loaded.as_tensor(), read_image(folder).as_tensor())
    np.testing.assert_allclose(loaded.affine, affine_of(TILTED), atol=1e-6)
    assert loaded.shape == (1, *SHAPE)
    assert np.array_equal(np.round(loaded[0].numpy()), counts())


def test_channels_of_a_file_stay_first(tmp_path: Path) -> None:
    image = MetaTensor(torch.rand(3, 5, 6, 7), affine=torch.diag(torch.tensor([2.0, 2, 3, 1])))
    write_image(tmp_path / "image.nii.gz", image)
    loaded = LoadImage(reader=ScanReader(), ensure_channel_first=True)(tmp_path / "image.nii.gz")
    torch.testing.assert_close(loaded.as_tensor(), image.as_tensor())
    assert torch.allclose(loaded.affine, image.affine.double())


def test_files_on_one_grid_become_channels_and_others_are_refused(tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.nii.gz" for i in range(3)]
    for i, path in enumerate(paths):
        affine = torch.diag(torch.tensor([1.0 + (i == 2), 1, 1, 1]))
        write_image(path, MetaTensor(torch.full((1, 4, 4, 4), float(i)), affine=affine))
    load = LoadImage(reader=ScanReader, ensure_channel_first=True)
    assert load(paths[:2])[:, 0, 0, 0].tolist() == [0, 1]
    with pytest.raises(ValueError, match="must lie on one grid"):
        ScanReader().get_data(ScanReader().read(paths))


def test_one_of_several_series_is_chosen(tmp_path: Path) -> None:
    for number in (1, 2):
        volume = counts() // number
        write_series(tmp_path / "both" / str(number), volume, series=f"1.2.3.{number}")
    loaded = LoadImage(reader=ScanReader(series="1.2.3.2"), ensure_channel_first=True)
    assert float(loaded(tmp_path / "both").max()) == (counts() // 2).max()


def test_an_image_comes_back_as_a_series_a_map_and_segments(tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    folder = write_series(tmp_path / "series", counts())
    image = read_image(folder)
    labels = MetaTensor((image.as_tensor() > 400).long() * 7, affine=image.affine)
    save = SaveDICOMd(
        ["image", "width", "labels"], "image", tmp_path / "out", ["series", "map", "labels"]
    )
    chain = Compose([LoadImaged("image", reader=ScanReader, ensure_channel_first=True), save])
    chain({"image": folder, "width": image / 3, "labels": labels})
    assert torch.equal(read_image(tmp_path / "out/image").as_tensor(), image.as_tensor())
    seen = read_image(tmp_path / "out/labels")
    assert set(seen.unique().tolist()) == {0, 7}
    assert float(seen.sum()) == float(labels.sum())
    found = dcmread(tmp_path / "out/width/width.dcm")
    assert found.StudyInstanceUID == "1.2.3.0"
    widths = np.frombuffer(found.FloatPixelData, "<f4")
    np.testing.assert_allclose(np.sort(widths), np.sort(counts().ravel() / 3), rtol=1e-6)


def test_nothing_names_the_patient_where_that_is_asked(folder: Path, tmp_path: Path) -> None:
    image = read_image(folder)
    SaveDICOM(tmp_path / "out", anonymous=True)(image, folder)
    text = b"".join(each.read_bytes() for each in (tmp_path / "out").iterdir())
    assert b"Doe" not in text
    assert b"4711" not in text
    assert b"1.2.3.0" not in text


def test_a_reference_that_is_read_serves_many(folder: Path, tmp_path: Path) -> None:
    image, reference = read_image(folder), read_reference(folder)
    assert SaveDICOM(tmp_path / "a")(image, reference) is image
    np.testing.assert_allclose(read_image(tmp_path / "a").affine, image.affine, atol=1e-4)


def test_kinds_are_checked_before_the_work() -> None:
    with pytest.raises(ValueError, match="kind must be"):
        SaveDICOM("there", "picture")
