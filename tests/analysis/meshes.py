"""Reading and judging triangle meshes."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from oinr_monai import Surface


def is_closed(surface: Surface) -> bool:
    """Every edge belongs to two triangles that run along it in opposite directions."""
    edges = torch.cat([surface.faces[:, [i, (i + 1) % 3]] for i in range(3)])
    there = edges @ torch.tensor([len(surface.vertices), 1])
    back = edges @ torch.tensor([1, len(surface.vertices)])
    return len(there.unique()) == len(there) and torch.equal(there.sort()[0], back.sort()[0])


def angles(surface: Surface, center: Tensor) -> Tensor:
    outward = torch.nn.functional.normalize(surface.vertices - center, dim=1)
    return torch.rad2deg(torch.arccos((surface.normals * outward).sum(dim=1).clamp(-1, 1)))


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
