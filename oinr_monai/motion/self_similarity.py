"""What an image looks like to itself near each place, which other kinds of images share."""

from __future__ import annotations

import torch
from monai.data import MetaTensor
from torch import Tensor

from oinr_monai.grids.grid import Grid
from oinr_monai.images.arrays import plain_tensor
from oinr_monai.scanner.forward_model import along_axes

from .separable import window_rows

__all__ = ["self_similarity"]

# Parts of the mean by which the variance of a place is bounded, below and above.
LEAST, MOST = 1e-3, 1e3


def self_similarity(image: Tensor, radius: int = 1) -> MetaTensor:
    r"""How like its neighbours each place is, (2 C D, *spatial): the MIND descriptor.

    .. math:: s_r(x) = \exp\big(-(d_r(x) - \min_r d_r(x)) / v(x)\big), \qquad
              d_r(x) = \sum_y (I(y) - I(y + r))^2

    over windows around x, for the neighbours r along each axis, with the mean v of d over them.
    Brightness and contrast do not count, nor which tissue is the brighter one, and what two kinds
    of images have in common are edges and textures: two such images are compared by
    :class:`~oinr_monai.SquaredDifferences`, in a deformation too.

    References:
        Heinrich et al., "MIND: Modality independent neighbourhood descriptor for multi-modal
        deformable registration", Medical Image Analysis 16(7), 2012.

    Args:
        image: (C, *spatial), a MetaTensor for its affine.
        radius: of the windows, in voxels.

    Raises:
        ValueError: if the radius is not positive.

    Example:
        >>> image = torch.rand(1, 8, 8)
        >>> found = self_similarity(image)
        >>> found.shape, torch.allclose(found, self_similarity(5 - 3 * image), atol=1e-4)
        (torch.Size([4, 8, 8]), True)
    """
    if radius < 1:
        raise ValueError(f"radius must be positive, got {radius}")
    values, grid = plain_tensor(image).float(), Grid.from_image(image)
    rows = [window_rows(n, radius) for n in grid.shape]
    found = [_of_channel(channel, rows) for channel in values]
    return grid.to_image(torch.cat(found))


def _of_channel(values: Tensor, rows: list[Tensor]) -> Tensor:
    apart = []
    for axis in range(values.ndim):
        steps = values.diff(dim=axis).square()
        edge = torch.zeros_like(values.narrow(axis, 0, 1))
        apart += [torch.cat([steps, edge], dim=axis), torch.cat([edge, steps], dim=axis)]
    distances = along_axes(torch.stack(apart), rows)
    variance = distances.mean(dim=0)
    middle = variance.mean().clamp_min(1e-12)
    variance = variance.clamp(LEAST * middle, MOST * middle)
    return torch.exp(-(distances - distances.amin(dim=0)) / variance)
