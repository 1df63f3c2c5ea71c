"""The unit of the intensities changes no score: powers of two, which round nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from oinr_monai import (
    DenoiseConfig,
    FitConfig,
    GaussianNoise,
    OperatorConfig,
    SuperResolveConfig,
    denoise,
    fit,
    fit_family,
    fit_many,
    learn_operator,
    modulate,
    super_resolve,
)
from oinr_monai.images.stored import StoredImage
from oinr_monai.scanner.noise_level import details_hold_anatomy, noise_level

# About 1e-22 and 1e25.
UNITS = [2.0**-73, 2.0**83]

FEW = FitConfig("fast", steps=3)


def _on_disk(image: Tensor) -> dict[str, Any]:
    return fit(StoredImage(image.numpy(), torch.eye(4)), FEW).info


def _modulated(image: Tensor) -> dict[str, Any]:
    operator = learn_operator([image, 2 * image], OperatorConfig(steps=2, batch=2))
    return modulate([image], operator)[0].info


def _denoised(image: Tensor) -> dict[str, Any]:
    info = dict(denoise(image, DenoiseConfig(steps=3)).info)
    (sigma,) = info.pop("noise")["sigma"]
    return {**info, "relative": sigma / float(image.std())}


def _super_resolved(image: Tensor) -> dict[str, Any]:
    info = dict(super_resolve(image, SuperResolveConfig(steps=3), spacing=0.5).info)
    return {**info, "data_residual": info["data_residual"] / float(image.std())}


SCORED: dict[str, Callable[[Tensor], dict[str, Any]]] = {
    "fit": lambda image: fit(image, FEW).info,
    "exact": lambda image: fit(image, FitConfig("exact")).info,
    "on disk": _on_disk,
    "many": lambda image: fit_many([image], FEW)[0].info,
    "family": lambda image: fit_family([image, image.flip(1)], FEW).representation.info,
    "modulate": _modulated,
    "denoise": _denoised,
    "super-resolve": _super_resolved,
}

# What tells the machine and the image, and not how good the answer is.
OF_THE_RUN = {"seconds", "start", "device", "settings", "image"}


@pytest.fixture
def image(generator: torch.Generator) -> Tensor:
    x = torch.linspace(0, 9, 24)
    clean = x.sin()[None, :, None] * x.cos()
    return clean + 0.1 * torch.randn(clean.shape, generator=generator)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("kind", SCORED)
def test_scores_know_no_unit(kind: str, unit: float, image: Tensor) -> None:
    wanted, found = (
        {name: value for name, value in SCORED[kind](each).items() if name not in OF_THE_RUN}
        for each in (image, unit * image)
    )
    assert found == wanted


@pytest.mark.parametrize("kind", SCORED)
def test_answers_know_what_they_are_of(kind: str, image: Tensor) -> None:
    given, again, other = (SCORED[kind](each)["image"] for each in (image, image, 1.5 * image))
    assert given == again != other


@pytest.mark.parametrize("unit", UNITS)
def test_noise_is_found_in_any_unit(unit: float, generator: torch.Generator) -> None:
    noisy = 5 + torch.randn(1, 64, 64, generator=generator)
    noisy[:, :8] = 5.0  # padded
    assert noise_level(unit * noisy)[0] / unit == noise_level(noisy)[0]
    assert not details_hold_anatomy(unit * noisy)
    with pytest.raises(ValueError, match="must hold noise"):
        noise_level(unit * torch.linspace(0, 1, 64).expand(1, 64, 64))
    assert GaussianNoise().estimated(unit * noisy).sigma == noise_level(unit * noisy)
