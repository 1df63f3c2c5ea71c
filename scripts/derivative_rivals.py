"""Phantoms with exact derivatives in mm, and how others differentiate: for bench_derivatives."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
import torch
from baselines import Siren
from monai.transforms import SobelGradients
from scipy.spatial.transform import Rotation
from torch import Tensor

from oinr_monai import Grid
from oinr_monai.grids.jets import second_order_pairs
from oinr_monai.grids.positions import Lattice
from oinr_monai.grids.splines import CubicInterpolant

# Gradient (N, 3) per mm and Hessian (N, 3, 3) per mm² in world axes; a method may have no Hessian.
Derivatives = tuple[Tensor, Tensor | None]

TUBE_RADII = (1.5, 2.0, 3.0, 4.0)
PAIRS = second_order_pairs(3)


@dataclass(frozen=True)
class Phantom:
    """A function of world mm, differentiated exactly by automatic differentiation in float64."""

    name: str
    value: Callable[[Tensor], Tensor]  # (3,) to a number

    def on(self, grid: Grid) -> tuple[Tensor, Tensor, Tensor]:
        """Values (N,), gradients (N, 3) and Hessians (N, 3, 3) at the voxel centres."""
        questions = (self.value, torch.func.grad(self.value), torch.func.hessian(self.value))
        points = grid.points().flatten(0, -2).split(5_000)
        value, gradient, hessian = (
            torch.cat([torch.func.vmap(question)(chunk) for chunk in points])
            for question in questions
        )
        return value, gradient, hessian


def phantoms() -> list[Phantom]:
    """Blobs, tubes of four radii, a ball with a smooth edge, and waves, within 20 mm of 0."""
    generator = torch.Generator().manual_seed(0)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    centres, widths, heights = uniform(8, 3) * 26 - 13, 2.5 + uniform(8) * 2.5, 0.5 + uniform(8)
    waves = 2 * math.pi / torch.tensor([[9.0, 20, 30], [16, -12, 40], [25, 18, -14]]).double()

    def blobs(x: Tensor) -> Tensor:
        square = (x - centres).square().sum(1)
        return (heights * torch.exp(-square / (2 * widths**2))).sum()

    def tubes(x: Tensor) -> Tensor:
        radii = torch.tensor(TUBE_RADII, dtype=torch.float64)
        return torch.exp(-tube_distances(x).square() / (2 * radii**2)).sum()

    def ball(x: Tensor) -> Tensor:
        centre = torch.tensor([0.3, -0.4, 0.7], dtype=torch.float64)
        return torch.erfc(((x - centre).norm() - 11) / (1.5 * math.sqrt(2))) / 2

    def sines(x: Tensor) -> Tensor:
        return torch.sin(waves @ x + torch.tensor([0.3, 1.0, 2.0]).double()).sum()

    named = {"blobs": blobs, "tubes": tubes, "ball": ball, "waves": sines}
    return [Phantom(name, value) for name, value in named.items()]


_AXES = torch.Generator().manual_seed(1)
_THROUGH = torch.rand(4, 3, generator=_AXES, dtype=torch.float64) * 16 - 8
_ALONG = torch.nn.functional.normalize(torch.randn(4, 3, generator=_AXES, dtype=torch.float64))


def tube_distances(x: Tensor) -> Tensor:
    """Distances (..., 4) in mm of points (..., 3) to the axes of the tubes."""
    away = x[..., None, :] - _THROUGH
    along = (away * _ALONG).sum(-1, keepdim=True) * _ALONG
    return ((away - along).square().sum(-1) + 1e-12).sqrt()


def grids() -> dict[str, Grid]:
    """Isotropic, anisotropic and oblique voxels, all around 0."""
    turn = torch.from_numpy(Rotation.from_euler("xyz", [0.3, -0.5, 0.2]).as_matrix())
    return {
        "1 mm": _centred((40, 40, 40), (1.0, 1.0, 1.0), torch.eye(3).double()),
        "1 x 1 x 3 mm": _centred((40, 40, 14), (1.0, 1.0, 3.0), torch.eye(3).double()),
        "oblique": _centred((44, 36, 32), (0.9, 1.1, 1.25), turn),
    }


def _centred(shape: tuple[int, ...], spacing: tuple[float, ...], turn: Tensor) -> Grid:
    affine = torch.eye(4, dtype=torch.float64)
    affine[:3, :3] = turn * torch.tensor(spacing, dtype=torch.float64)
    affine[:3, 3] = -affine[:3, :3] @ ((torch.tensor(shape).double() - 1) / 2)
    return Grid(shape, affine)


# ---- how others do it ---------------------------------------------------------------------------


def symmetric(parts: list[Tensor]) -> Tensor:
    """Matrices (N, 3, 3) of their entries xx xy xz yy yz zz, each (N,)."""
    rows = [[PAIRS.index((min(i, j), max(i, j))) for j in range(3)] for i in range(3)]
    return torch.stack([torch.stack([parts[k] for k in row], -1) for row in rows], -2)


def central_differences(image: Tensor, grid: Grid) -> Derivatives:
    """numpy.gradient, and numpy.gradient of that."""
    slopes = np.gradient(image[0].double().numpy())
    second = [np.gradient(slopes[i])[j] for i, j in PAIRS]
    gradient = torch.from_numpy(np.stack(slopes, -1)).reshape(-1, 3)
    hessian = symmetric([torch.from_numpy(each).flatten() for each in second])
    return grid.gradient_to_world(gradient), grid.hessian_to_world(hessian)


def sobel(image: Tensor, grid: Grid) -> Derivatives:
    """MONAI's SobelGradients, normalised."""
    found = SobelGradients(spatial_axes=(0, 1, 2), padding_mode="replicate")(image.float())
    return grid.gradient_to_world(torch.as_tensor(found).reshape(3, -1).T.double()), None


def cubic_spline(image: Tensor, grid: Grid) -> Derivatives:
    """Derivatives of the cubic B-spline through the samples."""
    voxels = Lattice(tuple(torch.arange(n).double() for n in grid.shape))
    jet = CubicInterpolant(image).jet(voxels, order=2)[:, 0].flatten(1).double()
    return grid.gradient_to_world(jet[1:4].T), grid.hessian_to_world(symmetric(list(jet[4:])))


def recursive_gaussian(image: Tensor, grid: Grid, widths: list[float]) -> Derivatives:
    """SimpleITK's RecursiveGaussian, with these widths along the axes in mm."""
    start = sitk.GetImageFromArray(image[0].double().numpy().T)
    start.SetSpacing(grid.spacing.tolist())

    def derivative(orders: tuple[int, ...]) -> Tensor:
        found = start
        for axis, (order, width) in enumerate(zip(orders, widths, strict=True)):
            found = sitk.RecursiveGaussian(found, width, False, order, axis)
        return torch.from_numpy(sitk.GetArrayFromImage(found).T.copy()).double().flatten()

    first = [derivative(tuple(int(d == axis) for d in range(3))) for axis in range(3)]
    second = [derivative(tuple((i, j).count(d) for d in range(3))) for i, j in PAIRS]
    turn = grid.directions
    return torch.stack(first, 1) @ turn.T, turn @ symmetric(second) @ turn.T


def siren(image: Tensor, grid: Grid, seconds: float) -> Derivatives:
    """A SIREN fitted for ``seconds``, differentiated exactly."""
    torch.manual_seed(0)
    baseline, started = Siren(image.float()), time.monotonic()
    while (spent := time.monotonic() - started) < seconds:
        baseline.step(spent / seconds)
    network = baseline.network.double()

    def answer(unit: Tensor) -> Tensor:
        return network(unit[None])[0, 0] * baseline.std[0].double()

    places = baseline.coordinates.double().split(4_096)
    first = torch.cat([torch.func.vmap(torch.func.grad(answer))(chunk) for chunk in places])
    second = torch.cat([torch.func.vmap(torch.func.hessian(answer))(chunk) for chunk in places])
    scale = 2 / (torch.tensor(grid.shape).double() - 1)
    per_voxel = second.detach() * scale[:, None] * scale
    return grid.gradient_to_world(first.detach() * scale), grid.hessian_to_world(per_voxel)
