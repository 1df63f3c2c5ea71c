r"""Where a training begins that has a closed form to begin from: its own least-squares spline.

The first channels of the input function are splines on fine knots, one for each channel of the
image, and the first units of the operator hand them on. With sines between the layers, a unit that
hands on z by a small slope e passes :math:`\sin \dots \sin(e z)`, so the spline is fitted to

.. math:: g(z) = \arcsin \dots \arcsin(e z) / e, \qquad \sin \dots \sin(e \, g(z)) / e = z

What the other channels and units add is small at first.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

from oinr_monai.fields.joint import JointField
from oinr_monai.fields.spline import SplineField
from oinr_monai.grids.grid import Grid
from oinr_monai.grids.least_squares import least_squares_coefficients
from oinr_monai.grids.positions import Lattice, Positions
from oinr_monai.operators.integral import KernelIntegral
from oinr_monai.representation.neural_field import NeuralField

__all__ = ["begin_closed"]

# Slope of the units that hand on, at most (half of it is as good, measured on a block of open_ms),
# and how much smaller than usual the other units start in the last layer.
SLOPE, SMALLER = 0.3, 0.1

# What a sine of a sine of ... passes at most, over the root of their number: that is 1.7 times it.
STEEPEST = 0.8


@torch.no_grad()
def begin_closed(
    field: NeuralField, truth: Callable[[Positions], Tensor], grid: Grid, span: float
) -> None:
    """Let a field begin at the least-squares spline of its own fine knots.

    Args:
        field: it; one of a preset that begins in closed form.
        truth: the standardised image (C, *positions.shape) at voxel coordinates.
        grid: grid of the image.
        span: range of the standardised image.
    """
    splines = cast("SplineField", cast("JointField", field.encoding).fields[0])
    sines = len(field.hidden_channels)
    slope = min(SLOPE, STEEPEST / math.sqrt(sines) / span)

    def bent(positions: Positions) -> Tensor:
        z = slope * truth(positions)
        for _ in range(sines):
            z = z.asin()
        return z / slope

    spacing = grid.spacing.tolist()
    axes = (
        torch.arange(n, dtype=torch.float64) * h for n, h in zip(grid.shape, spacing, strict=True)
    )
    places = splines.in_knots(Lattice(tuple(axes))).axes
    knots = splines.coefficients.shape[1:]
    found = least_squares_coefficients(bent, places, knots, splines.degree)
    splines.coefficients.copy_(found)
    _hand_on(field, slope)


def _hand_on(field: NeuralField, slope: float) -> None:
    # Unit c of each layer for channel c, and for nothing else.
    first, *others = cast("list[KernelIntegral]", field.network.integrals)
    channels, gain = field.network.out_channels, field.network.omega_0
    others[-1].weight.mul_(SMALLER)
    for layer in others:
        layer.weight[:, :channels] = 0
    for layer, passed in zip(
        [first, *others], [slope / gain, *[1 / gain] * (len(others) - 1), 1 / slope], strict=True
    ):
        if layer is not others[-1]:
            layer.weight[:channels] = 0
            cast("Tensor", layer.bias)[:channels] = 0
        layer.weight.flatten(1)[:channels, :channels].copy_(passed * torch.eye(channels))
