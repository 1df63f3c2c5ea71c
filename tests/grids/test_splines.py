"""B-splines against scipy, their own derivatives, and a smooth function."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline
from scipy.ndimage import map_coordinates
from torch import Tensor

from oinr_monai.grids import splines
from oinr_monai.grids.positions import Lattice, Scatter
from oinr_monai.grids.splines import CubicInterpolant, bspline_weights, evaluate, jet

SHAPES = [(9,), (8, 7), (6, 7, 5), (1,), (2,), (1, 6), (6, 2), (5, 1, 2), (2, 2, 2)]


def indices(shape: tuple[int, ...]) -> Lattice:
    return Lattice(tuple(torch.arange(n, dtype=torch.float64) for n in shape))


def scattered(shape: tuple[int, ...], generator: torch.Generator, count: int = 50) -> Scatter:
    last = torch.tensor(shape, dtype=torch.float64) - 1
    places = torch.rand(count, len(shape), generator=generator, dtype=torch.float64) * last
    places[0], places[1] = 0, last
    return Scatter(tuple(places.T))


def random_lattice(shape: tuple[int, ...], generator: torch.Generator) -> Lattice:
    return Lattice(
        tuple((n - 1) * torch.rand(6, generator=generator, dtype=torch.float64) for n in shape)
    )


def by_scipy(image: Tensor, axes: tuple[Tensor, ...]) -> Tensor:
    places = np.stack([x.numpy() for x in axes])
    return torch.stack(
        [
            torch.from_numpy(map_coordinates(c, places, order=3, mode="mirror"))
            for c in image.double().numpy()
        ]
    )


@pytest.mark.parametrize("derivative", [0, 1, 2])
def test_weights_sum_to_a_constant(derivative: int) -> None:
    t = torch.linspace(0, 1, 101, dtype=torch.float64)
    total = bspline_weights(t, derivative).sum(-1)
    assert torch.allclose(total, torch.full_like(t, float(derivative == 0)), rtol=0, atol=1e-14)


@pytest.mark.parametrize("derivative", [1, 2])
def test_derivatives_of_weights_are_their_slopes(derivative: int) -> None:
    t, h = torch.linspace(0.1, 0.9, 17, dtype=torch.float64), 1e-5
    after, before = (bspline_weights(t + s, derivative - 1) for s in (h, -h))
    slope = bspline_weights(t, derivative)
    assert torch.allclose((after - before) / (2 * h), slope, rtol=0, atol=1e-9)


@pytest.mark.parametrize("derivative", [0, 1, 2])
def test_weights_go_on_across_a_knot(derivative: int) -> None:
    one, zero = torch.ones((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    before, after = bspline_weights(one, derivative), bspline_weights(zero, derivative)
    assert torch.allclose(before[1:], after[:3], rtol=0, atol=1e-15)
    assert float(before[0].abs() + after[3].abs()) < 1e-15


@pytest.mark.parametrize("shape", SHAPES)
def test_exact_at_the_samples(shape: tuple[int, ...], generator: torch.Generator) -> None:
    image = torch.rand(2, *shape, generator=generator)
    assert torch.allclose(CubicInterpolant(image)(indices(shape)), image, rtol=0, atol=2e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_equal_to_scipy_between_the_samples(
    shape: tuple[int, ...], generator: torch.Generator
) -> None:
    image = torch.rand(2, *shape, generator=generator)
    interpolant = CubicInterpolant(image)
    points = scattered(shape, generator)
    wanted = by_scipy(image, points.axes)
    assert torch.allclose(interpolant(points).double(), wanted, rtol=0, atol=2e-6)
    places = random_lattice(shape, generator)
    mesh = torch.meshgrid(*places.axes, indexing="ij")
    wanted = by_scipy(image, mesh)
    assert interpolant(places).shape == (2, *places.shape)
    assert torch.allclose(interpolant(places).double(), wanted, rtol=0, atol=2e-6)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("order", [0, 1, 2])
def test_lattice_equals_scattered(dims: int, order: int, generator: torch.Generator) -> None:
    coefficients = torch.randn(2, *(9, 8, 7)[:dims], generator=generator, dtype=torch.float64)
    axes = tuple(
        1 + (n - 3) * torch.rand(5, generator=generator, dtype=torch.float64)
        for n in coefficients.shape[1:]
    )
    mesh = tuple(m.flatten() for m in torch.meshgrid(*axes, indexing="ij"))
    for degree in (3, 5):
        on_lattice = jet(coefficients, Lattice(axes), order, degree=degree).flatten(2)
        at_points = jet(coefficients, Scatter(mesh), order, degree=degree)
        assert torch.allclose(on_lattice, at_points, rtol=0, atol=1e-12)


@pytest.mark.parametrize("degree", [3, 5])
def test_weights_are_those_of_scipy(degree: int, generator: torch.Generator) -> None:
    fraction = torch.rand(9, generator=generator, dtype=torch.float64)
    knots = np.arange(degree + 2) - (degree + 1) / 2
    basis = BSpline.basis_element(knots, extrapolate=False)
    offsets = np.arange(degree + 1) - (degree - 1) // 2
    for derivative in range(3):
        curve = basis.derivative(derivative) if derivative else basis
        wanted = np.nan_to_num(curve(fraction.numpy()[:, None] - offsets))
        found = bspline_weights(fraction, derivative, degree).numpy()
        assert np.allclose(found, wanted, rtol=0, atol=1e-12)


def test_beyond_its_knots_it_keeps_its_value(generator: torch.Generator) -> None:
    coefficients = torch.randn(1, 9, 9, generator=generator, dtype=torch.float64)
    x = torch.tensor([0.3, 1.0, 7.0, 8.5], dtype=torch.float64)
    inside = torch.full_like(x, 3.2)
    found = jet(coefficients, Scatter((x, inside)), order=1)
    assert float(found[0, 0, 0]) == float(found[0, 0, 1])
    assert float(found[0, 0, 3]) == float(found[0, 0, 2])
    assert float(found[1, 0, 0]) == float(found[1, 0, 3]) == 0
    assert float(found[1, 0, 1:3].abs().min()) > 0


def test_far_apart_places_skip_the_knots_between(generator: torch.Generator) -> None:
    coefficients = torch.randn(1, 400, generator=generator, dtype=torch.float64)
    x = torch.tensor([1.0, 200.5, 398.0], dtype=torch.float64)
    on_lattice = evaluate(coefficients, Lattice((x,)))
    assert torch.allclose(on_lattice, evaluate(coefficients, Scatter((x,))), atol=1e-13)


def test_many_points_are_the_same_in_chunks(
    generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    interpolant = CubicInterpolant(torch.rand(1, 6, 7, generator=generator))
    points = scattered((6, 7), generator)
    whole = interpolant(points)
    monkeypatch.setattr(splines, "POINTS_AT_ONCE", 7)
    assert torch.equal(interpolant(points), whole)


def test_error_falls_with_the_fourth_power_of_the_spacing() -> None:
    # A cosine over half a period is its own mirror image, so no border spoils the order.
    spacings, errors = [], []
    places = torch.linspace(0, 1, 997, dtype=torch.float64)
    for n in (9, 13, 17, 25):
        samples = torch.cos(torch.pi * torch.linspace(0, 1, n, dtype=torch.float64))[None]
        value = CubicInterpolant(samples)(Scatter((places * (n - 1),)))
        spacings.append(1 / (n - 1))
        errors.append(float((value[0].double() - torch.cos(torch.pi * places)).abs().max()))
    slope = np.polyfit(np.log(spacings), np.log(errors), 1)[0]
    assert slope == pytest.approx(4, abs=0.15)


@pytest.mark.parametrize("order", [0, 2])
@pytest.mark.parametrize("sort", [True, False])
def test_long_axes_are_the_same_in_parts(
    order: int, sort: bool, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    coefficients = torch.randn(2, 12, 40, 31, generator=generator, dtype=torch.float64)
    axes = [
        1 + (n - 4) * torch.rand(m, generator=generator, dtype=torch.float64)
        for n, m in zip(coefficients.shape[1:], (5, 60, 47), strict=True)
    ]
    lattice = Lattice(tuple(x.sort().values if sort else x for x in axes))
    in_parts = jet(coefficients, lattice, order)
    monkeypatch.setattr(splines, "PLACES_AT_ONCE", 10**6)
    assert torch.allclose(in_parts, jet(coefficients, lattice, order), rtol=0, atol=1e-12)


@pytest.mark.parametrize("taps", [splines.FEW_TAPS, splines.FEW_TAPS + 1])
def test_slopes_of_sums_of_rows_are_those_of_the_plain_sum(
    taps: int, generator: torch.Generator
) -> None:
    rows = torch.rand(9, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    index = torch.randint(9, (20, taps), generator=generator)
    weights = torch.rand(20, taps, generator=generator, dtype=torch.float64)
    score = torch.rand(20, 3, generator=generator, dtype=torch.float64)
    plain = (rows[index] * weights[:, :, None]).sum(dim=1)
    (wanted,) = torch.autograd.grad((plain * score).sum(), rows)
    (found,) = torch.autograd.grad((splines._sums(rows, index, weights) * score).sum(), rows)
    torch.testing.assert_close(found, wanted)


def test_derivatives_are_by_the_step(generator: torch.Generator) -> None:
    values = torch.rand(1, 8, 9, generator=generator, dtype=torch.float64)
    places = scattered((8, 9), generator)
    plain, by_step = (jet(values, places, 2, steps) for steps in (None, [2.0, 0.5]))
    for entry, factor in enumerate([1, 1 / 2, 2, 1 / 4, 1, 4]):
        torch.testing.assert_close(by_step[entry], factor * plain[entry])
