"""Images on disk: read in parts, the same numbers as in memory, errors at the door."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from oinr_monai.images.files import read_image
from oinr_monai.images.stored import StoredImage, open_image

AFFINE = np.array([[0.9, 0.1, 0, 3], [-0.1, 0.9, 0, 4], [0, 0, 2.0, 5], [0, 0, 0, 1]])


def saved(path: Path, shape: tuple[int, ...], slope: float = 0.5, units: str = "mm") -> Path:
    """A file of random int16 with intensities slope v - 20."""
    values = np.random.default_rng(0).integers(-500, 2_000, shape).astype(np.int16)
    nifti = nib.Nifti1Image(values, AFFINE)
    nifti.header.set_slope_inter(slope, -20)
    nifti.header.set_xyzt_units(units)
    nib.save(nifti, path)
    return path


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("shape", [(7, 8, 9), (7, 8, 9, 2), (7, 8)])
@pytest.mark.parametrize("units", ["mm", "meter"])
def test_parts_are_those_of_the_image_in_memory(
    tmp_path: Path, suffix: str, shape: tuple[int, ...], units: str
) -> None:
    path = saved(tmp_path / f"a{suffix}", shape, units=units)
    stored, whole = open_image(path), read_image(path)
    start = [1, 2, 0][: stored.grid.spatial_dims]
    stop = list(stored.grid.shape)
    part = whole.as_tensor()[(slice(None), *map(slice, start, stop))]
    assert torch.equal(stored.read(start, stop), part)
    assert np.allclose(stored.affine, whole.affine)
    assert (stored.channels, stored.grid.shape) == (len(whole), tuple(whole.shape[1:]))


def test_a_mapped_file_is_not_read_as_a_whole(tmp_path: Path) -> None:
    assert isinstance(open_image(saved(tmp_path / "a.nii", (7, 8, 9))).values.base, np.memmap)


def test_any_array_that_slices_will_do() -> None:
    asked: list[tuple[slice, ...]] = []

    class Sliced:
        shape = (1, 4, 5)

        def __getitem__(self, box: tuple[slice, ...]) -> np.ndarray:
            asked.append(box)
            return np.ones(self.shape)[box]

    part = StoredImage(Sliced(), np.eye(4), slope=3.0, intercept=1.0).read((1, 2), (3, 4))
    assert part.tolist() == [[[4.0, 4.0], [4.0, 4.0]]]
    assert asked == [(slice(None), slice(1, 3), slice(2, 4))]


def test_errors_name_the_rule(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such file"):
        open_image(tmp_path / "none.nii")
    (tmp_path / "a.nrrd").write_bytes(b"")
    with pytest.raises(ValueError, match=r"must be NIfTI, \.nii or \.nii\.gz"):
        open_image(tmp_path / "a.nrrd")
    (tmp_path / "b.nii").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"b\.nii: cannot be read as NIfTI"):
        open_image(tmp_path / "b.nii")
    whole = gzip.compress(saved(tmp_path / "c.nii", (7, 8, 9)).read_bytes())
    for name, content in {"d.nii.gz": whole[: len(whole) // 2], "e.nii.gz": b"nothing"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name}: cannot be unpacked"):
            open_image(tmp_path / name)
    with pytest.raises(ValueError, match="values must have shape"):
        StoredImage(np.zeros((1, 0, 4)), np.eye(4))
    with pytest.raises(ValueError, match="memory must be positive"):
        StoredImage(np.zeros((1, 3, 4)), np.eye(4), memory=0)
    with pytest.raises(ValueError, match="image must be finite"):
        StoredImage(np.full((1, 3, 4), np.nan), np.eye(4)).read((0, 0), (3, 4))
