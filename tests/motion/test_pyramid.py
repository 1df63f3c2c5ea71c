"""Images at a scale: where they are looked at, how smoothed, and what counts."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from oinr_monai import Grid
from oinr_monai.motion import pyramid
from oinr_monai.motion.pair import ImagePair
from oinr_monai.motion.pyramid import Level, Looked, ViewScale, at_scale, lattice_of
from tests.motion.makers import knots

GRID = Grid((25, 20, 16), torch.diag(torch.tensor([1.0, 1.5, 2.0, 1.0])))


SMALL = Grid((24, 22, 20), Grid((24, 22, 20), torch.eye(4)).shift([-11.0, -12.0, -9.0]).affine)


def centre(grid: Grid) -> Tensor:
    return grid.to_world((torch.tensor(grid.shape) - 1).double() / 2)


@pytest.mark.parametrize("spacing", [0.5, 1.7, 4.0, 50.0])
def test_a_lattice_is_about_the_centre_and_as_large_as_fits(spacing: float) -> None:
    grid = knots((13, 9, 1), 1.5)
    lattice = lattice_of(grid, spacing)
    step = max(spacing, 1.5)
    torch.testing.assert_close(lattice.spacing, torch.full((3,), step).double())
    torch.testing.assert_close(centre(lattice), centre(grid))
    left = (grid.extent - lattice.extent).tolist()
    assert all(-1e-6 < each < step for each in left)
    if spacing < 1.5:
        torch.testing.assert_close(lattice.affine, grid.affine)


def test_without_smoothing_it_is_the_spline_with_its_slopes() -> None:
    lattice = lattice_of(GRID.crop([6] * 3, [n - 6 for n in GRID.shape]), 2.5)

    def parabola(grid: Grid) -> Tensor:
        x, y, z = grid.points().unbind(dim=-1)
        return (x * y - 0.2 * z**2 + 0.5 * x)[None].float()

    found = at_scale(parabola(GRID), GRID, lattice, 0.0, order=1)
    x, y, z = lattice.points().float().unbind(dim=-1)
    slopes = torch.stack([y + 0.5, x, -0.4 * z]) * lattice.spacing.float().view(3, 1, 1, 1)
    torch.testing.assert_close(found[0], parabola(lattice), rtol=0, atol=0.02)
    torch.testing.assert_close(found[1:, 0], slopes, rtol=0, atol=0.02)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_smoothing_is_by_a_gaussian_in_mm(axis: int) -> None:
    long = Grid((60, 60, 60), GRID.affine)
    phase = 2 * math.pi / 20 * long.points()[..., axis]
    wave = torch.cos(phase)[None].float()
    found = at_scale(wave, long, long, 2.5)[0]
    inner = (slice(None), *[slice(22, -22)] * 3)
    share = math.exp(-((2 * math.pi / 20 * 2.5) ** 2) / 2)
    torch.testing.assert_close(found[inner], share * wave[inner], rtol=0, atol=5e-3)


def test_a_rotated_lattice_is_refused() -> None:
    with pytest.raises(ValueError, match="lattice must lie along the axes of grid"):
        at_scale(torch.zeros(1, *GRID.shape), GRID, knots((5, 5, 5)), 1.0)


def test_a_small_image_is_kept_at_twice_its_resolution(monkeypatch: pytest.MonkeyPatch) -> None:
    image, scale = torch.rand(1, *GRID.shape), ViewScale(0.0, 3.0)
    lattice = lattice_of(GRID, 3.0)
    monkeypatch.setattr(pyramid, "KEPT_FINE", math.prod(lattice.shape))
    fine = Looked(image, GRID, scale).grid
    torch.testing.assert_close(fine.spacing, lattice.spacing / 2)
    monkeypatch.setattr(pyramid, "KEPT_FINE", math.prod(lattice.shape) - 1)
    assert Looked(image, GRID, scale).grid.shape == lattice.shape


def test_the_border_goes_on_and_counts_for_half_a_voxel(generator: torch.Generator) -> None:
    looked = Looked(torch.rand(2, *GRID.shape, generator=generator), GRID, ViewScale(0.0, 1.0))
    last = torch.tensor(looked.grid.shape) - 1.0
    ends = torch.stack([torch.zeros(3), last])
    beyond = ends + torch.tensor([[-3.0], [3.0]])
    values, _ = looked.jets(ends[:, None, None])
    farther, _ = looked.jets(beyond[:, None, None])
    torch.testing.assert_close(farther, values, rtol=0, atol=1e-4)
    for axis in range(3):
        for end, sign in ((0.0, -1.0), (float(last[axis]), 1.0)):
            places = (last / 2).repeat(2, 1)
            places[:, axis] = end + sign * torch.tensor([0.49, 0.51])
            assert looked.inside(places).tolist() == [1, 0]


def test_looking_between_voxels_is_exact_for_parabolas(generator: torch.Generator) -> None:
    # Where straight lines between voxels would draw a registration towards those.
    x, y, z = SMALL.points().unbind(dim=-1)
    looked = Looked((x * y - z**2 / 2 + 3 * y)[None].float(), SMALL, ViewScale(0.0, 1.0))
    inner = torch.rand(50, 3, generator=generator) * 5 + 7  # the borders are mirrors
    at = SMALL.to_world(inner.double())
    truth = at[:, 0] * at[:, 1] - at[:, 2] ** 2 / 2 + 3 * at[:, 1]
    values, _ = looked.jets(2 * inner.view(1, 1, -1, 3))
    torch.testing.assert_close(values.flatten().double(), truth, rtol=0, atol=5e-3)


@pytest.mark.parametrize("spacing", [1.0, 4.0])
def test_what_counts_is_the_mask_on_the_places(spacing: float, generator: torch.Generator) -> None:
    image = torch.rand(1, *GRID.shape, generator=generator)
    mask = torch.zeros(GRID.shape)
    mask[:12] = 1
    level = Level.of(ImagePair.of(image, image, mask), ViewScale(0.0, spacing))
    x = level.grid.points()[..., 0]
    sure = (x - 11.5).abs() > 0.6
    assert torch.equal(level.weight[sure], (x < 11.5).float()[sure])
    assert set(level.weight.unique().tolist()) == {0.0, 1.0}
    assert bool((Level.of(ImagePair.of(image, image), ViewScale(1.0, 4.0)).weight == 1).all())
