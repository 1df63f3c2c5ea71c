"""Laws of a representation, on untrained ones: one function whichever way it is asked."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from torch import Tensor

from oinr_monai import (
    ConvOINR,
    Field,
    FourierEncoding,
    Grid,
    IntensityScale,
    NeuralField,
    Representation,
    SplineField,
)
from oinr_monai.grids import tiles as tiling
from oinr_monai.grids.jets import second_order_pairs

SHAPE = (7, 6, 5)
KERNELS = [1, (3, 1, 1), (1, 3, 1)]
every_case = [
    pytest.param(dims, kernel, id=f"{dims}d-{kernel}") for dims in (1, 2, 3) for kernel in KERNELS
]


def oblique_grid(dims: int) -> Grid:
    """Oblique, anisotropic, left-handed and off the origin."""
    generator = torch.Generator().manual_seed(dims)
    turn = torch.randn(dims, dims, generator=generator, dtype=torch.float64)
    spacing = torch.tensor([-0.9, 1.1, 2.5], dtype=torch.float64)[:dims]
    affine = torch.eye(dims + 1, dtype=torch.float64)
    affine[:dims, :dims] = torch.linalg.matrix_exp(0.3 * (turn - turn.T)) * spacing
    affine[:dims, dims] = torch.tensor([31.25, -47.5, 12.125], dtype=torch.float64)[:dims]
    return Grid(SHAPE[:dims], affine)


def make(
    dims: int,
    kernel: object = 1,
    channels: int = 2,
    smooth: bool = False,
    grid: Grid | None = None,
    shape: tuple[int, ...] | None = None,
) -> Representation:
    torch.manual_seed(dims)
    grid = grid or oblique_grid(dims)
    grid = grid if shape is None else Grid(shape, grid.affine)
    extent, spacing = grid.extent.tolist(), grid.spacing.tolist()
    encoding: Field = FourierEncoding(extent, spacing)
    if not smooth:
        encoding = SplineField(extent, [2 * h for h in spacing], 3, margin=[2 * h for h in spacing])
    network = ConvOINR(dims, encoding.channels, channels, (6, 5), kernel)
    scale = IntensityScale((5.0, -3.0)[:channels], (2.0, 7.0)[:channels], (-9.0, -8.0)[:channels])
    return Representation(NeuralField(encoding, network, spacing), grid, scale, {"steps": 3})


def close(a: Tensor, b: Tensor, atol: float) -> bool:
    plain_a, plain_b = (
        x.as_tensor().double() if isinstance(x, MetaTensor) else x.double() for x in (a, b)
    )
    return plain_a.shape == plain_b.shape and torch.allclose(plain_a, plain_b, rtol=0, atol=atol)


def inner_points(grid: Grid, generator: torch.Generator, count: int = 6) -> Tensor:
    last = torch.tensor(grid.shape, dtype=torch.float64) - 1
    unit = torch.rand(count, len(last), generator=generator, dtype=torch.float64)
    return grid.to_world((0.1 + 0.8 * unit) * last)


def columns(values: Tensor) -> Tensor:
    """(C, *spatial) to (N, C)."""
    return values.as_tensor().flatten(1).T


@pytest.mark.parametrize(("dims", "kernel"), every_case)
def test_finer_grids_agree_at_shared_voxels(dims: int, kernel: object) -> None:
    rep = make(dims, kernel)
    shared = (slice(None), *[slice(None, None, 2)] * dims)
    fine = rep.grid.refine(2)
    assert close(rep.sample(fine)[shared], rep.sample(), 1e-5)
    assert close(rep.gradient(fine)[shared], rep.gradient(), 1e-4)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_nothing_changes_across_a_single_slice(axis: int, generator: torch.Generator) -> None:
    shape = tuple(1 if d == axis else n for d, n in enumerate(SHAPE))
    rep = make(3, 1, grid=Grid(shape, torch.diag(torch.tensor([0.9, 1.1, 2.5, 1.0]))))
    slopes = rep.gradient_at(inner_points(rep.grid, generator))
    curves = rep.hessian_at(inner_points(rep.grid, generator))
    assert not bool(slopes[..., axis].any())
    assert not bool(curves[..., axis].any())
    assert bool(slopes.abs().sum(dim=(0, 1)).gt(0).sum() == 2)


@pytest.mark.parametrize(("dims", "kernel"), every_case)
def test_grids_equal_points(dims: int, kernel: object) -> None:
    rep = make(dims, kernel).to(torch.float64)
    grid = rep.grid.crop((1,) * dims, tuple(n - 1 for n in rep.grid.shape))
    points = grid.points().flatten(0, -2)
    pairs = second_order_pairs(dims)
    assert close(columns(rep.sample(grid)), rep.at(points), 1e-10)
    assert close(columns(rep.gradient(grid)), rep.gradient_at(points).flatten(1), 1e-9)
    second = torch.stack([rep.hessian_at(points)[..., i, j] for i, j in pairs], -1)
    assert close(columns(rep.hessian(grid)), second.flatten(1), 1e-8)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kernel", KERNELS)
def test_rotated_grids_equal_points(dims: int, kernel: object) -> None:
    rep = make(dims, kernel).to(torch.float64)
    centre = rep.grid.to_world((torch.tensor(rep.grid.shape) - 1) / 2)
    affine = torch.eye(dims + 1, dtype=torch.float64)
    affine[:2, :2] = torch.tensor([[0.5, -0.3], [0.3, 0.5]])
    affine[:dims, dims] = centre - affine[:dims, :dims] @ torch.ones(dims, dtype=torch.float64)
    grid = Grid((3, 4, 3)[:dims], affine)
    assert grid.axes_in(rep.grid) is None
    points = grid.points().flatten(0, -2)
    assert close(columns(rep.sample(grid)), rep.at(points), 1e-11)
    assert close(columns(rep.gradient(grid)), rep.gradient_at(points).flatten(1), 1e-11)


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_world_may_turn(kernel: object) -> None:
    """The same anatomy through a straight and an oblique affine; axes permuted and flipped."""
    straight = Grid(SHAPE, torch.diag(torch.tensor([0.9, 1.1, 2.5, 1.0], dtype=torch.float64)))
    oblique = oblique_grid(3)
    plain = make(3, kernel, grid=straight).to(torch.float64)
    turned = Representation(plain.field, oblique, plain.scale)
    assert close(turned.sample(), plain.sample(), 1e-10)
    turn = oblique.matrix @ torch.linalg.inv(straight.matrix)
    vectors = plain.gradient().as_tensor().unflatten(0, (-1, 3))
    expected = torch.einsum("ij,cj...->ci...", torch.linalg.inv(turn).T, vectors).flatten(0, 1)
    assert close(turned.gradient(), expected, 1e-9)
    permuted = Grid((SHAPE[2], SHAPE[0], SHAPE[1]), oblique.affine[:, [2, 0, 1, 3]])
    assert close(turned.sample(permuted), plain.sample().as_tensor().permute(0, 3, 1, 2), 1e-10)
    flipped = oblique.affine.clone()
    flipped[:3, 3] += (SHAPE[1] - 1) * flipped[:3, 1]
    flipped[:3, 1] *= -1
    backwards = turned.sample(Grid(SHAPE, flipped))
    assert close(backwards, plain.sample().as_tensor().flip(2), 1e-10)


@pytest.mark.parametrize(("dims", "kernel"), every_case)
@pytest.mark.parametrize("numbers", [1, 700])
def test_tiles_equal_the_whole(
    dims: int, kernel: object, numbers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rep = make(dims, kernel, shape=(5, 4, 3)[:dims])
    asked: dict[str, Callable[[], Tensor]] = {
        "sample": rep.sample,
        "gradient": rep.gradient,
        "shifted": lambda: rep.sample(rep.grid.shift([0.3] * dims)),
        "at": lambda: rep.at(rep.grid.refine(2).points().flatten(0, -2)),
        "features": rep.features,
    }
    whole = {name: ask() for name, ask in asked.items()}
    monkeypatch.setattr(tiling, "TILE_NUMBERS", numbers)
    for name, ask in asked.items():
        assert close(ask(), whole[name], 1e-4 if name == "gradient" else 1e-5), name


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_images_carry_the_grid(dims: int) -> None:
    rep = make(dims)
    grid = rep.grid.refine(2)
    for image, count in (
        (rep.sample(grid), 2),
        (rep.gradient(grid), 2 * dims),
        (rep.hessian(grid), 2 * len(second_order_pairs(dims))),
        (rep.features(grid), 5),
    ):
        assert Grid.from_image(image) == grid
        assert image.shape == (count, *grid.shape)


def slope_and_best(steps: list[float], errors: list[float]) -> tuple[float, float]:
    """Order of convergence over the larger steps, and the least error."""
    return float(np.polyfit(np.log(steps[:3]), np.log(errors[:3]), 1)[0]), min(errors)


@pytest.mark.parametrize(("dims", "kernel"), every_case)
def test_gradient_against_central_differences(
    dims: int, kernel: object, generator: torch.Generator
) -> None:
    rep = make(dims, kernel, smooth=True).to(torch.float64)
    points = inner_points(rep.grid, generator)
    exact = rep.gradient_at(points)
    steps, errors = [1e-2, 5e-3, 2.5e-3, 1e-4, 1e-5], []
    for h in steps:
        moves = h * torch.eye(dims, dtype=torch.float64)
        slopes = [(rep.at(points + m) - rep.at(points - m)) / (2 * h) for m in moves]
        errors.append(float((torch.stack(slopes, -1) - exact).abs().max() / exact.abs().max()))
    slope, best = slope_and_best(steps, errors)
    assert slope == pytest.approx(2, abs=0.1)
    assert best < 1e-6


@pytest.mark.parametrize(("dims", "kernel"), every_case)
def test_hessian_against_central_differences(
    dims: int, kernel: object, generator: torch.Generator
) -> None:
    rep = make(dims, kernel, smooth=True).to(torch.float64)
    points = inner_points(rep.grid, generator)
    exact = rep.hessian_at(points)
    assert torch.equal(exact, exact.mT)
    steps, errors, tables = [1e-2, 5e-3, 2.5e-3, 1.25e-3], [], []
    for h in steps:
        moves = h * torch.eye(dims, dtype=torch.float64)
        found = torch.empty_like(exact)
        for i, j in second_order_pairs(dims):
            corners = [
                a * b * rep.at(points + a * moves[i] + b * moves[j])
                for a in (1, -1)
                for b in (1, -1)
            ]
            found[..., i, j] = found[..., j, i] = sum(corners) / (4 * h**2)
        tables.append(found)
        errors.append(float((found - exact).abs().max() / exact.abs().max()))
    slope, _ = slope_and_best(steps, errors)
    assert slope == pytest.approx(2, abs=0.1)
    # Coordinates round before second differences converge; one step of Richardson gets there.
    extrapolated = (4 * tables[-1] - tables[-2]) / 3
    assert float((extrapolated - exact).abs().max() / exact.abs().max()) < 1e-6


@pytest.mark.parametrize(("dims", "kernel"), every_case)
def test_half_a_voxel_beyond_the_border_keeps_its_value(dims: int, kernel: object) -> None:
    rep = make(dims, kernel).to(torch.float64)
    last = torch.tensor(rep.grid.shape, dtype=torch.float64) - 1
    corner, past = rep.grid.to_world(last)[None], rep.grid.to_world(last + 0.4)[None]
    assert close(rep.at(past), rep.at(corner), 1e-11)
    assert float(rep.gradient_at(past).abs().max()) == 0
    assert float(rep.hessian_at(past).abs().max()) == 0
    assert float(rep.gradient_at(corner).abs().max()) > 0


@pytest.mark.parametrize(("dims", "kernel"), every_case)
def test_farther_out_is_the_minimum(dims: int, kernel: object) -> None:
    rep = make(dims, kernel).to(torch.float64)
    far = rep.grid.pad(2)
    image, gradient, hessian = (
        ask(far).as_tensor() for ask in (rep.sample, rep.gradient, rep.hessian)
    )
    inner = tuple(slice(2, -2) for _ in range(dims))
    outside = torch.ones(far.shape, dtype=torch.bool)
    outside[inner] = False
    assert bool((image[0, outside] == -9).all())
    assert bool((image[1, outside] == -8).all())
    assert bool((gradient[:, outside] == 0).all())
    assert bool((hessian[:, outside] == 0).all())
    assert close(image[(slice(None), *inner)], rep.sample(), 1e-10)
    assert close(gradient[(slice(None), *inner)], rep.gradient(), 1e-9)


def test_rounding_at_the_border_is_inside() -> None:
    rep = make(3)
    points = rep.grid.points().flatten(0, -2)
    gradient = rep.gradient_at(points.float()).flatten(1)
    assert close(gradient, columns(rep.gradient()), 1e-2 * float(gradient.abs().max()))
    assert bool((gradient != 0).any(1).all())


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_channels_are_in_their_own_units(dims: int) -> None:
    both = make(dims).to(torch.float64)
    z = Representation(both.field, both.grid, IntensityScale((0.0, 0.0), (1.0, 1.0), (0.0, 0.0)))
    scale = torch.tensor([2.0, 7.0], dtype=torch.float64)
    points = both.grid.points().flatten(0, -2)[:5]
    mean = torch.tensor([5.0, -3.0], dtype=torch.float64)
    assert close(both.at(points), mean + scale * z.at(points), 1e-12)
    assert close(both.gradient_at(points), scale[:, None] * z.gradient_at(points), 1e-12)
    assert close(both.hessian_at(points), scale[:, None, None] * z.hessian_at(points), 1e-12)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_no_points_no_answers(dims: int) -> None:
    rep, none = make(dims), torch.zeros(0, dims)
    assert rep.at(none).shape == (0, 2)
    assert rep.gradient_at(none).shape == (0, 2, dims)
    assert rep.hessian_at(none).shape == (0, 2, dims, dims)


@pytest.mark.parametrize("shape", [(3,), (5, 3), (2, 2, 2)])
def test_points_of_the_wrong_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"points must have shape \(N, 2\)"):
        make(2).at(torch.zeros(shape))


@pytest.mark.parametrize("kernel", KERNELS)
def test_features(kernel: object) -> None:
    rep = make(3, kernel)
    assert rep.features(layer=1).shape == (6, *SHAPE)
    assert torch.equal(rep.features(), rep.features(layer=2))
    assert float(rep.features().abs().max()) <= 1
    # The signal is the last layer's linear map of the last features, where that is pointwise.
    weight, bias = rep.field.network.last.weight.flatten(1), rep.field.network.last.bias
    z = (
        torch.einsum("cf,f...->c...", weight, rep.features().as_tensor())
        + bias[:, None, None, None]
    )
    image = (
        z * torch.tensor([2.0, 7.0])[:, None, None, None]
        + torch.tensor([5.0, -3.0])[:, None, None, None]
    )
    assert close(rep.sample(), image, 1e-4)


@pytest.mark.parametrize("layer", [0, 3, -1])
def test_no_such_layer(layer: int) -> None:
    with pytest.raises(ValueError, match=f"layer must be 1 to 2, got {layer}"):
        make(2).features(layer=layer)


def test_a_copy_in_another_type_leaves_the_original() -> None:
    rep = make(2)
    double = rep.to(torch.float64)
    assert double.sample().dtype == torch.float64
    assert rep.sample().dtype == torch.float32
    assert close(double.sample(), rep.sample(), 1e-4)
    assert "7, 6" in repr(rep)
    assert rep.parameters == sum(p.numel() for p in rep.field.parameters())


def test_scale_of_an_image(generator: torch.Generator) -> None:
    image = 100 * torch.rand(2, 6, 5, generator=generator) + 7
    mask = torch.rand(6, 5, generator=generator) > 0.5
    z = IntensityScale.of(image, mask).standardise(image)
    assert close(z[:, mask].mean(1), torch.zeros(2), 1e-5)
    assert close(z[:, mask].std(1, correction=0), torch.ones(2), 1e-5)
    assert IntensityScale.of(image).outside == tuple(image.flatten(1).amin(1).tolist())
    assert IntensityScale.of(torch.full((1, 3), 4.0)).std == (1.0,)


@pytest.mark.parametrize(("dims", "kernel"), every_case)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_files_keep_every_bit(
    dims: int, kernel: object, dtype: torch.dtype, tmp_path: Path
) -> None:
    rep = make(dims, kernel).to(dtype)
    rep.save(tmp_path / "rep.oinr")
    again = Representation.load(tmp_path / "rep.oinr")
    grid = rep.grid.refine(2)
    assert again.grid == rep.grid
    assert again.scale == rep.scale
    assert again.info == rep.info
    assert torch.equal(again.sample(grid).as_tensor(), rep.sample(grid).as_tensor())
    assert torch.equal(again.hessian().as_tensor(), rep.hessian().as_tensor())
    assert os.listdir(tmp_path) == ["rep.oinr"]


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.oinr must be an existing"):
        Representation.load(tmp_path / "none.oinr")
    with pytest.raises(FileNotFoundError):
        Representation.load(tmp_path)


def test_a_failing_save_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rep.oinr"
    make(2).save(path)
    before = path.read_bytes()

    def fail(*args: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        make(3).save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["rep.oinr"]


def test_a_missing_folder_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="none"):
        make(2).save(tmp_path / "none" / "rep.oinr")
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_folder_stays_empty(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError):
        make(2).save(tmp_path / "rep.oinr")
    tmp_path.chmod(0o700)
    assert os.listdir(tmp_path) == []
