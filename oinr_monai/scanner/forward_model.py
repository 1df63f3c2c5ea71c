r"""How a scanner saw a volume: linear operators between grids, each with its exact adjoint.

A voxel of the source is taken for the mean of the signal over its cell, so that the signal is
piecewise constant along each axis. A thick slice then weighs voxel j by

.. math:: w_j = \int_{x_j - h/2}^{x_j + h/2} p(x - c)\, dx = P(x_j + h/2 - c) - P(x_j - h/2 - c),

with p the slice profile, P its integral, c the centre of the slice and h the spacing. That is exact
for a box whose faces are faces of voxels, and else wrong by the second order of h.

References:
    Greenspan, "Super-resolution in medical imaging", The Computer Journal 52(1), 2009.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from monai.data import MetaTensor
from torch import Tensor

from oinr_monai.grids.checks import check_shape
from oinr_monai.grids.grid import Grid

__all__ = [
    "Blur",
    "Boxcar",
    "Composition",
    "Decimation",
    "ForwardModel",
    "Gaussian",
    "SampledProfile",
    "SliceProfile",
    "SliceStack",
    "conjugate_gradients",
]

# Eigenvalues of A A' below this part of the largest carry rounding, not data.
RANK_TOLERANCE = 1e-10


@dataclass(frozen=True)
class SliceProfile(ABC):
    """How much of the signal a slice takes from each distance to its centre; its integral is 1."""

    @abstractmethod
    def cumulative(self, offset: Tensor) -> Tensor:
        """Integral of the profile up to ``offset`` (...,) in mm along the normal, in float64."""


@dataclass(frozen=True)
class Boxcar(SliceProfile):
    """The mean over a slab.

    Args:
        thickness: of the slab, in mm.

    Raises:
        ValueError: if ``thickness`` is not positive.

    Example:
        >>> Boxcar(2.0).cumulative(torch.tensor([-1.0, 0.0, 0.5])).tolist()
        [0.0, 0.5, 0.75]
    """

    thickness: float

    def __post_init__(self) -> None:
        _check_width("thickness", self.thickness)

    def cumulative(self, offset: Tensor) -> Tensor:
        """A ramp from 0 to 1 over the slab."""
        return (offset.double() / self.thickness + 0.5).clamp(0, 1)


@dataclass(frozen=True)
class Gaussian(SliceProfile):
    """A bell, as selective pulses of 2-D MRI come near.

    Args:
        fwhm: full width at half maximum in mm, which scanners call the slice thickness.

    Raises:
        ValueError: if ``fwhm`` is not positive.

    Example:
        >>> Gaussian(2.0).cumulative(torch.tensor(0.0)).item()
        0.5
    """

    fwhm: float

    def __post_init__(self) -> None:
        _check_width("fwhm", self.fwhm)

    def cumulative(self, offset: Tensor) -> Tensor:
        """The normal distribution function."""
        sigma = self.fwhm / math.sqrt(8 * math.log(2))
        return torch.special.ndtr(offset.double() / sigma)


@dataclass(frozen=True)
class SampledProfile(SliceProfile):
    """A measured profile: linear between its samples, zero beyond them, scaled to the integral 1.

    Args:
        offsets: places of the samples in mm, ascending.
        weights: the profile there, in any unit; lobes may be negative.

    Raises:
        ValueError: if there are fewer than two samples, or not one weight for each, or offsets do
            not ascend, or the integral is not positive.

    Example:
        >>> triangle = SampledProfile((-2.0, 0.0, 2.0), (0.0, 7.0, 0.0))
        >>> triangle.cumulative(torch.tensor([-1.0, 0.0])).tolist()
        [0.125, 0.5]
    """

    offsets: tuple[float, ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        for name in ("offsets", "weights"):
            object.__setattr__(self, name, tuple(float(x) for x in getattr(self, name)))
        if len(self.offsets) != len(self.weights) or len(self.offsets) < 2:
            raise ValueError(
                "offsets and weights must be as many, 2 or more, "
                f"got {len(self.offsets)} and {len(self.weights)}"
            )
        ascending = all(a < b for a, b in pairwise(self.offsets))
        if not ascending or not all(map(math.isfinite, (*self.offsets, *self.weights))):
            raise ValueError(f"offsets must ascend and all be finite, got {self.offsets}")
        if not self._knots()[2][-1] > 0:
            raise ValueError(f"weights must have a positive integral, got {self.weights}")

    def cumulative(self, offset: Tensor) -> Tensor:
        """Piecewise quadratic."""
        places, weights, integral = (x.to(offset.device) for x in self._knots())
        x = offset.double().clamp(places[0], places[-1]).contiguous()
        k = torch.searchsorted(places, x, right=True).clamp(1, len(places) - 1) - 1
        step = x - places[k]
        slope = (weights[k + 1] - weights[k]) / (places[k + 1] - places[k])
        return (integral[k] + weights[k] * step + slope * step**2 / 2) / integral[-1]

    def _knots(self) -> tuple[Tensor, Tensor, Tensor]:
        samples = torch.tensor([self.offsets, self.weights], dtype=torch.float64)
        integral = torch.cumulative_trapezoid(samples[1], samples[0])
        return samples[0], samples[1], F.pad(integral, (1, 0))


def _check_width(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise ValueError(f"{name} must be positive and finite, got {value}")


class ForwardModel(ABC):
    """A linear operator A from images on ``source`` to images on ``target``.

    Args:
        source: grid of x.
        target: grid of A x.
    """

    def __init__(self, source: Grid, target: Grid) -> None:
        self.source, self.target = source, target

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.source.shape} -> {self.target.shape})"

    def forward(self, x: Tensor) -> Tensor:
        """A x, (C, *source.shape) to (C, *target.shape), in the dtype and on the device of x."""
        return self._forward(_checked("x", x, self.source))

    def adjoint(self, y: Tensor) -> Tensor:
        """A' y, (C, *target.shape) to (C, *source.shape), so that <A x, y> = <x, A' y>."""
        return self._adjoint(_checked("y", y, self.target))

    def project(self, x: Tensor, y: Tensor, damping: float = 0.0) -> Tensor:
        """The image nearest to x that the scanner would have seen as y, x + A' (AA')^-1 (y - A x).

        Args:
            x: image (C, *source.shape).
            y: what the scanner saw (C, *target.shape).
            damping: l in (AA' + l I)^-1, the variance of the noise of y over that of the error of
                x: the answer then keeps to y only within the noise.

        Raises:
            ValueError: if ``damping`` is negative.
        """
        if not damping >= 0:
            raise ValueError(f"damping must be 0 or more, got {damping}")
        x, residual = _checked("x", x, self.source), y - self.forward(x)
        return x + self._adjoint(self._solve(_checked("y", residual, self.target), damping))

    def _solve(self, y: Tensor, damping: float) -> Tensor:
        return conjugate_gradients(lambda z: self._forward(self._adjoint(z)) + damping * z, y)

    @abstractmethod
    def _forward(self, x: Tensor) -> Tensor: ...

    @abstractmethod
    def _adjoint(self, y: Tensor) -> Tensor: ...


class Separable(ForwardModel):
    """An operator that is a product of one matrix (m, n) per axis; None is the identity."""

    def __init__(self, source: Grid, target: Grid, matrices: Sequence[Tensor | None]) -> None:
        super().__init__(source, target)
        self.matrices = tuple(matrices)

    def _forward(self, x: Tensor) -> Tensor:
        return along_axes(x, self.matrices)

    def _adjoint(self, y: Tensor) -> Tensor:
        return along_axes(y, [None if m is None else m.T for m in self.matrices])

    def _solve(self, y: Tensor, damping: float) -> Tensor:
        # A A' is a product too: its eigenvectors are those of the factors, axis by axis.
        pairs = [None if m is None else torch.linalg.eigh(m @ m.T) for m in self.matrices]
        turned = along_axes(y.double(), [None if p is None else p[1].T for p in pairs])
        eigenvalues = torch.ones([1] * y.ndim, dtype=torch.float64)
        for axis, pair in enumerate(pairs, start=1):
            if pair is not None:
                column = [-1 if d == axis else 1 for d in range(y.ndim)]
                eigenvalues = eigenvalues * pair[0].clamp_min(0).reshape(column)
        total = eigenvalues + damping
        kept = total > RANK_TOLERANCE * total.max()
        gains = torch.where(kept, 1 / torch.where(kept, total, 1.0), 0.0)
        solved = along_axes(
            turned * gains.to(y.device), [None if p is None else p[1] for p in pairs]
        )
        return solved.to(y.dtype)


class SliceStack(Separable):
    """Thick slices along one axis of a volume with the same axes and in-plane voxels.

    Slices may leave gaps or overlap: the profile says how thick they are, the target where they
    lie. Weights beyond the ends of the source go to the voxels inside, so that a constant stays
    one. On sheared grids the average runs along the axis, and thickness counts along the normal.

    Args:
        source: grid of the volume.
        target: grid of the stack; its voxels differ from those of the source along ``axis`` alone.
        axis: the axis from slice to slice.
        profile: sensitivity across a slice, in mm along its normal, towards the next slice.

    Raises:
        ValueError: if the grids differ otherwise, or a slice sees nothing of the source.

    Example:
        >>> from oinr_monai.scanner.slices import thick_grid
        >>> fine = Grid((4, 4, 6), torch.eye(4))
        >>> stack = SliceStack(fine, thick_grid(fine, axis=2, spacing=3.0), 2, Boxcar(3.0))
        >>> stack.forward(torch.arange(6.0).expand(1, 4, 4, 6))[0, 0, 0].tolist()
        [1.0, 4.0]
    """

    def __init__(self, source: Grid, target: Grid, axis: int, profile: SliceProfile) -> None:
        places = _shared_axes(source, target, axis)
        towards = torch.linalg.solve(source.matrix, target.matrix)[axis, axis].sign()
        spacing = float(source.plane_spacing[axis] * towards)
        matrices: list[Tensor | None] = [None] * source.spatial_dims
        matrices[axis] = profile_weights(profile, places, source.shape[axis], spacing)
        super().__init__(source, target, matrices)
        self.axis, self.profile = axis, profile


class Blur(Separable):
    """A Gaussian blur on a grid, cut and renormalised at its ends.

    Args:
        grid: source and target.
        fwhm: full width at half maximum along each axis, in mm; 0 leaves an axis as it is.

    Raises:
        ValueError: if a width is negative.

    Example:
        >>> blur = Blur(Grid((5, 5), torch.eye(4)), (2.0, 0.0))
        >>> round(float(blur.forward(torch.ones(1, 5, 5)).sum()), 4)
        25.0
    """

    def __init__(self, grid: Grid, fwhm: Sequence[float]) -> None:
        if len(fwhm) != grid.spatial_dims or not all(width >= 0 for width in fwhm):
            raise ValueError(
                f"fwhm must be {grid.spatial_dims} widths of 0 or more, got {tuple(fwhm)}"
            )
        matrices: list[Tensor | None] = []
        for axis, (size, width) in enumerate(zip(grid.shape, fwhm, strict=True)):
            places = torch.arange(size, dtype=torch.float64)
            spacing = float(grid.plane_spacing[axis])
            matrix = profile_weights(Gaussian(width), places, size, spacing) if width else None
            matrices.append(matrix)
        super().__init__(grid, grid, matrices)


class Decimation(Separable):
    """Every n-th voxel along each axis, from the first on.

    Args:
        source: grid of the volume.
        factor: n for each axis.

    Raises:
        ValueError: if a factor is below 1.

    Example:
        >>> Decimation(Grid((4, 5), torch.eye(4)), (2, 2)).target.shape
        (2, 3)
    """

    def __init__(self, source: Grid, factor: Sequence[int]) -> None:
        if len(factor) != source.spatial_dims or min(factor) < 1:
            raise ValueError(
                f"factor must be {source.spatial_dims} numbers of 1 or more, got {tuple(factor)}"
            )
        rows = [
            torch.eye(n, dtype=torch.float64)[::f]
            for n, f in zip(source.shape, factor, strict=True)
        ]
        affine = source.affine.clone()
        dims = source.spatial_dims
        affine[:dims, :dims] *= torch.tensor(factor, dtype=torch.float64)
        target = Grid(tuple(len(each) for each in rows), affine)
        super().__init__(
            source, target, [m if f > 1 else None for m, f in zip(rows, factor, strict=True)]
        )


class Composition(ForwardModel):
    """Operators one after the other, the first one first.

    Args:
        models: each starts where the one before ends.

    Raises:
        ValueError: if there are none, or two do not meet.

    Example:
        >>> blur = Blur(Grid((4, 6), torch.eye(4)), (2.0, 2.0))
        >>> Composition(blur, Decimation(blur.target, (2, 2)))
        Composition((4, 6) -> (2, 3))
    """

    def __init__(self, *models: ForwardModel) -> None:
        if not models:
            raise ValueError("models must hold at least one, got none")
        for before, after in pairwise(models):
            if not _same_places(before.target, after.source):
                raise ValueError(f"models must meet at one grid, got {before} and {after}")
        super().__init__(models[0].source, models[-1].target)
        self.models = models

    def _forward(self, x: Tensor) -> Tensor:
        for model in self.models:
            x = model.forward(x)
        return x

    def _adjoint(self, y: Tensor) -> Tensor:
        for model in reversed(self.models):
            y = model.adjoint(y)
        return y


def conjugate_gradients(
    operator: Callable[[Tensor], Tensor],
    wanted: Tensor,
    start: Tensor | None = None,
    steps: int = 100,
    tolerance: float = 1e-6,
) -> Tensor:
    """Solve M z = b for a symmetric M without negative eigenvalues.

    References:
        Hestenes and Stiefel, "Methods of conjugate gradients for solving linear systems", 1952.

    Args:
        operator: z to M z.
        wanted: b, any shape.
        start: where to begin; zero if None.
        steps: most iterations.
        tolerance: end where the residual is smaller than this part of b.

    Example:
        >>> conjugate_gradients(lambda z: 4 * z, torch.tensor([8.0])).tolist()
        [2.0]
    """
    found = torch.zeros_like(wanted) if start is None else start.clone()
    residual = wanted - operator(found) if start is not None else wanted.clone()
    direction, size = residual, float(residual.double().square().sum())
    enough = tolerance**2 * float(wanted.double().square().sum())
    for _ in range(steps):
        if size <= enough:
            break
        image = operator(direction)
        curvature = float((direction.double() * image).sum())
        if curvature <= 0:  # rounding: nothing is left that the operator sees
            break
        found = found + size / curvature * direction
        residual = residual - size / curvature * image
        before, size = size, float(residual.double().square().sum())
        direction = residual + size / before * direction
    return found


def along_axes(x: Tensor, matrices: Sequence[Tensor | None]) -> Tensor:
    """Multiply each spatial axis of x (C, *spatial) by its matrix (m, n); None leaves it."""
    for axis, matrix in enumerate(matrices, start=1):
        if matrix is not None:
            lead, tail = x.shape[:axis], x.shape[axis + 1 :]
            rows = x.reshape(lead.numel(), x.shape[axis], tail.numel())
            product = matrix.to(x) @ rows if tail.numel() > 1 else rows[..., 0] @ matrix.to(x).T
            x = product.reshape(*lead, len(matrix), *tail)
    return x


def profile_weights(profile: SliceProfile, places: Tensor, size: int, spacing: float) -> Tensor:
    # Weights (slices, voxels) of slices at ``places`` in voxels, which lie ``spacing`` mm apart.
    faces = torch.arange(size + 1, dtype=torch.float64) - 0.5
    integral = profile.cumulative((faces - places[:, None]) * spacing)
    weights = integral.diff(dim=1) * math.copysign(1.0, spacing)
    seen = weights.sum(dim=1, keepdim=True)
    if bool((seen <= RANK_TOLERANCE).any()):
        raise ValueError(f"profile must see the volume from every slice, got {profile}")
    return weights / seen


def _shared_axes(source: Grid, target: Grid, axis: int) -> Tensor:
    if not 0 <= axis < source.spatial_dims:
        raise ValueError(f"axis must be 0 to {source.spatial_dims - 1}, got {axis}")
    places = target.axes_in(source)
    if places is None:
        raise ValueError("target must share the axes of source; resample the volume onto them")
    for d, (at, size) in enumerate(zip(places, source.shape, strict=True)):
        if d != axis and not torch.equal(at, torch.arange(size, dtype=torch.float64)):
            raise ValueError(
                f"target must have the voxels of source along axis {d}, got {len(at)} at others"
            )
    return places[axis]


def _same_places(one: Grid, other: Grid) -> bool:
    return one.shape == other.shape and torch.allclose(one.affine, other.affine, rtol=0, atol=1e-6)


def _checked(name: str, values: Tensor, grid: Grid) -> Tensor:
    plain = values.as_tensor() if isinstance(values, MetaTensor) else values
    check_shape(name, plain, (plain.shape[0] if plain.ndim else 1, *grid.shape))
    return plain
