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

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from oinr_monai.fields.spline import SplineField
from oinr_monai.grids.checks import check_positive
from oinr_monai.grids.grid import Grid
from oinr_monai.images.intensity import IntensityScale
from oinr_monai.images.stack import Signals
from oinr_monai.operators.conv import ConvOINR
from oinr_monai.representation.neural_field import NeuralField
from oinr_monai.representation.representation import Representation

from .device import chosen_device, seeded
from .modulation import answers, centres, descend_coefficients, truth

__all__ = ["OperatorConfig", "learn_operator"]


# A start whose answer moves enough: with ConvOINR's own last layer, which is far smaller, the first
# steps on the input function carry the sines around more than once (measured: it then diverges).
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


def learn_operator(
    images: Sequence[Tensor | np.ndarray],
    config: OperatorConfig | None = None,
    *,
    labels: Sequence[int] | None = None,
    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None,
) -> Representation:
    """Learn an operator, and the input function to start from, that serve signals of one kind.

    Every step takes a batch of signals through the descent that :func:`modulate` takes, and moves
    operator and start so that the result is closer, between the samples too. With ``labels`` a
    linear classifier reads the coefficients meanwhile, and what it asks for counts as well; it is
    thrown away. The result says in its ``info`` whether it has seen labels.

    Args:
        images: (C, *spatial) each, of one shape and one spacing, 1 to 3 spatial dimensions.
        config: how to learn.
        labels: class of each image, from 0; None to learn from the images alone.
        augment: changes a batch (B, C, *spatial) at random, with the generator it is given.

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
    started = time.monotonic()
    # A transform may be called where gradients are off; learning needs them.
    with torch.inference_mode(False), torch.enable_grad():
        signals = Signals.of(images, chosen_device(config.device))
        classes = None if labels is None else _checked_labels(labels, len(signals.values))
        with seeded(config.seed):
            learner = _Learner(signals, config, classes)
        learner.run(augment)
        return learner.result(started)


def _checked_labels(labels: Sequence[int], count: int) -> Tensor:
    classes = torch.as_tensor(labels)
    if tuple(classes.shape) != (count,) or classes.is_floating_point() or int(classes.min()) < 0:
        raise ValueError(
            f"labels must be {count} whole numbers from 0, one for each image, got shape "
            f"{tuple(classes.shape)} of {classes.dtype}"
        )
    return classes.long()


class _Learner:
    """Operator, start and classifier while they are learned."""

    def __init__(self, signals: Signals, config: OperatorConfig, labels: Tensor | None) -> None:
        self.signals, self.config, self.labels = signals, config, labels
        device = signals.values.device
        self.grid = signals.grids[0]
        self.field = _start(self.grid, signals.values.shape[1], config).to(device)
        self.rate = _stable_rate(self.field, self.grid)
        start = cast("SplineField", self.field.encoding).coefficients
        self.reader: nn.Module | None = None
        rate = config.learning_rate
        groups: list[dict[str, Any]] = [
            {"params": parameters, "peak": rate / leverage}
            for parameters, leverage in self.field.network.leverages()
        ]
        groups.append({"params": [start], "peak": rate / 10})
        if labels is not None:
            linear = nn.Linear(start.numel(), int(labels.max()) + 1)
            nn.init.zeros_(linear.weight)
            self.reader = nn.Sequential(nn.BatchNorm1d(start.numel(), affine=False), linear)
            self.reader.to(device)
            groups.append({"params": list(linear.parameters()), "peak": rate / 30})
        self.optimizer = torch.optim.Adam(groups, lr=rate, betas=(0.9, 0.99))

    def run(self, augment: Callable[[Tensor, torch.Generator], Tensor] | None) -> None:
        generator = torch.Generator().manual_seed(self.config.seed)
        values, config = self.signals.values, self.config
        for step in range(config.steps):
            self._set_rates(step / config.steps)
            chosen = torch.randint(len(values), (config.batch,), generator=generator)
            images = values[chosen.to(values.device)]
            images = images if augment is None else augment(images, generator)
            shift = float(torch.rand((), generator=generator))
            labels = None if self.labels is None else self.labels[chosen].to(values.device)
            self._step(_standardised(images), labels, shift)

    def _set_rates(self, done: float) -> None:
        # Up over a tenth of the steps, then down along a cosine.
        part = min(1.0, done / 0.1) * (0.5 + 0.5 * math.cos(math.pi * done))
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * part

    def _step(self, z: Tensor, labels: Tensor | None, shift: float) -> None:
        field, config = self.field, self.config
        coefficients = descend_coefficients(field, z, config.descent, self.rate, learning=True)
        lattice = centres(z.shape[2:], field.spacing, z.device, shift)
        loss = F.mse_loss(answers(field, coefficients, lattice), truth(z, shift))
        if self.reader is not None and labels is not None:
            moved = coefficients - cast("SplineField", field.encoding).coefficients
            read = self.reader(moved.flatten(1))
            loss = loss + config.supervision * F.cross_entropy(read, labels)
        if not bool(torch.isfinite(loss)):
            raise ValueError(
                f"learning_rate must be lower for these images, got {config.learning_rate}: the "
                "descent diverges"
            )
        self.optimizer.zero_grad()
        loss.backward()
        groups = self.optimizer.param_groups
        nn.utils.clip_grad_norm_([p for group in groups for p in group["params"]], 1.0)
        self.optimizer.step()

    def result(self, started: float) -> Representation:
        scales = self.signals.scales
        mean, std, outside = (
            tuple(np.mean([getattr(scale, name) for scale in scales], axis=0).tolist())
            for name in ("mean", "std", "outside")
        )
        found = Representation(self.field, self.grid, IntensityScale(mean, std, outside))
        found.info = {
            "settings": asdict(self.config),
            "descent": {"steps": self.config.descent, "rate": self.rate},
            "images": len(scales),
            "labels": self.labels is not None,
            "seconds": round(time.monotonic() - started, 3),
            "device": str(self.signals.values.device),
            "parameters": found.parameters,
        }
        return found


def _standardised(images: Tensor) -> Tensor:
    # As IntensityScale does, for images (B, C, *spatial) that augmentation changed.
    flat = images.flatten(2).double()
    std, mean = torch.std_mean(flat, dim=2, correction=0, keepdim=True)
    return ((flat - mean) / torch.where(std > 0, std, 1.0)).to(images).view_as(images)


def _start(grid: Grid, out_channels: int, config: OperatorConfig) -> NeuralField:
    dims, spacing = grid.spatial_dims, grid.spacing.tolist()
    network = ConvOINR(
        dims, config.field_channels, out_channels, config.channels, config.kernel_size
    )
    knots = [h * config.knot_spacing for h in spacing]
    margin = [h * r for h, r in zip(spacing, network.halo(), strict=True)]
    encoding = SplineField(grid.extent.tolist(), knots, config.field_channels, margin)
    with torch.no_grad():
        network.last.weight.mul_(LAST_LAYER)
        encoding.coefficients.normal_(std=FIELD)
    return NeuralField(encoding, network, spacing)


def _stable_rate(field: NeuralField, grid: Grid, iterations: int = 15) -> float:
    """The longest step of steepest descent that does not overshoot at the start: 1 / |J' J|."""
    start = cast("SplineField", field.encoding).coefficients.detach()[None]
    lattice = centres(grid.shape, field.spacing, start.device)

    def answer(coefficients: Tensor) -> Tensor:
        return answers(field, coefficients, lattice)

    direction, size = torch.randn_like(start), torch.ones(())
    for _ in range(iterations):
        direction = direction / direction.norm()
        moved = torch.autograd.functional.jvp(answer, start, direction)[1]
        direction = torch.autograd.functional.vjp(answer, start, moved)[1]
        size = direction.norm()
    return float(moved.numel() / size)
