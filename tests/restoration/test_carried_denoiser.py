"""Laws of the denoiser that carries over: units, parts, files, and what it learns from."""

import pytest
import torch

from oinr_monai import CarriedDenoiser, DenoiseConfig, GaussianNoise, Grid, RicianNoise, denoise
from oinr_monai.coding.tensor_file import write_tensor_file
from oinr_monai.images.metrics import psnr
from oinr_monai.restoration import carried_denoiser, carried_denoising
from oinr_monai.restoration.carried_denoiser import shipped_denoiser, told_noise
from oinr_monai.restoration.carried_denoising import Adapted
from oinr_monai.restoration.noisy_tasks import NoisyTasks
from oinr_monai.restoration.scan_parts import Source
from tests.phantoms import plateau


def denoiser(seed=0):
    """One that answers."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = CarriedDenoiser(width=4, wide=6, blocks=2)
        torch.nn.init.normal_(made.tail.weight, std=0.1)
    return made


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ---- the operator -------------------------------------------------------------------------------


def test_it_starts_as_the_identity():
    noisy = drawn(9, 7, 6)
    torch.testing.assert_close(CarriedDenoiser(4, 6, 1).clean(noisy, 0.3), noisy)


@pytest.mark.parametrize(("scale", "shift"), [(1e-3, 0.0), (250.0, -40.0)])
def test_it_follows_the_units(scale, shift):
    noisy, made = drawn(8, 7, 6), denoiser()
    wanted = scale * made.clean(noisy, 0.3) + shift
    found = made.clean(scale * noisy + shift, scale * 0.3)
    assert float((made.clean(noisy, 0.3) - noisy).abs().max()) > 0.1
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4 * scale)


@pytest.mark.parametrize("shape", [(31, 8, 9), (64, 5, 1)])
def test_parts_are_put_together_as_the_whole(shape, monkeypatch):
    noisy, made = drawn(*shape), denoiser()
    whole = made.clean(noisy, 0.5)
    monkeypatch.setattr(carried_denoiser, "TILE_PLACES", 1)
    torch.testing.assert_close(made.clean(noisy, 0.5), whole, rtol=1e-4, atol=1e-5)


def test_gradients_reach_every_weight():
    made = denoiser()
    made(drawn(1, 5, 8, 8, 8)).square().mean().backward()
    assert all(bool(weight.grad.abs().max() > 0) for weight in made.parameters())


def test_patches_are_cleaned_as_the_whole_far_from_their_borders():
    smoothing = (0.5, 0.0, 0.8)
    made = Adapted(denoiser(), torch.tensor([0.2, 0.7]).view(2, 1, 1, 1), smoothing)
    noisy = drawn(2, 12, 12, 12)
    patch = made(noisy[None])[0]
    assert patch.shape == (2, 4, 4, 4)
    for channel, sigma in enumerate((0.2, 0.7)):
        told = told_noise(sigma, smoothing).view(-1, 1, 1, 1).expand(-1, 12, 12, 12)
        seen = torch.cat([noisy[channel][None], told])[None]
        torch.testing.assert_close(patch[channel], made.operator(seen)[0, 0, 4:8, 4:8, 4:8])


@pytest.mark.parametrize(("places", "answers"), [(1, 1), (64, 1), (128, 2), (10**6, 8)])
def test_large_volumes_are_answered_fewer_times(places, answers, monkeypatch):
    made, noisy = Adapted(denoiser(), torch.full((1, 1, 1, 1), 0.2)), drawn(1, 4, 4, 4)
    once, seen = made.operator.clean, []
    monkeypatch.setattr(carried_denoising, "MOST_PLACES", places)
    monkeypatch.setattr(made.operator, "clean", lambda *given: seen.append(1) or once(*given))
    made.whole(noisy)
    assert len(seen) == answers


def test_the_shipped_one_has_seen_much():
    # Of noise of any size on a scene unlike scans, it leaves less than a third.
    clean = plateau(24, 26, 22)
    for sigma in (0.03, 0.3):
        noisy = GaussianNoise(sigma).add(clean, torch.Generator().manual_seed(1))
        found = shipped_denoiser().clean(noisy[0], sigma)[None]
        assert psnr(found, clean) > psnr(noisy, clean) + 4.8


def test_it_takes_out_smooth_noise_that_it_is_told_of():
    clean, smoothing = plateau(32, 30, 28), (0.6, 0.7, 0.0)
    noisy = GaussianNoise(0.1, smoothing).add(clean, torch.Generator().manual_seed(1))
    told, untold = (shipped_denoiser().clean(noisy[0], 0.1, each)[None] for each in (smoothing, ()))
    assert psnr(told, clean) > max(psnr(untold, clean), psnr(noisy, clean)) + 1


def test_what_it_is_told_of_axes_follows_them():
    # However the image is stored, and whatever is told of its noise.
    noisy = drawn(1, 20, 18, 16)
    noisy[:, :7] += 2
    noisy[:, :, :5] += 1
    noise = GaussianNoise(1.0, (0.7, 0.0, 0.4))
    wanted = denoise(noisy, DenoiseConfig(noise)).sample()
    turned = GaussianNoise(1.0, (0.4, 0.7, 0.0))
    found = denoise(noisy.permute(0, 3, 1, 2), DenoiseConfig(turned)).sample()
    torch.testing.assert_close(found.permute(0, 2, 3, 1), wanted, rtol=1e-4, atol=1e-4)
    other = denoise(noisy, DenoiseConfig(GaussianNoise(1.0, (0.0, 0.7, 0.4)))).sample()
    assert not torch.allclose(other, wanted, atol=1e-2)


# ---- files ---------------------------------------------------------------------------------------


def test_it_is_what_was_saved(tmp_path):
    made, path = denoiser(), tmp_path / "operator.safetensors"
    made.save(path)
    found = CarriedDenoiser.load(path)
    assert repr(found) == repr(made) != repr(denoiser(seed=1))
    assert torch.equal(found.clean(drawn(6, 6, 6), 0.2), made.clean(drawn(6, 6, 6), 0.2))


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"width": 7}, "must be float32"),
        ({"wide": 1 << 30}, "wide must be 1 to 512"),
        ({"blocks": True}, "blocks must be 1 to 64"),
        ({"more": 1}, "other items"),
    ],
)
def test_other_files_are_refused(header, reason, tmp_path):
    path = tmp_path / "operator.safetensors"
    write_tensor_file(path, "carried_denoiser", denoiser().sizes | header, denoiser().state_dict())
    with pytest.raises(ValueError, match=f"start must be an operator .*{reason}"):
        CarriedDenoiser.load(path)


# ---- what it learns from -------------------------------------------------------------------------


def test_means_of_stabilised_samples_are_what_restoring_undoes():
    model = RicianNoise(3.0)
    signal = torch.linspace(0.5, 40, 200)[None]
    samples = model.add(signal.expand(1, 200).repeat(1, 400), torch.Generator().manual_seed(0))
    mean = model.stabilise(samples).view(400, 200).mean(0, keepdim=True)
    torch.testing.assert_close(model.mean(signal), mean, rtol=0, atol=0.2)
    far = signal > 10
    torch.testing.assert_close(
        model.restore(model.mean(signal))[far], signal[far], rtol=0.01, atol=0
    )


def test_a_task_is_the_same_each_time_and_holds_its_noise():
    volume = torch.nn.functional.interpolate(drawn(1, 1, 5, 5, 9), (40, 40, 72), mode="trilinear")
    tasks = NoisyTasks([Source.of(volume[0], Grid((40, 40, 72), torch.eye(4)))], seed=3)
    again = tasks.task(0).pair.coarse
    assert torch.equal(again, NoisyTasks(tasks.sources, seed=3).task(0).pair.coarse)
    sizes = []
    for number in range(12):
        pair = tasks.task(number).pair
        size = float(pair.coarse[1, 0, 0, 0])
        assert float(pair.missing.std()) == pytest.approx(size, rel=0.05)
        assert abs(float(pair.coarse[0].mean())) < 1e-3
        sizes.append(size**2)
    assert max(sizes) / min(sizes) > 4


# ---- denoising with it ---------------------------------------------------------------------------


def test_denoising_begins_with_it_and_goes_on():
    clean = plateau(24, 22, 20)
    noisy = GaussianNoise(0.1).add(clean, torch.Generator().manual_seed(0))
    start = denoiser()
    shown = [
        denoise(noisy, DenoiseConfig(GaussianNoise(0.1), steps=steps, start=start))
        for steps in (None, 2)
    ]
    assert [each.info["steps"] for each in shown] == [0, 2]
    assert not torch.equal(shown[0].sample(), shown[1].sample())
    assert shown[0].info["settings"]["start"] == repr(start)
    plain = denoise(noisy, DenoiseConfig(GaussianNoise(0.1), steps=2, start=None))
    assert plain.info["settings"]["start"] is None


def test_channels_are_cleaned_one_by_one():
    one = drawn(1, 12, 11, 10)
    both = denoise(torch.cat([one, 100 + 25 * one]), DenoiseConfig(GaussianNoise((0.8, 20.0))))
    alone = denoise(one, DenoiseConfig(GaussianNoise(0.8))).sample()
    for channel, wanted in zip(both.sample(), (alone, 100 + 25 * alone), strict=True):
        torch.testing.assert_close(channel, wanted[0], rtol=1e-4, atol=1e-3)
