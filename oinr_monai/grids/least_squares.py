r"""The B-spline on coarse knots that lies nearest to the cubic spline through all samples.

.. math:: \min_c \sum_{x \in X} \Big( s(x) - \sum_k c_k \beta^p(x - k) \Big)^2

The places X are the samples and those halfway between them along each axis: a tensor product, and
so is the basis, so that the solution is a product with one matrix along each axis. At the samples
alone knots that are nearly as close as they are would leave the spline free to swing between them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from .positions import Lattice, Positions
from .splines import bspline_weights

__all__ = ["least_squares_coefficients"]

# Samples that are read at once.
SAMPLES_AT_ONCE = 1 << 22


def least_squares_coefficients(
    samples: Callable[[Positions], Tensor],
    places: Sequence[Tensor],
    knots: Sequence[int],
    degree: int = 3,
) -> Tensor:
    """Coefficients (C, *knots) of least squares, of the least norm where there are several.

    Args:
        samples: values (C, *positions.shape) at voxel coordinates; asked slab by slab.
        places: where the samples of each axis lie, counted in knots from the first one, rising.
        knots: knots of each axis.
        degree: odd degree of the spline.

    Example:
        >>> ones = lambda positions: torch.ones(1, *positions.shape)
        >>> found = least_squares_coefficients(ones, [1 + torch.arange(7.0).double() / 3], [5])
        >>> torch.allclose(found, torch.ones(1, 5).double())
        True
    """
    fitted = [_matrix(x, count, degree) for x, count in zip(places, knots, strict=True)]
    voxels = [torch.arange(len(x), dtype=torch.float64) for x in places]
    rows = max(SAMPLES_AT_ONCE // math.prod(map(len, places[1:])), 1)
    total: Tensor | float = 0.0
    for some in voxels[0].split(rows):
        values = samples(Lattice((some, *voxels[1:]))).double()
        first, last = int(some[0]), int(some[-1]) + 1
        matrices = [fitted[0][:, first:last], *fitted[1:]]
        for axis in reversed(range(len(knots))):
            moved = torch.tensordot(matrices[axis].to(values), values, dims=([1], [axis + 1]))
            values = moved.movedim(0, axis + 1)
        total = total + values
    return torch.as_tensor(total).contiguous()


def _matrix(places: Tensor, knots: int, degree: int) -> Tensor:
    # Samples of one axis to coefficients.
    between = (places[1:] + places[:-1]) / 2
    wanted = torch.cat([places, between])
    reach = (degree - 1) // 2
    cell = wanted.floor().clamp(reach, max(knots - 2 - reach, reach))
    near = cell.long()[:, None] - reach + torch.arange(degree + 1)
    basis = torch.zeros(len(wanted), knots, dtype=torch.float64)
    basis.scatter_(1, near, bspline_weights(wanted - cell, degree=degree))
    return torch.linalg.pinv(basis) @ _with_between(len(places))


def _with_between(samples: int) -> Tensor:
    # Samples to themselves and to the cubic spline through them halfway.
    from scipy.ndimage import spline_filter1d

    unit = np.eye(samples)
    filtered = spline_filter1d(unit, axis=0, mode="mirror") if samples > 1 else unit
    c = torch.from_numpy(np.pad(filtered, ((1, 1), (0, 0)), mode="reflect"))
    weights = bspline_weights(torch.tensor(0.5, dtype=torch.float64)).tolist()
    halfway = [w * c[k : k + samples - 1] for k, w in enumerate(weights)]
    return torch.cat([torch.from_numpy(unit), torch.stack(halfway).sum(0)])
