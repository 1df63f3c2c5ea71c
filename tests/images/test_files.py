"""What is written comes back; what cannot be read says so in one line and leaves nothing behind."""

from __future__ import annotations

import gzip
import math
import os
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.data import MetaTensor
from PIL import Image
from torch import Tensor

from oinr_monai.images import files as images
from oinr_monai.images.notes import ImageNote
from oinr_monai.images.replacing import replacing

VOLUMES = [".nii", ".nii.gz", ".mha", ".nrrd"]


@pytest.fixture(params=["oblique_affine", "sheared_affine", "identity"])
def affine(request: pytest.FixtureRequest) -> Tensor:
    if request.param == "identity":
        return torch.eye(4, dtype=torch.float64)
    return request.getfixturevalue(request.param)


@pytest.fixture
def volume(generator: torch.Generator, oblique_affine: Tensor) -> MetaTensor:
    return MetaTensor(torch.randn(1, 5, 4, 3, generator=generator), affine=oblique_affine)


def save_nifti(path: Path, voxels: np.ndarray, affine: np.ndarray | None = None) -> Path:
    nib.save(nib.Nifti1Image(voxels, np.eye(4) if affine is None else affine), path)
    return path


def load_nifti(path: Path) -> Any:
    return nib.load(path)


def ramp(*shape: int) -> np.ndarray:
    return np.arange(math.prod(shape), dtype=np.float32).reshape(shape)


# Round trips


@pytest.mark.parametrize("suffix", VOLUMES)
@pytest.mark.parametrize("shape", [(1, 5, 4, 3), (3, 5, 4, 3), (2, 5, 1, 3), (1, 5, 4, 1)])
def test_volumes_come_back(
    suffix: str, shape: tuple[int, ...], affine: Tensor, generator: torch.Generator, tmp_path: Path
) -> None:
    image = MetaTensor(torch.randn(shape, generator=generator), affine=affine)
    path = tmp_path / f"image{suffix}"
    images.write_image(path, image)
    back = images.read_image(path)
    assert torch.equal(back.as_tensor(), image.as_tensor())
    assert back.dtype == torch.float32
    assert back.affine.dtype == torch.float64
    # NIfTI stores its affine in float32
    tolerance = 1e-5 if ".nii" in suffix else 1e-12
    torch.testing.assert_close(back.affine, affine, rtol=0, atol=tolerance)
    assert back.meta["filename_or_obj"] == str(path)
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("suffix", [".mha", ".mhd", ".nrrd", ".nhdr"])
def test_itk_and_nibabel_agree_on_the_world(
    suffix: str, volume: MetaTensor, tmp_path: Path
) -> None:
    images.write_image(tmp_path / "image.nii.gz", volume)
    via_itk = sitk.ReadImage(str(tmp_path / "image.nii.gz"))
    sitk.WriteImage(via_itk, str(tmp_path / f"itk{suffix}"))
    back = images.read_image(tmp_path / f"itk{suffix}")
    assert torch.equal(back.as_tensor(), volume.as_tensor())
    torch.testing.assert_close(back.affine, volume.affine, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("suffix", "channels", "expected"),
    [
        (".nii.gz", 1, (1, 6, 5)),
        (".nii.gz", 2, (2, 6, 5, 1)),
        (".mha", 1, (1, 6, 5, 1)),
        (".nrrd", 2, (2, 6, 5, 1)),
    ],
)
def test_2d_images_in_volume_formats(
    suffix: str, channels: int, expected: tuple[int, ...], tmp_path: Path
) -> None:
    image = MetaTensor(torch.from_numpy(ramp(channels, 6, 5)))
    images.write_image(tmp_path / f"image{suffix}", image)
    back = images.read_image(tmp_path / f"image{suffix}")
    assert back.shape == expected
    assert torch.equal(back.as_tensor().flatten(), image.as_tensor().flatten())


def test_a_2d_affine_of_three_rows_is_one_of_space(tmp_path: Path) -> None:
    affine = torch.tensor([[0.5, 0.0, 3.0], [0.0, 2.0, -1.0], [0.0, 0.0, 1.0]])
    images.write_image(tmp_path / "a.mha", MetaTensor(torch.rand(1, 4, 4), affine=affine))
    back = images.read_image(tmp_path / "a.mha").affine
    assert back.tolist() == [[0.5, 0, 0, 3], [0, 2, 0, -1], [0, 0, 1, 0], [0, 0, 0, 1]]


@pytest.mark.parametrize("channels", [1, 3])
def test_png_is_rounded_and_clipped(channels: int, tmp_path: Path) -> None:
    values = torch.tensor([[-3.0, 0.4, 0.6], [254.6, 300.0, 7.0]]).repeat(channels, 1, 1)
    images.write_image(tmp_path / "image.png", MetaTensor(values), description="a note")
    back = images.read_image(tmp_path / "image.png")
    assert back.as_tensor()[-1].tolist() == [[0, 0, 1], [255, 255, 7]]
    assert back.shape == (channels, 2, 3)
    assert torch.equal(back.affine, torch.eye(4, dtype=torch.float64))
    with Image.open(tmp_path / "image.png") as picture:
        assert picture.size == (2, 3)
        assert picture.info["Description"] == "a note"


@pytest.mark.parametrize(
    ("mode", "channels"), [("L", 1), ("LA", 1), ("RGB", 3), ("RGBA", 3), ("P", 3), ("I;16", 1)]
)
def test_picture_modes(mode: str, channels: int, tmp_path: Path) -> None:
    gray = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4))
    gray.convert(mode).save(tmp_path / "image.png")
    values = images.read_image(tmp_path / "image.png").as_tensor()
    assert values.shape == (channels, 4, 3)
    assert torch.equal(values[0], torch.arange(12.0).reshape(3, 4).T)


@pytest.mark.parametrize(("suffix", "channels"), [(".jpg", 1), (".JPG", 3), (".jpeg", 3)])
def test_jpeg_comes_back_nearly(suffix: str, channels: int, tmp_path: Path) -> None:
    values = torch.stack([8.0 * k + torch.from_numpy(ramp(16, 12)) for k in range(channels)])
    images.write_image(tmp_path / f"a{suffix}", MetaTensor(values), description="a note")
    back = images.read_image(tmp_path / f"a{suffix}")
    assert back.shape == values.shape
    assert float((back.as_tensor() - values).abs().mean()) < 1
    with Image.open(tmp_path / f"a{suffix}") as picture:
        assert (picture.format, picture.info["comment"]) == ("JPEG", b"a note")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_picture_is_written_as_deep_as_it_was_read(dtype: type, tmp_path: Path) -> None:
    pixels = np.linspace(0, np.iinfo(dtype).max, 12).astype(dtype).reshape(3, 4)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    images.write_image(tmp_path / "b.png", images.read_image(tmp_path / "a.png") + 0.4)
    with Image.open(tmp_path / "b.png") as picture:
        written = np.asarray(picture)
    assert written.dtype == dtype
    np.testing.assert_array_equal(written, pixels)


def test_one_bit_is_black_and_white(tmp_path: Path) -> None:
    Image.fromarray(np.eye(4, dtype=bool)).save(tmp_path / "a.png")
    assert torch.equal(images.read_image(tmp_path / "a.png")[0].as_tensor(), 255 * torch.eye(4))


def test_photographs_stand_upright(tmp_path: Path) -> None:
    lying = Image.fromarray(np.tile(np.arange(0, 256, 8, dtype=np.uint8), (16, 1)))
    exif = lying.getexif()
    exif[0x0112] = 6  # to be shown after a quarter turn clockwise
    lying.save(tmp_path / "a.jpg", exif=exif)
    values = images.read_image(tmp_path / "a.jpg").as_tensor()
    assert values.shape == (1, 16, 32)
    assert bool((values[0].diff(dim=1) > 0).all())


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_volume_of_one_slice_is_a_picture(axis: int, tmp_path: Path) -> None:
    slice_ = MetaTensor(torch.from_numpy(ramp(5, 4))[None].unsqueeze(1 + axis))
    images.write_image(tmp_path / "a.png", slice_)
    assert torch.equal(
        images.read_image(tmp_path / "a.png").as_tensor(), slice_.as_tensor().squeeze(1 + axis)
    )


@pytest.mark.parametrize(
    ("axes", "shape"),
    [((0, 1, 2), (1, 5, 4)), ((0, 2, 1), (1, 5, 4, 1)), ((1, 2, 0), (1, 5, 4, 1))],
)
def test_slices_of_any_plane_keep_their_place(
    axes: tuple[int, ...], shape: tuple[int, ...], tmp_path: Path
) -> None:
    """Axial, coronal and sagittal slices that were saved as 2-D NIfTI."""
    affine = np.array([[2.0, 0, 0, -9], [0, 3, 0, 5], [0, 0, 4, 7], [0, 0, 0, 1]])
    affine[:, :3] = affine[:, axes]
    image = images.read_image(save_nifti(tmp_path / "a.nii", ramp(5, 4), affine))
    assert image.shape == shape
    assert image.pixdim[:2].tolist() == [2.0 + axis for axis in axes[:2]]
    images.write_image(tmp_path / "b.nii", image)
    np.testing.assert_array_equal(load_nifti(tmp_path / "b.nii").affine, affine)


def test_the_stored_type_is_told(tmp_path: Path) -> None:
    for low, stored in ((0, "uint16"), (-5, "int16")):
        voxels = ramp(3, 4, 2).astype(np.int16) + np.int16(low)
        image = images.read_image(save_nifti(tmp_path / "a.nii", voxels))
        assert image.meta["stored_dtype"] == stored


# Layouts and headers


def test_nifti_layouts(tmp_path: Path) -> None:
    series = ramp(4, 3, 2, 5)
    read = images.read_image(save_nifti(tmp_path / "series.nii", series))
    assert torch.equal(read.as_tensor(), torch.from_numpy(np.moveaxis(series, -1, 0)))
    vector = save_nifti(tmp_path / "vector.nii", series[:, :, :, None])
    assert torch.equal(images.read_image(vector).as_tensor(), read.as_tensor())


def test_itk_4d_becomes_channels(tmp_path: Path) -> None:
    series = ramp(5, 2, 3, 4)
    sitk.WriteImage(sitk.GetImageFromArray(series, isVector=False), str(tmp_path / "series.mha"))
    read = images.read_image(tmp_path / "series.mha")
    assert torch.equal(read.as_tensor(), torch.from_numpy(series.transpose(0, 3, 2, 1).copy()))


def test_nifti_in_micrometres_is_read_in_mm(tmp_path: Path) -> None:
    nifti = nib.Nifti1Image(ramp(2, 3, 4), np.diag([50.0, 50.0, 200.0, 1.0]))
    nifti.header.set_xyzt_units("micron")
    nib.save(nifti, tmp_path / "a.nii.gz")
    affine = images.read_image(tmp_path / "a.nii.gz").affine
    assert affine.diag().tolist() == pytest.approx([0.05, 0.05, 0.2, 1.0])


def test_nifti_scale_factors_apply(tmp_path: Path) -> None:
    nifti = nib.Nifti1Image(ramp(2, 3, 4).astype(np.int16), np.eye(4))
    nifti.header.set_slope_inter(0.5, -1000.0)
    nib.save(nifti, tmp_path / "a.nii")
    stored = load_nifti(tmp_path / "a.nii").get_fdata(dtype=np.float32)
    assert np.array_equal(images.read_image(tmp_path / "a.nii").numpy()[0], stored)


def test_nifti_header(volume: MetaTensor, sheared_affine: Tensor, tmp_path: Path) -> None:
    images.write_image(tmp_path / "a.nii.gz", volume, description="x" * 100)
    nifti = load_nifti(tmp_path / "a.nii.gz")
    assert nifti.shape == (5, 4, 3)
    assert nifti.get_data_dtype() == np.float32
    assert nifti.header["descrip"].item() == b"x" * 79
    assert nifti.header.get_xyzt_units()[0] == "mm"
    assert nifti.header["sform_code"] == nifti.header["qform_code"] == 1
    np.testing.assert_allclose(nifti.get_qform(), volume.affine, atol=1e-5)
    # a qform cannot hold a shear, so none is written rather than a wrong one
    images.write_image(tmp_path / "b.nii.gz", MetaTensor(volume.as_tensor(), affine=sheared_affine))
    header = load_nifti(tmp_path / "b.nii.gz").header
    assert (header["sform_code"], header["qform_code"]) == (1, 0)


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_itk_description(suffix: str, volume: MetaTensor, tmp_path: Path) -> None:
    images.write_image(tmp_path / f"a{suffix}", volume, description="fitted in 60 s")
    header = sitk.ReadImage(str(tmp_path / f"a{suffix}"))
    assert header.GetMetaData("description") == "fitted in 60 s"


def test_real_volumes(shared_data: Path) -> None:
    assert images.read_image(shared_data / "volumes" / "pcasl.nii.gz").shape == (10, 52, 68, 20)


# DICOM


def save_slices(
    folder: Path,
    positions: Iterable[tuple[float, float, float]],
    series: str = "1.2.3.4",
    orientation: tuple[float, ...] = (1, 0, 0, 0, 1, 0),
) -> list[np.ndarray]:
    """Slices made from one real CT slice, each a little brighter than the one before, in HU."""
    pydicom = pytest.importorskip("pydicom")
    data = pytest.importorskip("pydicom.data")
    folder.mkdir(exist_ok=True)
    slices = []
    for number, position in enumerate(positions):
        source = pydicom.dcmread(data.get_testdata_file("CT_small.dcm", download=False))
        source.PixelData = (source.pixel_array + number).astype(np.int16).tobytes()
        source.SeriesInstanceUID = series
        source.SOPInstanceUID = f"{series}.{number}"
        source.file_meta.MediaStorageSOPInstanceUID = source.SOPInstanceUID
        source.InstanceNumber = number + 1
        source.ImagePositionPatient = list(position)
        source.ImageOrientationPatient = list(orientation)
        source.save_as(folder / f"{series}-{9 - number}.dcm")  # names run against the order
        slices.append(source.pixel_array.T * source.RescaleSlope + source.RescaleIntercept)
    return slices


def test_dicom_series(tmp_path: Path) -> None:
    slices = save_slices(tmp_path / "ct", [(10.0, -20.0, 30.0 + 2.5 * k) for k in range(3)])
    image = images.read_image(tmp_path / "ct")
    np.testing.assert_array_equal(image.numpy()[0], np.stack(slices, axis=-1))
    expected = torch.diag(torch.tensor([-0.661468, -0.661468, 2.5, 1.0], dtype=torch.float64))
    expected[:3, 3] = torch.tensor([-10.0, 20.0, 30.0])
    torch.testing.assert_close(image.affine, expected)


def test_dicom_oblique_slices(tmp_path: Path) -> None:
    cos, sin = math.cos(0.3), math.sin(0.3)
    orientation = (cos, 0.0, -sin, 0.0, 1.0, 0.0)
    places = [(2.0 * k * sin, 5.0, 2.0 * k * cos) for k in range(3)]
    save_slices(tmp_path / "ct", places, orientation=orientation)
    affine = images.read_image(tmp_path / "ct").affine
    expected = torch.tensor([-2.0 * sin, 0.0, 2.0 * cos], dtype=torch.float64)
    torch.testing.assert_close(affine[:3, 2], expected)
    torch.testing.assert_close(affine[:3, 0], 0.661468 * torch.tensor([-cos, 0, -sin]).double())


def test_dicom_gantry_tilt_shears_the_affine(tmp_path: Path) -> None:
    save_slices(tmp_path / "ct", [(0.0, 0.7 * k, 2.5 * k) for k in range(4)])
    step = images.read_image(tmp_path / "ct").affine[:3, 2]
    torch.testing.assert_close(step, torch.tensor([0.0, -0.7, 2.5], dtype=torch.float64))


def test_dicom_single_file_and_single_slice(tmp_path: Path) -> None:
    (hounsfield,) = save_slices(tmp_path / "ct", [(10.0, -20.0, 30.0)])
    for path in (tmp_path / "ct", next((tmp_path / "ct").iterdir())):
        with pytest.warns(ImageNote, match="a lone slice, its thickness taken from SpacingBetween"):
            image = images.read_image(path)
        assert image.shape == (1, 128, 128, 1)
        np.testing.assert_array_equal(image.numpy()[0, :, :, 0], hounsfield)


def test_dicom_folders_that_are_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    places = [(0.0, 0.0, z) for z in (0.0, 2.0, 4.0)]
    save_slices(tmp_path / "two", places, series="1.2.3")
    save_slices(tmp_path / "two", places, series="1.2.4")
    save_slices(tmp_path / "gap", [(0.0, 0.0, z) for z in (0.0, 2.0, 6.0)])
    (tmp_path / "none").mkdir()
    for name, message in {
        "two": r"holds 2 DICOM series: 1\.2\.3 .*, 1\.2\.4 .*; choose one by --series UID",
        "gap": "slices are unevenly spaced, 2 to 4 mm; look for missing or repeated slices",
        "none": "holds no DICOM image, at any depth; give another",
    }.items():
        refuses(tmp_path / name, message)
    assert capfd.readouterr().err == ""


# Bad input


def refuses(path: Path, message: str) -> None:
    """Reading raises one line that begins with the path and holds the message."""
    with pytest.raises(ValueError, match=message) as caught:
        images.read_image(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert len(text.splitlines()) == 1


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such file or folder; give the path"):
        images.read_image(tmp_path / "none.nii.gz")


@pytest.mark.parametrize(
    "name", ["a.nii", "a.nii.gz", "a.nrrd", "a.mha", "a.mhd", "a.dcm", "a.png", "a.jpg"]
)
@pytest.mark.parametrize("content", [b"hello\n" * 100, b""])
def test_text_by_another_name(
    name: str, content: bytes, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(content)
    refuses(tmp_path / name, r"cannot be read as .*; check that it is complete and really")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("suffix", VOLUMES)
def test_truncated_files(suffix: str, tmp_path: Path, generator: torch.Generator) -> None:
    path = tmp_path / f"a{suffix}"
    images.write_image(path, MetaTensor(torch.randn(1, 20, 20, 20, generator=generator)))
    path.write_bytes(path.read_bytes()[:-5000])
    refuses(path, "check that it is complete")


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_truncated_files_without_compression(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(ramp(20, 20, 20)), str(path), useCompression=False)
    path.write_bytes(path.read_bytes()[:-5000])
    refuses(path, "check that it is complete")


def test_gz_of_text(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(b"hello" * 200))
    refuses(tmp_path / "a.nii.gz", "cannot be read as NIfTI")


def test_values_that_are_no_numbers(tmp_path: Path) -> None:
    voxels = ramp(4, 4, 4)
    voxels[0, 0, :3] = [math.nan, math.nan, math.inf]
    refuses(save_nifti(tmp_path / "a.nii.gz", voxels), "2 NaN and 1 infinite voxels; replace them")
    refuses(save_nifti(tmp_path / "c.nii", voxels.astype(np.complex64)), "voxels are complex64")


def test_images_with_nothing_in_them(tmp_path: Path) -> None:
    refuses(save_nifti(tmp_path / "b.nii", np.zeros((4, 0, 4))), r"is empty, shape \(1, 4, 0, 4\)")


def test_a_blank_image_is_one(tmp_path: Path) -> None:
    """A mask of ones, or a reference of which only the grid counts."""
    path = save_nifti(tmp_path / "a.nii", np.full((4, 4, 4), 7.0))
    assert bool((images.read_image(path) == 7).all())


def test_too_many_dimensions(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "a.nii.gz", ramp(3, 3, 3, 2, 2))
    refuses(path, r"has 5 dimensions, \(3, 3, 3, 2, 2\); save one volume")
    series = sitk.JoinSeries([sitk.GetImageFromArray(ramp(2, 3, 4, 2), isVector=True)] * 2)
    sitk.WriteImage(series, str(tmp_path / "a.mha"))
    refuses(tmp_path / "a.mha", "has 5 dimensions")


@pytest.mark.parametrize("diagonal", [(1.0, 0.0, 1.0), (1.0, math.nan, 1.0), (1.0, math.inf, 1.0)])
def test_singular_affine(diagonal: tuple[float, ...], tmp_path: Path) -> None:
    nifti = nib.Nifti1Image(ramp(3, 3, 3), None)
    nifti.header["sform_code"] = 1
    for row, value in zip("xyz", np.diag(diagonal), strict=True):
        nifti.header[f"srow_{row}"] = [*value, 0.0]
    nib.save(nifti, tmp_path / "a.nii")
    refuses(
        tmp_path / "a.nii", r"the affine \[\[.*\]\] is not invertible; correct it in the header"
    )


def test_parallel_axes_are_singular_at_any_spacing(tmp_path: Path) -> None:
    affine = np.diag([1e-3, 1e-3, 1e-3, 1.0])
    assert images.read_image(save_nifti(tmp_path / "a.nii", ramp(3, 3, 3), affine)).shape[0] == 1
    affine[:3, 1] = 5 * affine[:3, 0]
    nifti = nib.Nifti1Image(ramp(3, 3, 3), None)
    nifti.set_sform(affine, code=1)
    nib.save(nifti, tmp_path / "b.nii")
    refuses(tmp_path / "b.nii", "is not invertible")


@pytest.mark.parametrize("name", ["a.txt", "a", "a.gz", "a.img"])
def test_unknown_suffix(name: str, volume: MetaTensor, tmp_path: Path) -> None:
    (tmp_path / name).write_text("hello")
    refuses(
        tmp_path / name, r"unknown suffix; use one of \.dcm, \.jpeg, \.jpg, \.mha, \.mhd, \.nhd"
    )
    with pytest.raises(ValueError, match=r"unknown suffix; use one of \.jpeg, \.jpg, \.mha, "):
        images.write_image(tmp_path / name, volume)
    assert os.listdir(tmp_path) == [name]


# Writing


@pytest.mark.parametrize("suffix", [*VOLUMES, ".png", ".jpg"])
def test_a_failed_write_leaves_the_older_file(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"image{suffix}"
    path.write_bytes(b"older")

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full_disk)
    message = re.escape(f"{path}: cannot be written (No space left on device); choose another")
    with pytest.raises(OSError, match=f"^{message}"):
        images.write_image(path, MetaTensor(torch.rand(1, 4, 4)))
    assert os.listdir(tmp_path) == [path.name]
    assert path.read_bytes() == b"older"


@pytest.mark.parametrize("suffix", VOLUMES)
def test_files_have_ordinary_permissions(suffix: str, volume: MetaTensor, tmp_path: Path) -> None:
    images.write_image(tmp_path / f"a{suffix}", volume)
    (tmp_path / "ordinary").touch()
    mode = (tmp_path / f"a{suffix}").stat().st_mode
    assert mode == (tmp_path / "ordinary").stat().st_mode


def test_places_that_cannot_be_written(volume: MetaTensor, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="none is not a folder; create it first"):
        images.write_image(tmp_path / "none" / "a.nii.gz", volume)
    (tmp_path / "a.nii.gz").mkdir()
    with pytest.raises(OSError, match="a directory\\); choose another place"):
        images.write_image(tmp_path / "a.nii.gz", volume)
    assert os.listdir(tmp_path) == ["a.nii.gz"]


def test_unwritable_folder(
    volume: MetaTensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")  # by hand: root may write anywhere

    monkeypatch.setattr(tempfile, "mkdtemp", denied)
    with pytest.raises(
        OSError, match=r"a\.nii\.gz: cannot be written \(Permission denied\); choose"
    ):
        images.write_image(tmp_path / "a.nii.gz", volume)


@pytest.mark.parametrize(("suffix", "kind"), [(".png", "PNG"), (".jpg", "JPEG")])
@pytest.mark.parametrize("shape", [(2, 4, 4), (1, 4, 4, 4), (1, 4)])
def test_pictures_of_something_else(
    suffix: str, kind: str, shape: tuple[int, ...], tmp_path: Path
) -> None:
    message = rf"^image must have shape \(1 or 3, X, Y\) for {kind}, got"
    with pytest.raises(ValueError, match=message):
        images.write_image(tmp_path / f"a{suffix}", MetaTensor(torch.rand(shape)))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("suffix", "channels", "stored"),
    [(".png", 1, "float32"), (".png", 1, "int16"), (".png", 3, "uint16"), (".jpg", 1, "uint16")],
)
def test_pictures_that_would_lose_the_intensities(
    suffix: str, channels: int, stored: str, tmp_path: Path
) -> None:
    image = MetaTensor(torch.rand(channels, 4, 4), meta={"stored_dtype": stored})
    with pytest.raises(ValueError, match=rf"channels of {stored}; write NIfTI instead"):
        images.write_image(tmp_path / f"a{suffix}", image)


@pytest.mark.parametrize("shape", [(4,), (1, 2, 2, 2, 2)])
def test_shapes_that_are_no_image(shape: tuple[int, ...], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^image must have shape \(C, \*spatial\), got"):
        images.write_image(tmp_path / "a.nii", MetaTensor(torch.rand(shape)))


def test_replacing_undoes_any_failure(tmp_path: Path) -> None:
    def interrupted() -> None:
        with replacing(tmp_path / "a.bin") as temporary:
            temporary.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert os.listdir(tmp_path) == []


def test_gradients_and_other_types_can_be_written(
    tmp_path: Path, generator: torch.Generator
) -> None:
    values = torch.rand(1, 3, 3, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    images.write_image(tmp_path / "a.nii", MetaTensor(values))
    assert torch.equal(images.read_image(tmp_path / "a.nii").as_tensor(), values.detach().float())


@pytest.mark.parametrize("name", ["a.nii", "a.nrrd"])
def test_a_small_contrast_in_memory_is_written_as_it_is(name: str, tmp_path: Path) -> None:
    values = 1e8 + 0.25 * torch.arange(24.0, dtype=torch.float64).reshape(1, 2, 3, 4)
    images.write_image(tmp_path / name, MetaTensor(values, affine=torch.eye(4)))
    assert torch.equal(images.read_image(tmp_path / name).as_tensor(), values)
