"""Differential invariants against closed forms, scikit-image and SimpleITK."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy.spatial.transform import Rotation
from skimage.feature import structure_tensor as skimage_structure_tensor
from skimage.filters import frangi
from torch import Tensor

from oinr_monai.analysis.invariants import (
    gaussian_curvature,
    gradient_magnitude,
    hessian_eigenvalues,
    laplacian,
    mean_curvature,
    objectness,
    smooth,
    structure_tensor,
)
from oinr_monai.grids.jets import Jet, upper_triangle

POINTS = [[1.5, -0.4, 2.0], [-2.1, 0.7, 0.3], [0.2, 1.1, -1.6]]


def jet_of(function: Callable[[Tensor], Tensor], points: Tensor) -> Jet:
    """The jet of one signal (D,) to a number at points (N, D), by differentiating it."""
    value = torch.func.vmap(function)(points)
    gradient = torch.func.vmap(torch.func.grad(function))(points)
    hessian = torch.func.vmap(torch.func.hessian(function))(points)
    return Jet(value[None], gradient.T[None], hessian.movedim(0, -1)[None])


@pytest.fixture
def points() -> Tensor:
    return torch.tensor(POINTS, dtype=torch.float64)


def quadric(x: Tensor, matrix: Tensor) -> Tensor:
    return torch.sin(0.3 * x @ matrix @ x) + x.sum()


@pytest.mark.parametrize("bright", [1.0, -1.0])
def test_curvatures_of_spheres_and_tubes(bright: float, points: Tensor) -> None:
    ball = jet_of(lambda x: bright * torch.exp(-x.square().sum() / 9), points)
    radius = points.norm(dim=1)
    torch.testing.assert_close(mean_curvature(ball)[0], bright / radius)
    torch.testing.assert_close(gaussian_curvature(ball)[0], radius**-2)
    tube = jet_of(lambda x: bright * torch.exp(-x[:2].square().sum() / 9), points)
    torch.testing.assert_close(mean_curvature(tube)[0], bright / 2 / points[:, :2].norm(dim=1))
    torch.testing.assert_close(
        gaussian_curvature(tube)[0], torch.zeros(3).double(), atol=1e-15, rtol=0
    )


def test_a_saddle_has_negative_curvature_and_a_plane_none(points: Tensor) -> None:
    saddle = jet_of(lambda x: x[2] - x[0] * x[1], torch.zeros(1, 3).double())
    torch.testing.assert_close(gaussian_curvature(saddle), torch.tensor([[-1.0]]).double())
    plane = jet_of(lambda x: 2 * x[0] - x[2], points)
    flat = jet_of(lambda x: 0 * x.sum(), points)
    for jet in (plane, flat):
        assert float(mean_curvature(jet).abs().max()) == 0
        assert float(gaussian_curvature(jet).abs().max()) == 0


def test_a_circle_in_the_plane() -> None:
    at = torch.tensor([[1.2, 1.6]], dtype=torch.float64)
    circle = jet_of(lambda x: -x.norm(), at)
    torch.testing.assert_close(mean_curvature(circle), torch.tensor([[0.5]]).double())
    with pytest.raises(ValueError, match="3 dimensions, got 2"):
        gaussian_curvature(circle)


def test_invariants_do_not_turn_with_the_world(points: Tensor) -> None:
    turn = torch.from_numpy(Rotation.from_euler("xyz", [0.3, -0.8, 1.1]).as_matrix())
    matrix = torch.tensor([[1.0, 0.4, 0.0], [0.4, -0.7, 0.2], [0.0, 0.2, 0.5]]).double()
    here = jet_of(lambda x: quadric(x, matrix), points)
    turned = jet_of(lambda x: quadric(turn.T @ x, matrix), points @ turn.T)
    for invariant in (
        gradient_magnitude,
        laplacian,
        hessian_eigenvalues,
        mean_curvature,
        gaussian_curvature,
    ):
        torch.testing.assert_close(invariant(here), invariant(turned), rtol=1e-9, atol=1e-9)


def test_eigenvalues_solve_the_characteristic_equation(points: Tensor) -> None:
    jet = jet_of(lambda x: quadric(x, torch.diag(torch.tensor([1.0, -0.5, 0.2]).double())), points)
    values = hessian_eigenvalues(jet)[0]
    assert bool((values.diff(dim=0) <= 0).all())
    torch.testing.assert_close(values.sum(0), laplacian(jet)[0])
    product = torch.linalg.det(jet.hessian[0].movedim(-1, 0))
    torch.testing.assert_close(values.prod(0), product, rtol=1e-8, atol=1e-10)


def eigenvalues_of(generator: torch.Generator, dims: int = 3) -> Tensor:
    matrices = torch.randn(1, 500, dims, dims, generator=generator, dtype=torch.float64)
    matrices = matrices + matrices.mT
    return torch.linalg.eigvalsh(matrices).movedim(-1, 1)


@pytest.mark.parametrize("dimension", [0, 1, 2])
@pytest.mark.parametrize("bright", [True, False])
def test_objectness_is_that_of_itk(
    dimension: int, bright: bool, generator: torch.Generator
) -> None:
    # A quadratic image has one Hessian: ITK sees it, away from the border, without any smoothing.
    for _ in range(4):
        matrix = torch.randn(3, 3, generator=generator, dtype=torch.float64)
        if bool(torch.rand((), generator=generator) < 0.7):
            matrix = (-1 if bright else 1) * matrix @ matrix.T
        matrix = matrix + matrix.T
        x = torch.stack(torch.meshgrid(*[torch.arange(-9.0, 10.0).double()] * 3, indexing="ij"), -1)
        image = sitk.GetImageFromArray(0.5 * torch.einsum("...i,ij,...j", x, matrix, x).numpy())
        smoothed = sitk.ObjectnessMeasure(
            image,
            0.5,
            0.5,
            2.0,
            scaleObjectnessMeasure=False,
            objectDimension=dimension,
            brightObject=bright,
        )
        wanted = sitk.GetArrayFromImage(smoothed)[9, 9, 9]
        eigenvalues = torch.linalg.eigvalsh(matrix)[None]
        found = objectness(eigenvalues, dimension, bright, gamma=2.0)
        assert float(found) == pytest.approx(float(wanted), abs=1e-6)


def test_vesselness_is_that_of_scikit_image(generator: torch.Generator) -> None:
    # The same formula on the same Hessian: skimage's own, by finite differences of its smoothing.
    from skimage.feature import hessian_matrix, hessian_matrix_eigvals

    image = smooth(torch.randn(1, 24, 22, 20, generator=generator).double(), 2.0, (1.0, 1.0, 1.0))
    array = image[0].numpy()
    for sigma in (1.0, 2.0):
        elements = hessian_matrix(array, sigma, use_gaussian_derivatives=True, mode="reflect")
        eigenvalues = torch.from_numpy(hessian_matrix_eigvals(elements).copy())[None]
        wanted = frangi(array, [sigma], black_ridges=False, mode="reflect")
        found = objectness(eigenvalues, 1)[0].numpy()
        # It lets an eigenvalue that is a rounding error below 0 pass for one that is above.
        assert (np.abs(found - wanted) > 1e-6).mean() < 1e-3


def test_objects_are_told_apart() -> None:
    shapes = {0: [-1.0, -1.0, -1.0], 1: [0.01, -1.0, -1.0], 2: [0.01, 0.02, -1.0]}
    for dimension, values in shapes.items():
        for order in permutations(values):
            eigenvalues = torch.tensor([order])
            scores = [float(objectness(eigenvalues, m, gamma=0.5)) for m in range(3)]
            assert int(np.argmax(scores)) == dimension
            assert all(float(objectness(eigenvalues, m, False, gamma=0.5)) == 0 for m in range(3))
    assert float(objectness(torch.zeros(1, 3, 1), 1)) == 0
    with pytest.raises(ValueError, match="0 to 2, got 3"):
        objectness(torch.zeros(1, 3, 1), 3)


def test_structure_tensor_is_that_of_scikit_image(generator: torch.Generator) -> None:
    image = smooth(torch.randn(1, 30, 28, generator=generator).double(), 3.0, (1.0, 1.0))
    slopes = np.stack(np.gradient(image[0].numpy()))
    gradient = torch.from_numpy(slopes)[None]
    jet = Jet(image, gradient, torch.zeros(1, 2, 2, *image.shape[1:]))
    found = smooth(upper_triangle(structure_tensor(jet))[0], 2.0, (1.0, 1.0)).numpy()
    # Its Sobel filters have a gain of 8.
    wanted = np.stack(skimage_structure_tensor(image[0].numpy(), sigma=2.0, order="rc")) / 64
    inner = (slice(None), slice(8, -8), slice(8, -8))
    scale = np.abs(wanted[inner]).max()
    # Its derivatives are Sobel's, these are central differences: alike on a smooth image.
    assert np.abs(found[inner] / scale - wanted[inner] / scale).max() < 0.1


def test_smoothing_keeps_constants_and_widths() -> None:
    assert float((smooth(torch.ones(1, 9, 9), 2.0, (1.0, 3.0)) - 1).abs().max()) < 1e-6
    blob = torch.zeros(1, 41, 41).double()
    blob[0, 20, 20] = 1
    wide = smooth(blob, 3.0, (1.0, 0.75))
    for axis, spacing in ((1, 1.0), (2, 0.75)):
        along = wide.sum(3 - axis)[0]
        offsets = (torch.arange(41.0) - 20) * spacing
        assert float((along * offsets.square()).sum()) == pytest.approx(9, rel=1e-3)


@pytest.mark.parametrize("unit", [1e-36, 1e-22, 1e-9, 1e10, 1e25, 1e33])
def test_no_invariant_knows_the_unit_of_intensity(unit: float, generator: torch.Generator) -> None:
    gradient = torch.randn(1, 3, 200, generator=generator)
    hessian = torch.randn(1, 3, 3, 200, generator=generator)
    hessian = hessian + hessian.transpose(1, 2)
    jet = Jet(gradient[:, 0], gradient, hessian)
    other = Jet(*(unit * part for part in jet))
    for curvature in (mean_curvature, gaussian_curvature):
        torch.testing.assert_close(curvature(other), curvature(jet), rtol=1e-3, atol=1e-5)
    squared = structure_tensor(other) / unit**2
    torch.testing.assert_close(squared, structure_tensor(jet), rtol=1e-5, atol=1e-6)
    for linear in (gradient_magnitude, hessian_eigenvalues, laplacian):
        torch.testing.assert_close(linear(other) / unit, linear(jet), rtol=1e-4, atol=1e-5)
    seen, found = hessian_eigenvalues(jet), hessian_eigenvalues(other)
    for dimension in range(3):
        wanted = objectness(seen, dimension, bright=False)
        assert float(wanted.max()) > 0.1
        torch.testing.assert_close(
            objectness(found, dimension, bright=False), wanted, rtol=1e-3, atol=1e-5
        )
