"""Surfaces against the closed form of a sphere; closed, outward, and the same in every file."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from oinr_monai import FitConfig, Grid, IntensityScale, Representation, Surface, fit, isosurface
from oinr_monai.neural_field import ContinuousField
from oinr_monai.positions import Positions
from oinr_monai.surface import covering

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


def ball(grid: Grid, off: tuple[float, ...] = (0.2, -0.1, 0.3)) -> tuple[Representation, Tensor]:
    middle = torch.tensor([(n - 1) / 2 for n in grid.shape], dtype=torch.float64)
    center = grid.to_world(middle) + torch.tensor(off, dtype=torch.float64)
    return Representation(Ball(grid, center), grid, IntensityScale((0.0,), (1.0,), (-9.0,))), center


def grid_of(affine: Tensor) -> Grid:
    spacing = affine[:3, :3].norm(dim=0)
    return Grid(tuple(int(20 / h) for h in spacing.tolist()), affine)


def is_closed(surface: Surface) -> bool:
    """Every edge belongs to two triangles that run along it in opposite directions."""
    edges = torch.cat([surface.faces[:, [i, (i + 1) % 3]] for i in range(3)])
    there = edges @ torch.tensor([len(surface.vertices), 1])
    back = edges @ torch.tensor([1, len(surface.vertices)])
    return len(there.unique()) == len(there) and torch.equal(there.sort()[0], back.sort()[0])


def angles(surface: Surface, center: Tensor) -> Tensor:
    outward = torch.nn.functional.normalize(surface.vertices - center, dim=1)
    return torch.rad2deg(torch.arccos((surface.normals * outward).sum(dim=1).clamp(-1, 1)))


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


def read_stl(path: Path) -> tuple[np.ndarray, np.ndarray]:
    data = path.read_bytes()
    (count,) = struct.unpack_from("<I", data, 80)
    assert len(data) == 84 + 50 * count
    assert b"SPACE=RAS" in data[:80]
    rows = [struct.unpack_from("<12f", data, 84 + 50 * i) for i in range(count)]
    values = np.array(rows).reshape(count, 4, 3)
    return values[:, 1:], values[:, 0]


def read_ply(path: Path) -> tuple[np.ndarray, np.ndarray]:
    head, _, body = path.read_bytes().partition(b"end_header\n")
    assert b"binary_little_endian" in head
    counts = [int(line.split()[2]) for line in head.splitlines() if line.startswith(b"element")]
    rows = np.frombuffer(body, "<f4", 6 * counts[0]).reshape(-1, 6)
    at, faces = 24 * counts[0], []
    for _ in range(counts[1]):
        size, *corners = struct.unpack_from("<B3i", body, at)
        assert size == 3
        faces.append(corners)
        at += 13
    assert at == len(body)
    return rows[np.array(faces), :3], rows[:, 3:]


def read_obj(path: Path) -> tuple[np.ndarray, np.ndarray]:
    rows: dict[str, list[list[str]]] = {"v": [], "vn": [], "f": [], "#": []}
    for line in path.read_text().splitlines():
        kind, *values = line.split()
        rows[kind].append(values)
    vertices, normals = (np.array(rows[name], dtype=float) for name in ("v", "vn"))
    faces = np.array([[each.split("//") for each in face] for face in rows["f"]], dtype=int)
    assert (faces[..., 0] == faces[..., 1]).all()
    return vertices[faces[..., 0] - 1], normals


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
