"""Triangle meshes in mm: area, volume, and their files."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from oinr_monai.grids.checks import check_one_of
from oinr_monai.images.replacing import replacing

__all__ = ["SURFACE_SUFFIXES", "Surface", "vertex_normals"]


# Programs that read meshes in LPS by themselves, such as 3D Slicer, look for this note.
NOTE = "oinr_monai, mm, SPACE=RAS"


@dataclass(frozen=True, eq=False)
class Surface:
    """Triangles in world mm, closed and oriented: counter-clockwise as seen from outside.

    Args:
        vertices: places (V, 3) in mm, float64.
        faces: vertices of each triangle (F, 3), int64.
        normals: unit vectors (V, 3) that point outward, to where the function is lower.

    Example:
        >>> corners = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]).double()
        >>> faces = torch.tensor([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
        >>> tetrahedron = Surface(corners, faces, corners)
        >>> round(tetrahedron.volume, 4), round(tetrahedron.area, 4)
        (0.1667, 2.366)
    """

    vertices: Tensor
    faces: Tensor
    normals: Tensor

    @property
    def area(self) -> float:
        """Area of all triangles, in mm²."""
        return float(_areas(self.vertices, self.faces).norm(dim=1).sum())

    @property
    def volume(self) -> float:
        """Volume inside, in mm³, by the divergence theorem."""
        corners = (self.vertices - self.vertices.mean(dim=0))[self.faces]
        return float(torch.linalg.det(corners).sum()) / 6

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write STL or PLY (both binary) or OBJ, as the name ends; complete or not at all.

        Coordinates are world mm, RAS, in float32, which the file's header says; STL has one normal
        a triangle, the other two one a vertex.

        Raises:
            ValueError: if the name ends otherwise.
            OSError: if the file cannot be written.
        """
        suffix = Path(path).suffix.lower()
        check_one_of("suffix of path", suffix, SURFACE_SUFFIXES)
        with replacing(path) as temporary:
            temporary.write_bytes(_WRITERS[suffix](self))


def _areas(vertices: Tensor, faces: Tensor) -> Tensor:
    # Normals (F, 3) as long as the areas of the triangles.
    a, b, c = vertices[faces].unbind(dim=1)
    return torch.linalg.cross(b - a, c - a) / 2


def vertex_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Unit normals (V, 3) at the vertices: those of their triangles, weighed by area."""
    areas = _areas(vertices, faces)
    total = torch.zeros_like(vertices)
    for corner in faces.T:
        total.index_add_(0, corner, areas)
    return torch.nn.functional.normalize(total, dim=1)


def _stl(surface: Surface) -> bytes:
    record = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    triangles = np.zeros(len(surface.faces), record)
    areas = _areas(surface.vertices, surface.faces)
    triangles["normal"] = torch.nn.functional.normalize(areas, dim=1).numpy()
    triangles["corners"] = surface.vertices[surface.faces].numpy()
    count = np.array(len(triangles), "<u4")
    return NOTE.encode().ljust(80) + count.tobytes() + triangles.tobytes()


def _ply(surface: Surface) -> bytes:
    names = ("x", "y", "z", "nx", "ny", "nz")
    head = [
        "ply",
        "format binary_little_endian 1.0",
        f"comment {NOTE}",
        f"element vertex {len(surface.vertices)}",
        *(f"property float {name}" for name in names),
        f"element face {len(surface.faces)}",
        "property list uchar int vertex_indices",
        "end_header\n",
    ]
    rows = torch.cat([surface.vertices, surface.normals], dim=1).numpy().astype("<f4")
    faces = np.zeros(len(surface.faces), [("corners", "u1"), ("vertices", "<i4", 3)])
    faces["corners"], faces["vertices"] = 3, surface.faces.numpy()
    return "\n".join(head).encode() + rows.tobytes() + faces.tobytes()


def _obj(surface: Surface) -> bytes:
    lines = [f"# {NOTE}"]
    lines += ["v {:.7g} {:.7g} {:.7g}".format(*place) for place in surface.vertices.tolist()]
    lines += ["vn {:.7g} {:.7g} {:.7g}".format(*normal) for normal in surface.normals.tolist()]
    lines += ["f {0}//{0} {1}//{1} {2}//{2}".format(*f) for f in (surface.faces + 1).tolist()]
    return "\n".join([*lines, ""]).encode()


_WRITERS: dict[str, Callable[[Surface], bytes]] = {".obj": _obj, ".ply": _ply, ".stl": _stl}


SURFACE_SUFFIXES = tuple(_WRITERS)
