"""Several signals by one operator: sequences in time, and blends of any of them."""

from __future__ import annotations

import math
import os
import time as clocks
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import pairwise
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from oinr_monai.fields.family import FamilyField, displaced
from oinr_monai.fields.spline import SplineField
from oinr_monai.grids.device import chosen_device
from oinr_monai.grids.grid import Grid
from oinr_monai.grids.positions import Lattice, Positions
from oinr_monai.grids.precision import full_precision
from oinr_monai.grids.splines import CubicInterpolant, interpolating_coefficients
from oinr_monai.images.intensity import IntensityScale
from oinr_monai.images.meta import inherit
from oinr_monai.images.metrics import mean_square, peak_ratio
from oinr_monai.images.stack import scans_alike
from oinr_monai.motion.middle import to_middle
from oinr_monai.representation.family import Family, weights_at
from oinr_monai.representation.neural_field import NeuralField, few_threads
from oinr_monai.representation.representation import Representation

from .descent import Descent, Watch, adam
from .device import seeded
from .handlers import BestWeights, Clock
from .interrupts import learning
from .presets import FitConfig, budget, places_of
from .samplers import LatticeSampler
from .start import build_family

__all__ = ["fit_family"]


# Members, or blends of them, that a step looks at, and the part of them that are blends; chosen by
# hand.
ROWS, BLENDS = 8, 0.3

# A lattice, weights of blends, and their truth (rows, C, *lattice.shape).
_Rows = tuple[Lattice, list[list[float]], Tensor]


@full_precision()
def fit_family(
    images: Sequence[Tensor | np.ndarray],
    config: FitConfig | None = None,
    *,
    times: Sequence[float] | None = None,
    motion: bool = True,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> Family:
    """Fit one operator to several images, each with an input function of its own.

    With ``times`` the images are a sequence, and neighbours are brought onto each other; without,
    they are a group, all brought onto their middle. The fit then looks at the images and at blends
    of them, where the truth is the blend of the moved images, so that what lies between two members
    is as good as they are.

    Args:
        images: two or more, each (C, *spatial), on one grid.
        config: how to fit, preset "balanced" if None; an ``encoding`` must make a
            :class:`~oinr_monai.SplineField`, for each.
        times: times of the images, rising, in any unit.
        motion: find how the images move; otherwise blends fade one into the other.
        checkpoint: file that keeps the state of the fit, which goes on from it if it exists.
        progress: show a bar on stderr.

    Returns:
        The family; the ``info`` of its representation holds ``times``, ``psnr_members`` (on the
        grid), ``psnr_blends`` (between members, against the blend of the moved images), steps,
        seconds and the settings.

    Raises:
        ValueError: if an image is unfit, they differ in shape or place, or times do not rise.

    Example:
        >>> import torch
        >>> images = list(torch.rand(2, 1, 12, 12))
        >>> family = fit_family(images, FitConfig(steps=2), times=[0.0, 1.0])
        >>> family.at_time(0.5).sample().shape
        torch.Size([1, 12, 12])
    """
    config = config or FitConfig("balanced")
    watch = Watch(checkpoint, progress=progress)
    with learning() as interrupts:
        descent = _FamilyFit(images, config, times, motion)
        family = descent.result(descent.run(watch, interrupts))
    inherit(family.representation, images[0])
    return family


class _FamilyFit(Descent):
    """The descent of a family's field towards its members, and blends of them."""

    def __init__(
        self,
        images: Sequence[Tensor | np.ndarray],
        config: FitConfig,
        times: Sequence[float] | None,
        motion: bool,
    ) -> None:
        started = clocks.monotonic()
        self.config = config
        scans = scans_alike(images, placed=True)
        if len(scans) < 2:
            raise ValueError(f"images must be two or more, got {len(scans)}")
        self.digest = "+".join(scan.digest for scan in scans)
        self.stack, self.grid = torch.stack([scan.image for scan in scans]), scans[0].grid
        self.times = _checked_times(times, len(images))
        self.scale = IntensityScale.of(self.stack.transpose(0, 1).flatten(1, 2))
        self.device = chosen_device(config.device)
        z = torch.stack([self.scale.standardise(image) for image in self.stack])
        self.span = float(z.max() - z.min())
        with seeded(config.seed):
            self.field = build_family(self.grid, z.shape[1], config, len(z), motion=motion)
        if motion:
            self._align(z)
        self.field.to(self.device)
        self.truths = [CubicInterpolant(image.to(self.device)) for image in z]
        self.rows = min(ROWS, len(z))
        clock = Clock(*budget(self.grid, config, len(z)), started=started)
        optimizer = adam(self.field, config.learning_rate, dict(self.field.named_parameters()))
        best = BestWeights(self.field, self._held_out(), clock)
        super().__init__(self.field, optimizer, clock, config.seed, best)
        self.sampler = self._sampler(self.generator)

    @property
    def identity(self) -> object:
        """The images, their times, the settings and the field."""
        return self.digest, self.times, self.config.settings(), repr(self.field)

    @property
    def family(self) -> FamilyField:
        return cast("FamilyField", self.field.encoding)

    def _align(self, z: Tensor) -> None:
        spacing = self.grid.spacing.float().view(-1, *[1] * self.grid.spatial_dims)
        for motion, moved in zip(self.family.motions, self._displacements(z), strict=True):
            _put(cast("SplineField", motion), moved * spacing, self.grid)

    def _displacements(self, z: Tensor) -> Tensor:
        """Where each member lies from the middle of all (M, D, *spatial), in voxels."""
        if self.times is None:
            return to_middle(z)
        pairs = [to_middle(z[i : i + 2]) for i in range(len(z) - 1)]
        steps = torch.stack([there - here for here, there in pairs])
        sums = torch.cat([torch.zeros_like(steps[:1]), steps]).cumsum(dim=0)
        return sums - sums.mean(dim=0)

    # ---- what a step sees -----------------------------------------------------------------------

    def draw(self) -> _Rows:
        """A lattice, the weights of some blends, and their truth on it."""
        return self._rows(self.sampler, self.generator)

    def loss(self, batch: _Rows) -> Tensor:
        """Squared error of the blends."""
        lattice, weights, target = batch
        return F.mse_loss(_answers(self.field, lattice, weights), target)

    def threads(self) -> AbstractContextManager[None]:
        """Few where the operator is narrow."""
        return few_threads(self.field)

    def _sampler(self, generator: torch.Generator) -> LatticeSampler:
        return LatticeSampler(
            truth=self.truths[0],
            shape=self.grid.shape,
            spacing=tuple(self.grid.spacing.tolist()),
            places=max(places_of(self.grid, self.config, len(self.truths)) // self.rows, 1),
            contiguous=not self.field.anywhere,
            mask=None,
            generator=generator,
        )

    def _rows(self, sampler: LatticeSampler, generator: torch.Generator) -> _Rows:
        lattice = Lattice(tuple(x.to(self.device) for x in sampler.lattice().axes))
        weights = [self._weights(generator) for _ in range(self.rows)]
        return lattice, weights, torch.stack([self.truth(row, lattice) for row in weights])

    def _weights(self, generator: torch.Generator) -> list[float]:
        count = len(self.truths)
        drawn = torch.rand(3, generator=generator, dtype=torch.float64).tolist()
        if drawn[0] > BLENDS:
            return _one_hot(int(drawn[1] * count), count)
        if self.times is not None:
            place = drawn[1] * (count - 1)
            return weights_at(range(count), place)
        # Two members, or all: uniform over the simplex that they span.
        taking = min(2, count) if drawn[1] < 0.5 else count
        order = torch.randperm(count, generator=generator)[:taking]
        shares = -torch.rand(taking, generator=generator, dtype=torch.float64).log()
        weights = torch.zeros(count, dtype=torch.float64)
        weights[order] = shares / shares.sum()
        return cast("list[float]", weights.tolist())

    @torch.no_grad()
    def truth(self, weights: Sequence[float], positions: Positions) -> Tensor:
        """The blend of the moved images (C, *positions.shape), standardised."""
        taking = [i for i, w in enumerate(weights) if w != 0]
        blend = self.family.blend(weights)
        moves: list[Tensor | None] = [None] * len(taking)
        if isinstance(blend, FamilyField):
            moves = blend.displacements(positions)
        total: Tensor | int = 0
        for i, move in zip(taking, moves, strict=True):
            total = total + weights[i] * self._image(i, positions, move)
        return torch.as_tensor(total).float()

    def _image(self, member: int, positions: Positions, move: Tensor | None) -> Tensor:
        places = positions if move is None else displaced(positions, move[0])
        bounds = zip(places.axes, self.grid.spacing.tolist(), self.grid.shape, strict=True)
        axes = tuple((x.double() / h).clamp(0, n - 1) for x, h, n in bounds)
        values = self.truths[member](type(places)(axes))
        return values if move is None else values.unflatten(1, positions.shape)

    # ---- how good it is -------------------------------------------------------------------------

    def _held_out(self) -> Callable[[], float]:
        generator = torch.Generator().manual_seed(self.config.seed + 1)
        sampler = self._sampler(generator)
        held_out = [self._rows(sampler, generator) for _ in range(max(2, len(self.truths) // ROWS))]

        def score() -> float:
            with torch.no_grad():
                errors = [float(self.loss(batch)) for batch in held_out]
            return peak_ratio(sum(errors) / len(errors), self.span)

        return score

    def result(self, interrupted: bool) -> Family:
        """The family that the field is now, with its scores."""
        taken = replace(self.taken(interrupted), times=self.times or ())
        whole = Representation(self.field.cpu(), self.grid, self.scale, taken)
        family = Family(whole)
        whole.info = replace(
            taken,
            settings={**self.config.settings(), "motion": bool(len(self.family.motions))},
            image=self.digest,
            parameters=whole.parameters,
            psnr_members=tuple(self._psnr_members(family)),
            psnr_blends=float(self.best.best),
        )
        return family

    def _psnr_members(self, family: Family) -> list[float]:
        span = float(self.stack.max() - self.stack.min())
        scores = []
        for i, image in enumerate(self.stack):
            error = family.blend(_one_hot(i, len(self.stack))).sample().as_tensor() - image
            scores.append(peak_ratio(mean_square(error), span))
        return scores


def _answers(field: NeuralField, lattice: Positions, weights: Sequence[list[float]]) -> Tensor:
    family = cast("FamilyField", field.encoding)
    blends = [NeuralField(family.blend(row), field.network, field.spacing) for row in weights]
    return torch.stack([blend(lattice)[0] for blend in blends])


def _put(motion: SplineField, moved: Tensor, grid: Grid) -> None:
    """Make a motion the spline through displacements (D, *grid.shape) in mm, at its knots."""
    for axis, (n, h) in enumerate(zip(grid.shape, grid.spacing.tolist(), strict=True)):
        # Those in the domain and the one after it; they lie at voxels.
        places = torch.arange(motion.coefficients.shape[1 + axis] - 2) * motion.knot_spacing[axis]
        moved = moved.index_select(1 + axis, (places / h).round().long().clamp(max=n - 1))
    coefficients = interpolating_coefficients(moved, halo=1)
    motion.coefficients.data.copy_(coefficients)


def _checked_times(times: Sequence[float] | None, count: int) -> tuple[float, ...] | None:
    if times is None:
        return None
    checked = tuple(map(float, times))
    if len(checked) != count:
        raise ValueError(f"times must be {count}, one for each image, got {len(checked)}")
    if not all(map(math.isfinite, checked)) or any(b <= a for a, b in pairwise(checked)):
        raise ValueError(f"times must be finite and rise, got {checked}")
    return checked


def _one_hot(index: int, count: int) -> list[float]:
    return [float(i == index) for i in range(count)]
