"""What runs on a device runs there alone: no step waits, no kernel meets a tensor of the host."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from monai.data import MetaTensor
from torch import Tensor

from oinr_monai import (
    CZOINR,
    CKConvOINR,
    ConvOINR,
    CoordinateField,
    DenoiseConfig,
    Field,
    FitConfig,
    FourierEncoding,
    Grid,
    SplineField,
    SuperResolveConfig,
    denoise,
    fit,
    fit_many,
    super_resolve,
)
from oinr_monai.fields.fourier import DyadicEncoding
from oinr_monai.fields.joint import JointField
from oinr_monai.fitting.device import STEPS_AWAY
from oinr_monai.grids.positions import Lattice, Positions
from oinr_monai.representation.neural_field import NeuralField
from oinr_monai.representation.representation import Representation
from oinr_monai.testing import StandIn

AWAY = "meta"
STEPS = 3
# A new estimate is made a few times in all, whatever the steps, and constants are sent once.
SELDOM = ("SliceDescent._renew", "SliceDescent._roughness", "constant")


def image(size: int = 12) -> MetaTensor:
    axis = torch.linspace(-1, 1, size)
    waves = torch.sin(5 * axis)[:, None, None] + torch.cos(4 * axis)[:, None] * axis
    return MetaTensor(waves[None], affine=torch.eye(4))


def noisy() -> MetaTensor:
    noise = torch.randn(1, 12, 12, 12, generator=torch.Generator().manual_seed(0))
    return MetaTensor(image().as_tensor() + 0.1 * noise, affine=torch.eye(4))


def thick() -> MetaTensor:
    slices = image(16).as_tensor().unflatten(3, (-1, 4)).mean(4)
    return MetaTensor(slices, affine=torch.diag(torch.tensor([1.0, 1.0, 4.0, 1.0])))


def inner(**sizes: Any) -> CKConvOINR:
    return CKConvOINR(**sizes, channels=(4,), support=1.5)


def fitted(**settings: Any) -> Representation:
    return fit(image(), FitConfig(**{"preset": "fast", "steps": STEPS, "device": AWAY, **settings}))


def masked() -> Representation:
    config = FitConfig("fast", steps=STEPS, device=AWAY)
    return fit(image(), config, mask=image()[0] > 0)


steps_of = pytest.mark.parametrize(
    "run",
    [
        pytest.param(fitted, id="fast"),
        pytest.param(lambda: fitted(preset="balanced"), id="balanced"),
        pytest.param(lambda: fitted(network=inner), id="kernels in every layer"),
        pytest.param(masked, id="mask"),
        pytest.param(
            lambda: fit_many([image(), 2 * image()], FitConfig("fast", steps=STEPS, device=AWAY)),
            id="many",
        ),
        pytest.param(
            lambda: super_resolve(thick(), SuperResolveConfig(STEPS, device=AWAY, noise=None)),
            id="super_resolve",
        ),
        pytest.param(
            lambda: denoise(noisy(), DenoiseConfig(steps=STEPS, device=AWAY)), id="denoise"
        ),
        pytest.param(
            lambda: denoise(noisy(), DenoiseConfig(steps=STEPS, device=AWAY, start=None)),
            id="denoise from nothing",
        ),
    ],
)


@steps_of
def test_no_step_waits_and_what_it_looks_at_is_sent_for_many(run: Callable[[], object]) -> None:
    with StandIn() as device:
        run()
    for name in ("Descent.step", "Descent.batches"):
        assert device.count("waits", name, SELDOM) == 0
        assert device.count("to host", name, SELDOM) == 0
    assert device.count("to device", "Descent.step", SELDOM) == 0
    assert device.count("to device", "Descent.batches", SELDOM) <= 1 <= 2 * STEPS_AWAY / 100


def test_scores_of_a_fit_are_left_on_the_device_until_its_end() -> None:
    with StandIn() as device:
        fitted()
    assert device.count("waits", "Scores._maybe") == device.count("to host", "Scores._maybe") == 0


@pytest.mark.parametrize("preset", ["fast", "balanced"])
def test_a_device_finds_what_the_cpu_finds(preset: str) -> None:
    expected = fitted(preset=preset, device="cpu")
    with StandIn():
        found = fitted(preset=preset)
        values = found.sample().as_tensor()
    assert torch.allclose(values, expected.sample().as_tensor(), atol=1e-5)
    assert found.info["psnr_grid"] == pytest.approx(expected.info["psnr_grid"], abs=1e-4)


# Of the fits before places, targets and scores went to the device.
@pytest.mark.parametrize(
    ("preset", "grid", "between"),
    [("fast", 21.202124, 22.462476), ("balanced", 48.451033, 49.136013)],
)
def test_on_the_cpu_fits_are_as_they_were(preset: str, grid: float, between: float) -> None:
    found = fitted(preset=preset, device="cpu", steps=20)
    assert found.info["psnr_grid"] == pytest.approx(grid, rel=1e-5)
    assert found.info["psnr_between"] == pytest.approx(between, rel=1e-5)


# ---- kernels ------------------------------------------------------------------------------------

EXTENT, SPACING = (9.0, 8.0, 7.0), (1.0, 1.0, 1.0)
FIELDS: list[Callable[[], Field]] = [
    lambda: SplineField(EXTENT, (2.0, 2.5, 3.0), 3, (2.0, 2.0, 2.0)),
    lambda: SplineField(EXTENT, (2.0, 2.5, 3.0), 3, (2.0, 2.0, 2.0), degree=5),
    lambda: FourierEncoding(EXTENT, SPACING, bands=2),
    lambda: DyadicEncoding(EXTENT, octaves=2),
    lambda: CoordinateField(EXTENT),
    lambda: JointField([CoordinateField(EXTENT), SplineField(EXTENT, (3.0,) * 3, 2, (2.0,) * 3)]),
]
OPERATORS: list[Callable[[int], Any]] = [
    lambda channels: ConvOINR(3, channels, 1, channels=(4,), kernel_size=1),
    lambda channels: ConvOINR(3, channels, 1, channels=(4,), kernel_size=(3, 1)),
    lambda channels: ConvOINR(3, channels, 1, channels=(4,), kernel_size=3),
    lambda channels: CKConvOINR(3, channels, 1, channels=(4,), support=1.5),
    lambda channels: CKConvOINR(3, channels, 1, channels=(4,), support=1.5, separable=True),
]


def regular() -> Lattice:
    return Lattice(tuple(2.0 + torch.arange(n, dtype=torch.float64) for n in (4, 3, 5)))


def moved(places: Positions) -> Positions:
    return replace(places, axes=tuple(x.to(AWAY) for x in places.axes))


def agree(field: Any, places: Positions, order: int) -> None:
    expected = field(places, order).detach()
    with StandIn(), torch.no_grad():
        found: Tensor = copy.deepcopy(field).to(AWAY)(moved(places), order).cpu()
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("make", FIELDS)
@pytest.mark.parametrize("order", [0, 1, 2])
def test_fields_answer_on_a_device(make: Callable[[], Field], order: int) -> None:
    torch.manual_seed(0)
    field = make()
    for places in (regular(), regular().points()):
        agree(field, places, order)


@pytest.mark.parametrize("make", OPERATORS)
@pytest.mark.parametrize("order", [0, 2])
def test_operators_answer_on_a_device(make: Callable[[int], Any], order: int) -> None:
    torch.manual_seed(0)
    field = FIELDS[0]()
    whole = NeuralField(field, make(field.channels), SPACING)
    for places in (regular(), regular().points()):
        agree(whole, places, order)


def test_wavelet_operators_answer_on_a_device() -> None:
    operator = CZOINR(3, 4, 1, channels=2, levels=1, wave="haar")
    values = torch.rand(1, 4, 8, 9, 8)
    expected = operator(values)
    with StandIn(), torch.no_grad():
        found = copy.deepcopy(operator).to(AWAY)(values.to(AWAY)).cpu()
    assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("smooth", [False, True])
def test_an_image_in_closed_form_is_asked_without_a_wait(smooth: bool) -> None:
    whole = fit(image())
    grid, points = whole.grid.refine(2).shift([0.2, 0.0, 0.1]), 5 + 2 * torch.rand(9, 3)
    asked = whole.smoothed(1.5) if smooth else whole
    expected = asked.jet(grid), asked.jet_at(points)
    with StandIn() as device:
        there = whole.to(AWAY)
        there = there.smoothed(1.5) if smooth else there
        there.jet_at(points)
        before = len(device.transfers)
        found = there.jet(grid), there.jet_at(points)
        kinds = [each.kind for each in device.transfers[before:]]
        both = [[part.cpu() for part in jet] for jet in found]
    for one, other in zip(both, expected, strict=True):
        for a, b in zip(one, other, strict=True):
            assert torch.allclose(a, b, rtol=1e-3, atol=1e-4 * float(b.abs().max()))
    if not smooth:
        assert kinds.count("waits") == 0
        assert kinds.count("to host") == 1


def test_a_sheared_grid_is_asked_on_a_device_as_points() -> None:
    whole = fit(image())
    turned = torch.eye(4)
    turned[0, 1] = 0.3
    grid = Grid((5, 4, 3), turned)
    expected = whole.sample(grid).as_tensor()
    with StandIn():
        found = whole.to(AWAY).sample(grid).as_tensor()
    assert torch.allclose(found, expected, atol=1e-5)
