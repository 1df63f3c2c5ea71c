r"""B-splines: one basis for the truth between samples and for learned input functions.

.. math:: s(u) = \sum_k c_k \beta^p(u - k), \qquad u \text{ in units of the knot spacing.}

References:
    Unser, "Splines: a perfect fit for signal and image processing", IEEE Signal Processing
    Magazine 16(6), 1999.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .constants import numbers
from .jets import jet_derivatives
from .positions import Lattice, Positions

__all__ = [
    "CubicInterpolant",
    "bspline_weights",
    "evaluate",
    "interpolating_coefficients",
    "jet",
]

# Points evaluated at once, so that the 64 neighbours of each stay within a processor's cache: half
# the time of four times as many (measured on 61,250 points, one thread).
POINTS_AT_ONCE = 16_384

# Places of one axis that are worked out by one matrix product (docs/measured/performance.md).
PLACES_AT_ONCE = 32

# Taps of a place along one axis, for the greatest degree.
FEW_TAPS = 6


def bspline_weights(fraction: Tensor, derivative: int = 0, degree: int = 3) -> Tensor:
    r"""Weights (..., degree + 1) of the knots around ``fraction`` in [0, 1] past one of them.

    By the recursion of de Boor and Cox on equal knots,

    .. math:: p \, b^p_j = (t + p - j) b^{p-1}_{j-1} + (1 - t + j) b^{p-1}_j, \qquad
              \partial b^p_j = b^{p-1}_{j-1} - b^{p-1}_j.

    Args:
        fraction: place t between two knots, in knot spacings; for a cubic the knots are -1 to 2.
        derivative: order of the derivative, up to ``degree``; per knot spacing to that power.
        degree: odd degree of the spline.

    Example:
        >>> bspline_weights(torch.tensor(0.0)).mul(6).round().tolist()
        [1.0, 4.0, 1.0, 0.0]
    """
    powers = [torch.ones_like(fraction)]
    for _ in range(degree - derivative):
        powers.append(powers[-1] * fraction)
    return torch.stack(powers, dim=-1) @ numbers(_table(degree, derivative), fraction)


def _table(degree: int, derivative: int) -> tuple[tuple[float, ...], ...]:
    # What torch.compile sees of the recursion: a constant, where a cache would be traced through.
    return TABLES.get((degree, derivative)) or _polynomials(degree, derivative)


def _polynomials(degree: int, derivative: int) -> tuple[tuple[float, ...], ...]:
    # Rows are powers of t, columns knots: the recursion once and for all, and exact.
    zero, weights = Fraction(0), [[Fraction(1)]]
    for p in range(1, degree - derivative + 1):
        none = [zero] * p
        weights = [
            [
                ((p - j) * a + a_lower + (1 + j) * b - b_lower) / p
                for a, a_lower, b, b_lower in zip(
                    [*before, zero], [zero, *before], [*here, zero], [zero, *here], strict=True
                )
            ]
            for j, (before, here) in enumerate(pairwise([none, *weights, none]))
        ]
    for _ in range(derivative):
        none = [zero] * len(weights[0])
        weights = [
            [a - b for a, b in zip(before, here, strict=True)]
            for before, here in pairwise([none, *weights, none])
        ]
    return tuple(tuple(float(w[k]) for w in weights) for k in range(len(weights[0])))


# Those of the splines of this package, up to their Hessians.
TABLES = {(degree, n): _polynomials(degree, n) for degree in (3, 5) for n in range(3)}


def evaluate(coefficients: Tensor, positions: Positions) -> Tensor:
    """Cubic spline with ``coefficients`` (C, *knots) at positions in knots: (C, *shape)."""
    return jet(coefficients, positions, order=0)[0]


def jet(
    coefficients: Tensor,
    positions: Positions,
    order: int,
    steps: Sequence[float] | None = None,
    degree: int = 3,
) -> Tensor:
    """Jets (J, C, *positions.shape) of the spline with ``coefficients`` (C, *knots).

    Beyond where all knots are at hand the spline goes on with its value there, and no slope.

    Args:
        coefficients: B-spline coefficients.
        positions: places, each coordinate counted in knots from the first one.
        order: order of the jet, 0 to 2.
        steps: distance between knots along each axis, by whose unit the derivatives are; 1 if None.
        degree: odd degree of the spline.
    """
    dims = positions.spatial_dims
    taps = [
        _taps(x, n, step, order, degree)
        for x, n, step in zip(
            positions.axes, coefficients.shape[1:], steps or [1.0] * dims, strict=True
        )
    ]
    if isinstance(positions, Lattice):
        entries = _on_lattice(coefficients, taps, order)
        return entries[0][None] if order == 0 else torch.stack(entries)
    rows, knots = coefficients.flatten(1).T.contiguous(), coefficients.shape[1:]
    tables = [(first, *weights) for first, weights in taps]
    if torch.compiler.is_exporting():  # a program for any number of points has no loop over them
        return _at_points(rows, knots, tables, order)
    chunks = [zip(*(table.split(POINTS_AT_ONCE) for table in each), strict=True) for each in tables]
    parts = [_at_points(rows, knots, each, order) for each in zip(*chunks, strict=True)]
    return torch.cat(parts, dim=-1)


def _taps(
    coordinates: Tensor, knots: int, step: float, order: int, degree: int
) -> tuple[Tensor, list[Tensor]]:
    # The first of degree + 1 knots around each place, and their weights for each derivative.
    reach = (degree - 1) // 2
    places = coordinates.clamp(reach, knots - 1 - reach)
    # The last place that has all its knots is at a cell's end; there the fraction is 1, not 0.
    cell = places.floor().clamp(reach, max(knots - 2 - reach, reach))
    weights = [bspline_weights(places - cell, n, degree) / step**n for n in range(order + 1)]
    within = ((coordinates - places).abs() < 1e-6)[:, None]
    return cell.long() - reach, [weights[0], *[each * within for each in weights[1:]]]


_Taps = tuple[Tensor, list[Tensor]]


def _on_lattice(values: Tensor, taps: Sequence[_Taps], order: int, axis: int = 0) -> list[Tensor]:
    """Entries of the jet; those that begin with the same derivatives share their first products."""
    if axis == len(taps):
        return [values]
    first, weights = taps[axis]
    low, near = _needed(values, axis + 1, first, weights[0].shape[1])
    found: dict[tuple[int, ...], Tensor] = {}
    for n in range(order + 1):
        part = _along(near, axis + 1, first - low, weights[n].to(near.dtype))
        rest = jet_derivatives(len(taps) - axis - 1, order - n)
        entries = _on_lattice(part, taps, order - n, axis + 1)
        found |= {(n, *others): entry for others, entry in zip(rest, entries, strict=True)}
    return [found[derivatives] for derivatives in jet_derivatives(len(taps) - axis, order)]


def _needed(values: Tensor, axis: int, first: Tensor, width: int) -> tuple[int, Tensor]:
    # The knots that no place needs are left out, where they are many: the gradient of a part costs
    # a copy of the whole. Elsewhere than on the CPU to know them costs more than to leave them in,
    # and a program has them all, whatever it is asked.
    if values.device.type != "cpu" or torch.compiler.is_compiling():
        return 0, values
    low, high = int(first.min()), int(first.max()) + width
    if 4 * (high - low) > 3 * values.shape[axis]:
        return 0, values
    return low, values.narrow(axis, low, high - low)


def _along(values: Tensor, axis: int, first: Tensor, weights: Tensor) -> Tensor:
    # One axis of the tensor product: a few knots for each of n places, out of a row of many.
    lead, knots, tail = values.shape[:axis], values.shape[axis], values.shape[axis + 1 :]
    places, rows = len(first), values.reshape(lead.numel() * knots, tail.numel())
    near = first[:, None] + torch.arange(weights.shape[1], device=rows.device)
    here = rows.device.type == "cpu"
    if here and tail and 2 * knots > 3 * places and not weights.requires_grad:
        # Few places: the weighted sum of a few rows each; 5 times faster than a product at 256^3.
        start = torch.arange(lead.numel(), device=rows.device)[:, None, None] * knots
        each = weights.repeat(lead.numel(), 1)
        result: Tensor = _RowSums.apply((start + near).flatten(0, 1), rows, each)  # type: ignore[no-untyped-call]
        return result.reshape(*lead, places, *tail)
    learns = values.requires_grad and torch.is_grad_enabled()
    if here and places > PLACES_AT_ONCE and not learns:
        # Neighbours share few knots of many: half the time of a product with many zeros, at 256^3.
        parts = zip(first.split(PLACES_AT_ONCE), weights.split(PLACES_AT_ONCE), strict=True)
        return torch.cat([_along_near(values, axis, *part) for part in parts], dim=axis)
    matrix = weights.new_zeros(places, knots).scatter_add(1, near, weights)
    if not tail:
        return values @ matrix.T
    product = matrix @ rows.reshape(lead.numel(), knots, tail.numel())
    return product.reshape(*lead, places, *tail)


def _along_near(values: Tensor, axis: int, first: Tensor, weights: Tensor) -> Tensor:
    low, near = _needed(values, axis, first, weights.shape[1])
    return _along(near, axis, first - low, weights)


def _at_points(
    rows: Tensor, shape: Sequence[int], taps: Sequence[Sequence[Tensor]], order: int
) -> Tensor:
    """Jets (J, C, N): weighted sums of the (degree + 1)^D rows of coefficients at each point."""
    points, width = taps[0][1].shape
    index = torch.zeros(points, 1, dtype=torch.long, device=rows.device)
    for (first, *_), knots in zip(taps, shape, strict=True):
        each = first[:, None] + torch.arange(width, device=rows.device)
        index = (index[:, :, None] * knots + each[:, None, :]).flatten(1)
    entries = []
    for derivatives in jet_derivatives(len(shape), order):
        weights = torch.ones(points, 1, dtype=rows.dtype, device=rows.device)
        for (_, *along), n in zip(taps, derivatives, strict=True):
            weights = (weights[:, :, None] * along[n].to(rows.dtype)[:, None, :]).flatten(1)
        entries.append(_sums(rows, index, weights).T)
    return torch.stack(entries)


def _sums(rows: Tensor, index: Tensor, weights: Tensor) -> Tensor:
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
        rows = grad.new_zeros(ctx.rows, grad.shape[1])
        if index.shape[1] > FEW_TAPS:
            each = (weights[..., None] * grad[:, None]).flatten(0, 1)
            return None, rows.index_add_(0, index.flatten(), each), None
        # Long rows, as lattices have them: one tap after the other, since all at once are too much.
        for near, weight in zip(index.unbind(1), weights.unbind(1), strict=True):
            rows.index_add_(0, near, weight[:, None] * grad)
        return None, rows, None

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
        inner = positions.shifted([2.0] * positions.spatial_dims)
        return jet(self.coefficients, inner, order)

    def to(self, device: torch.device) -> Self:
        """The same on another device."""
        made = copy.copy(self)
        made.coefficients = self.coefficients.to(device)
        return made
