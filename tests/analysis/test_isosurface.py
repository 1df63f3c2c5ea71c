"""Surfaces against the closed form of a sphere; closed, outward, and the same in every file."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from oinr_monai import FitConfig, Grid, IntensityScale, Representation, fit, isosurface
from oinr_monai.analysis.isosurface import covering
from oinr_monai.grids.positions import Positions
from oinr_monai.representation.continuous_field import ContinuousField
from tests.analysis.meshes import angles, is_closed, read_obj, read_ply, read_stl

RADIUS = 7.0


class Ball(ContinuousField):
    """How far inside a sphere a place is, in mm, and its slope, in closed form."""

    hidden_channels, anywhere = (), True

    def __init__(self, grid: Grid, center: Tensor) -> None:
        torch.nn.Module.__init__(self)
        self.grid, self.center = grid, center
        self.network = torch.nn.Linear(1, 1)

    def forward(
        self, positions: Positions, order: int = 0, layer: object = None, spacing: object = None
    ) -> Tensor:
        columns = [
            positions.spread(x[:, None], d)[..., 0].expand(positions.shape)
            for d, x in enumerate(positions.axes)
        ]
        away = torch.stack(columns, -1) @ self.grid.directions.T + self.grid.origin - self.center
        distance = away.norm(dim=-1)
        slope = -(away / distance[..., None]) @ self.grid.directions
        return torch.stack([RADIUS - distance, *(slope.unbind(-1) if order else ())])[:, None]

    def with_spacing(self, spacing: object) -> Ball:
        return self

    def numbers(self, order: int, scattered: bool) -> int:
        return 16

    def arguments(self) -> dict[str, object]:
        return {"grid": self.grid, "center": self.center}


def ball(grid: Grid, off: tuple[float, ...] = (0.2, -0.1, 0.3)) -> tuple[Representation, Tensor]:
    middle = torch.tensor([(n - 1) / 2 for n in grid.shape], dtype=torch.float64)
    center = grid.to_world(middle) + torch.tensor(off, dtype=torch.float64)
    return Representation(Ball(grid, center), grid, IntensityScale((0.0,), (1.0,), (-9.0,))), center


def grid_of(affine: Tensor) -> Grid:
    spacing = affine[:3, :3].norm(dim=0)
    return Grid(tuple(int(20 / h) for h in spacing.tolist()), affine)


@pytest.fixture(params=["straight", "oblique", "sheared", "right-handed"])
def grid(request: pytest.FixtureRequest, oblique_affine: Tensor, sheared_affine: Tensor) -> Grid:
    right_handed = oblique_affine.clone()
    right_handed[:3, 0] *= -1
    affines = {
        "straight": torch.eye(4, dtype=torch.float64),
        "oblique": oblique_affine,
        "sheared": sheared_affine,
        "right-handed": right_handed,
    }
    return grid_of(affines[request.param])


def test_a_sphere_has_its_radius_and_normals(grid: Grid) -> None:
    representation, center = ball(grid)
    surface = isosurface(representation, 0.0)
    radii = (surface.vertices - center).norm(dim=1)
    assert float((radii - RADIUS).abs().max()) < 1e-6
    assert float(angles(surface, center).max()) < 1e-3
    assert is_closed(surface)


def test_area_and_volume_converge_to_second_order(grid: Grid) -> None:
    representation, _ = ball(grid)
    finest = float(grid.spacing.max())
    sizes = [finest / 1.0, finest / 2, finest / 4]
    found = [isosurface(representation, 0.0, grid=covering(grid, h)) for h in sizes]
    for wanted, values in (
        (4 / 3 * math.pi * RADIUS**3, [each.volume for each in found]),
        (4 * math.pi * RADIUS**2, [each.area for each in found]),
    ):
        errors = [abs(value / wanted - 1) for value in values]
        assert errors[-1] < 0.005
        order = math.log(errors[0] / errors[-1]) / math.log(sizes[0] / sizes[-1])
        assert order == pytest.approx(2, abs=0.3)


def test_what_goes_on_beyond_the_border_is_closed_there(grid: Grid) -> None:
    everything = Grid((6, 5, 4), grid.affine)
    representation, _ = ball(everything)
    surface = isosurface(representation, -100.0)
    box = 6 * 5 * 4 * abs(float(torch.linalg.det(grid.matrix)))
    assert is_closed(surface)
    assert surface.volume == pytest.approx(box, rel=1e-6)
    finer = isosurface(representation, -100.0, grid=covering(everything, 0.3))
    assert finer.volume == pytest.approx(box, rel=1e-6)


def test_a_sphere_cut_by_the_border_is_closed(oblique_affine: Tensor) -> None:
    grid = Grid((12, 10, 5), oblique_affine)
    representation, center = ball(grid)
    surface = isosurface(representation, 0.0, grid=covering(grid, 0.5))
    assert is_closed(surface)
    fine = covering(grid, 0.25)
    inside = float((representation.sample(fine) > 0).sum())
    voxel = abs(float(torch.linalg.det(fine.matrix)))
    assert surface.volume == pytest.approx(inside * voxel, rel=0.01)
    free = ((surface.vertices - center).norm(dim=1) - RADIUS).abs() < 1e-6
    assert 0.05 < float(free.double().mean()) < 0.95


def test_covering_keeps_the_box(grid: Grid) -> None:
    finer = covering(grid, [0.4, 0.7, 1.1])
    assert bool((finer.spacing <= torch.tensor([0.4, 0.7, 1.1]) + 1e-9).all())
    for box in ([0, 0, 0], [1, 1, 1], [1, 0, 1]):
        corner = torch.tensor(box, dtype=torch.float64)
        ends = [each.to_world(corner * torch.tensor(each.shape) - 0.5) for each in (grid, finer)]
        torch.testing.assert_close(*ends)
    assert covering(grid, grid.spacing.tolist()).shape == grid.shape


def test_the_surface_of_a_fit_of_a_smooth_sphere() -> None:
    grid = Grid((24, 24, 24), torch.eye(4))
    center = torch.tensor([11.3, 11.8, 12.1], dtype=torch.float64)
    distance = (grid.points() - center).norm(dim=-1)
    image = grid.to_image(torch.tanh((RADIUS - distance) / 3)[None].float())
    surface = isosurface(fit(image, FitConfig("fast", steps=800, seed=1)), 0.0)
    assert is_closed(surface)
    assert float(angles(surface, center).max()) < 2
    assert surface.volume == pytest.approx(4 / 3 * math.pi * RADIUS**3, rel=0.02)
    assert surface.area == pytest.approx(4 * math.pi * RADIUS**2, rel=0.02)


# Files


@pytest.mark.parametrize("suffix", [".stl", ".ply", ".obj"])
def test_files_hold_the_surface(suffix: str, oblique_affine: Tensor, tmp_path: Path) -> None:
    representation, _ = ball(grid_of(oblique_affine))
    surface = isosurface(representation, 0.0)
    path = tmp_path / f"sphere{suffix}"
    surface.save(path)
    readers: dict[str, Callable[[Path], tuple[np.ndarray, np.ndarray]]] = {
        ".stl": read_stl, ".ply": read_ply, ".obj": read_obj,
    }  # fmt: skip
    corners, normals = readers[suffix](path)
    assert np.allclose(corners, surface.vertices[surface.faces].numpy(), atol=1e-4)
    if suffix == ".stl":
        turned = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        assert ((turned * normals).sum(axis=1) >= 0).all()
    else:
        assert np.allclose(normals, surface.normals.numpy(), atol=1e-5)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_what_is_refused(oblique_affine: Tensor, tmp_path: Path) -> None:
    representation, _ = ball(grid_of(oblique_affine))
    with pytest.raises(ValueError, match="level must be below"):
        isosurface(representation, 50.0)
    with pytest.raises(ValueError, match="channel must be 0 to 0, got 1"):
        isosurface(representation, 0.0, channel=1)
    with pytest.raises(ValueError, match="spacing must be positive"):
        covering(representation.grid, 0.0)
    with pytest.raises(ValueError, match="suffix of path must be one of"):
        isosurface(representation, 0.0).save(tmp_path / "sphere.vtk")
    flat = fit(torch.rand(1, 8, 8), FitConfig("fast", steps=2))
    with pytest.raises(ValueError, match="3 spatial dimensions"):
        isosurface(flat, 0.5)
