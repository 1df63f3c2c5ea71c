"""Files of images in closed form: what was promised is kept, and only what is asked is read."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from oinr_monai import FitConfig, Representation, StoredImage, fit
from oinr_monai.coding import Bits, Lossless, MaxError, Psnr
from oinr_monai.coding.copying import copy_samples
from oinr_monai.coding.decoder import CodedSamples


def scan(*shape: int) -> MetaTensor:
    """A wave and noise, whole numbers."""
    x = torch.linspace(0, 6, shape[-1]).sin() * torch.linspace(0, 4, shape[0])[:, None, None].cos()
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    affine = torch.diag(torch.tensor([1.0, 1.2, 2.0, 1.0]))
    return MetaTensor((1000 * x + 5 * noise).round()[None], affine=affine)


@pytest.fixture
def fitted() -> Representation:
    return fit(scan(40, 30, 36))


def test_whole_numbers_keep_every_bit(fitted: Representation, tmp_path: Path) -> None:
    fitted.save(tmp_path / "a.oinr")
    again = Representation.load(tmp_path / "a.oinr")
    assert isinstance(again.field.samples, CodedSamples)
    assert torch.equal(again.field.samples.read((0, 0, 0), (40, 30, 36)), scan(40, 30, 36)[0][None])
    finer = fitted.grid.refine(2)
    torch.testing.assert_close(again.sample(finer), fitted.sample(finer), rtol=0, atol=1e-3)
    assert again.info == {k: v for k, v in fitted.info.items() if k != "seconds"}
    assert (again.grid, again.scale) == (fitted.grid, fitted.scale)


@pytest.mark.parametrize("scaling", [(0.1, -1024.0), (3.7, 0.0)])
def test_scaled_whole_numbers_keep_every_bit(scaling: tuple[float, float], tmp_path: Path) -> None:
    slope, intercept = scaling
    stored = scan(24, 20, 22)[0].numpy().astype(np.int16)[None]
    image = StoredImage(stored, np.eye(4), slope=slope, intercept=intercept)
    fitted = fit(image)
    coded = fitted.save(tmp_path / "a.oinr")
    wanted = image.read((0, 0, 0), (24, 20, 22))
    again = Representation.load(tmp_path / "a.oinr")
    assert coded is not None
    assert coded.max_error == 0
    assert torch.equal(again.field.samples.read((0, 0, 0), (24, 20, 22)), wanted)
    floats = fit(wanted).save(tmp_path / "b.oinr", Lossless())
    assert floats is not None
    assert coded.bytes < floats.bytes  # which knew of no whole numbers


@pytest.mark.parametrize(
    ("quality", "kept"),
    [
        (MaxError(3.0), lambda coded: coded.max_error <= 3),
        (Psnr(50.0), lambda coded: 50 <= coded.psnr <= 50.5),
        (Bits(4.0), lambda coded: coded.bits_per_voxel <= 4),
    ],
)
def test_what_was_promised_is_kept_and_told(
    fitted: Representation, tmp_path: Path, quality: Any, kept: Callable[[Any], bool]
) -> None:
    coded = fitted.save(tmp_path / "a.oinr", quality)
    assert kept(coded)
    again = Representation.load(tmp_path / "a.oinr")
    error = again.sample().as_tensor() - scan(40, 30, 36).as_tensor()
    assert float(error.abs().max()) == pytest.approx(coded.max_error, abs=1e-2)
    assert again.field.samples.header["quality"].startswith(quality.name)
    assert again.info.psnr_grid is None


def test_others_are_off_by_a_little_of_their_range(tmp_path: Path) -> None:
    image = torch.rand(1, 20, 22, generator=torch.Generator().manual_seed(0))
    coded = fit(image).save(tmp_path / "a.oinr")
    assert coded is not None
    assert 0 < coded.max_error <= 1e-5 * float(image.max() - image.min())


def test_a_file_of_a_file_is_a_copy(fitted: Representation, tmp_path: Path) -> None:
    fitted.save(tmp_path / "a.oinr", Psnr(50.0))
    first = Representation.load(tmp_path / "a.oinr")
    assert first.save(tmp_path / "b.oinr") is None
    assert (tmp_path / "a.oinr").read_bytes() == (tmp_path / "b.oinr").read_bytes()
    first.info |= {"made": "here"}
    first.save(tmp_path / "a.oinr")  # while it is read
    second = Representation.load(tmp_path / "a.oinr")
    assert second.info["made"] == "here"
    assert torch.equal(second.sample(), first.sample())


def test_a_box_reads_the_chunks_around_it(tmp_path: Path) -> None:
    fit(scan(170, 64, 64)).save(tmp_path / "a.oinr")
    again = Representation.load(tmp_path / "a.oinr")
    again.sample(again.grid.crop((2, 2, 2), (9, 9, 9)))
    assert again.field.samples.bytes_read < 0.6 * (tmp_path / "a.oinr").stat().st_size


@pytest.mark.parametrize("wave", [True, False])
def test_pickles_answer_to_the_last_bit(wave: bool, fitted: Representation) -> None:
    fitted = fit(torch.rand(1, 9, 8)) if wave else fitted
    again = pickle.loads(pickle.dumps(fitted))
    assert torch.equal(again.sample(), fitted.sample())
    assert again.info == fitted.info


def test_contrast_around_a_large_offset_comes_back(tmp_path: Path) -> None:
    image = 1.23e8 + scan(20, 18, 16).as_tensor().double() / 10
    fitted = fit(image)
    fitted.save(tmp_path / "a.oinr")
    again = Representation.load(tmp_path / "a.oinr").sample().as_tensor()
    assert float((again - image).abs().max()) < 1e-2


def test_weights_take_no_quality(tmp_path: Path) -> None:
    trained = fit(scan(8, 8, 8), FitConfig("fast", steps=0))
    with pytest.raises(ValueError, match="quality must be None for weights"):
        trained.save(tmp_path / "a.oinr", Lossless())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("degree", 4),
        ("degree", True),
        ("degree", "3"),
        ("quality", 3),
        ("grid", {"shape": [40, 30, 35], "affine": torch.eye(4).tolist()}),
        ("grid", {"shape": [40, 30], "affine": torch.eye(4).tolist()}),
        ("grid", []),
        ("scale", {"mean": [0.0], "std": [0.0], "outside": [0.0]}),
        ("scale", {"mean": [0.0, 0], "std": [1.0, 1], "outside": [0.0, 0]}),
        ("mean", [0.0, 0.0]),
        ("mean", []),
        ("std", [-1.0]),
        ("std", [float("nan")]),
        ("info", {"parameters": 3}),
        ("info", {"fitted": ["network"]}),
        ("info", {"occupancy": {"labels": [1, 2]}}),
        ("info", 3),
        ("more", 1),
    ],
)
def test_headers_that_contradict_are_refused(
    name: str, value: object, fitted: Representation, tmp_path: Path
) -> None:
    fitted.save(path := tmp_path / "a.oinr")
    samples = Representation.load(path).field.samples
    copy_samples(path, samples, {**samples.header, name: value})
    with pytest.raises(ValueError, match=r"a\.oinr must be a whole \.oinr file: .* must "):
        Representation.load(path)


def test_a_missing_item_is_refused(fitted: Representation, tmp_path: Path) -> None:
    fitted.save(path := tmp_path / "a.oinr")
    samples = Representation.load(path).field.samples
    for name in samples.header:
        copy_samples(path, samples, {k: v for k, v in samples.header.items() if k != name})
        with pytest.raises(ValueError, match="header must have"):
            Representation.load(path)
