"""Families: members are themselves, what lies between moves, and files keep all of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from torch import Tensor

from oinr_monai import Family, FitConfig, Grid, Representation, fit, fit_family
from oinr_monai.images.metrics import psnr
from oinr_monai.restoration.interpolation import interpolate_slices

QUICK = FitConfig(preset="fast", steps=250, device="cpu")


def blob(x: float, y: float, affine: Tensor | None = None) -> MetaTensor:
    axis = torch.arange(40.0)
    image = torch.exp(-((axis[:, None] - x) ** 2 + (axis - y) ** 2) / (2 * 3.5**2))[None]
    return MetaTensor(image, affine=torch.eye(4) if affine is None else affine)


LEFT, RIGHT, MIDDLE = (14.0, 18.0), (25.0, 20.0), (19.5, 19.0)


@pytest.fixture(scope="module")
def pair() -> Family:
    return fit_family([blob(*LEFT), blob(*RIGHT)], QUICK, times=[1.0, 3.0])


def test_members_are_themselves(pair: Family) -> None:
    for weights, place in (([1.0, 0.0], LEFT), ([0.0, 1.0], RIGHT)):
        assert psnr(pair.blend(weights).sample(), blob(*place)) > 40
    assert min(pair.representation.info["psnr_members"]) > 40


def test_the_middle_of_two_shifted_blobs_is_a_blob_in_between(pair: Family) -> None:
    middle = pair.blend([0.5, 0.5]).sample()
    fade = 0.5 * (blob(*LEFT) + blob(*RIGHT))
    assert psnr(middle, blob(*MIDDLE)) > 35
    assert psnr(middle, fade) < 25
    assert torch.equal(pair.at_time(2.0).sample(), middle)


def test_a_quarter_of_the_way_it_has_gone_a_quarter(pair: Family) -> None:
    share = 0.25
    x, y = (a + share * (b - a) for a, b in zip(LEFT, RIGHT, strict=True))
    assert psnr(pair.at_time(1.5).sample(), blob(x, y)) > 32


def test_without_motion_blobs_fade() -> None:
    family = fit_family([blob(*LEFT), blob(*RIGHT)], QUICK, motion=False)
    fade = 0.5 * (blob(*LEFT) + blob(*RIGHT))
    assert psnr(family.blend([0.5, 0.5]).sample(), fade) > 35


def test_three_members_meet_in_their_middle() -> None:
    places = [(15.0, 16.0), (23.0, 17.0), (19.0, 24.0)]
    family = fit_family([blob(*place) for place in places], QUICK)
    middle = tuple(sum(p) / 3 for p in zip(*places, strict=True))
    assert psnr(family.blend([1 / 3] * 3).sample(), blob(*middle)) > 32
    assert family.times is None
    with pytest.raises(ValueError, match="times must be given to fit_family"):
        family.at_time(0.5)


def test_a_blend_is_a_representation(pair: Family, tmp_path: Path) -> None:
    blend = pair.blend([0.5, 0.5])
    fine = blend.sample(blend.grid.refine(2))
    assert torch.allclose(fine[:, ::2, ::2], blend.sample(), rtol=0, atol=1e-5)
    points = torch.tensor([[19.0, 21.0], [16.3, 12.2]], dtype=torch.float64)
    step = 1e-3
    for d in range(2):
        offset = step * torch.eye(2, dtype=torch.float64)[d]
        precise = blend.to(torch.float64)
        slope = (precise.at(points + offset) - precise.at(points - offset)) / (2 * step)
        assert torch.allclose(precise.gradient_at(points)[..., d], slope, rtol=0, atol=1e-6)
    blend.save(tmp_path / "blend.oinr")
    assert torch.equal(Representation.load(tmp_path / "blend.oinr").sample(), blend.sample())


def test_files_keep_the_family(pair: Family, tmp_path: Path) -> None:
    pair.save(tmp_path / "pair.oinr")
    again = Family.load(tmp_path / "pair.oinr")
    assert again.times == (1.0, 3.0)
    for time in (1.0, 1.7, 3.0):
        assert torch.equal(again.at_time(time).sample(), pair.at_time(time).sample())
    # The equal blend, as a plain representation.
    whole = Representation.load(tmp_path / "pair.oinr").sample()
    assert torch.allclose(whole, pair.blend([0.5, 0.5]).sample(), rtol=0, atol=1e-6)
    fit(blob(*LEFT), FitConfig(preset="fast", steps=2)).save(tmp_path / "single.oinr")
    with pytest.raises(ValueError, match="must be of a family, got one image"):
        Family.load(tmp_path / "single.oinr")


def test_geometry_and_seeds(oblique_affine: Tensor) -> None:
    generator = torch.Generator().manual_seed(0)
    images = [
        MetaTensor(torch.randn(2, 7, 6, 5, generator=generator), affine=oblique_affine)
        for _ in range(3)
    ]
    config = FitConfig(preset="fast", steps=20)
    first, second = (fit_family(images, config, times=[0, 1, 5]).at_time(2.5) for _ in range(2))
    assert first.grid == Grid.from_image(images[0])
    assert first.sample().shape == (2, 7, 6, 5)
    assert torch.equal(first.sample(), second.sample())


def test_kernels_with_a_halo_are_answered_too() -> None:
    config = FitConfig(preset="fast", steps=30, kernel_size=(3, 3, 1))
    family = fit_family([blob(*LEFT), blob(*RIGHT)], config, times=[0, 1])
    sample = family.at_time(0.4).sample()
    assert torch.isfinite(sample).all()
    points = torch.tensor([[12.0, 15.0], [20.0, 31.0]], dtype=torch.float64)
    at = family.at_time(0.4).at(points)[:, 0]
    assert torch.allclose(at, sample[0, [12, 20], [15, 31]].as_tensor(), rtol=0, atol=1e-4)


def test_slices_that_move_are_filled_in() -> None:
    # A tube that slants through the slices: between them it fades unless it is followed.
    def tube(slices: Tensor) -> Tensor:
        return torch.cat([blob(12 + 0.9 * float(z), 20.0).as_tensor() for z in slices])[None]

    every = tube(torch.arange(0, 16, 3.0)).movedim(1, -1)
    affine = torch.diag(torch.tensor([1.0, 1.0, 3.0, 1.0], dtype=torch.float64))
    thick = MetaTensor(every, affine=affine)
    filled = interpolate_slices(thick, 2, 3, QUICK)
    truth = tube(torch.arange(0, 16.0)).movedim(1, -1)
    assert filled.shape == truth.shape
    assert torch.equal(filled[..., ::3].as_tensor(), every)
    assert filled.pixdim.tolist() == pytest.approx([1.0, 1.0, 1.0])
    linear = torch.nn.functional.interpolate(
        every[None], size=truth.shape[1:], mode="trilinear", align_corners=True
    )[0]
    gain = psnr(filled.as_tensor(), truth) - psnr(linear, truth)
    assert gain > 5


@pytest.mark.parametrize(
    ("images", "times", "message"),
    [
        ([blob(*LEFT)], None, "images must be two or more, got 1"),
        ([blob(*LEFT), blob(*RIGHT)[:, :20]], None, "images must have one shape"),
        ([blob(*LEFT), blob(*RIGHT, affine=2 * torch.eye(4))], None, "images must have one affine"),
        ([blob(*LEFT), blob(*RIGHT)], [0.0], "times must be 2, one for each image, got 1"),
        ([blob(*LEFT), blob(*RIGHT)], [1.0, 1.0], "times must be finite and rise"),
    ],
)
def test_errors(images: list[Tensor], times: list[float] | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_family(images, QUICK, times=times)


def test_times_outside_are_refused(pair: Family) -> None:
    with pytest.raises(ValueError, match=r"time must be 1 to 3, got 3\.5"):
        pair.at_time(3.5)
    with pytest.raises(ValueError, match="axis must be 0, 1 or 2 of a volume"):
        interpolate_slices(blob(*LEFT), 0, 2)
    with pytest.raises(ValueError, match="factor must be 2 or more, got 1"):
        interpolate_slices(torch.randn(1, 5, 5, 5), 0, 1)


@pytest.mark.slow
def test_missing_slices_of_a_head_are_better_than_linear() -> None:
    from nilearn.datasets import load_mni152_template

    template = np.asarray(load_mni152_template(resolution=2).dataobj, dtype=np.float32)
    truth = torch.from_numpy(template[None, ..., 30:55])
    filled = interpolate_slices(truth[..., ::3], 2, 3, FitConfig(preset="fast"))
    linear = torch.nn.functional.interpolate(
        truth[None, ..., ::3], size=truth.shape[1:], mode="trilinear", align_corners=True
    )[0]
    unseen = [i for i in range(25) if i % 3]
    gain = psnr(filled.as_tensor()[..., unseen], truth[..., unseen]) - psnr(
        linear[..., unseen], truth[..., unseen]
    )
    assert gain > 0.5
