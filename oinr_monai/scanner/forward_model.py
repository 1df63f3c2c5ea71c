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

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from monai.data import MetaTensor
from torch import Tensor

from oinr_monai.grids.checks import check_shape
from oinr_monai.grids.grid import Grid

__all__ = [
    "RANK_TOLERANCE",
    "Composition",
    "ForwardModel",
    "Separable",
    "along_axes",
    "conjugate_gradients",
]


# Eigenvalues of A A' below this part of the largest carry rounding, not data.
RANK_TOLERANCE = 1e-10


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
    """An operator that is a product of one matrix (m, n) per axis; None is the identity.

    Args:
        source: grid of x.
        target: grid of A x.
        matrices: one for each axis.
    """

    @abstractmethod
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


class Composition(ForwardModel):
    """Operators one after the other, the first one first.

    Args:
        models: each starts where the one before ends.

    Raises:
        ValueError: if there are none, or two do not meet.

    Example:
        >>> from oinr_monai.scanner.blur import Blur, Decimation
        >>> blur = Blur(Grid((4, 6), torch.eye(4)), (2.0, 2.0))
        >>> Composition(blur, Decimation(blur.target, (2, 2)))
        Composition((4, 6) -> (2, 3))
    """

    def __init__(self, *models: ForwardModel) -> None:
        if not models:
            raise ValueError("models must hold at least one, got none")
        for before, after in pairwise(models):
            if not before.target.same_places(after.source):
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
    diagonal: Tensor | None = None,
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
        diagonal: of M or of what is like it, by which residuals are divided before they are
            followed and compared; 1 if None.

    Example:
        >>> conjugate_gradients(lambda z: 4 * z, torch.tensor([8.0])).tolist()
        [2.0]
    """
    found = torch.zeros_like(wanted) if start is None else start.clone()
    residual = wanted - operator(found) if start is not None else wanted.clone()
    direction = _over(residual, diagonal)
    size = _product(residual, direction)
    enough = tolerance**2 * _product(wanted, _over(wanted, diagonal))
    for _ in range(steps):
        if size <= enough:
            break
        image = operator(direction)
        curvature = _product(direction, image)
        if curvature <= 0:  # rounding: nothing is left that the operator sees
            break
        found = found + size / curvature * direction
        residual = residual - size / curvature * image
        scaled = _over(residual, diagonal)
        before, size = size, _product(residual, scaled)
        direction = scaled + size / before * direction
    return found


def _over(residual: Tensor, diagonal: Tensor | None) -> Tensor:
    return residual if diagonal is None else residual / diagonal


def _product(one: Tensor, other: Tensor) -> float:
    return float((one.double() * other).sum())


def along_axes(x: Tensor, matrices: Sequence[Tensor | None]) -> Tensor:
    """Multiply each of the last axes of x (..., *n) by its matrix (m, n); None leaves it.

    Example:
        >>> along_axes(torch.ones(3, 3), [2 * torch.eye(3), torch.ones(1, 3)]).tolist()
        [[6.0], [6.0], [6.0]]
    """
    for axis, matrix in enumerate(matrices, start=x.ndim - len(matrices)):
        if matrix is not None:
            lead, tail = x.shape[:axis], x.shape[axis + 1 :]
            rows = x.reshape(lead.numel(), x.shape[axis], tail.numel())
            product = matrix.to(x) @ rows if tail.numel() > 1 else rows[..., 0] @ matrix.to(x).T
            x = product.reshape(*lead, len(matrix), *tail)
    return x


def _checked(name: str, values: Tensor, grid: Grid) -> Tensor:
    plain = values.as_tensor() if isinstance(values, MetaTensor) else values
    check_shape(name, plain, (plain.shape[0] if plain.ndim else 1, *grid.shape))
    return plain
