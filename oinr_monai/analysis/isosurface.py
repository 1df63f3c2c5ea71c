r"""The surface where a representation crosses a level, as triangles in world millimetres.

Marching cubes finds the triangles on a grid; Newton's steps along the exact gradient then carry
every vertex onto the level set of the function itself,

.. math:: x \leftarrow x - (f(x) - c) \, \nabla f / |\nabla f|^2.

References:
    Lewiner, Lopes, Vieira, Tavares, "Efficient implementation of marching cubes' cases with
    topological guarantees", Journal of Graphics Tools 8(2), 2003.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oinr_monai.grids.checks import per_axis
from oinr_monai.grids.grid import Grid
from oinr_monai.grids.precision import full_precision
from oinr_monai.representation.representation import Representation

from .mesh import Surface, vertex_normals

__all__ = ["covering", "isosurface"]


# Quadratic convergence from within a voxel: three steps end at rounding.
NEWTON_STEPS = 3


@full_precision()
def isosurface(
    representation: Representation,
    level: float,
    *,
    channel: int = 0,
    grid: Grid | None = None,
) -> Surface:
    """The surface around all places where a channel is above ``level``.

    It is closed: where the object goes on beyond the grid, half a voxel beyond the outermost voxel
    centres. Everywhere else, its vertices lie on the level set of the function itself, and its
    normals are those of the exact gradient; a vertex is moved by at most a voxel, and stays where
    marching cubes put it if that would not bring it closer.

    Args:
        representation: a function in three dimensions.
        level: value on the surface, in the image's intensities.
        channel: which channel.
        grid: where marching cubes look, the fitted grid if None; see :func:`covering`.

    Raises:
        ValueError: if the function is not 3-D, has no such channel, or is nowhere above the level
            on the grid.

    Example:
        >>> from oinr_monai import FitConfig, fit
        >>> axes = torch.meshgrid(*[torch.linspace(-1, 1, 12)] * 3, indexing="ij")
        >>> ball = 1 - sum(x**2 for x in axes)[None]
        >>> surface = isosurface(fit(ball, FitConfig(preset="fast", steps=200)), 0.4)
        >>> surface.vertices.shape[0] - surface.faces.shape[0] // 2     # Euler's number of a sphere
        2
    """
    if representation.grid.spatial_dims != 3:
        raise ValueError(
            "representation must have 3 spatial dimensions for a surface, got "
            f"{representation.grid.spatial_dims}"
        )
    channels = len(representation.scale.mean)
    if not 0 <= channel < channels:
        raise ValueError(f"channel must be 0 to {channels - 1}, got {channel}")
    grid = representation.grid if grid is None else grid
    above = representation.sample(grid).as_tensor()[channel].double().numpy() - level
    if not above.max() > 0:
        high = level + above.max()
        raise ValueError(f"level must be below the greatest value, {high:.5g}, got {level:.5g}")
    voxels, faces = _triangles(above.astype(np.float32))
    if float(torch.linalg.det(grid.matrix)) > 0:
        faces = faces.flip(1)
    inside = _off_the_border(voxels, grid)
    vertices, faces = grid.to_world(voxels), faces.contiguous()
    level_set = _LevelSet(representation, level, channel)
    vertices[inside] = level_set.nearest(vertices[inside], float(grid.spacing.min()))
    normals = vertex_normals(vertices, faces)
    normals[inside] = level_set.normals(vertices[inside], otherwise=normals[inside])
    return Surface(vertices, faces, normals)


def covering(grid: Grid, spacing: float | Sequence[float]) -> Grid:
    """The grid that fills the same box, voxels' borders and all, with voxels no larger than asked.

    Unlike :meth:`Grid.with_spacing`, which keeps the outermost voxel centres, it keeps the outer
    borders of the outermost voxels, so that what touches them keeps its volume.

    Args:
        grid: the grid whose box is filled.
        spacing: largest size of a voxel in mm, for all axes or each.

    Raises:
        ValueError: if a spacing is not positive.

    Example:
        >>> finer = covering(Grid((4, 5, 6), torch.eye(4)), 0.5)
        >>> finer.shape, finer.origin.tolist()
        ((8, 10, 12), [-0.25, -0.25, -0.25])
    """
    asked = per_axis("spacing", spacing, grid.spatial_dims)
    wanted = torch.tensor(asked, dtype=torch.float64)
    sizes = torch.tensor(grid.shape, dtype=torch.float64)
    # The tolerance keeps rounding from adding a voxel.
    shape = (sizes * grid.spacing / wanted - 1e-6).ceil().clamp_min(1)
    step = sizes / shape
    affine = grid.affine.clone()
    dims = grid.spatial_dims
    affine[:dims, :dims] *= step
    affine[:dims, 3] = grid.to_world((step - 1) / 2)
    return Grid(tuple(int(size) for size in shape), affine)


def _triangles(above: NDArray[np.float32]) -> tuple[Tensor, Tensor]:
    """Vertices (V, 3) in voxels and faces (F, 3), outward where voxel axes are right-handed.

    Args:
        above: the intensities less the level, (X, Y, Z).
    """
    from skimage.measure import marching_cubes

    # The border's own value half a voxel out, and from there at once far below the level: cubes
    # without thickness, whose triangles lie flat on the border of the box.
    closed = np.pad(above, 1, mode="edge")
    closed = np.pad(closed, 1, constant_values=-above.max())
    places, faces, *_ = marching_cubes(closed, 0.0, gradient_direction="descent")
    voxels = [
        np.interp(x, np.arange(n + 4), [-0.5, -0.5, *range(n), n - 0.5, n - 0.5])
        for x, n in zip(places.T, above.shape, strict=True)
    ]
    return torch.from_numpy(np.stack(voxels, axis=1)), torch.from_numpy(faces.astype(np.int64))


def _off_the_border(voxels: Tensor, grid: Grid) -> Tensor:
    last = torch.tensor(grid.shape, dtype=torch.float64) - 0.5
    return ((voxels > -0.5 + 1e-4) & (voxels < last - 1e-4)).all(dim=1)


@dataclass(frozen=True)
class _LevelSet:
    """Where a channel of a representation has one value."""

    representation: Representation
    level: float
    channel: int

    def nearest(self, vertices: Tensor, reach: float) -> Tensor:
        """Places on it, at most ``reach`` mm from the vertices; a vertex where none was found."""
        found = vertices
        for _ in range(NEWTON_STEPS):
            slope = self._gradient(found)
            square = (slope**2).sum(dim=1, keepdim=True)
            step = self._excess(found)[:, None] * slope / torch.where(square > 0, square, 1.0)
            away = found - step - vertices
            found = vertices + away * (reach / away.norm(dim=1, keepdim=True)).clamp_max(1)
        closer = self._excess(found).abs() < self._excess(vertices).abs()
        return torch.where(closer[:, None], found, vertices)

    def normals(self, vertices: Tensor, otherwise: Tensor) -> Tensor:
        """Unit vectors down the gradient, and ``otherwise`` where there is none."""
        slope = self._gradient(vertices)
        length = slope.norm(dim=1, keepdim=True)
        return torch.where(length > 0, -slope / torch.where(length > 0, length, 1.0), otherwise)

    def _excess(self, points: Tensor) -> Tensor:
        return self.representation.at(points)[:, self.channel].double().cpu() - self.level

    def _gradient(self, points: Tensor) -> Tensor:
        return self.representation.gradient_at(points)[:, self.channel].double().cpu()
