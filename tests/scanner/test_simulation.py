"""Thick slices made of a finer volume: values, places, noise."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor
from torch import Tensor

from oinr_monai import GaussianNoise, Grid, RicianNoise
from oinr_monai.scanner.profiles import Boxcar, Gaussian
from oinr_monai.scanner.simulation import simulate_slices
from oinr_monai.scanner.slices import SliceStack, thick_grid


@pytest.fixture
def volume(oblique_affine: Tensor, generator: torch.Generator) -> MetaTensor:
    affine = oblique_affine.clone()
    affine[:3, 2] *= 0.4  # 0.9 x 1.1 x 1 mm
    return MetaTensor(100 + torch.randn(1, 9, 10, 14, generator=generator), affine=affine)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_are_those_of_the_forward_model(volume: MetaTensor, axis: int) -> None:
    profile = Gaussian(2.5)
    found = simulate_slices(volume, 2.9, axis=axis, profile=profile)
    fine = Grid.from_image(volume)
    thick = thick_grid(fine, axis, 2.9)
    model = SliceStack(fine, thick, axis, profile)
    torch.testing.assert_close(found.as_tensor(), model.forward(volume.as_tensor()))
    torch.testing.assert_close(found.affine, thick.affine, rtol=0, atol=1e-6)
    assert float(Grid.from_image(found).spacing[axis]) == pytest.approx(2.9)


def test_a_box_as_thick_as_the_spacing_is_the_default(volume: MetaTensor) -> None:
    found, wanted = (simulate_slices(volume, 3.5, profile=p) for p in (None, Boxcar(3.5)))
    assert torch.equal(found.as_tensor(), wanted.as_tensor())


def test_whole_numbers_come_out_as_means(volume: MetaTensor) -> None:
    found = simulate_slices(volume.as_tensor().round().short(), 7.0)
    assert found.dtype == torch.float32
    wanted = volume.as_tensor().round().unflatten(3, (2, 7)).mean(dim=4)
    torch.testing.assert_close(found.as_tensor(), wanted)


def test_noise_has_its_size_and_its_seed() -> None:
    flat = torch.full((1, 40, 40, 40), 50.0)
    noise = GaussianNoise(3.0)
    one, same, other = (simulate_slices(flat, 2.0, noise=noise, seed=s) for s in (1, 1, 2))
    assert torch.equal(one.as_tensor(), same.as_tensor())
    assert not torch.equal(one.as_tensor(), other.as_tensor())
    assert float(one.std()) == pytest.approx(3.0, rel=0.02)
    empty = simulate_slices(torch.zeros(1, 40, 40, 40), 2.0, noise=RicianNoise(3.0))
    assert float(empty.mean()) == pytest.approx(3.0 * 1.2533, rel=0.01)


def test_refuses(volume: MetaTensor) -> None:
    with pytest.raises(ValueError, match="axis must be 0 to 2, got 3"):
        simulate_slices(volume, 3.0, axis=3)
    with pytest.raises(ValueError, match="at most 14 mm"):
        simulate_slices(volume, 15.0)
    with pytest.raises(ValueError, match="sigma must be known"):
        simulate_slices(volume, 3.0, noise=GaussianNoise())
