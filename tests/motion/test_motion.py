"""Laws of all kinds of motion: there and back, derivatives, bounds, files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from oinr_monai import Grid, Motion
from oinr_monai.motion import AffineMotion, Displacement, Velocity, rigid_about
from oinr_monai.motion.composition import MotionChain
from tests.motion.makers import knots, places, wobble

Make = Callable[[torch.Generator, Grid], Motion]


def rigid(_: torch.Generator, grid: Grid) -> Motion:
    turn = torch.tensor([0.2, -0.1, 0.4] if grid.spatial_dims == 3 else [0.3])
    return rigid_about(turn, torch.full((grid.spatial_dims,), 2.5), grid.origin)


def affine(generator: torch.Generator, grid: Grid) -> Motion:
    dims = grid.spatial_dims
    noise = torch.randn(dims, dims, generator=generator, dtype=torch.float64)
    return AffineMotion.of(torch.eye(dims) + 0.1 * noise, [3.0, -4.0, 5.0][:dims])


def displacement(generator: torch.Generator, grid: Grid) -> Motion:
    return Displacement(wobble(generator, 0.5, grid))


def undone(generator: torch.Generator, grid: Grid) -> Motion:
    return displacement(generator, grid).inverse()


def velocity(generator: torch.Generator, grid: Grid) -> Motion:
    return Velocity(wobble(generator, 2.0, grid))


def composition(generator: torch.Generator, grid: Grid) -> Motion:
    return affine(generator, grid) @ velocity(generator, grid) @ displacement(generator, grid)


KINDS = (rigid, affine, displacement, undone, velocity, composition)

every_kind = pytest.mark.parametrize("make", KINDS)

GRIDS = {3: knots(), 2: knots((8, 9))}


@every_kind
@pytest.mark.parametrize("dims", [2, 3])
def test_there_and_back(make: Make, dims: int, generator: torch.Generator) -> None:
    motion = make(generator, GRIDS[dims])
    points = places(generator, GRIDS[dims])
    for there, back in ((motion, motion.inverse()), (motion.inverse(), motion)):
        assert (back.at(there.at(points)) - points).abs().max() < 1e-4
    assert (motion.at(points) - points).abs().max() > 0.1


@every_kind
def test_the_jacobian_is_that_of_the_map(make: Make, generator: torch.Generator) -> None:
    motion, points = make(generator, GRIDS[3]), places(generator, GRIDS[3], beyond=-1.5)
    step = 1e-4 * torch.eye(3, dtype=torch.float64)
    sides = [(motion.at(points + h) - motion.at(points - h)) / 2e-4 for h in step]
    torch.testing.assert_close(
        motion.jacobian_at(points), torch.stack(sides, dim=-1), rtol=0, atol=1e-6
    )


@every_kind
def test_the_determinant_stays_within_its_bounds(make: Make, generator: torch.Generator) -> None:
    motion = make(generator, GRIDS[3])
    low, high = motion.determinant_bounds()
    found = torch.linalg.det(motion.jacobian_at(places(generator, GRIDS[3], 200)))
    assert low <= float(found.min()) + 1e-9
    assert float(found.max()) <= high + 1e-9


@every_kind
def test_a_file_gives_back_the_same_motion(
    make: Make, generator: torch.Generator, tmp_path: Path
) -> None:
    motion, points = make(generator, GRIDS[3]), places(generator, GRIDS[3])
    motion.save(tmp_path / "motion.safetensors")
    found = Motion.load(tmp_path / "motion.safetensors")
    assert torch.equal(found.at(points), motion.at(points))
    found.save(tmp_path / "again.safetensors")
    files = [(tmp_path / name).read_bytes() for name in ("motion.safetensors", "again.safetensors")]
    assert files[0] == files[1]


@every_kind
def test_on_a_grid_it_is_what_it_is_at_its_points(make: Make, generator: torch.Generator) -> None:
    motion = make(generator, GRIDS[3])
    for grid in (GRIDS[3].refine(2).crop((2, 3, 4), (5, 7, 6)), knots((3, 2, 4), 2.5)):
        points = grid.points().flatten(0, -2)
        torch.testing.assert_close(motion.on(grid).flatten(0, -2), motion.at(points))
        torch.testing.assert_close(
            motion.jacobian_on(grid).flatten(0, -3), motion.jacobian_at(points)
        )


@every_kind
def test_points_of_another_dimension_are_refused(make: Make, generator: torch.Generator) -> None:
    with pytest.raises(ValueError, match=r"points must have shape \(N, 3\), got \(5, 2\)"):
        make(generator, GRIDS[3]).at(torch.zeros(5, 2))


def test_composing_is_one_after_the_other(generator: torch.Generator) -> None:
    first, then = velocity(generator, GRIDS[3]), affine(generator, GRIDS[3])
    points = places(generator, GRIDS[3])
    assert torch.equal((then @ first).at(points), then.at(first.at(points)))
    both = (then @ first) @ (first @ then)
    assert isinstance(both, MotionChain)
    assert len(both.parts) == 4
    assert isinstance(then @ then, AffineMotion)


def test_a_motion_that_is_damaged_is_refused(tmp_path: Path, generator: torch.Generator) -> None:
    path = tmp_path / "motion.safetensors"
    velocity(generator, GRIDS[3]).save(path)
    whole = path.read_bytes()
    for place in (3, 60, len(whole) // 2, len(whole) - 5):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x5A]) + whole[place + 1 :])
        with pytest.raises(ValueError, match="must be a motion"):
            Motion.load(path)
    path.write_bytes(whole[:-9])
    with pytest.raises(ValueError, match="must be a motion"):
        Motion.load(path)
    with pytest.raises(FileNotFoundError):
        Motion.load(tmp_path / "none.safetensors")


@pytest.mark.parametrize("matrix", [torch.eye(2), torch.zeros(4, 4), torch.full((3, 3), torch.nan)])
def test_a_matrix_that_is_no_motion_is_refused(matrix: Tensor) -> None:
    with pytest.raises(ValueError, match="matrix must be"):
        AffineMotion(matrix)


def test_a_rotation_is_rigid_and_a_mirror_is_not() -> None:
    turned = rigid_about(torch.tensor([0.3, 1.0, -2.0]), torch.zeros(3), torch.ones(3))
    assert turned.is_rigid
    assert not AffineMotion.of(torch.diag(torch.tensor([-1.0, 1, 1])), torch.zeros(3)).is_rigid
