"""Where a training of a volume begins: at the least-squares spline of its own knots."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from oinr_monai import FitConfig, JointField, SplineField, fit, fit_many
from oinr_monai.fields.field import Field
from oinr_monai.fitting.presets import PresetName
from oinr_monai.grids.least_squares import least_squares_coefficients
from oinr_monai.grids.positions import Lattice
from oinr_monai.grids.splines import CubicInterpolant


def volume(channels: int = 1, seed: int = 0) -> Tensor:
    """Smooth, with some that coarse knots cannot follow, and one bright place."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.stack(torch.meshgrid(*[torch.linspace(0, 3, 14)] * 3, indexing="ij"))
    waves = torch.stack([(x.sum(0) * (c + 2)).sin() for c in range(channels)])
    noise = 0.1 * torch.rand(waves.shape, generator=generator)
    waves[:, 7, 7, 7] += 6
    return 40 + 9 * (waves + noise)


def splines(field: Field) -> SplineField:
    assert isinstance(field, JointField)
    first = field.fields[0]
    assert isinstance(first, SplineField)
    return first


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("preset", ["balanced", "best"])
def test_no_step_is_the_spline_of_least_squares(preset: PresetName, channels: int) -> None:
    image = volume(channels)
    begun = fit(image, FitConfig(preset, steps=0))
    error = (begun.sample().as_tensor() - image).square().mean().sqrt()
    own = splines(begun.field.encoding)
    axes = tuple(torch.arange(n, dtype=torch.float64) for n in image.shape[1:])
    places, knots = own.in_knots(Lattice(axes)), own.coefficients.shape[1:]
    with torch.no_grad():
        nearest = least_squares_coefficients(CubicInterpolant(image), places.axes, knots)
        own.coefficients.copy_(nearest)
        expected = own(Lattice(axes))[0]
    least = (expected - image).square().mean().sqrt()
    # What the other units begin with, and the bend of the spline's own error, add a little.
    assert error < 1.1 * least + 0.01 * image.std()


def test_a_training_is_never_worse_than_it() -> None:
    """At a rate that spoils every fit."""
    begun = fit(volume(), FitConfig("balanced", steps=0))
    spoiled = fit(volume(), FitConfig("balanced", steps=30, learning_rate=1e3))
    assert torch.equal(spoiled.sample().as_tensor(), begun.sample().as_tensor())


def test_images_together_begin_each_at_its_own() -> None:
    images = [volume(seed=1), 2 * volume(seed=2) - 30]
    config = FitConfig("balanced", steps=0)
    for image, together in zip(images, fit_many(images, config), strict=True):
        alone = fit(image, config)
        torch.testing.assert_close(
            together.sample().as_tensor(), alone.sample().as_tensor(), rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("changes", [{"kernel_size": 3}, {"channels": (1, 8)}, {"preset": "fast"}])
def test_other_operators_begin_at_random(changes: dict[str, object]) -> None:
    begun = fit(volume(), FitConfig(**{"preset": "balanced", "steps": 1, **changes}))
    assert isinstance(begun.field.encoding, SplineField)


def test_planes_begin_at_random() -> None:
    assert isinstance(
        fit(volume()[..., 0], FitConfig("balanced", steps=1)).field.encoding, SplineField
    )
