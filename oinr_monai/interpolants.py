"""An image as a representation of itself: its cubic B-spline interpolant, with nothing learned."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .encodings import SplineField
from .grids import Grid
from .networks import ConvOINR
from .neural_field import NeuralField
from .representation import IntensityScale, Representation
from .splines import interpolating_coefficients

__all__ = ["spline_representation"]

# Slope of the sines through which values pass as they are: off by slope² z³ / 6 at z standard
# deviations, less than rounding.
SLOPE = 1e-4


def spline_representation(
    values: Tensor, grid: Grid, info: dict[str, Any] | None = None, source: str | None = None
) -> Representation:
    """The cubic B-spline through an image as a representation, to be asked anywhere and saved.

    Its input function is the spline, and its operator hands that on. It agrees with the image to
    rounding at the voxel centres.

    Args:
        values: the image (C, *grid.shape).
        grid: where its voxels lie.
        info: settings and scores of what made the image, JSON values.
        source: file after which MONAI names what is written of it.

    Example:
        >>> image = torch.rand(1, 6, 7)
        >>> representation = spline_representation(image, Grid((6, 7), torch.eye(4)))
        >>> torch.allclose(representation.sample().as_tensor(), image, atol=1e-5)
        True
    """
    scale = IntensityScale.of(values)
    spacing, channels = grid.spacing.tolist(), len(values)
    # One voxel of margin, so that a single slice has its four knots as well.
    encoding = SplineField(grid.extent.tolist(), spacing, channels, margin=spacing)
    encoding.coefficients.requires_grad_(False).copy_(
        interpolating_coefficients(scale.standardise(values), halo=2)
    )
    field = NeuralField(encoding, _hand_on(grid.spatial_dims, channels), spacing)
    return Representation(field, grid, scale, info, source)


@torch.no_grad()
def _hand_on(dims: int, channels: int) -> ConvOINR:
    operator = ConvOINR(dims, channels, channels, (channels,), kernel_size=1, omega_0=1.0)
    for layer, slope in ((operator.first, SLOPE), (operator.last, 1 / SLOPE)):
        layer.start(0.0, 0.0)
        layer.weight.flatten(1).copy_(slope * torch.eye(channels))
    return operator
