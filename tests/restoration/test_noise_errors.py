"""Laws of the error bars of denoised images: what they cover, and what they do not depend on."""

import pytest
import torch

from oinr_monai import DenoiseConfig, GaussianNoise, RicianNoise, denoise, denoise_trusted
from oinr_monai.restoration import noise_errors
from oinr_monai.restoration.noise_errors import NoiseErrors
from oinr_monai.scanner.noise import NoiseModel
from oinr_monai.scanner.smooth_noise import smooth_noise


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def scene(size=40):
    x, y, z = torch.meshgrid(*[torch.linspace(-3, 3, size)] * 3, indexing="ij")
    ball = (((x + 1) ** 2 + (y - 1) ** 2 + z**2) < 1.5).float()
    return 100 + 10 * (ball + torch.sin(x * y) * (x > 0))[None]


def trusted(noise: NoiseModel, told: NoiseModel, **settings):
    noisy = noise.add(scene(), torch.Generator().manual_seed(0))
    return denoise_trusted(noisy, DenoiseConfig(told, device="cpu", **settings))


def coverage(found, level=0.9):
    low, high = found.interval(level)
    return float(((low <= scene()) & (scene() <= high)).double().mean())


def test_intervals_cover_what_they_promise():
    found = trusted(RicianNoise(4.0), RicianNoise(4.0), steps=100, start=None)
    assert coverage(found) == pytest.approx(0.9, abs=0.06)


def test_intervals_of_what_carries_over_are_nearly_as_wide_as_they_promise():
    # Its errors are so small that noise hides most of what Stein's estimate tells of them.
    found = trusted(GaussianNoise(4.0), GaussianNoise(4.0))
    assert 0.78 < coverage(found) < 0.99


@pytest.mark.parametrize("grain", [0.0, 0.6])
def test_errors_that_a_smoother_leaves_are_told_without_the_truth(grain):
    # Of a running mean the bias is known, and Stein's estimate sees it where added noise does not.
    truth = torch.sin(torch.arange(4000.0) / 2)[None] * 3
    noisy = truth + smooth_noise((1, 4000), (grain,), torch.Generator().manual_seed(0))

    def clean(noisy):
        return torch.nn.functional.avg_pool1d(noisy[None], 5, 1, 2, count_include_pad=False)[0]

    every = torch.ones(4000, dtype=torch.bool)
    errors = NoiseErrors(noisy, (grain,), clean, every, None, lambda x: x, seed=0)
    left, width = (errors.answer - truth).abs(), errors.half_width(0.9)
    without = errors.scores.half_width(errors.log_size, 0.9)
    covered, plainly = (float((left <= w).double().mean()) for w in (width, without))
    assert covered > 0.8 > plainly
    assert float(errors.gaps.mean()) > 1.1


def test_the_risk_of_smooth_noise_is_that_of_the_truth():
    # A running mean keeps the more of noise the smoother it is: probes as smooth tell how much.
    truth = torch.sin(torch.arange(40_000.0) / 3)[None] * 3

    def clean(noisy):
        return torch.nn.functional.avg_pool1d(noisy[None], 3, 1, 1, count_include_pad=False)[0]

    for grain, told in ((0.7, True), (0.0, True), (0.7, False)):
        draws = torch.Generator().manual_seed(1)
        noisy = truth + smooth_noise(truth.shape, (grain,), draws)
        probe = smooth_noise(truth.shape, (grain if told else 0.0,), draws)
        answer = clean(noisy)
        risk = float(noise_errors._risk(noisy, answer, clean, probe).mean())
        real = float((answer - truth).square().mean())
        assert (risk == pytest.approx(real, rel=0.06)) is told


def test_the_same_image_has_the_same_map_in_its_own_units():
    noisy = GaussianNoise(4.0).add(scene()[:, 20], torch.Generator().manual_seed(0))
    maps = [
        denoise_trusted(
            scale * noisy + shift,
            DenoiseConfig(GaussianNoise(4.0 * scale), steps=20, device="cpu"),
        ).half_width()
        for scale, shift in ((1, 0), (1, 0), (7, 50))
    ]
    assert torch.equal(maps[0], maps[1])
    torch.testing.assert_close(maps[2] / 7, maps[0], rtol=0.05, atol=0.1)


def test_the_answer_is_that_of_denoise_and_a_mask_leaves_its_shape():
    noisy = GaussianNoise(4.0).add(scene()[:, 20], torch.Generator().manual_seed(0))
    config = DenoiseConfig(GaussianNoise(4.0), steps=20, device="cpu")
    mask = torch.zeros(40, 40, dtype=torch.bool)
    mask[5:30, 5:30] = True
    found = denoise_trusted(noisy, config, mask=mask)
    assert torch.equal(found.answer.sample(), denoise(noisy, config, mask=mask).sample())
    assert found.half_width().shape == (1, 40, 40)
    assert found.answer.info["trust"]["places"] <= 25 * 25
