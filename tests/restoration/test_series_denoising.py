"""Laws of denoising series: what frames have in common is kept, and the better way is taken."""

import numpy as np
import pytest
import torch

from oinr_monai import DenoiseConfig, GaussianNoise, RicianNoise, denoise
from oinr_monai.restoration import carried_denoising
from oinr_monai.restoration.low_rank import low_rank
from oinr_monai.restoration.series_denoising import is_series
from oinr_monai.scanner.smooth_noise import smooth_noise
from tests.phantoms import plateau

WHITE = (0.0, 0.0, 0.0)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """No mirror images: what holds of one answer holds of their mean."""
    monkeypatch.setattr(carried_denoising, "MIRRORS", 0)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def courses(frames=12, shape=(14, 12, 10)):
    """Two courses in time, mixed from place to place."""
    time = torch.arange(float(frames))[:, None, None, None]
    x = torch.linspace(0, 1, shape[0])[:, None, None]
    return (20 + 6 * x * torch.sin(time) + 5 * (1 - x) * (time > 5)).expand(-1, *shape)


def error(found, wanted):
    return float((found - wanted).square().mean())


# ---- what frames have in common -----------------------------------------------------------------


@pytest.mark.parametrize("frames", [7, 160])
def test_one_window_is_shrunk_as_the_formula_says(frames):
    series = drawn(frames, 5, 5, 5) + 3 * drawn(frames, 1, 1, 1, seed=1) * drawn(1, 5, 5, 5, seed=2)
    rest = (series - series.mean((1, 2, 3), keepdim=True)).flatten(1).double().numpy()
    left, sizes, right = np.linalg.svd(rest, full_matrices=False)
    few, many = sorted(rest.shape)
    y, b = sizes / np.sqrt(many), few / many
    kept = np.sqrt(np.maximum((y**2 - b - 1) ** 2 - 4 * b, 0)) / y * (y > 1 + np.sqrt(b))
    wanted = (left * kept * np.sqrt(many)) @ right + series.mean((1, 2, 3)).numpy()[:, None]
    found = low_rank(series, WHITE).flatten(1).numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_two_courses_are_kept_and_noise_is_not():
    truth = courses()
    found = low_rank(truth + drawn(*truth.shape), WHITE)
    assert error(found, truth) < 0.2
    assert error(low_rank(truth, WHITE), truth) < 0.1


def test_smooth_noise_is_no_course():
    noise = smooth_noise((10, 16, 16, 16), (0.8, 0.8, 0.8), torch.Generator().manual_seed(0))
    told, untold = (error(low_rank(noise, each), 0 * noise) for each in ((0.8, 0.8, 0.8), WHITE))
    assert told < 0.8 * untold


@pytest.mark.parametrize("shape", [(6, 20, 1, 1), (6, 9, 8, 2), (6, 3, 3, 3)])
def test_thin_series_are_answered(shape):
    series = drawn(*shape)
    assert low_rank(series, WHITE).shape == shape
    assert float(low_rank(50 + series, WHITE).std()) < 0.6


# ---- series -------------------------------------------------------------------------------------


def repeats(kind, count=6):
    clean = plateau(18, 16, 14) + 1
    noisy = kind(0.1).add(clean.expand(count, -1, -1, -1), torch.Generator().manual_seed(0))
    return clean, noisy


@pytest.mark.parametrize("kind", [GaussianNoise, RicianNoise])
def test_repeats_tell_of_each_other(kind):
    clean, noisy = repeats(kind)
    found = denoise(noisy, DenoiseConfig(kind()))
    alone = denoise(noisy[:1], DenoiseConfig(kind(0.1, 0.0))).sample()
    assert found.info["settings"]["jointly"]
    assert found.info["steps"] == 0
    assert error(found.sample(), clean) < 0.5 * error(alone, clean)
    scaled = error(found.sample(), clean) / 0.1**2
    assert found.info["risk"] == pytest.approx(scaled, abs=0.05)


def test_images_of_nothing_in_common_are_cleaned_one_by_one():
    clean = torch.nn.functional.interpolate(drawn(1, 5, 5, 5, 5), (18, 16, 14), mode="trilinear")
    noisy = GaussianNoise(0.2).add(clean[0], torch.Generator().manual_seed(0))
    config = DenoiseConfig(GaussianNoise(0.2, 0.0))
    found = denoise(noisy, config)
    assert not found.info["settings"]["jointly"]
    assert error(found.sample(), clean[0]) < 0.4 * 0.2**2


def test_a_series_is_answered_however_it_is_stored():
    _, noisy = repeats(GaussianNoise)
    config = DenoiseConfig(GaussianNoise(0.1, (0.4, 0.0, 0.0)))
    turned = DenoiseConfig(GaussianNoise(0.1, (0.0, 0.4, 0.0)))
    wanted = denoise(noisy, config).sample().as_tensor()
    found = denoise(noisy.permute(0, 3, 1, 2).flip(2), turned).sample().as_tensor()
    torch.testing.assert_close(found.flip(2).permute(0, 2, 3, 1), wanted, rtol=0, atol=1e-4)


def test_what_lies_outside_a_mask_decides_nothing():
    _, noisy = repeats(GaussianNoise)
    mask = torch.zeros(noisy.shape[1:], dtype=torch.bool)
    mask[2:-2, 2:-2, 2:-2] = True
    config = DenoiseConfig(GaussianNoise(0.1, 0.0))
    risks = [denoise(noisy, config, mask=each).info["risk"] for each in (mask, None)]
    assert risks[0] != risks[1]


@pytest.mark.parametrize(
    ("channels", "settings"),
    [(4, {}), (6, {"steps": 3}), (6, {"seconds": 1.0}), (6, {"start": None})],
)
def test_few_channels_and_what_learns_are_no_series(channels, settings):
    assert is_series(torch.zeros(6, 4, 4, 4), DenoiseConfig())
    assert not is_series(torch.zeros(6, 4, 4), DenoiseConfig())
    assert not is_series(torch.zeros(channels, 4, 4, 4), DenoiseConfig(**settings))
