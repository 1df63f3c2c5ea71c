"""An image as a representation of itself: the spline through all its samples, nothing learned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from oinr_monai.fields.spline import SplineField
from oinr_monai.grids.grid import Grid
from oinr_monai.images.intensity import IntensityScale
from oinr_monai.operators.conv import ConvOINR

from .neural_field import NeuralField
from .representation import Representation

__all__ = ["spline_field", "spline_representation"]

# Slope of the sines through which values pass as they are: off by slope² z³ / 6 at z standard
# deviations, less than rounding.
SLOPE = 1e-4

# Degree of the spline, and the samples over which its prefilter falls to rounding: 0.43 to their
# power, the largest pole of the quintic's.
DEGREE, DECAY = 5, 20


def spline_representation(
    values: Tensor, grid: Grid, info: Mapping[str, Any] | None = None
) -> Representation:
    """The quintic B-spline through an image as a representation, to be asked anywhere and saved.

    Its input function is the spline, and its operator hands that on. It agrees with the image to
    rounding at the voxel centres, and its derivatives are closer to those of a smooth image than
    the cubic's: their errors fall with the fifth and fourth power of the spacing. At the
    borders the image is continued by its point reflections, which keep its slope.

    References:
        Unser, "Splines: a perfect fit for signal and image processing", IEEE Signal Processing
        Magazine 16(6), 1999.

    Args:
        values: the image (C, *grid.shape).
        grid: where its voxels lie.
        info: settings and scores of what made the image, an :class:`Info` or JSON values.

    Example:
        >>> image = torch.rand(1, 6, 7)
        >>> representation = spline_representation(image, Grid((6, 7), torch.eye(4)))
        >>> torch.allclose(representation.sample().as_tensor(), image, atol=1e-5)
        True
    """
    scale = IntensityScale.of(values)
    return Representation(spline_field(scale.standardise(values), grid), grid, scale, info)


def spline_field(values: Tensor, grid: Grid) -> NeuralField:
    """The quintic B-spline through ``values`` (C, *grid.shape), over mm along the grid's axes."""
    spacing, channels = grid.spacing.tolist(), len(values)
    # One voxel of margin, so that a single slice has all its knots as well.
    splines = SplineField(grid.extent.tolist(), spacing, channels, margin=spacing, degree=DEGREE)
    splines.coefficients.requires_grad_(False).copy_(_coefficients(values))
    return NeuralField(splines, _hand_on(grid.spatial_dims, channels), spacing)


def _coefficients(image: Tensor) -> Tensor:
    # Of knots at the samples and three more beyond each border (one of margin, two of the degree).
    from scipy.ndimage import spline_filter

    beyond = DECAY + 3
    kept = (slice(DECAY, -DECAY),) * (image.ndim - 1)
    found = []
    for each in image.double().cpu().numpy():
        continued = np.pad(each, beyond, mode="reflect", reflect_type="odd")
        found.append(spline_filter(continued, order=DEGREE, mode="mirror")[kept])
    return torch.from_numpy(np.stack(found)).to(image)


@torch.no_grad()
def _hand_on(dims: int, channels: int) -> ConvOINR:
    operator = ConvOINR(dims, channels, channels, (channels,), kernel_size=1, omega_0=1.0)
    for layer, slope in ((operator.first, SLOPE), (operator.last, 1 / SLOPE)):
        layer.start(0.0, 0.0)
        layer.weight.flatten(1).copy_(slope * torch.eye(channels))
    return operator
