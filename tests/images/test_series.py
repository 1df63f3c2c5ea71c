"""Series on disk: what is written is read again, with its times."""

from __future__ import annotations

import math
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from PIL import Image

from oinr_monai.images.files import read_image, write_image
from oinr_monai.images.series import Series, read_series, write_series
from oinr_monai.images.time_axis import TIME_AXIS


def moving(channels: int = 1, frames: int = 4) -> Series:
    axis = torch.arange(24.0)
    made = []
    for i in range(frames):
        square = ((axis[:, None] - 6 - 3 * i).abs() < 4) & ((axis[:20] - 9).abs() < 5)
        made.append(MetaTensor((200 * square.float())[None].repeat(channels, 1, 1)))
    return Series(tuple(made), tuple(0.2 * i for i in range(frames)))


def test_a_gif_keeps_frames_and_times(tmp_path: Path) -> None:
    series = moving()
    write_series(tmp_path / "film.gif", series)
    again = read_series([tmp_path / "film.gif"])
    assert again.times == pytest.approx(series.times)
    for a, b in zip(again.frames, series.frames, strict=True):
        assert a.shape == (1, 24, 20)
        assert torch.allclose(a.as_tensor(), b.as_tensor(), atol=2)


# imageio-ffmpeg leaves the pipes of its process to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_mp4_keeps_frames_and_times(tmp_path: Path) -> None:
    pytest.importorskip("imageio_ffmpeg")
    series = moving(channels=3, frames=6)
    write_series(tmp_path / "film.mp4", series)
    again = read_series([tmp_path / "film.mp4"])
    assert again.times == pytest.approx(series.times, abs=1e-2)
    errors = [(a[0] - b[0]).abs().mean() for a, b in zip(again.frames, series.frames, strict=True)]
    assert max(map(float, errors)) < 12  # compressed


def test_time_points_of_nifti(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(5, 6, 4, 3)).astype("f4")
    scan = nib.Nifti1Image(values, np.diag([2.0, 2.0, 3.0, 1.0]))
    scan.header.set_zooms((2.0, 2.0, 3.0, 1500.0))
    scan.header.set_xyzt_units("mm", "msec")
    nib.save(scan, tmp_path / "scan.nii.gz")
    series = read_series([tmp_path / "scan.nii.gz"])
    assert series.times == pytest.approx((0.0, 1.5, 3.0))
    assert np.array_equal(series.frames[1].numpy()[0], values[..., 1])
    write_series(tmp_path / "again.nii.gz", series)
    assert np.array_equal(nib.load(tmp_path / "again.nii.gz").get_fdata(), values)


def test_a_folder_and_a_list_of_images(tmp_path: Path) -> None:
    for i, frame in enumerate(moving().frames):
        write_image(tmp_path / f"frame{i}.png", frame)
    folder = read_series([tmp_path])
    files = read_series(sorted(tmp_path.iterdir()))
    assert folder.times == files.times == (0.0, 1.0, 2.0, 3.0)
    for a, b, c in zip(folder.frames, files.frames, moving().frames, strict=True):
        assert torch.equal(a.as_tensor(), b.as_tensor())
        assert torch.equal(a.as_tensor(), c.as_tensor())


def test_files_of_a_folder_come_as_a_person_counts(tmp_path: Path) -> None:
    order = ["1.png", "02.png", "2.png", "10.png", "t2.png", "T3b1.png", "t10.PNG"]
    for i, name in enumerate(order):
        Image.new("L", (3, 2), color=i).save(tmp_path / name, format="png")
    (tmp_path / "notes.txt").touch()
    shades = [int(frame[0, 0, 0]) for frame in read_series([tmp_path]).frames]
    assert shades == list(range(len(order)))


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="give the path of a series"):
        read_series([tmp_path / "missing.gif"])
    (tmp_path / "broken.gif").write_bytes(b"GIF89a")
    with pytest.raises(ValueError, match="cannot be read as a film"):
        read_series([tmp_path / "broken.gif"])
    write_image(tmp_path / "single.nii.gz", MetaTensor(torch.randn(1, 4, 4, 4)))
    with pytest.raises(ValueError, match="must hold two frames or more, got 1"):
        read_series([tmp_path / "single.nii.gz"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="must hold two images or more, got 0"):
        read_series([tmp_path / "empty"])
    with pytest.raises(ValueError, match=r"several frames need .nii, .nii.gz, .gif or .mp4"):
        write_series(tmp_path / "frames.png", moving())


def test_frames_keep_their_place(tmp_path: Path, oblique_affine: torch.Tensor) -> None:
    frames = tuple(MetaTensor(torch.rand(1, 4, 5, 3), affine=oblique_affine) for _ in range(3))
    write_series(tmp_path / "scan.nii.gz", Series(frames, (0.0, 0.5, 1.0)))
    again = read_series([tmp_path / "scan.nii.gz"])
    assert again.times == pytest.approx((0.0, 0.5, 1.0))
    for a, b in zip(again.frames, frames, strict=True):
        torch.testing.assert_close(a.affine, b.affine, rtol=0, atol=1e-5)
        assert torch.equal(a.as_tensor(), b.as_tensor())


def test_a_gif_goes_on_for_ever(tmp_path: Path) -> None:
    write_series(tmp_path / "film.gif", moving())
    with Image.open(tmp_path / "film.gif") as film:
        assert film.info["loop"] == 0


def test_a_fourth_axis_without_a_unit_or_a_number_is_no_time(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(5, 6, 4, 3)).astype("f4")
    for step in (1.0, math.nan):
        scan = nib.Nifti1Image(values, np.eye(4))
        scan.header.set_xyzt_units("mm")
        scan.header["pixdim"][4] = step
        nib.save(scan, tmp_path / "scan.nii")
        assert TIME_AXIS not in read_image(tmp_path / "scan.nii").meta
