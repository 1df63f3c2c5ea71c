"""An image as a representation of itself: the spline through all its samples, nothing learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from oinr_monai.grids.grid import Grid
from oinr_monai.grids.samples import Samples
from oinr_monai.images.intensity import IntensityScale

from .held_samples import HeldSamples
from .representation import Representation
from .sampled_field import SampledField

__all__ = ["sampled_representation", "spline_representation"]

# Degree of the spline through a restored image, which is smooth: its derivatives are closer to
# those of a smooth image than the cubic's.
DEGREE = 5


def spline_representation(
    values: Tensor, grid: Grid, info: Mapping[str, Any] | None = None, degree: int = DEGREE
) -> Representation:
    """The B-spline through an image as a representation, to be asked anywhere and saved.

    It agrees with the image to rounding at the voxel centres. At the borders the image is continued
    by its point reflections, which keep its slope. Errors of first and second derivatives fall with
    the fifth and fourth power of the spacing at degree 5, with the third and second at degree 3.

    References:
        Unser, "Splines: a perfect fit for signal and image processing", IEEE Signal Processing
        Magazine 16(6), 1999.

    Args:
        values: the image (C, *grid.shape).
        grid: where its voxels lie.
        info: settings and scores of what made the image, an :class:`Info` or JSON values.
        degree: of the spline, 3 or 5.

    Example:
        >>> import torch
        >>> image = torch.rand(1, 6, 7)
        >>> representation = spline_representation(image, Grid((6, 7), torch.eye(4)))
        >>> torch.allclose(representation.sample().as_tensor(), image, atol=1e-5)
        True
    """
    scale = IntensityScale.of(values)
    found = sampled_representation(HeldSamples.of(values), grid, scale, degree)
    found.info = info or {}
    return found


def sampled_representation(
    samples: Samples, grid: Grid, scale: IntensityScale, degree: int
) -> Representation:
    """The B-spline through samples, wherever they are, as a representation.

    Args:
        samples: the image (C, *grid.shape).
        grid: where its voxels lie.
        scale: its intensity scale.
        degree: of the spline, 3 or 5.
    """
    if scale.wide:  # intensities that float32 does not hold, but their standardised copy
        kept = Standardised(samples, scale)
        samples = HeldSamples.of(kept.whole()) if isinstance(samples, HeldSamples) else kept
        field = SampledField(samples, grid.spacing.tolist(), degree=degree)
    else:
        field = SampledField(samples, grid.spacing.tolist(), scale.mean, scale.std, degree)
    return Representation(field, grid, scale)


class Standardised:
    """Samples of which each box is standardised as it is read.

    Args:
        samples: the samples.
        scale: by what.
    """

    def __init__(self, samples: Samples, scale: IntensityScale) -> None:
        self.samples, self.scale = samples, scale

    @property
    def shape(self) -> tuple[int, ...]:
        """Channels, and samples along each axis."""
        return self.samples.shape

    def read(self, start: Sequence[int], stop: Sequence[int]) -> Tensor:
        """Samples (C, *box) from ``start`` to ``stop - 1``."""
        return self.scale.standardise(self.samples.read(start, stop))

    def whole(self) -> Tensor:
        """All of them."""
        return self.read([0] * (len(self.shape) - 1), self.shape[1:])
