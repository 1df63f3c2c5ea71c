"""How others differentiate: differences, filters, splines and a SIREN."""

from __future__ import annotations

import time

import numpy as np
import SimpleITK as sitk
import torch
from monai.data import MetaTensor
from monai.transforms import SobelGradients
from torch import Tensor

from oinr_monai import Grid
from oinr_monai.grids.jets import second_order_pairs
from oinr_monai.grids.positions import Lattice
from oinr_monai.grids.splines import CubicInterpolant
from scripts.rivals.baseline import Siren

# Gradient (N, 3) per mm and Hessian (N, 3, 3) per mm² in world axes; a method may have no Hessian.
Derivatives = tuple[Tensor, Tensor | None]

PAIRS = second_order_pairs(3)


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


def itk_vesselness(image: MetaTensor, sigmas: tuple[float, ...]) -> Tensor:
    """SimpleITK's ObjectnessMeasure of smoothed images, the greatest over the scales."""
    start = sitk.GetImageFromArray(image[0].double().numpy().T)
    start.SetSpacing(Grid.from_image(image).spacing.tolist())
    found = torch.zeros(image.shape[1:])
    for sigma in sigmas:
        smooth = sitk.SmoothingRecursiveGaussian(start, sigma)
        scaled = sitk.GetArrayFromImage(sitk.ObjectnessMeasure(
            smooth, 0.5, 0.5, half_of_strongest(smooth), scaleObjectnessMeasure=False,
            objectDimension=1, brightObject=True))  # fmt: skip
        found = found.maximum(torch.from_numpy(scaled.T.copy()).float())
    return found


def half_of_strongest(smooth: sitk.Image) -> float:
    slopes = np.gradient(sitk.GetArrayFromImage(smooth), *smooth.GetSpacing()[::-1])
    second = [each for slope in slopes for each in np.gradient(slope, *smooth.GetSpacing()[::-1])]
    return float(np.sqrt(sum(each**2 for each in second)).max() / 2)
