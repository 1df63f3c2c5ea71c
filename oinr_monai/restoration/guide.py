r"""What another image of the same object says about what thick slices hide.

The guide g is sharp where the slices y = A x are thick. Seen as thick and answered like them it
loses something too, r = g - S[A g], with S the answer; what the answer x_0 = S[y] lacks is built of
what the guide lost,

.. math:: x = x_0 + \sum_s a_s \, b_s \, r + \sum_s c_s \big( m_s - S[A m_s] \big),

by the local slope b_s of x_0 against S[A g] in windows of width s, and by local means m_s of x_0
among places where the guide has the same value: the contrast of both images may differ from place
to place, and need not be linear. How far to believe each, the numbers a and c, is learned where
there is a truth: the answer itself seen as thick slices along its sharp axes, beside the guide seen
likewise. They are 0 or more, and near 0 for a guide that does not help, such as one of another
person or one that lies elsewhere.

References:
    He, Sun and Tang, "Guided Image Filtering", IEEE TPAMI 2013 (the local slopes).
    Chen, Paris and Durand, "Real-time Edge-Aware Image Processing with the Bilateral Grid", ACM
    TOG 2007 (means among like values).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from scipy.optimize import nnls
from torch import Tensor

from oinr_monai.motion.separable import gaussian_rows
from oinr_monai.scanner.forward_model import along_axes

from .pairs import AxisModel

__all__ = ["Answered", "guidance", "local_slope", "shares"]

# Widths of the windows of slopes, and of those of means among like values, in fine voxels, with the
# number of values told apart; found on two label maps of random contrasts.
SLOPES, MEANS, VALUES = (1.0, 2.0), (3.0, 8.0, math.inf), 16

# Slopes are held back below this part of the guide's variance, and means among so few voxels.
FLAT, FEW = 1e-4, 1e-3

# Values are told apart between these quantiles.
ENDS = (0.01, 0.99)


@dataclass(frozen=True)
class Answered:
    """How thick slices are seen of a fine image, and what their answer misses of it.

    Args:
        models: of the thick axes; None for those that are sharp.
        operator: what is added to the spline of slices (C, *coarse), (C, *fine).
    """

    models: Sequence[AxisModel | None]
    operator: Callable[[Tensor], Tensor]

    def missed(self, fine: Tensor) -> Tensor:
        """A fine image (1, *fine) less what is answered of its slices."""
        coarse = along_axes(fine, [None if m is None else m.coarse for m in self.models])
        guess = along_axes(coarse, [None if m is None else m.guess for m in self.models])
        return fine - guess - self.operator(coarse)


def guidance(found: Tensor, guide: Tensor, answered: Answered) -> Tensor:
    """What the guide suggests that an answer lacks, in several ways (K, *fine).

    Args:
        found: the answer of slices (1, *fine).
        guide: standardised, on the same lattice (1, *fine).
        answered: how slices were seen and answered.
    """
    lost = answered.missed(guide)
    seen = guide - lost
    ways = [local_slope(found, seen, width) * lost for width in SLOPES]
    ways += [answered.missed(_among_like(found, seen, guide, width)) for width in MEANS]
    return torch.cat(ways)


def shares(truths: Sequence[tuple[Tensor, Tensor, Answered]]) -> tuple[list[float], float]:
    """How far to believe each way, by least squares, and the part of what is missed that they give.

    Args:
        truths: fine images (1, *fine), guides on their lattices, and how their slices are answered.
    """
    count = len(SLOPES) + len(MEANS)
    gram, gain = torch.zeros(count, count, dtype=torch.float64), torch.zeros(count).double()
    missing = 0.0
    for fine, guide, answered in truths:
        missed = answered.missed(fine)
        ways = guidance(fine - missed, guide, answered).flatten(1).double()
        gram += ways @ ways.T
        gain += ways @ missed.flatten().double()
        missing += float(missed.double().square().sum())
    rounding = 1e-9 * float(gram.diagonal().mean()) + torch.finfo(torch.float64).tiny
    root = torch.linalg.cholesky(gram + rounding * torch.eye(count))
    wanted = torch.linalg.solve_triangular(root, gain[:, None], upper=False)[:, 0]
    found, left = nnls(root.T.numpy(), wanted.numpy())
    explained = float(wanted.square().sum()) - left**2
    return found.tolist(), explained / missing if missing > 0 else 0.0


def local_slope(found: Tensor, seen: Tensor, width: float) -> Tensor:
    """Local slope of the answer against the guide as it would have been answered."""
    mean, of_guide = _smooth(found, width), _smooth(seen, width)
    together = _smooth(found * seen, width) - mean * of_guide
    spread = _smooth(seen.square(), width) - of_guide.square()
    return together / (spread.clamp_min(0) + FLAT * float(seen.var()) + 1e-12)


def _among_like(found: Tensor, seen: Tensor, guide: Tensor, width: float) -> Tensor:
    """Mean of the answer over places near each, where the guide was seen as it is here."""
    levels = torch.linspace(*ENDS, VALUES, device=seen.device)
    values = torch.unique(torch.quantile(seen.flatten()[:: 1 + seen.numel() // 100_000], levels))
    if len(values) < 2:
        return torch.zeros_like(guide)
    answer = torch.zeros_like(guide)
    for i in range(len(values)):
        there, here = _share(seen, values, i), _share(guide, values, i)
        overall = (there * found).sum() / there.sum().clamp_min(1e-6)
        if width == math.inf:
            answer += here * overall
            continue
        mean = _smooth(there * found, width) + FEW * overall
        answer += here * mean / (_smooth(there, width) + FEW)
    return answer


def _share(image: Tensor, values: Tensor, i: int) -> Tensor:
    """How much of each voxel is of one of these values: linear between neighbours, 1 in all."""
    share = torch.ones_like(image)
    if i > 0:
        share = ((image - values[i - 1]) / (values[i] - values[i - 1])).clamp(0, 1)
    if i + 1 < len(values):
        share = share * (1 - ((image - values[i]) / (values[i + 1] - values[i])).clamp(0, 1))
    return share


def _smooth(image: Tensor, width: float) -> Tensor:
    """Mean in a Gaussian window about each voxel, of the voxels that are there."""
    return along_axes(image, [gaussian_rows(n, width) for n in image.shape[1:]])
