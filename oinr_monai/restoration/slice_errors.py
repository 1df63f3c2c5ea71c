"""How far what was made of thick slices may be from the truth, learned from the slices alone."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, cast, final

import torch
from torch import Tensor

from oinr_monai.scanner.forward_model import along_axes
from oinr_monai.scanner.resampling import Resampling

from .conformal import ConformalScores
from .error_features import Answer
from .error_samples import Smoothing, neighbour_correlation, unseen_errors
from .error_scale import ErrorScale
from .operator_share import boxes, operator_share
from .pairs import AxisModel, Pair, scored
from .restored import LEVEL, Errors
from .slice_descent import SliceDescent
from .slice_gap import Gap, blurred_once_more, noise_of_pairs, without_noise
from .slice_noise import quiet_noise
from .small_balls import SmallBalls
from .views import Slices

__all__ = ["SliceErrors"]

# Coarse voxels of the middle slices that pairs are made of, and the fewest slices; by hand.
PLACES, FEWEST = 100_000, 6

# Places that are learned from, and as many that are scored; by hand.
LEARNED = 100_000

# The least part of a half width that is left when noise is taken out of it; by hand.
LEAST = 0.3


@final
class SliceErrors(Errors):
    """Errors of what was made of thick slices, of the sizes that the scan's own pairs show.

    Args:
        descent: that has learned, from slices that it :func:`trusts`.
        added: what its operator adds, in the pose.
    """

    def __init__(self, descent: SliceDescent, added: Tensor) -> None:
        view, coarse = descent.view, descent.coarse
        if not isinstance(view, Slices):
            raise TypeError(f"descent must be of slices, got {type(view).__name__}")
        self.descent, self.view, seed = descent, view, descent.config.seed
        self.gain, self.noise = descent.gain(), quiet_noise(coarse)
        fine = view.keep_data(view.guess(coarse) + added, coarse)
        self.unseen = fine - view.guess(coarse)
        middle = self._middle(fine)
        self.correlations: list[float] = []
        pairs = [self._rehearsed(middle, axis) for axis in view.sharp]
        self.correlation = sum(self.correlations) / len(self.correlations)
        generator = torch.Generator().manual_seed(seed)
        learned, scored = _halves([known for known, _ in pairs], generator)
        scale = ErrorScale(learned[:-1], seed)
        scale.learn(learned[:-1], learned[-1], seed)
        self.scores = ConformalScores.of(scale.log_size(scored[:-1]), scored[-1])
        self.gap = Gap.of(view, coarse, [energies for _, energies in pairs], self.noise)
        self.log_size = torch.empty_like(fine)
        for rows, features in Answer(coarse, fine, added).slabs():
            self.log_size[0, rows] = scale.log_size(features)

    @torch.no_grad()
    def half_width(self, level: float) -> Tensor:
        """Half widths (1, *grid.shape) of the intervals, in the image's units."""
        deviation = NormalDist().inv_cdf((1 + level) / 2)
        noise = self.model.guess.square().sum(dim=1)
        width = self._squared_width(level) + (deviation * self.noise) ** 2 * noise.to(self.log_size)
        return self._scaled(width.sqrt())

    @torch.no_grad()
    def sample(self, generator: torch.Generator) -> Tensor:
        """A sample (1, *grid.shape) of the errors: slices see nothing of it but noise."""
        spread = self._squared_width(LEVEL).sqrt() / NormalDist().inv_cdf((1 + LEVEL) / 2)
        smoothing = Smoothing(self.correlation, axes=(0, 1))
        unseen = unseen_errors(spread, self.model, smoothing, generator)
        noise = torch.randn(self.descent.coarse.shape, generator=generator).to(unseen)
        return self._scaled(unseen + along_axes(self.noise * noise, [None, None, self.model.guess]))

    @torch.no_grad()
    def share(self) -> Tensor:
        """The share (1, *grid.shape) of the operator in what is shown."""
        thick, spacing = float(self.view.grid.spacing[2]), self.view.lattice.spacing.tolist()
        guess = self.view.guess(self.descent.coarse)
        return self._asked(operator_share(guess, self.unseen, boxes(thick, spacing)))

    @torch.no_grad()
    def hidden(self) -> Tensor:
        """Contrast (1, *grid.shape) that a small ball at each place may hide."""
        return self._scaled(self._balls.contrast(self.descent.coarse))

    @property
    def _balls(self) -> SmallBalls:
        return SmallBalls(
            self.view.profile, self.view.factor[2], self.view.lattice.spacing.tolist()
        )

    def _squared_width(self, level: float) -> Tensor:
        # Of half widths on the lattice, without what noise adds to them.
        deviation = NormalDist().inv_cdf((1 + level) / 2) * self.noise
        width = self.scores.half_width(self.log_size, level).square()
        width = torch.maximum(width - deviation**2 * noise_of_pairs(self.model), LEAST**2 * width)
        return self.gap.factor**2 * width

    def statement(self) -> dict[str, Any]:
        """What they were learned from, and the gap that was found."""
        return {
            "learned_from": "slices simulated along the sharp axes of the scan",
            "places": sum(len(each) for each in self.scores.scores),
            "gap": round(self.gap.factor, 3),
            "blurring": round(self.gap.blurring, 3),
            "anisotropy": round(self.gap.anisotropy, 3),
            "noise": self.noise * self.descent.scale.std[0],
        }

    def _scaled(self, values: Tensor) -> Tensor:
        return self._asked(values) * self.descent.scale.std[0]

    def _asked(self, values: Tensor) -> Tensor:
        asked, lattice = self.descent.asked, self.descent.asked.lattice
        turned = self.descent.pose.back(values).contiguous().cpu()
        return (
            turned if asked.asks_lattice else Resampling(lattice, asked.result, 1).forward(turned)
        )

    @property
    def model(self) -> AxisModel:
        """How the slices were seen across."""
        return cast("AxisModel", self.view.models[2])

    def _model(self, count: int) -> AxisModel:
        view = self.view
        return AxisModel.of(count, float(view.grid.spacing[2]), view.factor[2], view.profile)

    def _middle(self, fine: Tensor) -> Tensor:
        factor, count = self.view.factor[2], self.view.grid.shape[2]
        slices = min(max(PLACES // fine[0, :, :, 0].numel(), FEWEST), count)
        return fine.narrow(3, (count - slices) // 2 * factor, slices * factor)

    def _rehearsed(self, fine: Tensor, axis: int) -> tuple[Tensor, tuple[float, float]]:
        """Of pairs along a sharp axis: features and last the errors (K + 1, N), and energies.

        The energies are mean squared errors, as it is and blurred once more, without noise.
        """
        blurred, kept = blurred_once_more(self.view, fine, axis)
        found, energies = [], []
        for image, left in ((fine, 1.0), (blurred, kept)):
            pair = self.view.pair(image, axis, torch.Generator().manual_seed(0))
            answer, errors = self._answer(pair)
            found.append((answer, errors))
            noise = left * self.noise**2 * noise_of_pairs(self._model(pair.coarse.shape[3]))
            energy = float(scored(errors[None], pair.factor).square().mean())
            energies.append(without_noise(energy, noise))
        answer, errors = found[0]
        self.correlations.append(neighbour_correlation(errors, [1 - axis]))
        known = scored(torch.cat([answer.features(), errors])[None], self.view.factor)[0]
        return known.flatten(1), (energies[0], energies[1])

    def _answer(self, pair: Pair) -> tuple[Answer, Tensor]:
        """What is made of a pair, and the errors of that."""
        coarse, model = pair.coarse, self._model(pair.coarse.shape[3])
        added = self.gain * self.descent.whole(coarse)
        seen = along_axes(added, [None, None, model.coarse])
        kept = added - along_axes(seen, [None, None, model.back])
        guess = along_axes(coarse, [None, None, model.guess])
        return Answer(coarse, guess + kept, added), kept - pair.missing


def _halves(known: Sequence[Tensor], generator: torch.Generator) -> list[Tensor]:
    """As many places of each (K, N), at random, to learn from and to score."""
    count = min(LEARNED // len(known), *(each.shape[1] // 2 for each in known))
    orders = [torch.randperm(each.shape[1], generator=generator) for each in known]
    return [
        torch.cat([k[:, o[first : first + count]] for k, o in zip(known, orders, strict=True)], 1)
        for first in (0, count)
    ]
