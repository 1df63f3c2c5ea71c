r"""Samples of what the truth may be: errors of the sizes that are known, which the data allow.

White noise w is made as smooth within the slices as errors are, K w, and as large, S K w. Of that,
what the slices would have seen is taken out again (perturb and MAP),

.. math:: e = u - D A^\top (A D A^\top)^{-1} A u, \qquad u = S K w, \qquad D = S K K^\top S,

by conjugate gradients on the few slices, so that :math:`A e = 0`.

References:
    Papandreou and Yuille, "Gaussian sampling by local perturbations", NeurIPS 2010.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from oinr_monai.scanner.forward_model import along_axes, conjugate_gradients

from .pairs import AxisModel

__all__ = ["Smoothing", "neighbour_correlation", "unseen_errors"]

# The most that neighbours correlate by three weights: at 0.707 they are alike.
MOST = 0.66

# Iterations of a solution, and where it ends.
STEPS, TOLERANCE = 30, 1e-3


@dataclass(frozen=True)
class Smoothing:
    """Makes white noise correlate from voxel to voxel, at the same variance.

    Args:
        correlation: of neighbours along each axis that is smoothed.
        axes: spatial axes that are smoothed.

    Example:
        >>> smoothing = Smoothing(0.5, axes=(0,))
        >>> round(float(smoothing.weights.square().sum()), 6)
        1.0
    """

    correlation: float
    axes: tuple[int, ...]

    @property
    def weights(self) -> Tensor:
        """Three weights a, 1, a over their norm: neighbours correlate by 2a / (1 + 2 a²)."""
        kept = min(max(self.correlation, 0.0), MOST)
        side = (1 - math.sqrt(1 - 2 * kept**2)) / (2 * kept) if kept > 1e-6 else 0.0
        return torch.tensor([side, 1.0, side]) / math.sqrt(1 + 2 * side**2)

    def __call__(self, values: Tensor) -> Tensor:
        """Values (C, *spatial), smoothed; the map is its own adjoint."""
        side, middle, _ = self.weights.tolist()
        for axis in (d + 1 for d in self.axes):
            size = values.shape[axis] - 1
            smooth = middle * values
            smooth.narrow(axis, 0, size).add_(side * values.narrow(axis, 1, size))
            smooth.narrow(axis, 1, size).add_(side * values.narrow(axis, 0, size))
            values = smooth
        return values


def neighbour_correlation(errors: Tensor, axes: Sequence[int]) -> float:
    """Correlation of errors (C, *spatial) of neighbours along some axes.

    Example:
        >>> neighbour_correlation(torch.ones(1, 4, 5), axes=[0, 1])
        1.0
    """
    found = []
    for axis in (d + 1 for d in axes):
        before = errors.narrow(axis, 0, errors.shape[axis] - 1)
        after = errors.narrow(axis, 1, errors.shape[axis] - 1)
        size = float(before.square().mean() * after.square().mean()) ** 0.5
        found.append(float((before * after).mean()) / size if size > 0 else 0.0)
    return sum(found) / len(found)


def unseen_errors(
    spread: Tensor, model: AxisModel, smoothing: Smoothing, generator: torch.Generator
) -> Tensor:
    """A sample of errors (1, *fine) that slices along the last axis do not see.

    Args:
        spread: standard deviation of the errors (1, *fine).
        model: how the slices were seen.
        smoothing: within the slices.
        generator: source of randomness, of the CPU.
    """
    seen = model.back @ model.coarse
    left = (1 - seen.diagonal()).clamp_min(0.05).to(spread)
    size = spread / left.sqrt()

    def looked(x: Tensor) -> Tensor:
        return along_axes(x, [None, None, model.coarse])

    def normal(z: Tensor) -> Tensor:
        back = along_axes(z, [None, None, model.coarse.T])
        return looked(size * smoothing(smoothing(size * back)))

    drawn = size * smoothing(torch.randn(spread.shape, generator=generator).to(spread))
    solved = conjugate_gradients(normal, looked(drawn), None, STEPS, TOLERANCE)
    back = along_axes(solved, [None, None, model.coarse.T])
    return drawn - size * smoothing(smoothing(size * back))
