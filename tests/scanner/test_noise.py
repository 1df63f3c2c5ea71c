"""Noise is what its model says."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from oinr_monai import GaussianNoise, NoiseModel, PhotonNoise, RicianNoise, add_photon_noise
from oinr_monai.scanner.noise import _photon_tables
from oinr_monai.scanner.noise_level import noise_level, repeat_noise_level
from oinr_monai.scanner.smooth_noise import correlation, smooth_noise
from oinr_monai.testing import noise_laws
from tests.phantoms import plateau

KINDS = [
    (GaussianNoise(0.05), GaussianNoise()),
    (RicianNoise(0.05), RicianNoise()),
    (PhotonNoise(), PhotonNoise()),
]


@pytest.mark.parametrize("level", [0.0, 0.2, 1.0])
def test_photon_noise_has_the_published_moments(level: float, generator: torch.Generator) -> None:
    noise = add_photon_noise(torch.full((1, 200_000), level), generator)
    assert float(noise.mean()) == pytest.approx(level, abs=0.002)
    assert float(noise.var()) == pytest.approx((30 * level + 4) / 900, rel=0.02)


def test_rician_noise_has_its_moments(generator: torch.Generator) -> None:
    noise = RicianNoise(2.0).add(torch.zeros(1, 200_000), generator)
    assert float(noise.mean()) == pytest.approx(2 * (torch.pi / 2) ** 0.5, rel=0.01)
    assert float((noise**2).mean()) == pytest.approx(8.0, rel=0.01)


@pytest.mark.parametrize(("noise", "unknown"), KINDS, ids=repr)
@pytest.mark.parametrize("level", [0.2, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("law", noise_laws, ids=lambda law: law.__name__)
def test_laws(
    law: Callable[[NoiseModel, NoiseModel, float], None],
    noise: NoiseModel,
    unknown: NoiseModel,
    level: float,
) -> None:
    law(noise, unknown, level)


def test_rician_noise_alone_comes_back_as_nothing(generator: torch.Generator) -> None:
    model = RicianNoise(3.0)
    stable = model.stabilise(model.add(torch.zeros(1, 100_000), generator))
    assert float(stable.std()) == pytest.approx(1, abs=0.05)
    assert float(model.restore(stable.mean(1, keepdim=True))) == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("readout", [0.0, 2.0, 5.0])
def test_means_of_photons_rise_as_the_root_from_few_to_many(readout: float) -> None:
    # Where one formula follows the other, at 200, as anywhere else.
    signals, expected = _photon_tables(readout)
    middle = (signals[1:] + signals[:-1]) / 2
    slope = np.diff(expected) / np.diff(signals) * np.sqrt(middle + 0.375 + readout**2)
    np.testing.assert_allclose(slope[middle > 50], 1, rtol=0, atol=0.01)


@pytest.mark.parametrize("level", [250.0, 4000.0])
def test_many_photons_come_back_without_bias(level: float, generator: torch.Generator) -> None:
    model = PhotonNoise(counts=1.0)
    stable = model.stabilise(model.add(torch.full((1, 400_000), level), generator))
    found = float(model.restore(stable.double().mean(dim=1, keepdim=True)))
    assert found == pytest.approx(level, abs=4 * (level / 400_000) ** 0.5)


@pytest.mark.parametrize("level", [1e3, 9.9e4, 1.01e5, 1e6, 1e9])
def test_what_is_far_above_its_noise_comes_back_as_it_is(level: float) -> None:
    signal = torch.tensor([[0.1 * level, level, 1.5 * level]]).double()
    rician = RicianNoise(3.0)
    stable = rician.stabilise(3.0 * signal)
    torch.testing.assert_close(stable.diff(), signal.diff(), rtol=1e-5, atol=0)
    torch.testing.assert_close(rician.restore(stable), 3.0 * signal, rtol=1e-4, atol=0)
    photons = PhotonNoise(counts=7.0)
    counted = 100 * signal / 7.0
    torch.testing.assert_close(
        photons.restore(photons.stabilise(counted)), counted, rtol=1e-4, atol=0
    )


@pytest.mark.parametrize("shape", [(128, 128), (48, 48, 48)])
@pytest.mark.parametrize("kind", [GaussianNoise, RicianNoise])
def test_sigma_is_estimated(
    shape: tuple[int, ...],
    kind: type[GaussianNoise] | type[RicianNoise],
    generator: torch.Generator,
) -> None:
    found = kind().estimated(kind(0.05).add(plateau(*shape), generator)).sigma
    assert found == (pytest.approx(0.05, rel=0.15),)


@pytest.mark.parametrize(
    "noise", [GaussianNoise(0.3, 0.0), RicianNoise((0.2, 0.4), (0.5, 0.0)), PhotonNoise()]
)
def test_what_is_known_is_not_estimated(noise: NoiseModel, generator: torch.Generator) -> None:
    assert noise.estimated(torch.rand(2, 9, 8, generator=generator)) == noise


@pytest.mark.parametrize("kind", [GaussianNoise, RicianNoise])
@pytest.mark.parametrize("smoothing", [(0.6, 0.6, 0.0), (0.8, 0.6, 0.7)])
def test_smooth_noise_is_told_by_the_growth_of_its_details(
    kind: type[GaussianNoise] | type[RicianNoise],
    smoothing: tuple[float, ...],
    generator: torch.Generator,
) -> None:
    noisy = kind(0.05, smoothing).add(2 + plateau(48, 48, 40), generator)
    found = kind().estimated(noisy)
    assert found.sigma == (pytest.approx(0.05, rel=0.12),)
    assert found.smoothing == pytest.approx(smoothing, abs=0.07)
    assert kind(0.05).estimated(noisy) == kind(0.05, found.smoothing)
    told = kind(smoothing=smoothing).estimated(noisy)
    assert told.smoothing == smoothing
    assert told.sigma == (pytest.approx(0.05, rel=0.12),)


def test_an_image_without_noise_tells_no_smoothing() -> None:
    flat = torch.linspace(0, 1, 24).expand(1, 24, 24, 24)
    assert GaussianNoise(0.1).estimated(flat).smoothing == (0.0, 0.0, 0.0)


def test_smooth_noise_keeps_its_variance_up_to_the_borders(generator: torch.Generator) -> None:
    noise = smooth_noise((4000, 12, 9), (0.7, 0.0), generator)
    torch.testing.assert_close(noise.var(0), torch.ones(12, 9), rtol=0, atol=0.12)
    for lag in (1, 2):
        along = (noise[:, lag:] * noise[:, :-lag]).mean()
        assert float(along) == pytest.approx(correlation(0.7, lag), abs=0.01)
    assert float((noise[..., 1:] * noise[..., :-1]).mean()) == pytest.approx(0, abs=0.01)


def test_texture_and_air_are_not_taken_for_the_noise(generator: torch.Generator) -> None:
    # Three fifths hold texture of four times the noise, a fifth of a magnitude image no signal.
    scene = torch.ones(1, 60, 40, 40)
    scene[:, 24:] += 0.2 * torch.randn(1, 36, 40, 40, generator=generator)
    scene[:, :12] = 0
    noisy = RicianNoise(0.05).add(scene, generator)
    assert GaussianNoise().estimated(noisy).sigma == (pytest.approx(0.05, rel=0.06),)


def test_rician_noise_is_told_where_there_is_no_signal_too(generator: torch.Generator) -> None:
    # All that is bright holds texture of twice the noise.
    scene = 1 + 0.1 * torch.randn(1, 60, 40, 40, generator=generator)
    scene[:, :20] = 0
    found = RicianNoise().estimated(RicianNoise(0.05).add(scene, generator))
    assert found.sigma == (pytest.approx(0.05, rel=0.06),)


@pytest.mark.parametrize("smoothing", [-0.1, 1.1, (0.0, float("nan"))])
def test_smoothing_is_checked(smoothing: float | tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"smoothing must be 0 to 1\.0 voxels, got"):
        GaussianNoise(1.0, smoothing)


def test_smoothing_is_one_number_or_one_for_each_axis(generator: torch.Generator) -> None:
    assert GaussianNoise(1.0, 0.5).widths(3) == (0.5, 0.5, 0.5)
    with pytest.raises(ValueError, match="smoothing must be one number or 3, got"):
        GaussianNoise(1.0, (0.5, 0.5)).add(torch.zeros(1, 4, 4, 4), generator)


def test_repeats_tell_the_noise_where_details_hold_anatomy(generator: torch.Generator) -> None:
    anatomy = torch.rand(1, 24, 24, 10, generator=generator)
    frames = GaussianNoise(0.05).add(anatomy.expand(6, -1, -1, -1), generator)
    assert noise_level(frames)[0] > 0.2
    assert repeat_noise_level(frames) == pytest.approx(0.05, rel=0.05)


def test_repeats_are_recognised_as_such(generator: torch.Generator) -> None:
    anatomy = torch.rand(1, 24, 24, 10, generator=generator)
    frames = GaussianNoise(0.05).add(anatomy.expand(6, -1, -1, -1), generator)
    for kind in (GaussianNoise, RicianNoise):
        assert kind().estimated(frames).sigma == pytest.approx([0.05] * 6, rel=0.15)
        assert kind().estimated(frames[:1]).sigma[0] > 0.2
