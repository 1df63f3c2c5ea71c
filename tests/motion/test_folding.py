"""Whether a motion folds: bounds that hold everywhere and are close, and counts at voxels."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from oinr_monai import Grid
from oinr_monai.motion import AffineMotion, Displacement, Velocity, folding, quality_of
from oinr_monai.motion.folding import displacement_bounds
from oinr_monai.motion.vector_spline import VectorSpline
from tests.motion.makers import knots, places, wobble

GRIDS = {2: knots((8, 9)), 3: knots()}


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("size", [0.1, 0.3, 1.0, 5.0])
def test_bounds_hold_everywhere_and_are_close(
    dims: int, size: float, generator: torch.Generator
) -> None:
    field = wobble(generator, size, GRIDS[dims])
    low, high = displacement_bounds(field)
    points = places(generator, GRIDS[dims], 20_000, beyond=-1.0)
    found = torch.linalg.det(Displacement(field).jacobian_at(points))
    least, most = float(found.min()), float(found.max())
    assert low <= least
    assert high >= most


@pytest.mark.parametrize("dims", [2, 3])
def test_half_as_large_cells_leave_half_of_what_bounds_miss(
    dims: int, generator: torch.Generator
) -> None:
    spline = wobble(generator, 0.1, GRIDS[dims])
    points = places(generator, GRIDS[dims], 20_000, beyond=-1.0)
    found = torch.linalg.det(Displacement(spline).jacobian_at(points))
    gaps = []
    for _ in range(3):
        low, high = folding._bounds(spline)
        gaps.append([float(found.min()) - low, high - float(found.max())])
        spline = spline.refined()
    for coarse, fine in pairwise(gaps):
        assert all(0 < b < 0.6 * a for a, b in zip(coarse, fine, strict=True))
    # Where the cells may fold, Hadamard's bound: wide, and never too narrow.
    low, high = folding._bounds(wobble(generator, 5.0, GRIDS[dims]))
    assert low < 0
    assert low == -high


def test_halving_the_cells_brings_bounds_closer(
    generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    field = wobble(generator, 0.8, GRIDS[3])
    closer = displacement_bounds(field)
    monkeypatch.setattr(folding, "HALVINGS", 0)
    once = displacement_bounds(field)
    assert once[0] < closer[0]
    assert closer[1] < once[1]
    # Where no cell folds, once is enough; and cells are halved no more often than there is room.
    gentle = wobble(generator, 0.1, GRIDS[3])
    wanted = displacement_bounds(gentle)
    monkeypatch.undo()
    assert displacement_bounds(gentle) == wanted
    monkeypatch.setattr(folding, "MOST_CELLS", 8 * field.coefficients[0].numel())
    twice = displacement_bounds(field)
    assert once[0] < twice[0] < closer[0]
    monkeypatch.setattr(folding, "MOST_CELLS", 8 * field.coefficients[0].numel() - 1)
    assert displacement_bounds(field) == once


@pytest.mark.parametrize("dims", [2, 3])
def test_of_a_matrix_both_bounds_are_its_determinant(dims: int, generator: torch.Generator) -> None:
    grid = GRIDS[dims]
    slope = 0.15 * torch.randn(dims, dims, generator=generator, dtype=torch.float64)
    vectors = (grid.points() @ slope.T).movedim(-1, 0)
    low, high = folding._bounds(VectorSpline(vectors, grid))
    determinant = float(torch.linalg.det(torch.eye(dims) + slope))
    # Beyond its domain a spline has no slope across the border, which counts at the ends.
    assert low <= determinant + 1e-9
    assert high >= determinant - 1e-9


def test_quality_counts_what_folds(generator: torch.Generator) -> None:
    grid = GRIDS[3].crop((2, 2, 2), (6, 6, 5)).refine(2)
    gentle = quality_of(Velocity(wobble(generator, 2.0, GRIDS[3])), grid)
    assert gentle.folds == 0
    assert gentle.least_anywhere > 0
    assert gentle.inverse_consistency_mm < 1e-4
    wild = Displacement(wobble(generator, 6.0, GRIDS[3]))
    torn = quality_of(wild, grid)
    determinants = torch.linalg.det(wild.jacobian_at(grid.points().flatten(0, -2)))
    assert torn.folds == int((determinants <= 0).sum()) > 0
    assert torn.min_jacobian == pytest.approx(float(determinants.min()))
    assert torn.least_anywhere <= torn.min_jacobian


def test_some_voxels_are_enough_where_none_can_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folding, "LOOKED", 5)
    monkeypatch.setattr(folding, "PLACES", 3)
    asked: list[int] = []

    class Counted(AffineMotion):
        def jacobian_at(self, points: torch.Tensor) -> torch.Tensor:
            asked.append(len(points))
            return super().jacobian_at(points)

        def at(self, points: torch.Tensor) -> torch.Tensor:
            asked.append(-len(points))
            return super().at(points)

    grid = Grid((4, 5), torch.eye(4))
    quality = quality_of(Counted(torch.diag(torch.tensor([2.0, 3.0, 1.0]))), grid)
    assert (quality.folds, quality.min_jacobian) == (0, 6.0)
    assert asked == [5, -4]  # every fourth of 20, and every sixth
    asked.clear()
    mirror = quality_of(Counted(torch.diag(torch.tensor([-1.0, 3.0, 1.0]))), grid)
    assert (mirror.folds, mirror.min_jacobian, mirror.least_anywhere) == (20, -3.0, -3.0)
    assert asked == [20, -4]
