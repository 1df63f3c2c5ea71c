"""The flow of a velocity: closed forms, its order, and that it folds nowhere."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from oinr_monai import Grid
from oinr_monai.motion import VectorSpline, Velocity
from oinr_monai.motion.flowing import exponential
from tests.motion.makers import knots, places, wobble


def linear(matrix: torch.Tensor) -> VectorSpline:
    """A velocity that is linear about the middle of its knots."""
    grid = Grid((12, 12), torch.eye(4))
    vectors = (grid.points() - 5.5) @ matrix.T
    return VectorSpline(vectors.movedim(-1, 0), grid)


def test_the_flow_of_a_linear_velocity_is_the_matrix_exponential_to_fourth_order() -> None:
    matrix = torch.tensor([[0.3, -0.8], [0.5, -0.2]], dtype=torch.float64)
    points = 5.5 + torch.tensor([[1.0, 0.5], [-0.7, 1.2]], dtype=torch.float64)
    truth = 5.5 + (points - 5.5) @ torch.linalg.matrix_exp(matrix).T
    errors = [
        float((Velocity(linear(matrix), steps).at(points) - truth).norm()) for steps in (4, 8, 16)
    ]
    orders = [math.log2(a / b) for a, b in pairwise(errors)]
    assert all(3.8 < order < 4.3 for order in orders)


def test_steps_follow_the_slope_so_that_each_is_invertible(generator: torch.Generator) -> None:
    gentle, wild = (wobble(generator, size) for size in (0.1, 8.0))
    for field in (gentle, wild):
        steps = Velocity(field).at(places(generator, knots())), field.steepness
        assert torch.isfinite(steps[0]).all()
    points = places(generator, knots(), 300)
    determinants = torch.linalg.det(Velocity(wild).jacobian_at(points))
    assert float(determinants.min()) > 0
    # The same with too few steps does fold: the rule is needed.
    folded = torch.linalg.det(Velocity(wild, steps=1).jacobian_at(points))
    assert float(folded.min()) < 0


def test_the_bound_of_the_slope_holds(generator: torch.Generator) -> None:
    field = wobble(generator, 2.0)
    _, slopes = field.jet_at(places(generator, knots(), 500))
    largest = float(torch.linalg.matrix_norm(slopes, ord=2).max())
    assert largest <= field.steepness < 6 * largest


def test_the_determinant_is_the_exponential_of_the_divergence() -> None:
    matrix = torch.tensor([[0.3, -0.8], [0.5, -0.2]], dtype=torch.float64)
    motion = Velocity(linear(matrix), steps=32)
    middle = torch.full((1, 2), 5.5)
    found = float(torch.linalg.det(motion.jacobian_at(middle)))
    assert found == pytest.approx(math.exp(0.1), rel=1e-7)


def test_splines_of_what_does_not_fit_are_refused() -> None:
    grid, values = knots((4, 5), 2.0), torch.zeros(2, 4, 5)
    for one in (torch.nan, torch.inf):
        broken = values.clone()
        broken[1, 3, 4] = one
        with pytest.raises(ValueError, match="coefficients must be finite"):
            VectorSpline(broken, grid)
    with pytest.raises(ValueError, match="coefficients must have shape"):
        VectorSpline(values[:1], grid)
    with pytest.raises(ValueError, match="grid must have 4 knots along each axis"):
        VectorSpline(values[:, :, :3], knots((4, 3), 2.0))
    assert VectorSpline(values[:, :, :4], knots((4, 4), 2.0)).scaled(2.0).grid.shape == (4, 4)


def test_halved_knots_are_the_same_function(generator: torch.Generator) -> None:
    field, points = wobble(generator), places(generator, knots(), 200)
    torch.testing.assert_close(field.refined().at(points), field.at(points), rtol=0, atol=1e-12)


def test_sampled_it_is_quick_and_the_same_to_a_hundredth_of_a_knot(
    generator: torch.Generator,
) -> None:
    smooth = wobble(generator, 6.0, knots((5, 5, 5), 16.0)).refined().refined()
    motion, points = Velocity(smooth), places(generator, smooth.grid, 200, beyond=-1.0)
    moved = motion.at(points)
    assert float((moved - points).norm(dim=1).max()) > 4
    assert float((motion.sampled().at(points) - moved).norm(dim=1).max()) < 0.04


def test_scaling_and_squaring_follows_the_flow_of_a_smooth_velocity(
    generator: torch.Generator,
) -> None:
    shape = (24, 24, 24)
    grid = Grid(shape, torch.eye(4))
    coarse = Grid((6, 6, 6), torch.diag(torch.tensor([8.0, 8.0, 8.0, 1.0]))).shift([-1.0] * 3)
    field = wobble(generator, 3.0, coarse)
    quick = exponential(field.on(grid).movedim(-1, 0).float()).movedim(0, -1)
    exact = Velocity(field).on(grid) - grid.points()
    inner = (slice(3, -3),) * 3
    assert float((quick - exact)[inner].norm(dim=-1).max()) < 0.1
    assert float(exact[inner].norm(dim=-1).max()) > 1.5
