"""Two images at one scale: what a step of the registration looks at."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from oinr_monai.grids.grid import Grid
from oinr_monai.grids.positions import Lattice
from oinr_monai.grids.splines import interpolating_coefficients, jet
from oinr_monai.scanner.forward_model import along_axes

from .pair import ImagePair
from .separable import gaussian_rows

__all__ = ["Level", "Looked", "ViewScale", "at_scale", "lattice_of"]

# Voxels of a moving image up to which it is kept at twice its resolution, where straight lines
# between the samples of its spline, and of its slopes, are four times closer. Chosen by hand.
KEPT_FINE = 2_000_000


@dataclass(frozen=True)
class ViewScale:
    """How closely images are looked at.

    Args:
        sigma: standard deviation of the Gaussian that smooths them first, in mm.
        spacing: of the places that are looked at, in mm; the image's own where that is larger.
    """

    sigma: float
    spacing: float


def lattice_of(grid: Grid, spacing: float) -> Grid:
    """A grid along the axes of another, about its centre, no finer than that.

    Example:
        >>> lattice_of(Grid((10, 4), torch.eye(4)), 2.0).shape
        (5, 2)
    """
    steps = [max(h, spacing) for h in grid.spacing.tolist()]
    reach = grid.extent.tolist()
    shape = [int(e / s + 1e-6) + 1 for e, s in zip(reach, steps, strict=True)]
    scale = [s / h for s, h in zip(steps, grid.spacing.tolist(), strict=True)]
    start = [(n - 1 - (m - 1) * k) / 2 for n, m, k in zip(grid.shape, shape, scale, strict=True)]
    return grid.scaled(start, shape, scale)


def at_scale(image: Tensor, grid: Grid, lattice: Grid, sigma: float, order: int = 0) -> Tensor:
    """Jets (J, C, *lattice.shape) of an image (C, *grid.shape) smoothed by ``sigma`` mm.

    Of its cubic spline; derivatives are per voxel of the lattice, whose axes are the grid's.
    """
    rows = [
        gaussian_rows(n, sigma / h if n > 1 else 0.0)
        for n, h in zip(grid.shape, grid.spacing.tolist(), strict=True)
    ]
    coefficients = interpolating_coefficients(along_axes(image, rows), halo=2)
    axes = lattice.axes_in(grid)
    if axes is None:
        raise ValueError("lattice must lie along the axes of grid, got a rotated one")
    steps = (grid.spacing / lattice.spacing).tolist()
    return jet(coefficients, Lattice(tuple(x + 2 for x in axes)), order, steps)


class Looked:
    r"""An image that is looked at between its voxels, from its spline's jets at them.

    .. math:: m(x) \approx \sum_i w_i(x) \big(m_i + \tfrac{1}{2} \nabla m_i \cdot (x - x_i)\big)

    with the weights w of straight lines: exact for parabolas, where straight lines alone would pull
    a registration towards the voxels. The border goes on.

    Args:
        image: (C, *grid.shape).
        grid: where its voxels lie.
        scale: how closely.
    """

    def __init__(self, image: Tensor, grid: Grid, scale: ViewScale) -> None:
        lattice = lattice_of(grid, scale.spacing)
        fine = 2 if math.prod(lattice.shape) <= KEPT_FINE else 1
        self.grid = lattice.refine(fine)
        found = at_scale(image, grid, self.grid, scale.sigma, order=1)
        self.channels = len(image)
        self._last = torch.tensor([max(n - 1.0, 1.0) for n in self.grid.shape])
        own = sum(found[1 + d] * x for d, x in enumerate(self._about(_indices(self.grid))))
        self._jets = torch.cat([found, own[None]]).flatten(0, 1)[None]

    def to(self, device: torch.device) -> Self:
        """The same image on a device, where it is looked at."""
        there = copy.copy(self)
        there._last, there._jets = self._last.to(device), self._jets.to(device)
        return there

    def _about(self, voxels: Tensor) -> Tensor:
        # Voxel indices (D, *places) from the middle, where float32 has the most digits.
        return (voxels - self._last / 2).movedim(-1, 0)

    def jets(self, voxels: Tensor) -> tuple[Tensor, Tensor]:
        """Values (C, *places), and slopes (D, C, *places) per voxel of :attr:`grid`."""
        places = (voxels * (2 / self._last) - 1).flip(-1)[None]
        found = F.grid_sample(self._jets, places, padding_mode="border", align_corners=True)[0]
        values, *slopes, own = found.unflatten(0, (-1, self.channels))
        kept = torch.minimum(voxels.clamp_min(0), self._last)
        for slope, x in zip(slopes, self._about(kept), strict=True):
            own = own - slope * x
        return values - own / 2, torch.stack(slopes)

    def inside(self, voxels: Tensor) -> Tensor:
        """Where voxel indices (*places, D) lie among the voxels (*places), as 0 and 1."""
        return ((voxels >= -0.5) & (voxels <= self._last + 0.5)).all(dim=-1).float()


@dataclass(frozen=True)
class Level:
    """A fixed and a moving image at one scale.

    Args:
        grid: the places that are looked at, along the axes of the fixed image.
        fixed: the fixed image there (C, *grid.shape).
        weight: how much each place counts (*grid.shape).
        moving: the moving image.
    """

    grid: Grid
    fixed: Tensor
    weight: Tensor
    moving: Looked

    @classmethod
    def of(cls, pair: ImagePair, scale: ViewScale) -> Level:
        """The two images of a pair at a scale."""
        grid = lattice_of(pair.fixed_grid, scale.spacing)
        fixed = at_scale(pair.fixed, pair.fixed_grid, grid, scale.sigma)[0]
        weight = torch.ones(grid.shape)
        if pair.mask is not None:
            whole = pair.mask.float()[None]
            weight = at_scale(whole, pair.fixed_grid, grid, float(grid.spacing.min()) / 2)[0, 0]
            weight = (weight > 0.5).float()
        return cls(grid, fixed, weight, Looked(pair.moving, pair.moving_grid, scale))

    def to(self, device: torch.device) -> Level:
        """The same images on a device, where they are compared."""
        return Level(
            self.grid, self.fixed.to(device), self.weight.to(device), self.moving.to(device)
        )

    @cached_property
    def indices(self) -> Tensor:
        """Voxel indices (*grid.shape, D) of the places."""
        return _indices(self.grid).to(self.weight)

    def to_moving(self, matrix: Tensor) -> tuple[Tensor, Tensor]:
        """The map of world places by a homogeneous matrix, between voxels of the two grids.

        Returns:
            Matrix (D, D) and shift (D,) in float32.
        """
        dims = self.grid.spatial_dims
        whole = torch.linalg.inv(_square(self.moving.grid)) @ matrix @ _square(self.grid)
        whole = whole.to(self.weight)
        return whole[:dims, :dims], whole[:dims, dims]


def _indices(grid: Grid) -> Tensor:
    axes = [torch.arange(n, dtype=torch.float32) for n in grid.shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)


def _square(grid: Grid) -> Tensor:
    dims = grid.spatial_dims
    square = torch.eye(dims + 1, dtype=torch.float64)
    square[:dims] = torch.cat([grid.matrix, grid.origin[:, None]], dim=1)
    return square
