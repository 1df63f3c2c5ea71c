"""Fits of images on disk: the same as in memory, in memory that is bounded."""

from __future__ import annotations

import errno
import os
import tempfile
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from oinr_monai import CZOINR, FitConfig, Grid, Representation, fit
from oinr_monai.cli.app import main
from oinr_monai.grids.positions import Lattice, Scatter
from oinr_monai.grids.splines import CubicInterpolant
from oinr_monai.images.files import read_image, write_image
from oinr_monai.images.intensity import IntensityScale
from oinr_monai.images.nifti import write_slabs
from oinr_monai.images.stored import StoredImage, open_image
from oinr_monai.images.stored_spline import StoredInterpolant, scale_of

# Each with as little memory as makes several blocks of it, and slabs of a few planes.
SHAPES = {(2, 130, 75, 60): 12.0, (1, 3_000): 0.005, (1, 100, 70): 0.4, (1, 90, 1, 80): 4.0}
AFFINE = np.array([[0.9, 0.1, 0, 3], [-0.1, 0.9, 0, 4], [0, 0, 2.0, 5], [0, 0, 0, 1]])


def values(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).integers(-500, 2_000, shape).astype(np.int16)


@pytest.mark.parametrize(("shape", "memory"), SHAPES.items())
def test_scale_is_that_of_the_whole(shape: tuple[int, ...], memory: float) -> None:
    stored = StoredImage(values(shape), np.eye(4), memory)
    scale, high = scale_of(stored)
    whole = torch.from_numpy(values(shape).astype(np.float32))
    expected = IntensityScale.of(whole)
    assert scale.outside == expected.outside
    assert high.tolist() == whole.flatten(1).amax(1).tolist()
    np.testing.assert_allclose((scale.mean, scale.std), (expected.mean, expected.std), rtol=1e-10)


@pytest.mark.parametrize(("shape", "memory"), SHAPES.items())
def test_spline_is_that_of_the_whole(shape: tuple[int, ...], memory: float) -> None:
    stored = StoredImage(values(shape), np.eye(4), memory)
    scale, _ = scale_of(stored)
    spline = StoredInterpolant(stored, scale)
    assert spline.blocks > 1
    whole = CubicInterpolant(scale.standardise(torch.from_numpy(values(shape).astype(np.float32))))
    generator = torch.Generator().manual_seed(0)
    ends = torch.tensor([[0.0, n - 1] for n in shape[1:]], dtype=torch.float64)
    inner = torch.rand(len(ends), 7, generator=generator, dtype=torch.float64) * ends[:, 1:]
    axes = tuple(torch.cat([ends, inner], dim=1))
    for places in (Lattice(axes), Scatter(axes)):
        torch.testing.assert_close(spline(places), whole(places), rtol=0, atol=2e-6)


def test_a_full_disk_is_an_error_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    stored = StoredImage(values((1, 40, 40)), np.eye(4))
    with pytest.raises(OSError, match="No space left"):
        StoredInterpolant(stored, scale_of(stored)[0])


def test_its_file_goes_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    stored = StoredImage(values((1, 40, 40)), np.eye(4))
    spline = StoredInterpolant(stored, scale_of(stored)[0])
    assert len(list(tmp_path.iterdir())) == 1
    del spline
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kernel_size", [1, 3])
def test_a_fit_from_disk_is_the_fit_in_memory(kernel_size: int) -> None:
    config = FitConfig(
        preset="fast", steps=12, channels=(8, 8), places=256, kernel_size=kernel_size
    )
    whole = MetaTensor(torch.from_numpy(values((1, 40, 24, 20))).float(), affine=AFFINE)
    a, b = (fit(image, config) for image in (whole, StoredImage(values(whole.shape), AFFINE, 8.0)))
    assert a.grid == b.grid
    assert a.info["image"] == b.info["image"]
    for x, y in zip(a.field.state_dict().values(), b.field.state_dict().values(), strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=1e-5)
    for score in ("psnr_grid", "psnr_between"):
        assert a.info[score] == pytest.approx(b.info[score], abs=1e-3)


def test_no_more_is_read_at_once_than_the_memory_holds() -> None:
    largest = 0

    class Watched:
        shape = (1, 96, 80, 64)
        held = values(shape)

        def __getitem__(self, box: tuple[slice, ...]) -> np.ndarray:
            nonlocal largest
            part = self.held[box]
            largest = max(largest, part.size)
            return part

    memory = 6.0
    fit(StoredImage(Watched(), np.eye(4), memory), FitConfig(preset="fast", steps=2))
    assert 0 < largest * 32 <= memory * 2**20


def test_errors_name_the_rule() -> None:
    image = StoredImage(values((1, 40, 40, 40)), np.eye(4))
    quick = FitConfig(preset="fast", steps=1)
    with pytest.raises(ValueError, match="mask must be None for an image on disk"):
        fit(image, quick, mask=torch.ones(40, 40, 40))
    with pytest.raises(ValueError, match="mask must be None for an image on disk"):
        fit(image, mask=torch.ones(40, 40, 40))
    wavelets = FitConfig(steps=1, network=partial(CZOINR, channels=4, levels=1))
    with pytest.raises(ValueError, match="network must be a local operator for an image on disk"):
        fit(image, wavelets)
    with pytest.raises(ValueError, match="memory must have room for blocks"):
        fit(StoredImage(image.values, np.eye(4), memory=1.0), quick)
    with pytest.raises(ValueError, match="image must vary"):
        fit(StoredImage(np.ones((1, 40, 40)), np.eye(4)), quick)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("shape", [(6, 7, 8), (6, 7)])
def test_slabs_make_the_file_that_the_whole_makes(
    tmp_path: Path, suffix: str, shape: tuple[int, ...]
) -> None:
    image = MetaTensor(torch.rand(1, *shape), affine=torch.from_numpy(AFFINE))
    write_image(tmp_path / f"a{suffix}", image, "intensity")
    whole = image.as_tensor()[0].numpy()
    slabs = [whole[..., :3], whole[..., 3:4], whole[..., 4:]]
    write_slabs(tmp_path / f"b{suffix}", shape, AFFINE, slabs, "intensity")
    a, b = (nib.load(tmp_path / f"{name}{suffix}") for name in "ab")
    assert a.header == b.header
    assert np.array_equal(a.get_fdata(), b.get_fdata())


def test_slabs_of_a_representation_are_its_samples() -> None:
    representation = fit(torch.rand(2, 12, 11, 10), FitConfig(preset="fast", steps=2))
    grid = representation.grid.refine(2)
    parts = list(representation.slabs(grid, voxels=1_500))
    assert len(parts) > 2
    torch.testing.assert_close(torch.cat(parts, -1), representation.sample(grid).as_tensor())


def test_command_line_fits_from_disk(tmp_path: Path) -> None:
    path, fitted, out = (str(tmp_path / name) for name in ("a.nii.gz", "a.oinr", "b.nii.gz"))
    nib.save(nib.Nifti1Image(values((40, 36, 38)), AFFINE), path)
    assert main(["fit", path, "-o", fitted, "--memory", "8", "--steps", "5"]) == 0
    assert main(["sample", fitted, "-o", out, "--factor", "2"]) == 0
    found, representation = read_image(out), Representation.load(fitted)
    assert representation.grid == open_image(path).grid
    assert Grid.from_image(found) == representation.grid.refine(2)
    assert main(["fit", path, "-o", fitted, "--memory", "8", "--labels"]) == 2


def test_points_are_answered_slab_by_slab_as_in_memory() -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 60, 9, 8, generator=generator)
    stored = StoredImage(image.numpy(), torch.eye(4))
    scale = scale_of(stored)[0]
    spline = StoredInterpolant(stored, scale)
    spline.image = StoredImage(image.numpy(), torch.eye(4), memory=0.01)  # slabs of few planes
    ends = torch.tensor([59.0, 8.0, 7.0]).double()
    places = Scatter(tuple(torch.rand(200, generator=generator).double() * end for end in ends))
    wanted = CubicInterpolant(scale.standardise(image))(places)
    torch.testing.assert_close(spline(places), wanted.float(), rtol=0, atol=1e-4)
