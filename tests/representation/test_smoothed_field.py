"""The function smoothed by a Gaussian: against closed forms, and as a function among others."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from oinr_monai import ConvOINR, FourierEncoding, Grid, NeuralField, Representation, SplineField
from oinr_monai.grids.positions import Lattice, Scatter
from oinr_monai.images.intensity import IntensityScale
from oinr_monai.representation import smoothed_field as module
from oinr_monai.representation.exact import spline_representation
from oinr_monai.representation.smoothed_field import SmoothedField

SHAPE, SPACING = (22, 20, 12), (0.9, 1.1, 2.5)


def wave(rates: Tensor, points: Tensor) -> Tensor:
    return torch.sin(points @ rates)


def spline_of_a_wave(sigma: float) -> tuple[Representation, Tensor]:
    grid = Grid((60, 40), torch.diag(torch.tensor([0.5, 0.8, 1.0, 1.0])))
    rates = torch.tensor([0.9, 0.7], dtype=torch.float64)
    image = wave(rates, grid.points())[None]
    return spline_representation(image, grid).to(torch.float64).smoothed(sigma), rates


@pytest.mark.parametrize("sigma", [0.3, 0.7, 1.5])
def test_a_wave_loses_its_gaussian_share(sigma: float) -> None:
    # exp(-s^2 k^2 / 2) of it is left, and so of its derivatives.
    smoothed, rates = spline_of_a_wave(sigma)
    left = math.exp(-0.5 * sigma**2 * float(rates.square().sum()))
    points = torch.tensor([10.0, 10.0]) + 9 * torch.rand(50, 2, dtype=torch.float64)
    jet = smoothed.jet_at(points)
    phase = points @ rates
    scale = left * float(rates.norm())
    torch.testing.assert_close(jet.value[0], left * phase.sin(), rtol=0, atol=2e-4 * left)
    wanted = left * phase.cos() * rates[:, None]
    torch.testing.assert_close(jet.gradient[0], wanted, rtol=0, atol=1e-3 * scale)
    second = -left * phase.sin() * (rates[:, None] * rates)[..., None]
    torch.testing.assert_close(jet.hessian[0], second, rtol=0, atol=5e-3 * scale)


def field(dims: int = 3) -> NeuralField:
    torch.manual_seed(0)
    extent = [(n - 1) * h for n, h in zip(SHAPE[:dims], SPACING[:dims], strict=True)]
    encoding = SplineField(extent, [2 * h for h in SPACING[:dims]], channels=3)
    torch.nn.init.normal_(encoding.coefficients, std=0.02)  # smooth enough for its voxels
    network = ConvOINR(dims, 3, 2, (6, 6), kernel_size=1)
    return NeuralField(encoding, network, SPACING[:dims]).double().requires_grad_(False)


def smooth_field(sigma: float, dims: int = 3) -> SmoothedField:
    return SmoothedField(field(dims), sigma, SHAPE[:dims], SPACING[:dims])


def by_brute_force(sigma: float, points: Tensor, parts: int) -> Tensor:
    """The integral by a lattice of nodes ``parts`` times finer than the module's own."""
    original, own = field(2), smooth_field(sigma, 2)
    axes, weights = [], []
    for h, own_parts, size, x in zip(SPACING, own.parts, SHAPE, points.T, strict=False):
        q = h / own_parts / parts
        reach = math.ceil(7 * sigma / q)
        nodes = x[:, None] + q * torch.arange(-reach, reach + 1)
        bell = torch.exp(-((nodes - x[:, None]) ** 2) / (2 * sigma**2))
        weights.append(bell / bell.sum(1, keepdim=True))
        axes.append(nodes.clamp(0, (size - 1) * h))
    answers = []
    for i in range(len(points)):
        values = original(Lattice((axes[0][i], axes[1][i])))[0]
        answers.append(torch.einsum("cxy,x,y->c", values, weights[0][i], weights[1][i]))
    return torch.stack(answers, dim=1)


@pytest.mark.parametrize("sigma", [0.8, 1.5, 3.0])
def test_is_the_integral(sigma: float) -> None:
    last = torch.tensor([(n - 1) * h for n, h in zip(SHAPE[:2], SPACING[:2], strict=True)])
    points = torch.rand(12, 2, dtype=torch.float64) * last
    found = smooth_field(sigma, 2)(Scatter(tuple(points.T)))[0]
    wanted = by_brute_force(sigma, points, parts=4)
    # At the border the field has a kink, where the trapezoid rule is of second order only.
    assert float((found - wanted).abs().max()) < 1e-2 * float(wanted.abs().max())
    inner = ((points > 4 * sigma) & (points < last - 4 * sigma)).all(dim=1)
    torch.testing.assert_close(found[:, inner], wanted[:, inner], rtol=0, atol=2e-4)


def test_lattice_is_points_and_far_apart_points_are_near_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    smoothed = smooth_field(1.2)
    axes = tuple(torch.rand(4, dtype=torch.float64) * 12 for _ in SHAPE)
    mesh = tuple(m.flatten() for m in torch.meshgrid(*axes, indexing="ij"))
    on_lattice = smoothed(Lattice(axes), order=2).flatten(2)
    torch.testing.assert_close(smoothed(Scatter(mesh), order=2), on_lattice)
    monkeypatch.setattr(module, "KEPT_NODES", 40_000)
    again = smooth_field(1.2)
    torch.testing.assert_close(again(Scatter(mesh), order=2), on_lattice)
    torch.testing.assert_close(again(Lattice(axes), order=2).flatten(2), on_lattice)


@pytest.mark.parametrize("order", [1, 2])
def test_derivatives_are_those_of_the_smoothed_function(order: int) -> None:
    smoothed, step = smooth_field(1.2), 1e-4
    places = torch.tensor([[5.0, 6.0, 11.0], [9.3, 8.1, 14.2]], dtype=torch.float64)
    jet = smoothed(Scatter(tuple(places.T)), order)
    for d in range(3):
        offset = step * torch.eye(3, dtype=torch.float64)[d]
        ahead, behind = (
            smoothed(Scatter(tuple((places + s * offset).T)), order - 1) for s in (1, -1)
        )
        slope = (ahead - behind) / (2 * step)
        if order == 1:
            torch.testing.assert_close(jet[1 + d], slope[0], rtol=1e-6, atol=1e-7)
        else:  # row d of the Hessian, from the gradient
            rows = {0: (0, 1, 2), 1: (1, 3, 4), 2: (2, 4, 5)}[d]
            torch.testing.assert_close(jet[[4 + r for r in rows]], slope[1:4], rtol=1e-6, atol=1e-7)


def test_constants_stay_and_scales_add_up() -> None:
    grid = Grid((40, 40), torch.eye(4))
    image = torch.randn(1, 40, 40, generator=torch.Generator().manual_seed(0)).double()
    representation = spline_representation(image, grid).to(torch.float64)
    once = representation.smoothed(2.5)
    twice = spline_representation(representation.smoothed(1.5).sample().as_tensor(), grid)
    twice = twice.to(torch.float64).smoothed(2.0)
    inner = grid.crop((14, 14), (26, 26))
    torch.testing.assert_close(
        once.sample(inner).as_tensor(), twice.sample(inner).as_tensor(), rtol=0, atol=2e-3
    )
    assert representation.smoothed(0) is representation


def test_in_the_world(oblique_affine: Tensor) -> None:
    # The same numbers on an oblique grid: a Gaussian of sigma mm has no direction.
    torch.manual_seed(0)
    straight = Grid(SHAPE, torch.diag(torch.tensor([*SPACING, 1.0])))
    turned = Grid(SHAPE, oblique_affine)
    scale = IntensityScale((10.0, 20.0), (2.0, 3.0), (0.0, 0.0))
    one, other = (Representation(field(), grid, scale).smoothed(1.0) for grid in (straight, turned))
    assert torch.allclose(one.sample().as_tensor(), other.sample().as_tensor())
    length = [r.gradient().as_tensor().unflatten(0, (2, 3)).norm(dim=1) for r in (one, other)]
    torch.testing.assert_close(length[0], length[1], rtol=1e-5, atol=1e-6)


def test_refuses(sheared_affine: Tensor, tmp_path: Path) -> None:
    grid = Grid(SHAPE, sheared_affine)
    encoding = FourierEncoding(grid.extent.tolist(), grid.spacing.tolist(), bands=2)
    network = ConvOINR(3, 12, 1, channels=(8,), kernel_size=1)
    original = NeuralField(encoding, network, grid.spacing.tolist())
    representation = Representation(original, grid, IntensityScale((0.0,), (1.0,), (0.0,)))
    with pytest.raises(ValueError, match=r"right angles, got 1\.5"):
        representation.smoothed(1.5)
    with pytest.raises(ValueError, match="sigma must be positive, got -1"):
        smooth_field(-1.0)
    with pytest.raises(ValueError, match="spacing must be positive, got"):
        SmoothedField(original, 1.0, SHAPE, (1.0, 0.0, 1.0))
    straight = Grid(SHAPE, torch.diag(torch.tensor([*SPACING, 1.0])))
    smoothed = Representation(original, straight, representation.scale).smoothed(1.0)
    with pytest.raises(ValueError, match="as it was fitted"):
        smoothed.save(tmp_path / "smoothed.oinr")
    assert not any(tmp_path.iterdir())
