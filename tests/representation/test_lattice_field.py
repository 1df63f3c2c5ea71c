"""Lattice fields: global operators as continuous functions, fitted, kept and asked anywhere."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from oinr_monai import (
    CZOINR,
    DyadicEncoding,
    FitConfig,
    FlatCZOINR,
    FourierEncoding,
    Representation,
    export_signal,
    fit,
)
from oinr_monai.grids.positions import Lattice, Scatter
from oinr_monai.grids.splines import CubicInterpolant
from oinr_monai.representation.lattice_field import LatticeField

SPACING = (0.9, 1.1, 2.5)


def lattice_field(dims: int) -> LatticeField:
    torch.manual_seed(dims)
    shape, spacing = (13, 12, 14)[:dims], SPACING[:dims]
    encoding = FourierEncoding([15.0] * dims, spacing, bands=2)
    network = CZOINR(dims, encoding.channels, 2, channels=3, levels=2)
    return LatticeField(encoding, network, spacing, shape).double().eval()


def places(dims: int, generator: torch.Generator, count: int = 20) -> Scatter:
    ends = torch.tensor([h * (n - 1) for h, n in zip(SPACING, (13, 12, 14), strict=True)])
    draws = 0.1 + 0.8 * torch.rand(count, 3, generator=generator, dtype=torch.float64)
    return Scatter(tuple((draws * ends).T[:dims]))


@pytest.mark.parametrize("dims", [1, 2, 3])
@torch.no_grad()
def test_on_its_lattice_it_is_the_operators_answer(dims: int) -> None:
    field = lattice_field(dims)
    axes = tuple(
        torch.arange(n, dtype=torch.float64) * h
        for n, h in zip(field.shape, field.spacing, strict=True)
    )
    encoded = field.encoding(Lattice(axes)).double()
    expected = field.network(encoded)[0]
    assert torch.allclose(field(Lattice(axes))[0], expected, rtol=0, atol=1e-9)
    hidden = field.network.hidden(encoded)[0]
    assert torch.allclose(field(Lattice(axes), layer=1)[0], hidden, rtol=0, atol=1e-9)


@pytest.mark.parametrize("dims", [1, 2, 3])
@torch.no_grad()
def test_between_it_is_the_spline_through_them(dims: int, generator: torch.Generator) -> None:
    field, points = lattice_field(dims), places(dims, generator)
    voxels = Scatter(tuple(x / h for x, h in zip(points.axes, field.spacing, strict=True)))
    expected = CubicInterpolant(field.on_lattice())(voxels)
    assert torch.allclose(field(points)[0], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_derivatives_are_those_of_the_function(dims: int, generator: torch.Generator) -> None:
    field, points, step = lattice_field(dims), places(dims, generator), 1e-4
    jet = field(points, order=2)
    for d in range(dims):
        ahead, behind = (
            field(points.shifted([sign * step * (i == d) for i in range(dims)]), 1)
            for sign in (1, -1)
        )
        slope = (ahead - behind) / (2 * step)
        assert torch.allclose(jet[1 + d], slope[0], rtol=1e-4, atol=1e-6)
        diagonal = 1 + dims + [0, dims, 2 * dims - 1][d]
        # Third derivatives jump at the voxels, where the difference of slopes is of first order.
        assert torch.allclose(jet[diagonal], slope[1 + d], rtol=1e-2, atol=1e-2)


def test_what_is_kept_follows_the_parameters(generator: torch.Generator) -> None:
    field, points = lattice_field(2), places(2, generator)
    before = field(points)
    assert torch.equal(field(points), before)
    with torch.no_grad():
        field.network.project.weight.mul_(2)
    assert not torch.equal(field(points), before)
    state = lattice_field(2).state_dict()
    field.load_state_dict(state)
    assert torch.equal(field(points), before)
    assert field.float()(points).dtype == torch.float32


def waves(dims: int) -> Tensor:
    axes = torch.meshgrid(*[torch.arange(n) for n in (24, 22, 20)[:dims]], indexing="ij")
    return torch.stack([torch.sin(x / (1.5 + d)) for d, x in enumerate(axes)]).sum(0)[None]


@pytest.fixture(name="fitted", params=[1, 2, 3], scope="module")
def _fitted(request: pytest.FixtureRequest) -> Representation:
    network = partial(CZOINR, channels=6, levels=2)
    return fit(waves(request.param), FitConfig(steps=120, network=network))


def test_fits_on_the_grid_and_between(fitted: Representation) -> None:
    assert fitted.info["psnr_grid"] > 20
    assert fitted.info["psnr_between"] > fitted.info["psnr_grid"] - 3


def test_answers_in_every_form(fitted: Representation) -> None:
    grid, dims = fitted.grid, fitted.grid.spatial_dims
    fine = grid.refine(2)
    points = fine.points().flatten(0, -2)[::7]
    sampled = fitted.sample(fine).as_tensor().flatten(1).T[::7]
    assert torch.allclose(sampled, fitted.at(points), rtol=0, atol=1e-4)
    assert fitted.gradient(fine).shape == (dims, *fine.shape)
    assert fitted.hessian_at(points).shape == (len(points), 1, dims, dims)
    assert fitted.features().shape == (6, *grid.shape)
    with pytest.raises(ValueError, match="layer must be 1 to 1, got 2"):
        fitted.features(layer=2)


def test_files_keep_it(fitted: Representation, tmp_path: Path) -> None:
    fitted.save(tmp_path / "cz.oinr")
    again = Representation.load(tmp_path / "cz.oinr")
    assert torch.equal(again.sample().as_tensor(), fitted.sample().as_tensor())


def test_exports_to_a_program(fitted: Representation, tmp_path: Path) -> None:
    export_signal(fitted, tmp_path / "signal.pt2")
    program = torch.export.load(tmp_path / "signal.pt2").module()
    points = fitted.grid.points().flatten(0, -2)[::5].float()
    assert torch.allclose(program(points), fitted.at(points), rtol=0, atol=1e-4)


def test_the_published_form_fits_through_the_same_door() -> None:
    image = waves(2)
    config = FitConfig(
        steps=60,
        encoding=lambda grid: DyadicEncoding(grid.extent.tolist(), octaves=4),
        network=lambda spatial_dims, in_channels, out_channels: FlatCZOINR(
            image.shape[1:], in_channels, out_channels, channels=6, levels=4
        ),
    )
    representation = fit(image, config)
    assert representation.info["psnr_grid"] > 12
    assert representation.field.network.shape == (24, 22)


def test_a_mask_counts() -> None:
    image, mask = waves(2), torch.zeros(24, 22, dtype=torch.bool)
    mask[4:20, 4:18] = True
    image[:, ~mask] = 50.0
    config = FitConfig(steps=120, network=partial(CZOINR, channels=6, levels=2))
    assert fit(image, config, mask=mask).info["psnr_grid"] > 20


def test_it_has_one_lattice() -> None:
    config = FitConfig(steps=2, network=partial(CZOINR, channels=2, levels=1))
    with pytest.raises(ValueError, match="network must be pointwise after its first layer"):
        fit([waves(2), waves(2)], config)


@pytest.mark.slow
def test_a_wavelet_operator_fits_a_block_of_a_brain() -> None:
    from nilearn.datasets import load_mni152_template

    brain = load_mni152_template(resolution=1).get_fdata(dtype="float32")
    middle = tuple(slice(n // 2 - 32, n // 2 + 32) for n in brain.shape)
    config = FitConfig(steps=120, network=partial(CZOINR, channels=8, levels=3))
    info = fit(brain[middle][None], config).info
    # Its mean alone is at 13.2 dB.
    assert info["psnr_grid"] > 20
    assert info["psnr_between"] > 20
