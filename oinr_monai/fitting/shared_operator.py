r"""One operator for many signals: each is an input function of its own, a few steps from a start.

.. math:: F_i = G[f_i], \qquad f_i = f_0 + \text{a few steps of gradient descent towards signal } i

The operator G and the start f_0 are learned together on a training set, so that these few steps
are enough; the coefficients of f_i are then a short vector that says what signal i is.

References:
    Zintgraf et al., "Fast Context Adaptation via Meta-Learning", ICML 2019 (what is adapted, and
    what is shared).
    Dupont et al., "From data to functa: Your data point is a function and you can treat it like
    one", ICML 2022.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from oinr_monai.fields.spline import SplineField
from oinr_monai.grids.checks import check_positive
from oinr_monai.grids.device import chosen_device
from oinr_monai.grids.grid import Grid
from oinr_monai.grids.precision import full_precision
from oinr_monai.images.identity import digest_of_image
from oinr_monai.images.intensity import IntensityScale
from oinr_monai.images.stack import Signals
from oinr_monai.operators.conv import ConvOINR
from oinr_monai.representation.info import ShortDescent
from oinr_monai.representation.neural_field import NeuralField
from oinr_monai.representation.representation import Representation

from .descent import Descent, Watch
from .device import seeded
from .handlers import Clock, LastWeights
from .interrupts import learning
from .modulation import answers, centres, descend_coefficients, truth

__all__ = ["OperatorConfig", "learn_operator"]


# A start whose answer moves enough: with ConvOINR's own last layer, which is far smaller, the first
# steps on the input function carry the sines around more than once, and it diverges. Chosen by
# hand.
LAST_LAYER, FIELD = 5.0, 0.3


@dataclass(frozen=True)
class OperatorConfig:
    """How to learn an operator that many signals share.

    Args:
        knot_spacing: distance between the knots of the input functions, in voxels.
        field_channels: channels of the input functions.
        channels: hidden channels of the operator.
        kernel_size: odd width of its kernels, one number or one per layer.
        descent: steps of gradient descent that take a signal to its input function.
        steps: steps of learning.
        batch: signals that one of these looks at.
        learning_rate: peak rate of the operator's effective weights.
        supervision: weight of the labels, where they are given, beside the squared error.
        seed: seed of the start and of the signals looked at.
        device: "auto", "cpu" or "cuda".

    Raises:
        ValueError: if a number is not positive.

    Example:
        >>> OperatorConfig(steps=100).descent
        3
    """

    knot_spacing: float = 4.0
    field_channels: int = 8
    channels: tuple[int, ...] = (16, 16)
    kernel_size: int | tuple[int, ...] = (3, 3, 1)
    descent: int = 3
    steps: int = 1_000
    batch: int = 64
    learning_rate: float = 0.1
    supervision: float = 0.3
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        check_positive(self, "field_channels", "descent", "steps", "batch")
        check_positive(self, "learning_rate", "supervision")
        if not self.knot_spacing >= 1:
            raise ValueError(f"knot_spacing must be at least 1 voxel, got {self.knot_spacing}")


@full_precision()
def learn_operator(
    images: Sequence[Tensor | np.ndarray],
    config: OperatorConfig | None = None,
    *,
    labels: Sequence[int] | None = None,
    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> Representation:
    """Learn an operator, and the input function to start from, that serve signals of one kind.

    Every step takes a batch of signals through the descent that :func:`modulate` takes, and moves
    operator and start so that the result is closer, between the samples too. With ``labels`` a
    linear classifier reads the coefficients meanwhile, and what it asks for counts as well; it is
    thrown away. The result says in its ``info`` whether it has seen labels. An interrupt (Ctrl-C)
    ends it early with what is learned so far, marked there too.

    Args:
        images: (C, *spatial) each, of one shape and one spacing, 1 to 3 spatial dimensions.
        config: how to learn.
        labels: class of each image, from 0; None to learn from the images alone.
        augment: changes a batch (B, C, *spatial) at random, with the generator it is given.
        checkpoint: file that keeps the state of learning, which goes on from it if it exists.
        progress: show a bar on stderr.

    Returns:
        Operator and start as one representation, for :func:`modulate`; saved as any other.

    Raises:
        ValueError: if the images differ in shape or spacing, are not fit for
            :func:`~oinr_monai.fit`, or the labels are not one whole number for each.

    Example:
        >>> from oinr_monai import modulate
        >>> waves = [torch.sin(torch.linspace(k, k + 6, 16)).expand(1, 16, 16) for k in range(8)]
        >>> operator = learn_operator(waves, OperatorConfig(steps=5, batch=4))
        >>> modulate(waves[:1], operator)[0].grid.shape
        (16, 16)
    """
    config = config or OperatorConfig()
    watch = Watch(checkpoint, progress=progress)
    with learning() as interrupts:
        signals = Signals.of(images, chosen_device(config.device))
        classes = None if labels is None else _checked_labels(labels, len(signals.values))
        with seeded(config.seed):
            descent = _OperatorFit(signals, config, classes, augment)
        return descent.result(descent.run(watch, interrupts))


def _checked_labels(labels: Sequence[int], count: int) -> Tensor:
    classes = torch.as_tensor(labels)
    if tuple(classes.shape) != (count,) or classes.is_floating_point() or int(classes.min()) < 0:
        raise ValueError(
            f"labels must be {count} whole numbers from 0, one for each image, got shape "
            f"{tuple(classes.shape)} of {classes.dtype}"
        )
    return classes.long()


class _OperatorFit(Descent):
    """The descent of operator and start, and of a classifier where there are labels."""

    title, rise, clip = "learn operator", 0.1, 1.0

    def __init__(
        self,
        signals: Signals,
        config: OperatorConfig,
        labels: Tensor | None,
        augment: Callable[[Tensor, torch.Generator], Tensor] | None,
    ) -> None:
        self.signals, self.config, self.labels, self.augment = signals, config, labels, augment
        device = signals.values.device
        self.grid = signals.grids[0]
        self.field = _start(self.grid, signals.values.shape[1], config).to(device)
        generator = torch.Generator().manual_seed(config.seed)
        self.longest, self.share = _stable_rate(self.field, self.grid, generator), 1.0
        start = cast("SplineField", self.field.encoding).coefficients
        rate = config.learning_rate
        groups: list[dict[str, Any]] = [
            {"params": parameters, "peak": rate / leverage}
            for parameters, leverage in self.field.network.leverages()
        ]
        groups.append({"params": [start], "peak": rate / 10})
        self.reader = _reader(start.numel(), labels).to(device)
        if labels is not None:
            groups.append({"params": list(self.reader.parameters()), "peak": rate / 30})
        optimizer = torch.optim.Adam(groups, lr=rate, betas=(0.9, 0.99))
        clock = Clock(config.steps, None)
        both = nn.ModuleList([self.field, self.reader])
        best = LastWeights(both, lambda: float("nan"), clock)
        super().__init__(both, optimizer, clock, config.seed, best)

    @property
    def identity(self) -> object:
        """The images, their labels and the settings."""
        images = digest_of_image([self.signals.values.flatten(0, 1)], self.grid)
        labels = None if self.labels is None else self.labels.tolist()
        return images, labels, self.config, repr(self.field)

    def draw(self) -> tuple[Tensor, Tensor | None, float]:
        """Some of the images, their labels, and how far between their samples to look."""
        values, generator = self.signals.values, self.generator
        chosen = torch.randint(len(values), (self.config.batch,), generator=generator)
        images = values[chosen.to(values.device)]
        images = images if self.augment is None else self.augment(images, generator)
        shift = float(torch.rand((), generator=generator))
        labels = None if self.labels is None else self.labels[chosen].to(values.device)
        return _standardised(images), labels, shift

    def loss(self, batch: tuple[Tensor, Tensor | None, float]) -> Tensor:
        """Squared error after the few steps, and what the classifier asks for."""
        z, labels, shift = batch
        field, config = self.field, self.config
        coefficients = descend_coefficients(field, z, config.descent, self.rate, learning=True)
        lattice = centres(z.shape[2:], field.spacing, z.device, shift)
        wanted = truth(z, shift)
        loss = F.mse_loss(answers(field, coefficients, lattice), wanted)
        # The operator learns to answer more strongly, until steps that were stable at the start
        # overshoot, and the answers are worse than the mean: then the next descents take shorter
        # ones.
        if float(loss.detach()) > float(wanted.square().mean()):
            stable = _stable_rate(field, self.grid, self.generator)
            self.share = min(self.share, stable / self.longest)
        if labels is not None:
            moved = coefficients - cast("SplineField", field.encoding).coefficients
            read = self.reader(moved.flatten(1))
            loss = loss + config.supervision * F.cross_entropy(read, labels)
        if not bool(torch.isfinite(loss)):
            raise ValueError(
                f"learning_rate must be lower for these images, got {config.learning_rate}: the "
                "descent diverges"
            )
        return loss

    @property
    def rate(self) -> float:
        """Step of the short descents."""
        return self.share * self.longest

    def state(self) -> dict[str, Any]:
        """Also the rate of the short descents, as a part of the longest."""
        return {**super().state(), "share": self.share}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on with the rate of the short descents."""
        super().restore(state)
        self.share = state["share"]

    def result(self, interrupted: bool) -> Representation:
        """Operator and start."""
        scales = self.signals.scales
        mean, std, outside = (
            tuple(np.mean([getattr(scale, name) for scale in scales], axis=0).tolist())
            for name in ("mean", "std", "outside")
        )
        found = Representation(self.field, self.grid, IntensityScale(mean, std, outside))
        found.info = replace(
            self.taken(interrupted),
            settings=asdict(self.config),
            descent=ShortDescent(self.config.descent, self.rate),
            images=len(scales),
            labels=self.labels is not None,
            parameters=found.parameters,
        )
        return found


def _reader(numbers: int, labels: Tensor | None) -> nn.Module:
    # The classifier that is thrown away; nothing where there are no labels.
    if labels is None:
        return nn.Identity()
    linear = nn.Linear(numbers, int(labels.max()) + 1)
    nn.init.zeros_(linear.weight)
    return nn.Sequential(nn.BatchNorm1d(numbers, affine=False), linear)


def _standardised(images: Tensor) -> Tensor:
    # As IntensityScale does, for images (B, C, *spatial) that augmentation changed.
    flat = images.flatten(2).double()
    std, mean = torch.std_mean(flat, dim=2, correction=0, keepdim=True)
    return ((flat - mean) / torch.where(std > 0, std, 1.0)).to(images).view_as(images)


def _start(grid: Grid, out_channels: int, config: OperatorConfig) -> NeuralField:
    dims, spacing = grid.spatial_dims, grid.spacing.tolist()
    operator = ConvOINR(
        dims, config.field_channels, out_channels, config.channels, config.kernel_size
    )
    knots = [h * config.knot_spacing for h in spacing]
    margin = [h * r for h, r in zip(spacing, operator.halo(), strict=True)]
    splines = SplineField(grid.extent.tolist(), knots, config.field_channels, margin)
    with torch.no_grad():
        operator.last.weight.mul_(LAST_LAYER)
        splines.coefficients.normal_(std=FIELD)
    return NeuralField(splines, operator, spacing)


def _stable_rate(
    field: NeuralField, grid: Grid, generator: torch.Generator, iterations: int = 15
) -> float:
    """The longest step of steepest descent that does not overshoot at the start: 1 / |J' J|."""
    start = cast("SplineField", field.encoding).coefficients.detach()[None]
    lattice = centres(grid.shape, field.spacing, start.device)

    def answer(coefficients: Tensor) -> Tensor:
        return answers(field, coefficients, lattice)

    direction = torch.randn(start.shape, generator=generator).to(start)
    size = torch.ones(())
    for _ in range(iterations):
        direction = direction / direction.norm()
        moved = torch.autograd.functional.jvp(answer, start, direction)[1]
        direction = torch.autograd.functional.vjp(answer, start, moved)[1]
        size = direction.norm()
    return float(moved.numel() / size)
