r"""How far a denoised image may be from the clean one, learned from the noisy image alone.

The clean image is taken for the truth, noise is added to it, and the operator cleans it once more:
those errors are known, and what there is to see of a place tells how large they were there. They
are too small, for the truth is less smooth than any clean image. How much too small is told by
Stein's estimate of the error, which needs no truth: in each stratum of predicted size,

.. math:: g^2 = \frac{E \big( |G(y) - y|^2 - 1 + 2 \operatorname{div} G(y) \big)}
                     {E |G(\hat x + n) - \hat x|^2} ,

in units of the noise, all of it stabilised to unit variance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Any, final

import torch
from torch import Tensor

from oinr_monai.scanner.smooth_noise import smooth_noise

from .conformal import ConformalScores, interpolated
from .error_samples import Smoothing, neighbour_correlation
from .error_scale import FLOOR, ErrorScale
from .local_energy import bend, log_root, slope, window_mean
from .restored import LEVEL, Errors
from .stein import noisy_places

__all__ = ["NoiseErrors"]

# Step of the divergence in units of the noise, and what the factor may come to; by hand.
STEP, RANGE = 0.1, (1.0, 3.0)

# How much more the large errors differ from those that are known than the root of their mean square
# does: on two heads of random contrast, told the noise or not, 2 and 5 % of it, intervals without
# it held 86 to 90 % where 90 was meant, and 1.0 to 1.15 times as wide ones would have held that.
TAIL = 1.1

# How far a stratum's own ratio may be from that of all, over the latter; by hand.
APART = 0.5

# Places that are learned from, and as many that are scored; by hand.
LEARNED = 60_000

# A noisy image (C, *spatial), its noise of unit variance, to the clean one.
Cleaned = Callable[[Tensor], Tensor]


@final
class NoiseErrors(Errors):
    """Errors of a denoised image.

    Args:
        noisy: the stabilised image (C, *spatial), in units of the noise.
        grain: smoothing of the noise along each axis, in voxels.
        clean: what cleans such images.
        unseen: voxels that count and that nothing was learned from (*spatial).
        mask: voxels that count (*spatial), or None.
        restore: takes stabilised values (C, *spatial) to intensities.
        seed: of the noise that is added.
    """

    def __init__(
        self,
        noisy: Tensor,
        grain: Sequence[float],
        clean: Cleaned,
        unseen: Tensor,
        mask: Tensor | None,
        restore: Callable[[Tensor], Tensor],
        seed: int,
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.restore, self.answer = restore, clean(noisy)
        again = self.answer + smooth_noise(noisy.shape, grain, generator)
        cleaned = clean(again)
        known, places = cleaned - self.answer, _places(noisy, mask)
        axes = tuple(range(noisy.ndim - 1))
        self.smoothing = Smoothing(neighbour_correlation(known, axes), axes)
        features = _features(cleaned)[:, places]
        order = torch.randperm(features.shape[1], generator=generator)[: 2 * LEARNED]
        learned, scored = order.tensor_split(2)
        errors = known.flatten()[places]
        scale = ErrorScale(features[:, learned], seed)
        scale.learn(features[:, learned], errors[learned], seed)
        rehearsed = scale.log_size(features)
        self.scores = ConformalScores.of(rehearsed[scored], errors[scored])
        self.log_size = scale.log_size(_features(self.answer)).view_as(noisy)
        # Where the operator has learned, it may know the noise by heart, which no risk tells.
        fresh = _places(noisy, unseen)
        probe = smooth_noise(noisy.shape, grain, generator)
        risk = _risk(noisy, self.answer, clean, probe).flatten()[fresh]
        there = self.log_size.flatten()[fresh]
        self.gaps = _gaps(self.scores.centres, (there, risk), (rehearsed, errors.square()))

    @torch.no_grad()
    def half_width(self, level: float) -> Tensor:
        """Half widths (C, *grid.shape) of the intervals, in the image's units."""
        width = self._width(level)
        low, high = self.restore(self.answer - width), self.restore(self.answer + width)
        return (high - low) / 2

    @torch.no_grad()
    def sample(self, generator: torch.Generator) -> Tensor:
        """A sample (C, *grid.shape) of the errors."""
        spread = self._width(LEVEL) / NormalDist().inv_cdf((1 + LEVEL) / 2)
        error = spread * self.smoothing(_drawn(self.answer, generator))
        return self.restore(self.answer + error) - self.restore(self.answer)

    def _width(self, level: float) -> Tensor:
        width = self.scores.half_width(self.log_size, level)
        return TAIL * width * interpolated(self.log_size, self.scores.centres, self.gaps)

    def statement(self) -> dict[str, Any]:
        """What they were learned from, and how much too small those errors were."""
        return {
            "learned_from": "noise added to the clean image, and Stein's estimate of the risk",
            "places": sum(len(each) for each in self.scores.scores),
            "gap": [round(float(each), 3) for each in self.gaps],
        }


def _drawn(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator, dtype=like.dtype)


def _places(noisy: Tensor, mask: Tensor | None) -> Tensor:
    return noisy_places(noisy, mask).expand_as(noisy).flatten().nonzero()[:, 0]


def _risk(noisy: Tensor, answer: Tensor, clean: Cleaned, probe: Tensor) -> Tensor:
    """Stein's estimate of the squared error at every voxel; only means of many are of use."""
    divergence = probe * (clean(noisy + STEP * probe) - answer) / STEP
    return (answer - noisy).square() - 1 + 2 * divergence


def _gaps(centres: Tensor, real: tuple[Tensor, Tensor], rehearsed: tuple[Tensor, Tensor]) -> Tensor:
    """For each stratum the root of the mean risk over the mean squared error that is known.

    Where a stratum has too few places to tell its own, the ratio of all of them counts as well.
    """
    (there, risk), (here, squares) = real, rehearsed
    # Of few places, the most that the mean may be but by two standard errors.
    most = risk.mean() + 2 * risk.std() / len(risk) ** 0.5
    whole = float(most.clamp_min(0) / squares.mean().clamp_min(FLOOR**2))
    sums, counts = _by_stratum(centres, there, risk)
    totals, known = _by_stratum(centres, here, squares)
    usual = totals / known.clamp_min(1)
    # So many places tell a stratum's mean as well as the ratio of all does.
    enough = risk.var() / (APART * whole * usual).clamp_min(FLOOR**2).square()
    means = (sums + enough * whole * usual) / (counts + enough)
    return (means.clamp_min(0) / usual.clamp_min(FLOOR**2)).sqrt().clamp(*RANGE)


def _by_stratum(centres: Tensor, log_size: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    # Sums and counts of the places that are nearest to each centre.
    nearest = torch.bucketize(log_size.contiguous(), (centres[1:] + centres[:-1]) / 2)
    sums = torch.zeros_like(centres).index_add_(0, nearest, values)
    return sums, torch.bincount(nearest, minlength=len(centres))


def _features(answer: Tensor) -> Tensor:
    """Features (K, C * voxels) of every place of a clean image.

    What was taken for noise is none: where that is small by chance, Stein's estimate is as well.
    """
    dims = answer.ndim - 1
    near, wide = (3,) * dims, (5,) * dims
    steep = sum((slope(answer, d).square() for d in range(1, dims + 1)), 0 * answer)
    bent = sum((bend(answer, d).square() for d in range(1, dims + 1)), 0 * answer)
    middle = window_mean(answer, wide)
    variance = window_mean(answer.square(), wide) - middle.square()
    each = [
        *map(log_root, (steep, window_mean(steep, near), window_mean(steep, wide))),
        *map(log_root, (bent, window_mean(bent, near), window_mean(bent, wide), variance)),
        answer,
        middle,
    ]
    return torch.stack(each).flatten(1)
