"""Scores against values worked out by hand, against another implementation, and their laws."""

from __future__ import annotations

import math

import pytest
import torch
from monai.data import MetaTensor
from torch import Tensor

from oinr_monai.images import metrics


def pair(*shape: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A noisy signal and a reference that spans 0 to 1."""
    reference = torch.rand(shape, generator=generator)
    reference = (reference - reference.min()) / (reference.max() - reference.min())
    return reference + 0.1 * torch.randn(shape, generator=generator), reference


def test_by_hand() -> None:
    reference = torch.tensor([[0.0, 2.0, 4.0, 1.0]])
    signal = torch.tensor([[1.0, 2.0, 2.0, 1.0]])
    assert metrics.mse(signal, reference) == 5 / 4
    assert metrics.psnr(signal, reference) == pytest.approx(10 * math.log10(16 / 1.25), rel=1e-12)


def test_mask_limits_both_the_error_and_the_range() -> None:
    reference = torch.tensor([[0.0, 2.0, 1.0, 100.0]])
    signal = torch.tensor([[1.0, 2.0, 1.0, -9.0]])
    mask = torch.tensor([[1.0, 1.0, 0.5, 0.0]])
    assert metrics.mse(signal, reference, mask) == 1 / 3
    assert metrics.psnr(signal, reference, mask) == pytest.approx(10 * math.log10(12))


def test_a_mask_of_one_channel_serves_all(generator: torch.Generator) -> None:
    signal, reference = pair(3, 6, 5, generator=generator)
    mask = torch.rand(1, 6, 5, generator=generator) > 0.5
    expected = metrics.mse(signal, reference, mask.repeat(3, 1, 1))
    assert metrics.mse(signal, reference, mask) == expected


@pytest.mark.parametrize("unit", [1e-22, 1e25])
def test_far_units_change_no_score(unit: float, generator: torch.Generator) -> None:
    signal, reference = pair(1, 16, 16, generator=generator)
    for score in (metrics.psnr, metrics.ssim, metrics.hfen):
        wanted = score(signal, reference)
        assert score(unit * signal, unit * reference) == pytest.approx(wanted, rel=1e-5)
    assert metrics.mse(unit * signal, unit * reference) == pytest.approx(
        unit**2 * metrics.mse(signal, reference), rel=1e-5
    )


def test_peak_ratio_of_many_is_that_of_each(generator: torch.Generator) -> None:
    errors, spans = 10.0 ** (-50 * torch.rand(2, 7, generator=generator, dtype=torch.float64))
    each = [metrics.peak_ratio(float(e), float(s)) for e, s in zip(errors, spans, strict=True)]
    assert metrics.peak_ratio(errors, spans).tolist() == each
    assert metrics.peak_ratio(0.0, 3.0) == math.inf


@pytest.mark.parametrize(("gain", "offset"), [(50.0, 0.0), (1.0, -1000.0), (-3.0, 7.0)])
def test_psnr_does_not_depend_on_the_unit(
    gain: float, offset: float, generator: torch.Generator
) -> None:
    signal, reference = (values.double() for values in pair(1, 9, 8, generator=generator))
    expected = metrics.psnr(signal, reference)
    measured = metrics.psnr(gain * signal + offset, gain * reference + offset)
    assert measured == pytest.approx(expected, rel=1e-12)


def test_equal_signals_are_infinitely_good(generator: torch.Generator) -> None:
    _, reference = pair(1, 12, 12, generator=generator)
    assert metrics.psnr(reference, reference) == math.inf
    assert metrics.ssim(reference, reference) == 1.0


def test_small_errors_add_up_in_many_voxels() -> None:
    reference = torch.zeros(1, 2**24 + 2)
    reference[0, 0] = 1.0
    error = torch.full_like(reference, 1e-3)
    assert metrics.mse(reference + error, reference) == pytest.approx(1e-6, rel=1e-4)


def test_integers_do_not_wrap_around() -> None:
    reference = torch.tensor([[0, 255, 3]], dtype=torch.uint8)
    signal = torch.tensor([[1, 254, 3]], dtype=torch.uint8)
    assert metrics.mse(signal, reference) == pytest.approx(2 / 3)


def test_a_diverged_signal_scores_nan() -> None:
    reference = torch.tensor([[0.0, 1.0]])
    assert math.isnan(metrics.psnr(torch.full_like(reference, math.nan), reference))


def test_metatensors_and_gradients_are_welcome(generator: torch.Generator) -> None:
    signal, reference = pair(1, 12, 12, generator=generator)
    expected = metrics.ssim(signal, reference)
    assert metrics.ssim(MetaTensor(signal).requires_grad_(), MetaTensor(reference)) == expected


@pytest.mark.parametrize("shape", [(1, 30, 23), (2, 20, 21), (1, 18, 16, 15)])
def test_ssim_agrees_with_scikit_image(shape: tuple[int, ...], generator: torch.Generator) -> None:
    from skimage.metrics import structural_similarity

    signal, reference = pair(*shape, generator=generator)
    _, similarity = structural_similarity(
        signal.double().numpy(),
        reference.double().numpy(),
        data_range=1.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        channel_axis=0,
        full=True,
    )
    inside = (slice(None), *(slice(5, -5),) * (len(shape) - 1))
    assert metrics.ssim(signal, reference) == pytest.approx(similarity[inside].mean(), abs=1e-5)


@pytest.mark.parametrize("slab", [1, 3 * 13 * 12, 10**9])
def test_slabs_change_nothing(
    slab: int, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    signal, reference = pair(1, 19, 13, 12, generator=generator)
    expected = metrics.ssim(signal, reference)
    monkeypatch.setattr(metrics, "_SLAB", slab)
    assert metrics.ssim(signal, reference) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("size", [1, 2, 5, 10])
def test_the_window_shrinks_to_fit(size: int, generator: torch.Generator) -> None:
    signal, reference = pair(1, 14, 13, size, generator=generator)
    assert 0 < metrics.ssim(signal, reference) < 1


def test_ssim_falls_with_noise(generator: torch.Generator) -> None:
    signal, reference = pair(1, 24, 24, generator=generator)
    scores = [
        metrics.ssim(reference + k * (signal - reference), reference) for k in (0.0, 0.5, 1, 2)
    ]
    assert scores == sorted(scores, reverse=True)


def test_bad_arguments_are_named() -> None:
    signal, reference = torch.rand(1, 4, 4), torch.rand(1, 4, 4)
    with pytest.raises(ValueError, match=r"^signal must have shape \(1, 4, 4\), got \(1, 4, 5\)$"):
        metrics.psnr(torch.zeros(1, 4, 5), reference)
    with pytest.raises(ValueError, match=r"^mask must have shape \(1, 4, 4\), got \(4, 4\)$"):
        metrics.psnr(signal, reference, torch.ones(4, 4))
    with pytest.raises(ValueError, match=r"^mask must be nonzero somewhere"):
        metrics.psnr(signal, reference, torch.zeros(1, 4, 4))
    with pytest.raises(ValueError, match=r"^reference must vary, got the constant 2\.0$"):
        metrics.psnr(signal, torch.full((1, 4, 4), 2.0))
    with pytest.raises(ValueError, match=r"^spatial dimensions of signal must be one of 2, 3"):
        metrics.ssim(torch.rand(1, 9), torch.rand(1, 9))


def test_ssim_inside_a_mask_is_the_mean_of_its_windows(generator: torch.Generator) -> None:
    signal, reference = pair(1, 30, 26, generator=generator)
    left, right = torch.zeros(1, 30, 26), torch.zeros(1, 30, 26)
    left[:, :15], right[:, 15:] = 1, 1
    parts = [metrics.ssim(signal, reference, mask) for mask in (left, right)]
    assert parts[0] != pytest.approx(parts[1], abs=1e-4)
    # 20 rows of windows fit, 10 of them centred in each half.
    assert sum(parts) / 2 == pytest.approx(metrics.ssim(signal, reference), rel=1e-6)
    signal[:, 21:] = 0  # windows around the upper ten rows do not see these
    assert metrics.ssim(signal, reference, left) == pytest.approx(parts[0], rel=1e-6)
    edge = torch.zeros(1, 30, 26)
    edge[:, 0] = 1
    with pytest.raises(ValueError, match="where a window of 11 voxels fits"):
        metrics.ssim(signal, reference, edge)


def test_ssim_inside_a_mask_goes_through_slabs(
    generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    signal, reference = pair(1, 24, 20, 18, generator=generator)
    mask = torch.rand(1, 24, 20, 18, generator=generator) > 0.5
    expected = metrics.ssim(signal, reference, mask)
    monkeypatch.setattr(metrics, "_SLAB", 800)
    assert metrics.ssim(signal, reference, mask) == pytest.approx(expected, rel=1e-6)


def cosine(shape: tuple[int, ...], waves: tuple[int, ...]) -> tuple[Tensor, float]:
    """A product of cosines, mirrored by the borders, and what the filter makes of each of them."""
    value, total = torch.ones(1, *shape, dtype=torch.float64), 0.0
    for axis, (size, wave) in enumerate(zip(shape, waves, strict=True)):
        k = math.pi * wave / size
        row = torch.cos(k * (torch.arange(size).double() + 0.5))
        value = value * row.reshape([-1 if d == axis + 1 else 1 for d in range(value.ndim)])
        total += k**2
    return value, -total * math.exp(-(1.5**2) * total / 2)


@pytest.mark.parametrize("shape", [(48, 40), (32, 30, 28)])
def test_hfen_of_waves_has_a_closed_form(shape: tuple[int, ...]) -> None:
    reference, gain = cosine(shape, (6, 4, 5)[: len(shape)])
    wrong, wrong_gain = cosine(shape, (3, 9, 8)[: len(shape)])
    # Both waves have the same norm.
    expected = 0.1 * wrong_gain / gain
    assert metrics.hfen(reference + 0.1 * wrong, reference) == pytest.approx(expected, rel=0.01)
    assert metrics.hfen(0.7 * reference, reference) == pytest.approx(0.3, rel=1e-9)
    assert metrics.hfen(reference + 5, reference) == pytest.approx(0, abs=1e-9)


def test_hfen_counts_inside_the_mask(generator: torch.Generator) -> None:
    signal, reference = pair(1, 40, 30, generator=generator)
    signal[:, :20] = reference[:, :20]
    mask = torch.zeros(1, 40, 30)
    mask[:, :10] = 1
    assert metrics.hfen(signal, reference, mask) == pytest.approx(0, abs=1e-6)
    assert metrics.hfen(signal, reference) > 0.1
    with pytest.raises(ValueError, match="reference must hold detail"):
        metrics.hfen(signal, torch.zeros(1, 40, 30))
