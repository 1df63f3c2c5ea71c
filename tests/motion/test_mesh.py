"""Knots over an image: values and their adjoint, the bending energy in closed form."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from oinr_monai import Grid
from oinr_monai.motion.mesh import Mesh, mesh_over
from tests.motion.makers import knots

SPACING = (2.0, 3.0, 1.5)


@pytest.fixture(params=[2, 3])
def mesh(request: pytest.FixtureRequest) -> Mesh:
    """Rotated knots, and places among them that are closer."""
    grid = knots((8, 9, 7)[: request.param])
    dims = request.param
    return Mesh(grid, grid.crop([1] * dims, [n - 1 for n in grid.shape]).refine(2))


def straight(shape: tuple[int, ...] = (7, 6, 8)) -> Mesh:
    grid = Grid(shape, torch.diag(torch.tensor([*SPACING, 1.0])))
    return Mesh(grid, grid)


def unit(mesh: Mesh, knot: tuple[int, ...]) -> Tensor:
    one = torch.zeros(mesh.dims, *mesh.knots.shape)
    one[(0, *knot)] = 1
    return one


def test_values_are_those_of_the_spline(mesh: Mesh, generator: torch.Generator) -> None:
    coefficients = torch.randn(mesh.dims, *mesh.knots.shape, generator=generator)
    along = torch.einsum("ij,j...->i...", mesh.knots.directions, mesh.dense(coefficients).double())
    truth = mesh.spline(coefficients).on(mesh.places)
    torch.testing.assert_close(along.movedim(0, -1), truth, rtol=0, atol=1e-5)


def test_forces_come_back_by_the_adjoint(mesh: Mesh, generator: torch.Generator) -> None:
    coefficients = torch.randn(mesh.dims, *mesh.knots.shape, generator=generator)
    forces = torch.randn(mesh.dims, *mesh.places.shape, generator=generator)
    there = float((mesh.dense(coefficients) * forces).sum())
    assert there == pytest.approx(float((coefficients * mesh.adjoint(forces)).sum()), rel=1e-4)


def test_weights_are_spread_by_squared_splines(mesh: Mesh, generator: torch.Generator) -> None:
    weights = torch.rand(mesh.places.shape, generator=generator)
    spread = mesh.spread(weights)
    for knot in ((3,) * mesh.dims, (1,) * mesh.dims, (0, *[4] * (mesh.dims - 1))):
        expected = float((weights * mesh.dense(unit(mesh, knot))[0] ** 2).sum())
        assert float(spread[knot]) == pytest.approx(expected, rel=1e-5, abs=1e-7)


def test_bending_is_the_mean_of_squared_second_derivatives() -> None:
    mesh = straight()
    x, y, z = torch.meshgrid(*[torch.arange(float(n)) - 3 for n in mesh.knots.shape], indexing="ij")
    nothing = torch.zeros_like(x)
    a, b, c = SPACING
    # Splines whose coefficients are a parabola's are that parabola, up to a constant.
    cases = [
        (x**2, (2 / a**2) ** 2),
        (z**2 / 2 - y**2, (1 / c**2) ** 2 + (2 / b**2) ** 2),
        (x * y, 2 / (a * b) ** 2),
        (2 * x * z + 5, 8 / (a * c) ** 2),
        (3 * x - y + 2 * z + 1, 0.0),
    ]
    for k, (shape, energy) in enumerate(cases):
        vectors = [nothing] * 3
        vectors[k % 3] = shape
        coefficients = torch.stack(vectors)
        found = float((coefficients * mesh.bent(coefficients)).sum())
        assert found == pytest.approx(energy, rel=1e-4, abs=1e-4)


def test_the_stiffness_is_the_diagonal_of_the_bending(mesh: Mesh) -> None:
    for knot in ((3,) * mesh.dims, (0, *[2] * (mesh.dims - 1)), (1,) * mesh.dims):
        bent = mesh.bent(unit(mesh, knot))
        assert float(mesh.stiffness[knot]) == pytest.approx(float(bent[(0, *knot)]), rel=1e-5)


def test_halved_knots_hold_the_same_function(mesh: Mesh, generator: torch.Generator) -> None:
    coefficients = torch.randn(mesh.dims, *mesh.knots.shape, generator=generator)
    finer, halved = mesh.refined(coefficients)
    assert torch.allclose(finer.knots.spacing, mesh.knots.spacing / 2)
    torch.testing.assert_close(finer.dense(halved), mesh.dense(coefficients), rtol=0, atol=1e-5)


def test_places_must_lie_along_the_knots() -> None:
    with pytest.raises(ValueError, match="places must lie along the axes of knots"):
        _ = Mesh(knots(), Grid((4, 4, 4), torch.eye(4))).rows


@pytest.mark.parametrize("spacing", [2.5, 4.0, 100.0])
def test_knots_reach_over_the_whole_image_and_no_farther(spacing: float) -> None:
    image = Grid((9, 4, 1), knots((4, 4, 4), 2.0).affine)
    mesh = mesh_over(image, spacing, image)
    torch.testing.assert_close(mesh.knots.spacing, torch.full((3,), spacing).double())
    ends = torch.tensor([[0.0, 0, 0], [8.0, 3, 0]]).double()
    at = mesh.knots.to_voxel(image.to_world(ends))
    last = torch.tensor(mesh.knots.shape) - 1
    assert bool((at > 1 - 1e-6).all())
    assert bool((at < last - 1 + 1e-6).all())
    # As far from the knots at one end as at the other, and with no cell to spare.
    torch.testing.assert_close(at[0], last - at[1])
    cells = [max(math.ceil(e / spacing), 1) for e in (16.0, 6.0, 0.0)]
    assert [n - 3 for n in mesh.knots.shape] == cells
