r"""Which part of what is shown between thick slices the operator added to what these hold.

The answer is g + h: the spline g would be seen as the slices, and of h they see nothing. With means
over boxes as long as from slice to slice,

.. math:: s = \frac{\overline{h^2}}
          {\overline{h^2} + \overline{g^2} - \bar g^2 + \epsilon^2} ,

0 where nothing was added, and near 1 where all that is to be seen was.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from .local_energy import window_mean

__all__ = ["boxes", "operator_share"]

# Differences that count for nothing, over the standard deviation: about a grey of 256 on a screen.
LEAST = 0.02


def operator_share(told: Tensor, added: Tensor, box: Sequence[int]) -> Tensor:
    """The share (1, *spatial) of the operator, from 0 to 1.

    Args:
        told: what the slices hold (1, *spatial), standardised: differences below a fiftieth of
            the standard deviation count for nothing.
        added: what the operator added to that (1, *spatial), of which slices see nothing.
        box: odd sizes of the boxes, in voxels.

    Example:
        >>> import torch
        >>> wave = torch.sin(torch.arange(24.0)).expand(1, 8, 8, 24)
        >>> share = operator_share(wave, wave, [1, 1, 7])
        >>> bool((share[..., 4:20] - 0.5).abs().max() < 0.1)
        True
    """
    energy = _box_mean(added.square(), box)
    spread = _box_mean(told.square(), box) - _box_mean(told, box).square()
    return energy / (energy + spread.clamp_min(0) + LEAST**2)


def boxes(thick: float, spacing: Sequence[float]) -> list[int]:
    """The smallest odd numbers of voxels that are as long as from slice to slice.

    Args:
        thick: from slice to slice, in mm.
        spacing: of the voxels along each axis, in mm.

    Example:
        >>> boxes(4.0, [1.0, 0.5, 4.0])
        [5, 9, 1]
    """
    return [2 * math.ceil((thick / h - 1) / 2 - 1e-6) + 1 for h in spacing]


def _box_mean(values: Tensor, box: Sequence[int]) -> Tensor:
    for axis, size in enumerate(box):
        values = window_mean(values, [size if d == axis else 1 for d in range(len(box))])
    return values
