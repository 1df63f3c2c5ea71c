"""The descent of an operator towards what the slices of one image lack."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from oinr_monai.fitting.descent import Descent
from oinr_monai.fitting.device import gains_from_bfloat16, seeded
from oinr_monai.fitting.handlers import BestWeights, Clock
from oinr_monai.grids.device import chosen_device
from oinr_monai.grids.precision import precision
from oinr_monai.images.identity import digest_of_image
from oinr_monai.images.intensity import IntensityScale
from oinr_monai.images.metrics import peak_ratio
from oinr_monai.representation.exact import spline_representation
from oinr_monai.representation.info import Info
from oinr_monai.representation.representation import Representation

from .averaging import Averaging
from .guide import Answered, guidance, shares
from .momentum import OrthogonalMomentum
from .pairs import PATCH_PLACES, draw_patches, scored
from .pose import Pose
from .slice_noise import SliceNoise
from .slice_operator import SliceOperator
from .told import Told
from .views import Slices, View

if TYPE_CHECKING:
    from .super_resolution import SuperResolveConfig

__all__ = ["SliceDescent", "carries", "trusts"]

# Channels and blocks of an operator that learns from nothing, for each number of dimensions; this
# and what has no other reason is chosen by hand.
OPERATORS = {2: (64, 4), 3: (40, 4)}

# Peak learning rate from nothing and of what was carried over, the part of the budget in which it
# rises, and the memory of averaged weights. The second gained most, with 200 steps, on a head of
# random contrast and a chest that were not learned from: 4e-4 and 1e-3 were alike, 2e-3 was worse.
RATE, CARRIED_RATE, RISE, MEMORY = 2e-3, 5e-4, 0.1, 0.995

# Parts of the budget after which the estimate that the pairs are made of is renewed.
RENEWALS = (0.15, 0.3, 0.5, 0.7)

# The most that an estimate is sharpened by before pairs are made of it.
ROUGHEST = 2.0

# Patches that the averaged weights are scored on, and the times.
HELD_OUT, SCORES = 8, 10

# A step on a patch costs as much as asking about so many; and what a second is taken for, in steps,
# before the first.
PASSES, STEPS_A_SECOND = 3, 20

# Parts of the budget that all estimates, and the mirrored answers at the end, may take.
ESTIMATES, ANSWERS = 0.15, 0.1

# The fewest and the most coarse voxels that pairs are made of at a time.
PARTS = (200_000, 1_000_000)

# Fine voxels on which it is learned how far to believe a guide.
GUIDED_PLACES = 1_000_000


class SliceDescent(Descent):
    """The descent of an operator towards what the slices of one image lack.

    Args:
        image: (C, *spatial).
        view: of the image.
        config: how long to learn.
        started: reading of ``time.monotonic`` when it began.
        guide: another image of the same object as a function, sharp where the slices are thick.
    """

    title, rise = "super-resolve", RISE

    def __init__(
        self,
        image: Tensor,
        view: View,
        config: SuperResolveConfig,
        started: float,
        guide: Representation | None = None,
    ) -> None:
        self.image, self.config, self.asked = image, config, view
        self.guide, self.guided = guide, math.nan
        self.pose = Pose.of(image, view.order_keys, view.mirrors)
        self.view = view.posed(self.pose)
        self.device = chosen_device(config.device)
        self.scale = IntensityScale.of(image)
        self.noise = self._noise()
        coarse = self._clean()
        self.span = torch.tensor(float(coarse.max() - coarse.min()), dtype=torch.float64)
        self.coarse = coarse.to(self.device)
        self.carried = carries(view, len(image), config)
        self.operator = self._operator().to(self.device)
        self.average = copy.deepcopy(self.operator).requires_grad_(False)
        self.averaging = Averaging(self.operator, self.average, MEMORY)
        self.reduced = gains_from_bfloat16(self.device)
        clock = Clock(*config.budget(self.carried), started=started)
        self.due = list(RENEWALS) if view.renews else []
        optimizer = OrthogonalMomentum(self.operator, CARRIED_RATE if self.carried else RATE)
        best = BestWeights(self.average, self._score, clock, times=SCORES)
        both = nn.ModuleList([self.operator, self.average])
        super().__init__(both, optimizer, clock, config.seed, best)
        self._renew(1.0)

    @property
    def identity(self) -> object:
        """The image, the grids and profiles between which the operator goes, and the settings."""
        result = self.asked.result
        place = result.shape, result.affine.tolist()
        return self._digest(), place, repr(self.asked.profiles), self.config

    def _digest(self) -> str:
        return digest_of_image([self.image], self.asked.grid)

    def draw(self) -> tuple[Tensor, Tensor]:
        """A coarse patch, and what it misses."""
        if self.due and self.clock.fraction >= self.due[0]:
            self.due.pop(0)
            self._renew(self._roughness())
        coarse, missing = next(self.patches)
        return coarse.to(self.device), missing.to(self.device)

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Absolute error of the answer, scored as the view says."""
        coarse, missing = batch
        factor = self.view.factor
        with self._precision():
            answer = self.operator(coarse)
        return (scored(answer.float(), factor) - scored(missing, factor)).abs().mean()

    def between(self) -> list[Any]:
        """The running mean of the weights."""
        return [self.averaging]

    def state(self) -> dict[str, Any]:
        """Also the running mean's steps, and what the pairs in use were made with."""
        pairs = {"averaged": self.averaging.steps, "renewals": len(self.due), **self.renewed}
        return {**super().state(), "pairs": pairs}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Make the pairs anew that were in use."""
        pairs = state["pairs"]
        self.clock.step = pairs["step"]
        self.average.load_state_dict(pairs["weights"])
        self._renew(pairs["roughness"])
        super().restore(state)
        self.averaging.steps = pairs["averaged"]
        del self.due[: len(self.due) - pairs["renewals"]]

    def result(self, interrupted: bool) -> Representation:
        """The fine image."""
        return self.answered(self.added(), interrupted)

    def added(self) -> Tensor:
        """What is added to the spline (C, *fine), in the pose, standardised."""
        added = self.gain() * self._ensemble()
        if self.guide is None:
            return added
        fine = self.view.keep_data(self.view.guess(self.coarse) + added, self.coarse)
        return added + self._guidance(fine, self.guide)

    def answered(self, added: Tensor, interrupted: bool) -> Representation:
        """The fine image, of what is added to the spline."""
        fine = self.view.guess(self.coarse) + added
        if self.noise is None:
            answer = self.view.answer(fine, self.coarse)
        else:
            kept = self.view.keep_data(fine, self.coarse)
            answer = self.view.at_asked(self.noise.settled(kept, self.scale.std[0]))
        values = self.scale.restore(self.pose.back(answer).contiguous().cpu())
        return spline_representation(values, self.asked.result, self._info(values, interrupted))

    def _noise(self) -> SliceNoise | None:
        # Known only of slices in 3-D with one channel.
        asked = self.config.noise
        if asked is None or not trusts(self.asked, len(self.image)):
            return None
        return SliceNoise.of(asked, self.pose.turned(self.image), self.device)

    def _clean(self) -> Tensor:
        """The image in the pose, standardised, without the noise that is known."""
        turned = self.pose.turned(self.image).contiguous()
        if self.noise is not None:
            turned = self.noise.cleaned(turned)
        return self.scale.standardise(turned).contiguous()

    def _operator(self) -> SliceOperator:
        dims, start = self.asked.grid.spatial_dims, self.config.start
        if self.carried and start is not None:
            factor, spacing, profile = self.view.factor[-1], *self.view.across
            within = float(self.view.grid.spacing[:-1].min())
            return start.at(factor, Told.of(spacing / within, profile, spacing))
        width, blocks = OPERATORS[dims]
        with seeded(self.config.seed):
            return SliceOperator(dims, len(self.coarse), self.view.factor, width, blocks)

    def _renew(self, roughness: float) -> None:
        """Make the pairs of the latest estimate."""
        weights = copy.deepcopy(self.average.state_dict())
        self.renewed = {"step": self.clock.step, "weights": weights, "roughness": roughness}
        self.generator.manual_seed((1 << 63) - 1 - ((self.seed << 32) + self.clock.step))
        room = self._affordable(ESTIMATES) / (1 + len(RENEWALS))
        places = round(min(max(room, PARTS[0]), PARTS[1]))
        estimate = coarse = self.view.part(self.coarse, places, self.generator)
        if self.view.renews:
            estimate = self.view.guess(coarse)
            if self.clock.step or self.carried:
                sharper = estimate + roughness * self.whole(coarse)
                estimate = self.view.keep_data(sharper, coarse)
        pairs = self.view.pairs(estimate, self.generator)
        self.patches = draw_patches(pairs, self.generator, self.view.mirrors, self.view.swaps)
        self.held_out = [next(self.patches) for _ in range(HELD_OUT)]
        # Another estimate is another task: scores before it do not compare.
        self.best.best, self.best.due = -math.inf, self.clock.fraction
        self.best.take()

    def _affordable(self, part: float) -> float:
        """Coarse voxels that may be asked about in a part of the budget."""
        clock = self.clock
        if clock.steps is not None:
            steps = float(clock.steps)
        elif clock.step:
            steps = clock.step / clock.fraction
        else:
            steps = STEPS_A_SECOND * (clock.seconds or 0.0)
        return part * steps * PASSES * PATCH_PLACES

    def _roughness(self) -> float:
        # A mean of what is possible is smoother than the truth. Pairs should be as rough as the
        # image, so that the operator meets there what it will meet in the image.
        answered, missing = _summed(
            (a.square().sum(), m.square().sum()) for a, m in self._answers()
        )
        return min(max((missing / answered) ** 0.5, 1.0), ROUGHEST) if answered > 0 else 1.0

    def _answers(self) -> Iterator[tuple[Tensor, Tensor]]:
        factor = self.view.factor
        for coarse, missing in self.held_out:
            with torch.no_grad(), self._precision():
                answer = self.average(coarse.to(self.device)).float()
            yield scored(answer, factor), scored(missing.to(self.device), factor)

    def _score(self) -> Tensor:
        errors = torch.stack([(a - m).square().mean().double() for a, m in self._answers()])
        return peak_ratio(errors.sum() / len(errors), self.span)

    def gain(self) -> float:
        """How much of the operator to believe, by least squares: none of what would do harm."""
        gain, size = _summed(((a * m).sum(), (a * a).sum()) for a, m in self._answers())
        return min(max(gain / size, 0.0), 1.0) if size > 0 else 0.0

    def _precision(self) -> AbstractContextManager[object]:
        return precision(self.device, self.reduced)

    def whole(self, coarse: Tensor) -> Tensor:
        """What the operator answers to a whole image (C, *coarse), before it is believed."""
        with self._precision():
            return self.average.whole(coarse)

    def _ensemble(self) -> Tensor:
        # The mean over mirror images of the image that the scanner sees alike: over all of them,
        # where that is a small part of what learning took.
        room, mirrors = ANSWERS * self.clock.step * PASSES * PATCH_PLACES, self.view.mirrors
        while mirrors and 2 ** len(mirrors) * self.coarse[0].numel() > room:
            mirrors = mirrors[1:]
        total = torch.zeros((), device=self.device)
        for turned in product((False, True), repeat=len(mirrors)):
            axes = [d + 1 for d, flip in zip(mirrors, turned, strict=True) if flip]
            total = total + self.whole(self.coarse.flip(axes)).flip(axes)
        return total / 2 ** len(mirrors)

    def _guidance(self, fine: Tensor, guide: Representation) -> Tensor:
        """What the guide adds to the answer, as far as it did where there is a truth."""
        values = guide.sample(self.view.lattice).as_tensor().to(fine)
        values = IntensityScale.of(values).standardise(values)
        self.generator.manual_seed(self.seed % (1 << 63))
        both = self.view.part(torch.cat([fine, values]), GUIDED_PLACES, self.generator)
        truths = [
            (*turned.split(1), Answered(models, self.whole))
            for turned, models in self.view.turned(both, self.generator)
        ]
        believed, self.guided = shares(truths)
        ways = guidance(fine, values, Answered(self.view.models, self.whole))
        weights = torch.tensor(believed, device=fine.device).to(fine)
        return torch.einsum("k,kxyz->xyz", weights, ways)[None]

    def _info(self, values: Tensor, interrupted: bool) -> Info:
        residual = self.asked.residual(values, self.image)
        return replace(
            self.taken(interrupted),
            settings=self.config.settings(),
            image=self._digest(),
            factor=tuple(self.asked.factor),
            profile=next(repr(p) for p in self.asked.profiles if p is not None),
            data_residual=math.nan if residual is None else residual,
            psnr_pairs=round(float(self.best.best), 3),
            guided=None if self.guide is None else round(self.guided, 4),
            noise=None if self.noise is None else self.noise.statement(),
        )


def _summed(pairs: Iterable[tuple[Tensor, Tensor]]) -> tuple[float, float]:
    # Brought to the host together.
    ones, others = zip(*torch.stack([torch.stack(each) for each in pairs]).tolist(), strict=True)
    return sum(ones), sum(others)


def carries(view: View, channels: int, config: SuperResolveConfig) -> bool:
    """Whether an operator of other scans has anything to say: of slices in 3-D with one channel."""
    return (
        config.start is not None and view.renews and view.grid.spatial_dims == 3 and channels == 1
    )


def trusts(view: View, channels: int) -> bool:
    """Whether noise and errors are known of a view: of slices in 3-D with one channel."""
    return isinstance(view, Slices) and view.grid.spatial_dims == 3 and channels == 1
