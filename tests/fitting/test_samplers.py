"""Where a fit looks: inside the domain, as often as asked, with the interpolant's own values."""

from __future__ import annotations

import math
from itertools import islice

import pytest
import torch
from torch import Tensor

from oinr_monai.fitting import samplers
from oinr_monai.fitting.samplers import LatticeSampler, WholeLattice
from oinr_monai.grids.positions import Lattice
from oinr_monai.grids.splines import CubicInterpolant

SHAPES = [(40,), (12, 15), (9, 10, 11), (1, 20), (20, 2), (12, 1, 14), (10, 11, 2), (1, 1, 9)]
SPACING = (0.9, 1.1, 2.5)


@pytest.fixture(autouse=True)
def _off_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samplers, "ON_GRID", 0.0)


def make(
    shape: tuple[int, ...],
    contiguous: bool,
    places: int = 60,
    mask: Tensor | None = None,
    seed: int = 0,
) -> LatticeSampler:
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(2, *shape, generator=generator)
    spacing = SPACING[: len(shape)]
    truth = CubicInterpolant(image)
    return LatticeSampler(truth, shape, spacing, places, contiguous, mask, generator)


def draws(sampler: LatticeSampler, count: int = 30) -> list[tuple[Lattice, Tensor, Tensor | None]]:
    return [(b["image"], *b["label"]) for b in islice(iter(sampler), count)]


def in_voxels(lattice: Lattice) -> list[Tensor]:
    return [x / h for x, h in zip(lattice.axes, SPACING, strict=False)]


every_case = [
    pytest.param(shape, contiguous, id=f"{'x'.join(map(str, shape))}-{kind}")
    for shape in SHAPES
    for contiguous, kind in ((False, "scattered"), (True, "patches"))
]


@pytest.mark.parametrize(("shape", "contiguous"), every_case)
def test_places_lie_in_the_domain(shape: tuple[int, ...], contiguous: bool) -> None:
    for lattice, target, weight in draws(make(shape, contiguous)):
        assert target.shape == (2, *lattice.shape)
        assert weight is None
        for x, size in zip(in_voxels(lattice), shape, strict=True):
            assert -1e-12 <= float(x.min()) <= float(x.max()) <= size - 1 + 1e-9


@pytest.mark.parametrize(("shape", "contiguous"), every_case)
def test_target_is_the_interpolant(shape: tuple[int, ...], contiguous: bool) -> None:
    sampler = make(shape, contiguous)
    for lattice, target, _ in draws(sampler, 5):
        expected = sampler.truth(Lattice(tuple(in_voxels(lattice))))
        assert torch.allclose(target, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_patches_have_unit_steps(shape: tuple[int, ...]) -> None:
    firsts = set()
    for lattice, _, _ in draws(make(shape, contiguous=True)):
        assert lattice.dilation(SPACING[: len(shape)]) == (1,) * len(shape)
        firsts.add(tuple(float(x[0]) for x in lattice.axes))
    assert len(firsts) == 30


@pytest.mark.parametrize("shape", [(40,), (12, 15), (9, 10, 11), (60, 60, 3), (50, 2)])
def test_patches_shift_by_parts_of_a_voxel_along_every_axis(shape: tuple[int, ...]) -> None:
    sampler = make(shape, contiguous=True, places=2000)
    shifts = torch.tensor([[float(x[0]) % 1 for x in in_voxels(b[0])] for b in draws(sampler, 400)])
    for d in range(len(shape)):
        counts = torch.histc(shifts[:, d], bins=5, min=0, max=1)
        assert float(counts.min()) > 40


@pytest.mark.parametrize("contiguous", [False, True])
@pytest.mark.parametrize("places", [50, 400, 3000])
@pytest.mark.parametrize("shape", [(5000,), (90, 70), (1, 90, 70), (30, 31, 32), (3, 60, 60)])
def test_about_as_many_places_as_asked(
    shape: tuple[int, ...], places: int, contiguous: bool
) -> None:
    lattice, _, _ = draws(make(shape, contiguous, places), 1)[0]
    assert 0.6 * places <= math.prod(lattice.shape) <= 1.4 * places


@pytest.mark.parametrize("contiguous", [False, True])
def test_every_part_of_the_domain_is_seen(contiguous: bool) -> None:
    seen = torch.zeros(12, 15)
    for lattice, _, _ in draws(make((12, 15), contiguous), 600):
        x, y = (v.round().long() for v in in_voxels(lattice))
        seen[x[:, None], y[None]] += 1
    assert float(seen.min()) > 0
    # A corner has a quarter of a cell.
    assert float(seen[0, 0]) > 0.05 * float(seen.mean())


def test_scattered_coordinates_are_stratified() -> None:
    for lattice, _, _ in draws(make((40,), contiguous=False, places=20), 20):
        cells = (in_voxels(lattice)[0] / 39 * 20).floor()
        assert torch.equal(cells, torch.arange(20, dtype=torch.float64))


@pytest.mark.parametrize("contiguous", [False, True])
def test_a_mask_bounds_the_places_and_weighs_them(contiguous: bool) -> None:
    mask = torch.zeros(12, 15, dtype=torch.bool)
    mask[3:8, 5:13] = True
    mask[4, 6] = False
    for lattice, _, weight in draws(make((12, 15), contiguous, mask=mask)):
        x, y = in_voxels(lattice)
        assert 3 - 1e-12 <= float(x.min()) <= float(x.max()) <= 7 + 1e-9
        assert 5 - 1e-12 <= float(y.min()) <= float(y.max()) <= 12 + 1e-9
        nearest = mask[x.round().long()[:, None], y.round().long()[None]]
        assert torch.equal(weight, nearest.float())


@pytest.mark.parametrize("contiguous", [False, True])
def test_a_mask_of_one_voxel(contiguous: bool) -> None:
    mask = torch.zeros(12, 15, dtype=torch.bool)
    mask[3, 5] = True
    for lattice, target, weight in draws(make((12, 15), contiguous, mask=mask), 3):
        assert all(
            torch.allclose(x, torch.full_like(x, at), rtol=0, atol=1e-9)
            for x, at in zip(in_voxels(lattice), (3.0, 5.0), strict=True)
        )
        assert bool((weight == 1).all())
        assert bool(torch.isfinite(target).all())


@pytest.mark.parametrize(("shape", "contiguous"), every_case)
def test_the_generator_alone_decides(shape: tuple[int, ...], contiguous: bool) -> None:
    def axes(seed: int) -> list[Tensor]:
        return list(draws(make(shape, contiguous, seed=seed), 1)[0][0].axes)

    before = torch.random.get_rng_state()
    first, again, other = axes(0), axes(0), axes(1)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(("shape", "contiguous"), every_case)
def test_part_of_the_draws_look_at_voxel_centres(
    shape: tuple[int, ...], contiguous: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samplers, "ON_GRID", 0.25)
    whole = 0
    for lattice, target, _ in draws(make(shape, contiguous), 100):
        if all(torch.allclose(x, x.round(), rtol=0, atol=1e-9) for x in in_voxels(lattice)):
            whole += 1
            index = torch.meshgrid(*(x.round().long() for x in in_voxels(lattice)), indexing="ij")
            image = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
            assert torch.allclose(target, image[(slice(None), *index)], rtol=0, atol=1e-5)
    assert 10 <= whole <= 40


def test_a_whole_lattice_counts_inside_its_mask_alone() -> None:
    image, mask = torch.rand(1, 4, 5), torch.rand(4, 5) > 0.5
    wanted, weight = WholeLattice(image, mask, (1.0, 1.0)).draw()["label"]
    assert torch.equal(weight, mask.float())
    assert wanted is image
    assert WholeLattice(image, None, (1.0, 1.0)).draw()["label"] == (image, None)
