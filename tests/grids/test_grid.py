"""Places of voxels in the world: every change of grid against the points it must keep."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from torch import Tensor

from oinr_monai import Grid
from tests.strategies import grids

KINDS = ["straight", "anisotropic", "oblique", "left-handed", "sheared"]
SHAPE = (5, 6, 4)


def affine_of(kind: str, dims: int) -> Tensor:
    """A (D + 1, D + 1) affine of one kind, off the origin."""
    affine = torch.eye(dims + 1, dtype=torch.float64)
    affine[:dims, dims] = torch.tensor([31.25, -47.5, 12.125], dtype=torch.float64)[:dims]
    if kind == "straight":
        return affine
    spacing = torch.tensor([0.9, 1.1, 2.5], dtype=torch.float64)[:dims]
    generator = torch.Generator().manual_seed(dims)
    turn = torch.randn(dims, dims, generator=generator, dtype=torch.float64)
    rotation = torch.linalg.matrix_exp(0.3 * (turn - turn.T))
    if kind == "left-handed":
        rotation[:, 0] *= -1
    affine[:dims, :dims] = torch.diag(spacing) if kind == "anisotropic" else rotation * spacing
    if kind == "sheared" and dims > 1:
        affine[0, dims - 1] += 0.4
    return affine


def grid_of(kind: str, dims: int) -> Grid:
    return Grid(SHAPE[:dims], affine_of(kind, dims))


every_grid = [
    pytest.param(grid_of(kind, dims), id=f"{kind}-{dims}d") for kind in KINDS for dims in (1, 2, 3)
]


def close(a: Tensor, b: Tensor, atol: float = 1e-10) -> bool:
    return a.shape == b.shape and torch.allclose(a.double(), b.double(), rtol=0, atol=atol)


@pytest.mark.parametrize("grid", every_grid)
def test_world_and_voxel_are_inverse(grid: Grid, generator: torch.Generator) -> None:
    voxels = 20 * torch.rand(7, grid.spatial_dims, generator=generator, dtype=torch.float64) - 5
    assert close(grid.to_voxel(grid.to_world(voxels)), voxels, 1e-11)
    assert close(grid.to_world(grid.to_voxel(voxels)), voxels, 1e-11)


@pytest.mark.parametrize("grid", every_grid)
def test_points_are_the_affine_at_the_indices(grid: Grid) -> None:
    points = grid.points()
    assert points.shape == (*grid.shape, grid.spatial_dims)
    assert points.dtype == torch.float64
    last = torch.tensor([size - 1 for size in grid.shape])
    homogeneous = torch.zeros(4, dtype=torch.float64)
    homogeneous[: len(last)], homogeneous[3] = last, 1
    assert close(points[tuple(last)], (grid.affine @ homogeneous)[: len(last)])
    assert close(points[(0,) * len(last)], grid.origin)


@pytest.mark.parametrize("grid", every_grid)
def test_spacing_extent_and_directions_by_hand(grid: Grid) -> None:
    points = grid.points()
    for d in range(grid.spatial_dims):
        line = points.movedim(d, 0).flatten(1, -2)[:, 0] if grid.spatial_dims > 1 else points
        step = line[1] - line[0]
        assert float(step.norm()) == pytest.approx(float(grid.spacing[d]), rel=1e-12)
        assert float((line[-1] - line[0]).norm()) == pytest.approx(float(grid.extent[d]), rel=1e-12)
        assert close(step, grid.directions[:, d] * grid.spacing[d])


@pytest.mark.parametrize("grid", every_grid)
def test_crop_keeps_places(grid: Grid) -> None:
    start = [1] * grid.spatial_dims
    stop = [size - 1 for size in grid.shape]
    box = grid.crop(start, stop)
    inner = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    assert close(box.points(), grid.points()[inner])


@pytest.mark.parametrize("grid", every_grid)
def test_pad_keeps_places_and_crop_undoes_it(grid: Grid) -> None:
    halo = [1, 2, 3][: grid.spatial_dims]
    padded = grid.pad(halo)
    inner = tuple(slice(h, -h) for h in halo)
    assert close(padded.points()[inner], grid.points())
    stop = [h + size for h, size in zip(halo, grid.shape, strict=True)]
    assert close(padded.crop(halo, stop).affine, grid.affine)
    assert grid.pad(2).shape == tuple(size + 4 for size in grid.shape)


@pytest.mark.parametrize("grid", every_grid)
def test_shift_moves_along_the_axes(grid: Grid) -> None:
    by = torch.tensor([0.25, -1.5, 0.75], dtype=torch.float64)[: grid.spatial_dims]
    moved = grid.shift(by.tolist())
    assert moved.shape == grid.shape
    assert close(moved.points() - grid.points(), (grid.matrix @ by).expand_as(moved.points()))


@pytest.mark.parametrize("grid", every_grid)
@pytest.mark.parametrize("factors", [(2, 2, 2), (3, 1, 4)])
def test_refine_shares_every_nth_voxel(grid: Grid, factors: tuple[int, ...]) -> None:
    factors = factors[: grid.spatial_dims]
    fine = grid.refine(factors)
    shared = tuple(slice(None, None, factor) for factor in factors)
    assert fine.shape == tuple((n - 1) * f + 1 for n, f in zip(grid.shape, factors, strict=True))
    assert close(fine.points()[shared], grid.points())
    assert close(fine.extent, grid.extent)


@pytest.mark.parametrize("grid", every_grid)
def test_with_spacing_keeps_origin_axes_and_extent(grid: Grid) -> None:
    wanted = torch.tensor([0.5, 0.7, 0.3], dtype=torch.float64)[: grid.spatial_dims]
    other = grid.with_spacing(wanted.tolist())
    assert close(other.spacing, wanted)
    assert close(other.origin, grid.origin)
    assert close(other.directions, grid.directions)
    assert bool((other.extent <= grid.extent + 1e-5).all())
    assert bool((other.extent > grid.extent - wanted).all())
    half = grid.with_spacing((grid.spacing / 2).tolist())
    assert half.shape == grid.refine(2).shape


@pytest.mark.parametrize("grid", every_grid)
def test_axes_in_of_relatives(grid: Grid) -> None:
    dims = grid.spatial_dims
    indices = [torch.arange(size, dtype=torch.float64) for size in grid.shape]
    cases: list[tuple[Grid, Callable[[Tensor], Tensor]]] = [
        (grid, lambda i: i),
        (grid.shift([0.25] * dims), lambda i: i + 0.25),
        (grid.shift([-3.0] * dims), lambda i: i - 3),
    ]
    for other, place in cases:
        axes = other.axes_in(grid)
        assert axes is not None
        assert all(close(x, place(i)) for x, i in zip(axes, indices, strict=True))
    fine = grid.refine(2).axes_in(grid)
    assert fine is not None
    # Shared planes are hit exactly, not to rounding.
    assert all(torch.equal(x[::2], i) for x, i in zip(fine, indices, strict=True))


@pytest.mark.parametrize("grid", every_grid)
def test_axes_in_of_a_flipped_grid_run_backwards(grid: Grid) -> None:
    affine = grid.affine.clone()
    affine[: grid.spatial_dims, 3] += (grid.shape[0] - 1) * affine[: grid.spatial_dims, 0]
    affine[: grid.spatial_dims, 0] *= -1
    axes = Grid(grid.shape, affine).axes_in(grid)
    assert axes is not None
    assert torch.equal(axes[0], torch.arange(grid.shape[0], dtype=torch.float64).flip(0))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("angle", [1e-3, 0.5])
def test_axes_in_of_a_rotated_grid_is_none(dims: int, angle: float) -> None:
    grid = grid_of("oblique", dims)
    turn = torch.zeros(dims, dims, dtype=torch.float64)
    turn[0, 1], turn[1, 0] = -angle, angle
    affine = grid.affine.clone()
    affine[:dims, :dims] = torch.linalg.matrix_exp(turn) @ grid.matrix
    assert Grid(grid.shape, affine).axes_in(grid) is None


def test_axes_in_of_a_permuted_grid_is_none() -> None:
    affine = torch.eye(4, dtype=torch.float64)[[1, 0, 2, 3]]
    assert Grid((4, 4, 4), affine).axes_in(Grid((4, 4, 4), torch.eye(4))) is None


def test_axes_in_needs_equal_dimensions() -> None:
    with pytest.raises(ValueError, match="other must have 2 spatial dimensions, got 3"):
        grid_of("straight", 2).axes_in(grid_of("straight", 3))


@pytest.mark.parametrize("grid", every_grid)
def test_image_round_trip(grid: Grid, generator: torch.Generator) -> None:
    values = torch.rand(2, *grid.shape, generator=generator)
    image = grid.to_image(values)
    assert isinstance(image, MetaTensor)
    assert torch.equal(image.as_tensor(), values)
    assert Grid.from_image(image) == grid
    assert hash(Grid.from_image(image)) == hash(grid)


@pytest.mark.parametrize("kind", [torch.Tensor, "array"])
def test_an_image_without_affine_lies_at_unit_spacing(kind: object) -> None:
    image = torch.zeros(1, 4, 5)
    grid = Grid.from_image(image.numpy() if kind == "array" else image)
    assert grid == Grid((4, 5), torch.eye(4))


@pytest.mark.parametrize("dims", [1, 2])
def test_a_full_affine_places_a_lower_grid_by_its_leading_block(dims: int) -> None:
    full = affine_of("sheared", 3)
    small = torch.eye(dims + 1, dtype=torch.float64)
    small[:dims, :dims], small[:dims, dims] = full[:dims, :dims], full[:dims, 3]
    grid, alone = Grid(SHAPE[:dims], full), Grid(SHAPE[:dims], small)
    assert torch.equal(grid.points(), alone.points())
    assert torch.equal(grid.refine(2).points(), alone.refine(2).points())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_derivatives_to_world(
    kind: str, dims: int, gaussian_blob: Callable[..., object], generator: torch.Generator
) -> None:
    grid, blob = grid_of(kind, dims), gaussian_blob(dims)
    centre = grid.to_voxel(blob.center)
    voxels = centre + torch.rand(5, dims, generator=generator, dtype=torch.float64)
    voxels.requires_grad_()
    matrix, origin = grid.matrix, grid.origin

    def by_voxel(v: Tensor) -> Tensor:
        return blob.value(v @ matrix.T + origin)

    points = grid.to_world(voxels.detach())
    gradient = torch.autograd.grad(by_voxel(voxels).sum(), voxels)[0]
    assert close(grid.gradient_to_world(gradient), blob.gradient(points), 1e-11)
    hessian = torch.stack([torch.autograd.functional.hessian(by_voxel, v) for v in voxels.detach()])
    assert close(grid.hessian_to_world(hessian), blob.hessian(points), 1e-10)


def test_gradient_to_world_against_central_differences(
    oblique_affine: Tensor, gaussian_blob: Callable[..., object]
) -> None:
    blob = gaussian_blob(3)
    errors = []
    for factor in (4, 8):
        grid = Grid((9, 9, 9), oblique_affine)
        affine = grid.affine.clone()
        affine[:3, 3] = blob.center - grid.matrix @ torch.full((3,), 4.3, dtype=torch.float64)
        grid = Grid((9, 9, 9), affine).refine(factor)
        values = blob.value(grid.points())
        by_voxel = torch.stack(torch.gradient(values), dim=-1)
        inner = (slice(4 * factor, 5 * factor, factor),) * 3
        world = grid.gradient_to_world(by_voxel)[inner]
        errors.append(float((world - blob.gradient(grid.points()[inner])).abs().max()))
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)


@given(
    shape=st.lists(st.integers(1, 6), min_size=1, max_size=3),
    seed=st.integers(0, 10_000),
    factor=st.integers(1, 4),
    halo=st.integers(0, 3),
)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_places_survive_any_chain(shape: list[int], seed: int, factor: int, halo: int) -> None:
    dims = len(shape)
    generator = torch.Generator().manual_seed(seed)
    affine = torch.eye(dims + 1, dtype=torch.float64)
    matrix = torch.randn(dims, dims, generator=generator, dtype=torch.float64)
    affine[:dims, :dims] = torch.eye(dims) * 3 + 0.5 * matrix / matrix.norm()
    grid = Grid(tuple(shape), affine)
    # An axis of one voxel is not refined.
    factors = [factor if size > 1 else 1 for size in shape]
    chained = grid.refine(factor).pad([halo * each for each in factors])
    inner = tuple(
        slice(halo * each, halo * each + (n - 1) * each + 1, each)
        for n, each in zip(shape, factors, strict=True)
    )
    assert close(chained.points()[inner], grid.points())
    axes = chained.axes_in(grid)
    assert axes is not None
    for x, size, each in zip(axes, shape, factors, strict=True):
        wanted = torch.arange((size - 1 + 2 * halo) * each + 1, dtype=torch.float64) / each
        assert close(x, wanted - halo, 1e-9)


@pytest.mark.parametrize(
    ("shape", "affine", "message"),
    [
        ((), torch.eye(4), "shape must be 1 to 3 positive sizes"),
        ((2, 2, 2, 2), torch.eye(4), "shape must be 1 to 3 positive sizes"),
        ((4, 0), torch.eye(4), "shape must be 1 to 3 positive sizes"),
        ((4, -1, 3), torch.eye(4), "shape must be 1 to 3 positive sizes"),
        ((4, 4, 4), torch.eye(3), "affine must be a 4x4 matrix"),
        ((4, 4, 4), torch.zeros(4, 4), "affine must be invertible"),
        ((4, 4), torch.tensor([[1.0, 2, 0], [2, 4, 0], [0, 0, 1]]), "affine must be invertible"),
        ((4, 4, 4), torch.full((4, 4), torch.nan), "affine must be finite"),
    ],
)
def test_bad_grids(shape: tuple[int, ...], affine: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Grid(shape, affine)


def test_a_single_voxel_is_not_refined() -> None:
    grid = Grid((5, 1, 4), torch.diag(torch.tensor([1.0, 6.0, 2.0, 1.0]))).refine(2)
    assert grid.shape == (9, 1, 7)
    assert grid.spacing.tolist() == [0.5, 6.0, 1.0]


def test_a_tiny_spacing_is_no_singularity() -> None:
    grid = Grid((3, 3, 3), torch.diag(torch.tensor([1e-6, 1e-6, 1e3, 1.0])))
    assert close(grid.to_voxel(grid.points())[2, 1, 0], torch.tensor([2.0, 1.0, 0.0]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g: g.crop((0, 0), (5, 7)), "start and stop must enclose"),
        (lambda g: g.crop((2, 2), (2, 3)), "start and stop must enclose"),
        (lambda g: g.crop((-1, 0), (3, 3)), "start and stop must enclose"),
        (lambda g: g.refine(0), "factor must be 1 or more"),
        (lambda g: g.with_spacing(0.0), "spacing must be positive"),
        (lambda g: g.with_spacing((1.0, -1.0)), "spacing must be positive"),
        (lambda g: g.to_image(torch.zeros(1, 5, 5)), "values must have shape"),
    ],
)
def test_bad_calls(call: Callable[[Grid], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(grid_of("oblique", 2))


def test_a_wrong_number_of_values_per_axis() -> None:
    with pytest.raises(ValueError, match=r"one number or 2, got"):
        grid_of("oblique", 2).refine((2, 2, 2))


@settings(max_examples=100, deadline=None)
@given(grids())
def test_voxels_of_any_grid_come_back_from_the_world(grid: Grid) -> None:
    corner = torch.tensor(grid.shape, dtype=torch.float64) - 1
    voxels = torch.stack([torch.zeros_like(corner), corner / 3, corner])
    # Off by the rounding of places far from the origin, counted in voxels.
    rounding = 1e-13 * (1 + float(grid.to_world(voxels).abs().max())) / float(grid.spacing.min())
    off = (grid.to_voxel(grid.to_world(voxels)) - voxels).abs().max()
    assert float(off) <= rounding + 1e-12


def test_a_turned_cell_beside_a_grid_does_not_meet_it() -> None:
    corner = math.sqrt(0.5)  # of a cell that is turned by an eighth
    turned = torch.eye(3, dtype=torch.float64)
    turned[:2, :2] = torch.tensor([[corner, -corner], [corner, corner]])
    grid = Grid((9, 9), torch.eye(3))
    for place, meets in ((-0.6 - corner, False), (-0.4 - corner, True)):
        turned[:2, 2] = torch.tensor([place, 4.0])
        assert Grid((1, 1), turned).meets(grid) is meets
        assert grid.meets(Grid((1, 1), turned)) is meets


@pytest.mark.parametrize("dims", [2, 3])
def test_axes_are_at_right_angles_or_not(dims: int) -> None:
    affine = torch.eye(dims + 1, dtype=torch.float64)
    affine[0, 0] = 3.0
    assert Grid((4, 5, 6)[:dims], affine).orthogonal is True
    for shear, right in ((0.5e-4, True), (2e-4, False), (0.5, False)):
        affine[0, dims - 1] = shear
        assert Grid((4, 5, 6)[:dims], affine).orthogonal is right
