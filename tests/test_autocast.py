"""Inside ``torch.autocast`` the package answers as it does outside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from monai.data import MetaTensor
from torch import Tensor

from oinr_monai import (
    DenoiseConfig,
    DeriveOINR,
    EncodeGrid,
    FitConfig,
    FitOccupancyOINR,
    InterpolateOINR,
    LabelsOINR,
    OccupancyConfig,
    OperatorConfig,
    Representation,
    SuperResolveConfig,
    denoise,
    fit,
    fit_many,
    fuse,
    interpolate_slices,
    isosurface,
    learn_operator,
    learn_start,
    modulate,
    simulate_slices,
    super_resolve,
)
from oinr_monai.analysis.regions import region_features

FEW = FitConfig("fast", steps=2)
EXACT = FitConfig("exact")


@pytest.fixture
def image() -> MetaTensor:
    """A smooth volume of 40 to 940 with thick slices."""
    x = [torch.linspace(-1, 1, n) for n in (14, 13, 8)]
    square = sum(each.square() for each in torch.meshgrid(*x, indexing="ij"))
    values = 40 + 900 * torch.exp(-2 * square) + 30 * torch.sin(40 * square)
    return MetaTensor(values[None], affine=torch.diag(torch.tensor([1.0, 1, 3, 1])))


def _learned(image: MetaTensor) -> Tensor:
    operator = learn_operator([image, image], OperatorConfig(steps=1, batch=1))
    return modulate([image], operator)[0].sample()


def _labels(image: MetaTensor) -> Tensor:
    fitted = FitOccupancyOINR(OccupancyConfig(FEW))(MetaTensor((image > 500).float()))
    return torch.cat([fitted.sample(), LabelsOINR()(fitted)])


PLACES = torch.tensor([[2.5, 3.1, 4.4], [7.7, 6.2, 9.0]])

COMPUTES: dict[str, Callable[[MetaTensor], Tensor]] = {
    "fit": lambda image: fit(image, FEW).sample(),
    "fit exactly": lambda image: fit(image, EXACT).sample(),
    "fit many": lambda image: fit_many([image], FEW)[0].sample(),
    "learn a start": lambda image: learn_start([image], FEW, rounds=1).sample(),
    "learn an operator": _learned,
    "labels": _labels,
    "denoise": lambda image: denoise(image, DenoiseConfig(steps=1)).sample(),
    "super-resolve": lambda image: super_resolve(image, SuperResolveConfig(steps=1)).sample(),
    "fuse": lambda image: fuse([image]).sample(),
    "simulate": lambda image: simulate_slices(image, 6.0),
    "interpolate slices": lambda image: interpolate_slices(image, 2, 2, FEW),
    "interpolate frames": lambda image: InterpolateOINR([0.5], config=FEW)(
        torch.cat([image, image.flip(1)]).as_tensor()
    ),
    "encode": EncodeGrid(),
}

ASKS: dict[str, Callable[[Representation], Any]] = {
    "sample": lambda fitted: fitted.sample(),
    "sample a turned grid": lambda fitted: fitted.at(fitted.grid.to_world(PLACES)),
    "derive": lambda fitted: fitted.hessian(),
    "maps": DeriveOINR(["mean_curvature", "vesselness_dark"], sigma=1.0),
    "features": lambda fitted: fitted.features(),
    "surface": lambda fitted: isosurface(fitted, float(fitted.sample().mean())).vertices,
    "regions": lambda fitted: (
        region_features(fitted, fitted.grid.to_image(torch.ones(1, *fitted.grid.shape))).values
    ),
}


def _both(ask: Callable[[], Any]) -> tuple[Any, Any]:
    outside = ask()
    with torch.autocast("cpu", torch.bfloat16):
        return ask(), outside


@pytest.mark.parametrize("named", COMPUTES)
def test_what_computes_is_as_exact_inside_autocast(named: str, image: MetaTensor) -> None:
    inside, outside = _both(lambda: COMPUTES[named](image))
    torch.testing.assert_close(inside, outside, rtol=0, atol=0)


@pytest.mark.parametrize("preset", [FEW, EXACT], ids=["fast", "exact"])
@pytest.mark.parametrize("named", ASKS)
def test_what_is_asked_is_as_exact_inside_autocast(
    named: str, preset: FitConfig, image: MetaTensor
) -> None:
    fitted = fit(image, preset)
    if named == "features" and preset == EXACT:
        pytest.skip("an image in closed form has no layers")
    inside, outside = _both(lambda: ASKS[named](fitted))
    torch.testing.assert_close(inside, outside, rtol=0, atol=0)
