r"""Cubic B-splines: one basis for the truth between samples and for learned input functions.

.. math:: s(u) = \sum_k c_k \beta^3(u - k), \qquad u \text{ in units of the knot spacing.}

References:
    Unser, "Splines: a perfect fit for signal and image processing", IEEE Signal Processing
    Magazine 16(6), 1999.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .positions import Lattice, Positions, jet_derivatives

__all__ = ["CubicInterpolant", "bspline_weights", "evaluate", "interpolating_coefficients"]

# Points evaluated at once, so that the 64 neighbours of each stay within tens of megabytes.
POINTS_AT_ONCE = 65_536


def bspline_weights(fraction: Tensor, derivative: int = 0) -> Tensor:
    """Weights (..., 4) of the knots -1, 0, 1, 2 at ``fraction`` in [0, 1] past knot 0.

    Args:
        fraction: place between two knots, in knot spacings.
        derivative: 0, 1 or 2; per knot spacing to that power.

    Example:
        >>> bspline_weights(torch.tensor(0.0)).mul(6).round().tolist()
        [1.0, 4.0, 1.0, 0.0]
    """
    t = fraction
    if derivative == 0:
        weights = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
        return torch.stack(weights, dim=-1) / 6
    if derivative == 1:
        slopes = (-((1 - t) ** 2), 3 * t**2 - 4 * t, -3 * t**2 + 2 * t + 1, t**2)
        return torch.stack(slopes, dim=-1) / 2
    return torch.stack((1 - t, 3 * t - 2, 1 - 3 * t, t), dim=-1)


def evaluate(coefficients: Tensor, positions: Positions, derivatives: Sequence[int]) -> Tensor:
    """Spline with ``coefficients`` (C, *knots) at positions in knot units: (C, *positions.shape).

    Coordinates outside [1, knots - 2], where a knot would be missing, must not occur.

    Args:
        coefficients: B-spline coefficients.
        positions: places, each coordinate counted in knots from the first one.
        derivatives: order of the derivative along each axis, 0 to 2.
    """
    if isinstance(positions, Lattice):
        return _on_lattice(coefficients, positions.axes, derivatives)
    rows, knots = coefficients.flatten(1).T.contiguous(), coefficients.shape[1:]
    if torch.compiler.is_exporting():  # a program for any number of points has no loop over them
        return _at_points(rows, knots, positions.axes, derivatives).T
    chunks = zip(*(x.split(POINTS_AT_ONCE) for x in positions.axes), strict=True)
    return torch.cat([_at_points(rows, knots, axes, derivatives) for axes in chunks]).T


def _on_lattice(coefficients: Tensor, axes: Sequence[Tensor], derivatives: Sequence[int]) -> Tensor:
    values = coefficients
    for d, (x, order) in enumerate(zip(axes, derivatives, strict=True)):
        first, weights = _taps(x, values.shape[d + 1], order)
        # The knots that no place needs are left out.
        low, high = int(first.min()), int(first.max()) + 4
        values = values.narrow(d + 1, low, high - low)
        values = _along(values, d + 1, first - low, weights.to(values.dtype))
    return values


def _along(values: Tensor, axis: int, first: Tensor, weights: Tensor) -> Tensor:
    # One axis of the tensor product: four knots for each of n places, out of a row of many.
    lead, knots, tail = values.shape[:axis], values.shape[axis], values.shape[axis + 1 :]
    places, rows = len(first), values.reshape(lead.numel() * knots, tail.numel())
    if tail and 2 * knots > 3 * places and not weights.requires_grad:
        # Few places: the weighted sum of four rows each; 5 times faster than a product at 256^3.
        start = torch.arange(lead.numel(), device=rows.device)[:, None, None] * knots
        index = (start + first[:, None] + torch.arange(4, device=rows.device)).flatten(0, 1)
        each = weights.repeat(lead.numel(), 1)
        result: Tensor = _RowSums.apply(index, rows, each)  # type: ignore[no-untyped-call]
        return result.reshape(*lead, places, *tail)
    matrix = weights.new_zeros(places, knots).scatter_add(
        1, first[:, None] + torch.arange(4, device=rows.device), weights
    )
    if not tail:
        return values @ matrix.T
    product = matrix @ rows.reshape(lead.numel(), knots, tail.numel())
    return product.reshape(*lead, places, *tail)


def _taps(coordinates: Tensor, knots: int, derivative: int) -> tuple[Tensor, Tensor]:
    # The last place that has four knots around it is knots - 2; there the fraction is 1, not 0.
    cell = coordinates.floor().clamp(1, max(knots - 3, 1))
    return cell.long() - 1, bspline_weights(coordinates - cell, derivative)


def _at_points(
    rows: Tensor, shape: Sequence[int], axes: Sequence[Tensor], derivatives: Sequence[int]
) -> Tensor:
    # The weighted sum of the 4^D rows of coefficients around each point, (N, C).
    points = axes[0].shape[0]
    index = torch.zeros(points, 1, dtype=torch.long, device=rows.device)
    weights = torch.ones(points, 1, dtype=rows.dtype, device=rows.device)
    for x, knots, order in zip(axes, shape, derivatives, strict=True):
        first, along = _taps(x, knots, order)
        each = first[:, None] + torch.arange(4, device=x.device)
        index = (index[:, :, None] * knots + each[:, None, :]).flatten(1)
        weights = (weights[:, :, None] * along.to(rows.dtype)[:, None, :]).flatten(1)
    if weights.requires_grad or torch.compiler.is_exporting():
        return (rows[index] * weights[:, :, None]).sum(dim=1)
    # The same sum, fused and 40 times faster, but with one derivative only and no ONNX form.
    sums: Tensor = _RowSums.apply(index, rows, weights)  # type: ignore[no-untyped-call]
    return sums


class _RowSums(torch.autograd.Function):
    """Sums (N, C) of the rows (K, C) at ``index`` (N, k), weighted by ``weights`` (N, k).

    The rows of several stacks, as ``torch.vmap`` has them, are read at once, side by side.
    """

    @staticmethod
    def forward(index: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
        return F.embedding_bag(index, rows, mode="sum", per_sample_weights=weights)

    @staticmethod
    def setup_context(  # torch has no public type for a context
        ctx: Any,  # noqa: ANN401
        inputs: tuple[Tensor, ...],
        output: Tensor,
    ) -> None:
        index, rows, weights = inputs
        ctx.save_for_backward(index, weights)
        ctx.rows = len(rows)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None]:  # noqa: ANN401
        index, weights = ctx.saved_tensors
        each = (weights[..., None] * grad[:, None]).flatten(0, 1)
        rows = grad.new_zeros(ctx.rows, grad.shape[1])
        return None, rows.index_add(0, index.flatten(), each), None

    @staticmethod
    def vmap(
        info: object, in_dims: Sequence[int | None], index: Tensor, rows: Tensor, weights: Tensor
    ) -> tuple[Tensor, int]:
        side_by_side = rows.movedim(in_dims[1] or 0, 1)
        sums: Tensor = _RowSums.apply(index, side_by_side.flatten(1), weights)  # type: ignore[no-untyped-call]
        return sums.unflatten(1, side_by_side.shape[1:]), 1


def interpolating_coefficients(image: Tensor, halo: int) -> Tensor:
    """Coefficients (C, *spatial + 2 halo) of the spline through all samples, one knot a sample.

    Args:
        image: samples (C, *spatial).
        halo: coefficients beyond each border, which continue the image by its mirror images.
    """
    from scipy.ndimage import spline_filter

    filtered = [
        spline_filter(each, order=3, mode="mirror") for each in image.double().cpu().numpy()
    ]
    dtype = np.float64 if image.dtype == torch.float64 else np.float32
    padded = [np.pad(each.astype(dtype), halo, mode="reflect") for each in filtered]
    return torch.from_numpy(np.stack(padded)).to(image.device)


class CubicInterpolant:
    """The cubic B-spline through all samples of an image, mirrored at its outermost samples.

    Exact at the samples, twice differentiable, and the truth that fits are held against between
    samples. Error against a smooth function falls with the fourth power of the spacing.

    Args:
        image: samples (C, *spatial).

    Example:
        >>> image = torch.rand(1, 6, 7)
        >>> axes = (torch.arange(6.0).double(), torch.arange(7.0).double())
        >>> torch.allclose(CubicInterpolant(image)(Lattice(axes)), image, atol=1e-6)
        True
    """

    def __init__(self, image: Tensor) -> None:
        self.coefficients = interpolating_coefficients(image, halo=2)

    def __call__(self, positions: Positions) -> Tensor:
        """Values (C, *positions.shape) at voxel coordinates between the outermost samples."""
        return self.jet(positions)[0]

    def jet(self, positions: Positions, order: int = 0) -> Tensor:
        """Jets (J, C, *positions.shape) at voxel coordinates, derivatives per voxel."""
        dims = positions.spatial_dims
        inner = positions.shifted([2.0] * dims)
        parts = [evaluate(self.coefficients, inner, n) for n in jet_derivatives(dims, order)]
        return torch.stack(parts)
