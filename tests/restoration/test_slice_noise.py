"""Laws of noisy slices: what is found in them, what is left as it is, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from monai.data import MetaTensor
from torch import Tensor

from oinr_monai import (
    GaussianNoise,
    Grid,
    PhotonNoise,
    Representation,
    RicianNoise,
    SuperResolveConfig,
    simulate_slices,
    super_resolve,
    super_resolve_trusted,
)
from oinr_monai.images.metrics import psnr
from oinr_monai.restoration.slice_noise import SliceNoise
from oinr_monai.scanner.noise import NoiseModel
from oinr_monai.scanner.profiles import Boxcar
from oinr_monai.scanner.slices import SliceStack

AT_ONCE = SuperResolveConfig(steps=0, device="cpu")
EXACT = replace(AT_ONCE, noise=None)
CPU = torch.device("cpu")
SHAPE, THICK, SIGMA = (48, 44, 30), 3.0, 5.0


def tissues(shape: tuple[int, int, int]) -> MetaTensor:
    """Soft folds from 40 to 100, and nothing around them."""
    generator = torch.Generator().manual_seed(2)
    places = torch.stack(torch.meshgrid(*[torch.arange(float(n)) for n in shape], indexing="ij"))
    waves = torch.zeros(shape)
    for _ in range(6):
        way = torch.randn(3, generator=generator)
        phase = 6 * torch.rand((), generator=generator)
        waves += torch.sin(0.2 * torch.einsum("d,dxyz->xyz", way, places) + phase)
    middle = torch.tensor(shape).view(3, 1, 1, 1) / 2
    away = ((places - middle) / middle).square().sum(dim=0).sqrt()
    inside = torch.sigmoid(20 * (0.9 - away))
    return MetaTensor(((70 + 30 * waves.sin()) * inside)[None], affine=torch.eye(4).double())


@pytest.fixture(scope="module")
def truth() -> MetaTensor:
    return tissues(SHAPE)


def slices(truth: MetaTensor, noise: NoiseModel | None) -> MetaTensor:
    return simulate_slices(truth, THICK, noise=noise, seed=1)


def residual(found: Tensor, thick: MetaTensor) -> float:
    fine = Grid(SHAPE, torch.eye(4).double())
    model = SliceStack(fine, Grid.from_image(thick), 2, Boxcar(THICK))
    return float((model.forward(found) - thick.as_tensor()).square().mean().sqrt())


@pytest.mark.parametrize("model", [GaussianNoise, RicianNoise])
@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e7])
def test_kind_and_size_are_found_in_any_unit(
    model: type[GaussianNoise | RicianNoise], unit: float
) -> None:
    thick = unit * slices(tissues((96, 96, 24)), model(SIGMA)).as_tensor().double()
    found = SliceNoise.of("found", thick, CPU)
    assert found is not None
    assert isinstance(found.model, model)
    assert found.sigma == pytest.approx(unit * SIGMA, rel=0.1)
    given = SliceNoise.of(model(), thick, CPU)
    assert given == found


def test_noise_is_left_that_is_small_or_that_too_few_voxels_tell_of(truth: MetaTensor) -> None:
    for sigma, there in ((None, False), (0.5, False), (SIGMA, True)):
        thick = slices(truth, sigma and GaussianNoise(sigma)).as_tensor()
        assert (SliceNoise.of("found", thick, CPU) is not None) == there
    assert SliceNoise.of("found", thick[:, :16, :16], CPU) is None
    assert SliceNoise.of("found", thick[:, :2], CPU) is None
    assert SliceNoise.of(None, thick, CPU) is None


def test_clean_slices_are_answered_as_they_are(truth: MetaTensor) -> None:
    thick = slices(truth, None)
    one, other = (super_resolve(thick, config) for config in (AT_ONCE, EXACT))
    assert torch.equal(one.sample(), other.sample())
    assert one.info.noise is None


@pytest.fixture(scope="module")
def noisy(truth: MetaTensor) -> MetaTensor:
    return slices(truth, RicianNoise(SIGMA))


@pytest.fixture(scope="module")
def found(noisy: MetaTensor) -> Representation:
    return super_resolve(noisy, AT_ONCE)


def test_noise_is_taken_out_and_slices_are_kept_within_it(
    truth: MetaTensor, noisy: MetaTensor, found: Representation
) -> None:
    one, other = (each.sample().as_tensor() for each in (found, super_resolve(noisy, EXACT)))
    assert psnr(one, truth.as_tensor()) > psnr(other, truth.as_tensor()) + 0.7
    assert residual(other, noisy) < 1e-2 * SIGMA
    # The mean of magnitudes lies above a signal of none.
    assert 0.6 * SIGMA < residual(one, noisy) < 1.4 * SIGMA
    assert found.info["data_residual"] == pytest.approx(residual(one, noisy), rel=1e-3)
    assert found.info["noise"]["model"] == "RicianNoise"


def test_answers_follow_units_and_the_way_it_is_stored(
    noisy: MetaTensor, found: Representation
) -> None:
    turned = MetaTensor(
        1e-3 * noisy.as_tensor().flip(1).transpose(1, 3),
        affine=torch.tensor(
            [[0.0, 0, -1, SHAPE[0] - 1], [0, 1, 0, 0], [THICK, 0, 0, 0], [0, 0, 0, 1]]
        ).double(),
    )
    other = super_resolve(turned, AT_ONCE).sample().as_tensor()
    back = 1e3 * other.transpose(1, 3).flip(1)
    torch.testing.assert_close(back, found.sample().as_tensor(), rtol=0, atol=1e-2)


def test_noise_may_be_told_and_the_answer_asked_at_other_places(truth: MetaTensor) -> None:
    told = replace(AT_ONCE, noise=GaussianNoise(SIGMA))
    found = super_resolve(slices(truth, told.noise), told, spacing=(1.0, 1.0, 2.0))
    assert found.grid.shape == (*SHAPE[:2], SHAPE[2] // 2)
    assert found.info["noise"] == {"model": "GaussianNoise", "sigma": SIGMA, "smoothing": None}
    assert found.info["settings"]["noise"] == repr(told.noise)
    assert found.info["data_residual"] > 0.6 * SIGMA


def test_what_is_not_known_is_refused(truth: MetaTensor) -> None:
    with pytest.raises(ValueError, match="noise must be GaussianNoise, RicianNoise"):
        SuperResolveConfig(noise=PhotonNoise())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="noise must be GaussianNoise, RicianNoise"):
        SuperResolveConfig(noise="rician")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="noise must be white, got smoothing"):
        SuperResolveConfig(noise=RicianNoise(smoothing=0.6))
    assert SuperResolveConfig(noise=GaussianNoise(1.0, 0.0)).noise is not None
    told = replace(AT_ONCE, noise=GaussianNoise(1.0))
    with pytest.raises(ValueError, match="noise must be None for error bars"):
        super_resolve_trusted(slices(truth, None), told)
    flat = MetaTensor(truth.as_tensor()[..., 20], affine=torch.diag(torch.tensor([1.0, 4.0, 1.0])))
    with pytest.raises(ValueError, match="noise must be None for what is no stack"):
        super_resolve(flat, replace(told, steps=2, start=None))
    steps = torch.zeros(1, 24, 24, 6)
    steps[..., 3:] = 1
    with pytest.raises(ValueError, match="image must hold noise in its details"):
        SliceNoise.of(GaussianNoise(), steps, CPU)
