"""Continuous kernels: their quadrature against closed forms, and the laws of every operator."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from monai.data import MetaTensor
from torch import Tensor

from oinr_monai import (
    CKConvOINR,
    FitConfig,
    Grid,
    Representation,
    export_signal,
    fit,
)
from oinr_monai.images.metrics import psnr
from oinr_monai.operators import continuous_integral
from oinr_monai.operators.continuous_integral import ContinuousKernelIntegral, fft_convolve
from oinr_monai.operators.kernels import SIREN, KernelNetwork, MLPNet, RFNet
from oinr_monai.operators.multiplicative_kernels import FourierNet, GaborNet, MAGNet
from oinr_monai.representation.registry import build, describe

KERNELS = [SIREN, MLPNet, RFNet, FourierNet, GaborNet, partial(MAGNet, steerable=True)]
SPACING = (0.9, 1.1, 2.5)


class Constant(KernelNetwork):
    """The kernel that is 1: its integral is a mean over the support."""

    def __init__(self, spatial_dims: int, out_channels: int) -> None:
        super().__init__(spatial_dims, out_channels, 1, 1)

    def hidden(self, offsets: Tensor) -> Tensor:
        return torch.ones_like(offsets[:, :1])


def mean_of(dims: int, support: float, spacing: Sequence[float]) -> ContinuousKernelIntegral:
    layer = ContinuousKernelIntegral(1, 1, Constant, support, spacing).double()
    layer.kernel.output.weight.data.fill_(1.0)
    layer.bias.data.zero_()
    return layer


def around(layer: ContinuousKernelIntegral, centre: Sequence[float]) -> list[Tensor]:
    nodes = zip(centre, layer.radii, layer.spacing, strict=True)
    axes = [c + h * torch.arange(-r, r + 1, dtype=torch.float64) for c, r, h in nodes]
    return list(torch.meshgrid(*axes, indexing="ij"))


def order(steps: Sequence[float], errors: Sequence[float]) -> float:
    return float(np.polyfit(np.log(steps), np.log(errors), 1)[0])


# ---- the quadrature ----------------------------------------------------------------------------


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("support", [0.3, 1.0, 2.0, 2.7, 3.3])
def test_linear_fields_are_integrated_exactly(dims: int, support: float) -> None:
    layer, centre = mean_of(dims, support, SPACING[:dims]), (0.4, -0.2, 1.3)[:dims]
    mesh = around(layer, centre)
    u = 3 + sum((2.0 - d) * x for d, x in enumerate(mesh))
    expected = 3 + sum((2.0 - d) * x for d, x in enumerate(centre))
    mean = layer(u[None, None], [1] * dims).detach()
    assert float(mean) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_converges_to_the_closed_form_at_second_order(dims: int) -> None:
    # The mean of a wave over a box: a product of sincs. h, 2h/3, h/2: most end between nodes.
    support, centre, rates = 2.1, (0.4, -0.2, 0.3)[:dims], (0.9, 0.7, 0.5)[:dims]
    phase = sum(k * c for k, c in zip(rates, centre, strict=True))
    expected = math.sin(phase) * math.prod(math.sin(k * support) / (k * support) for k in rates)
    steps, errors = [1.0, 2 / 3, 1 / 2, 1 / 3, 1 / 4, 1 / 6], []
    for h in steps:
        layer = mean_of(dims, support, (h,) * dims)
        wave = torch.sin(sum(k * x for k, x in zip(rates, around(layer, centre), strict=True)))
        errors.append(abs(float(layer(wave[None, None], [1] * dims).detach()) - expected))
    assert order(steps, errors) == pytest.approx(2, abs=0.15)
    assert errors[-1] < 0.02 * abs(expected)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("window", [None, 0.3])
def test_every_kernel_converges_at_second_order(kernel: object, window: float | None) -> None:
    torch.manual_seed(0)
    coarse = ContinuousKernelIntegral(1, 1, kernel, 3.0, (1.0,), window).double()

    def answer(h: float) -> float:
        layer = coarse.with_spacing((h,))
        wave = torch.sin(0.8 * around(layer, (0.3,))[0])
        return float(layer(wave[None, None], [1]).detach())

    steps = [1 / 8, 1 / 12, 1 / 16, 1 / 24, 1 / 32, 1 / 48]
    errors = [abs(answer(h) - answer(1 / 2048)) for h in steps]
    assert order(steps, errors) == pytest.approx(2, abs=0.2)


@pytest.mark.parametrize("spacing", [0.3, 0.5, 0.7, 1.0])
def test_a_window_ends_the_kernel_at_the_same_distance_for_every_spacing(spacing: float) -> None:
    layer = ContinuousKernelIntegral(1, 1, Constant, 4.0, (spacing,), window=0.25)
    assert layer.reach == pytest.approx([4 * 0.25 * math.sqrt(2 * math.log(10))])
    assert layer.radii[0] == math.ceil(layer.reach[0] / spacing)
    layer.window.data.fill_(5.0)
    assert layer.reach == [4.0]


@pytest.mark.parametrize("separable", [False, True])
def test_a_closed_window_leaves_the_bias(separable: bool, generator: torch.Generator) -> None:
    layer = ContinuousKernelIntegral(2, 3, SIREN, 2.0, (1.0, 1.0), 0.5, separable)
    layer.window.data.fill_(1e-12)
    assert layer.radii == [0, 0]
    for shape in ((4, 5), (20,)):  # as points have it, one after the other
        answer = layer(torch.randn(1, 2, *shape, generator=generator), [1, 1])
        expected = layer.bias.view(-1, *[1] * len(shape)).expand(1, 3, *shape)
        torch.testing.assert_close(answer, expected, rtol=0, atol=1e-6)


def test_a_window_learns_its_width(generator: torch.Generator) -> None:
    layer = ContinuousKernelIntegral(2, 3, SIREN, 2.0, (1.0, 1.0), window=0.6)
    layer(torch.randn(1, 2, 9, 9, generator=generator), [1, 1]).square().sum().backward()
    assert float(layer.window.grad.abs().min()) > 0


# ---- applying it -------------------------------------------------------------------------------


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("separable", [False, True])
def test_fft_equals_direct(
    dims: int, dilation: int, separable: bool, generator: torch.Generator
) -> None:
    sizes, nodes = (31, 30, 17)[:dims], (9, 7, 5)[:dims]
    u = torch.randn(2, 3, *sizes, generator=generator)
    weight = torch.randn(*((3,) if separable else (4, 3)), *nodes, generator=generator)
    kernel = weight.unsqueeze(1) if separable else weight
    convolve = (F.conv1d, F.conv2d, F.conv3d)[dims - 1]
    direct = convolve(u, kernel, dilation=dilation, groups=3 if separable else 1)
    by_fft = fft_convolve(u, weight, [dilation] * dims)
    assert by_fft.shape == direct.shape
    assert float((by_fft - direct).norm() / direct.norm()) < 1e-5


@pytest.mark.parametrize("separable", [False, True])
@torch.no_grad()
def test_a_network_does_not_change_where_it_goes_by_fft(
    separable: bool, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    network = CKConvOINR(2, 3, 2, (4, 5), support=2.0, separable=separable)
    u = torch.randn(1, 3, 20, 19, generator=generator)
    direct = network(u)
    monkeypatch.setattr(continuous_integral, "FFT_TAPS", 0)
    assert float((network(u) - direct).norm() / direct.norm()) < 1e-4


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_separable_is_the_mixed_kernel(dims: int, generator: torch.Generator) -> None:
    torch.manual_seed(0)
    layer = ContinuousKernelIntegral(3, 4, SIREN, 2.0, SPACING[:dims], separable=True)
    u = torch.randn(1, 3, *(9, 9, 5)[:dims], generator=generator)
    full = (F.conv1d, F.conv2d, F.conv3d)[dims - 1](u, layer.weight, layer.bias)
    assert torch.allclose(layer(u, [1] * dims), full, rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_causal_network_does_not_see_the_future(generator: torch.Generator) -> None:
    torch.manual_seed(0)
    network = CKConvOINR(1, 2, 1, (6, 6), support=3.0, padding="causal").double()
    u = torch.randn(1, 2, 40, generator=generator, dtype=torch.float64)
    later = u.clone()
    later[..., 25:] += 1
    before, after = network(u), network(later)
    assert before.shape == (1, 1, 40)
    assert torch.allclose(before[..., :25], after[..., :25], rtol=0, atol=1e-12)
    assert not torch.allclose(before[..., 25:], after[..., 25:])
    # It does see the past, as far back as three layers reach.
    earlier = u.clone()
    earlier[..., 16] += 1
    changed = (network(earlier) - before).abs()[0, 0]
    assert float(changed[17]) > 1e-9
    assert float(changed[26:].max()) == 0


# ---- the laws of every operator ----------------------------------------------------------------

OPERATORS: dict[str, dict[str, object]] = {
    "plain": {},
    "wide first": {"support": (2.0, 0, 0)},
    "separable": {"separable": True},
    "window": {"window": 0.5},
    "MAGNet": {"kernel": partial(MAGNet, hidden_channels=4, steerable=True)},
    "anisotropic": {"support": 2.5, "spacing": SPACING},
}


@pytest.fixture(params=OPERATORS, name="settings")
def _settings(request: pytest.FixtureRequest) -> dict[str, object]:
    return OPERATORS[request.param]


def make(dims: int, settings: dict[str, object], **more: object) -> CKConvOINR:
    torch.manual_seed(dims)
    arguments = {"support": 1.5, "padding": "valid", **settings, **more}
    if "spacing" in settings:
        arguments["spacing"] = SPACING[:dims]
    return CKConvOINR(dims, 4, 2, (6, 5), **arguments).double()


def field(sizes: Sequence[int], generator: torch.Generator, batch: int = 2) -> Tensor:
    return torch.randn(batch, 4, *sizes, generator=generator, dtype=torch.float64)


def roomy(network: CKConvOINR, inside: int = 3) -> list[int]:
    return [2 * r + inside for r in network.halo()]


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_valid_is_the_inside_of_same(
    dims: int, settings: dict[str, object], generator: torch.Generator
) -> None:
    valid, same = make(dims, settings), make(dims, settings, padding="same")
    u = field(roomy(valid), generator)
    inside = [slice(r, r + 3) for r in valid.halo()]
    assert same(u).shape == (2, 2, *u.shape[2:])
    assert torch.allclose(same(u)[(..., *inside)], valid(u), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_description_rebuilds_the_network(
    dims: int, settings: dict[str, object], generator: torch.Generator
) -> None:
    network = make(dims, settings, padding="same", omega_0=7)
    again = build(describe(network)).double()
    again.load_state_dict(network.state_dict())
    u = field((8,) * dims, generator)
    assert torch.equal(again(u), network(u))
    assert describe(again) == describe(network)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_traces_and_exports(
    dims: int, settings: dict[str, object], generator: torch.Generator
) -> None:
    network = make(dims, settings).eval().requires_grad_(False)
    u = field(roomy(network, inside=6), generator)
    expected = network(u)
    traced = torch.jit.trace(network, (u,), check_trace=False)
    exported = torch.export.export(network, (u,)).module()
    assert torch.allclose(traced(u), expected, rtol=0, atol=1e-12)
    assert torch.allclose(exported(u), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dims", [1, 2, 3])
@torch.no_grad()
def test_the_start_keeps_the_variance(dims: int, generator: torch.Generator) -> None:
    torch.manual_seed(0)
    network = CKConvOINR(dims, 32, 1, (64, 64, 64), support=1.0)
    h = torch.randn(1, 32, *((400, 24, 13)[dims - 1],) * dims, generator=generator)
    for layer in network.integrals[:-1]:
        h = torch.sin(layer(h, [1] * dims, network.omega_0))
    assert float(h.std()) == pytest.approx(0.7, abs=0.1)
    assert float(network.last(h, [1] * dims).std()) < 0.3


def test_mixed_kernels_start_without_a_bias() -> None:
    torch.manual_seed(0)
    network = CKConvOINR(1, 64, 1, (64,), support=1.0, separable=True)
    mixer = network.integrals[0].mixer.detach()
    assert float(mixer.mean()) == pytest.approx(0, abs=0.1)
    assert float(mixer.square().mean()) == pytest.approx(1, abs=0.1)


def test_another_spacing_shares_the_parameters(settings: dict[str, object]) -> None:
    network = make(2, settings)
    finer = network.with_spacing((0.4, 0.6))
    assert finer.spacing == (0.4, 0.6)
    own, shared = dict(network.named_parameters()), dict(finer.named_parameters())
    assert own.keys() == shared.keys()
    assert all(own[name] is shared[name] for name in own)
    assert max(finer.halo()) > max(network.halo())
    assert network.with_spacing(network.spacing).halo() == network.halo()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"spatial_dims": 4}, "spatial_dims must be 1, 2 or 3, got 4"),
        ({"support": -1.0}, "support must not be negative, got -1.0"),
        ({"support": (1.0, 1.0)}, r"support must be one number or one per layer \(3\)"),
        ({"spacing": 0.0}, "spacing must be positive, got 0.0"),
        ({"spacing": (1.0,)}, r"spacing must be one number or one per axis \(2\)"),
        ({"window": 0.0}, "window must be positive, got 0.0"),
        ({"padding": "reflect"}, "padding must be"),
        ({"padding": "causal"}, 'padding must be "valid" or "same" in 2 dimensions'),
    ],
)
def test_errors(arguments: dict[str, object], message: str) -> None:
    settings = {"spatial_dims": 2, "in_channels": 4, "out_channels": 1, "channels": (6, 5)}
    with pytest.raises(ValueError, match=message):
        CKConvOINR(**{**settings, **arguments})


# ---- as a continuous function ------------------------------------------------------------------


def ripples(size: int, length: float = 32.0) -> MetaTensor:
    """Waves of 9 mm and more over ``length`` mm, sampled at the centres of ``size``^2 pixels."""
    spacing = length / size
    x = (torch.arange(size, dtype=torch.float64) + 0.5) * spacing
    image = torch.sin(0.7 * x)[:, None] * torch.cos(0.5 * x)[None, :] + 0.02 * x[:, None]
    affine = torch.diag(torch.tensor([spacing, spacing, 1.0, 1.0], dtype=torch.float64))
    affine[:2, 3] = spacing / 2
    return MetaTensor(image[None].float(), affine=affine)


QUICK = FitConfig(
    steps=200,
    places=1_000,
    network=partial(CKConvOINR, channels=(16, 16), support=(1.5, 0, 0)),
)


@pytest.fixture(name="fitted", scope="module")
def _fitted() -> Representation:
    return fit(ripples(32), QUICK)


def test_a_fit_is_good_between_samples(fitted: Representation) -> None:
    assert fitted.info["psnr_grid"] > 30
    assert fitted.info["psnr_between"] > 30


def test_a_fitted_operator_converges_as_its_nodes_come_closer(fitted: Representation) -> None:
    points = fitted.grid.points().flatten(0, -2)[::37]
    limit = fitted.with_spacing((1 / 24, 1 / 24)).to(torch.float64).at(points)
    steps = [1 / 2, 1 / 3, 1 / 4, 1 / 6]
    answers = [fitted.with_spacing((h, h)).to(torch.float64).at(points) for h in steps]
    errors = [float((answer - limit).square().mean().sqrt()) for answer in answers]
    assert order(steps, errors) == pytest.approx(2, abs=0.4)
    # 2h/3 too is nearer to the limit than the spacing of the fit.
    coarse, closer = (
        float((fitted.with_spacing((h, h)).at(points) - limit).square().mean()) for h in (1, 2 / 3)
    )
    assert closer < coarse


def test_several_resolutions_serve_an_unseen_one_better_than_one(fitted: Representation) -> None:
    several = fit([ripples(size) for size in (32, 28, 20)], QUICK)
    unseen = ripples(24)
    grid = Grid.from_image(unseen)

    def score(representation: Representation) -> float:
        own = representation.with_spacing(grid.spacing.tolist())
        return psnr(own.sample(grid).as_tensor(), unseen.as_tensor())

    assert score(several) > score(fitted) + 3


def test_files_keep_the_kernels_and_their_spacing(fitted: Representation, tmp_path: Path) -> None:
    other = fitted.with_spacing((0.5, 0.75))
    other.save(tmp_path / "rep.oinr")
    again = Representation.load(tmp_path / "rep.oinr")
    assert again.field.network.spacing == (0.5, 0.75)
    assert torch.equal(again.sample().as_tensor(), other.sample().as_tensor())
    assert not torch.equal(again.sample().as_tensor(), fitted.sample().as_tensor())


def test_exports_to_a_program(fitted: Representation, tmp_path: Path) -> None:
    export_signal(fitted, tmp_path / "signal.pt2")
    program = torch.export.load(tmp_path / "signal.pt2").module()
    points = torch.rand(11, 2) * 30
    assert torch.allclose(program(points), fitted.at(points), rtol=0, atol=1e-4)
