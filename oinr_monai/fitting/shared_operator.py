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

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from oinr_monai.analysis.weight_vectors import FITTED, START
from oinr_monai.fields.fourier import SplineField
from oinr_monai.grids.checks import check_positive
from oinr_monai.grids.grid import Grid
from oinr_monai.grids.positions import Lattice
from oinr_monai.grids.splines import CubicInterpolant, evaluate
from oinr_monai.images.scans import checked_scans
from oinr_monai.operators.conv import ConvOINR
from oinr_monai.representation.neural_field import NeuralField
from oinr_monai.representation.representation import (
    IntensityScale,
    Representation,
    image_source,
    stored_dtype,
)

from .device import chosen_device, seeded
from .start import digest

__all__ = ["OperatorConfig", "learn_operator", "modulate"]

# Numbers that one batch may hold in the widest layer; a few dozen small pictures.
BATCH_NUMBERS = 1 << 20

# A start whose answer moves enough: with ConvOINR's own last layer, which is far smaller, the first
# steps on the input function carry the sines around more than once (measured: it then diverges).
LAST_LAYER, FIELD = 5.0, 0.3

MODULATED = "encoding.coefficients"


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


def modulate(
    images: Sequence[Tensor | np.ndarray],
    operator: Representation,
    *,
    steps: int | None = None,
) -> list[Representation]:
    """Represent images by input functions of their own, read by the operator that they share.

    The descent is plain gradient descent on the coefficients, from the operator's start, on the
    voxel centres: deterministic, and the same for an image alone as for many.

    Args:
        images: (C, *spatial) each, of the shape and spacing that the operator was learned on.
        operator: what :func:`learn_operator` returned, or its file loaded.
        steps: steps to take, instead of those that the operator was learned for.

    Returns:
        The representations, in the order of the images. They share one operator in memory; only
        the coefficients of the input function were fitted (``info["fitted"]``).

    Raises:
        ValueError: if ``operator`` was not learned for this, or an image is of another shape or
            spacing.

    Example:
        >>> waves = [torch.sin(torch.linspace(k, k + 6, 16)).expand(1, 16, 16) for k in range(8)]
        >>> operator = learn_operator(waves, OperatorConfig(steps=5, batch=4))
        >>> [rep.info["fitted"] for rep in modulate(waves[:2], operator)]
        [['encoding.coefficients'], ['encoding.coefficients']]
    """
    descent = _descent_of(operator)
    count = descent["steps"] if steps is None else steps
    if count < 1:
        raise ValueError(f"steps must be positive, got {steps}")
    field = cast("NeuralField", operator.field)
    found: list[Representation] = []
    with torch.inference_mode(False), torch.enable_grad():
        signals = Signals.of(images, next(field.parameters()).device)
        check_alike(signals.grids[0], operator.grid, len(operator.scale.mean), signals.values)
        taken = {START: digest(operator), FITTED: [MODULATED], "steps": count}
        for part in signals.batches(_at_once(field, operator.grid)):
            begun = time.monotonic()
            coefficients = descend_coefficients(field, part.standardised(), count, descent["rate"])
            seconds = (time.monotonic() - begun) / len(part.values)
            for each in _representations(field, part, coefficients):
                each.info |= {**taken, "seconds": round(seconds, 6)}
                found.append(each)
    for result, image in zip(found, images, strict=True):
        result.source = image_source(image)
        result.info |= stored_dtype(image)
    return found


# ---- the signals ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Signals:
    """Images of one shape and spacing, (n, C, *spatial), with their grids and scales."""

    values: Tensor
    grids: list[Grid]
    scales: list[IntensityScale]

    @classmethod
    def of(cls, images: Sequence[Tensor | np.ndarray], device: torch.device) -> Signals:
        if not len(images):
            raise ValueError("images must hold at least one, got none")
        values: list[Tensor] = []
        grids: list[Grid] = []
        for i, image in enumerate(images):
            try:
                (scan,) = checked_scans([image], None)
            except (TypeError, ValueError) as error:
                raise type(error)(f"images[{i}]: {error}") from error
            values.append(scan.image)
            grids.append(scan.grid)
            check_alike(scan.grid, grids[0], len(values[0]), scan.image[None])
        scales = [IntensityScale.of(each) for each in values]
        return cls(torch.stack(values).to(device), grids, scales)

    def standardised(self) -> Tensor:
        """Each image at zero mean and unit variance, as its scale says."""
        pairs = zip(self.scales, self.values, strict=True)
        return torch.stack([scale.standardise(value) for scale, value in pairs])

    def batches(self, count: int) -> Iterator[Signals]:
        """The same, ``count`` at a time."""
        for i in range(0, len(self.values), count):
            part = slice(i, i + count)
            yield Signals(self.values[part], self.grids[part], self.scales[part])


def check_alike(grid: Grid, like: Grid, channels: int, values: Tensor) -> None:
    if grid.shape != like.shape or values.shape[1] != channels:
        raise ValueError(
            f"images must have shape {(channels, *like.shape)}, got {tuple(values.shape[1:])}; "
            "crop or resample them first"
        )
    if not torch.allclose(grid.spacing, like.spacing, rtol=1e-5, atol=0):
        raise ValueError(
            f"images must have a spacing of {like.spacing.tolist()} mm, got "
            f"{grid.spacing.tolist()}; resample them first"
        )


def _checked_labels(labels: Sequence[int], count: int) -> Tensor:
    classes = torch.as_tensor(labels)
    if tuple(classes.shape) != (count,) or classes.is_floating_point() or int(classes.min()) < 0:
        raise ValueError(
            f"labels must be {count} whole numbers from 0, one for each image, got shape "
            f"{tuple(classes.shape)} of {classes.dtype}"
        )
    return classes.long()


# ---- the descent ------------------------------------------------------------------------------


def answers(field: NeuralField, coefficients: Tensor, lattice: Lattice) -> Tensor:
    """Signals (B, C, *lattice.shape) of the operator on B input functions (B, E, *knots)."""
    encoding, dims = cast("SplineField", field.encoding), lattice.spatial_dims
    haloed = lattice.padded(field.network.halo(), field.spacing, (1,) * dims)
    values = evaluate(coefficients.flatten(0, 1), encoding.in_knots(haloed))
    return field.network(values.unflatten(0, coefficients.shape[:2]))


def descend_coefficients(
    field: NeuralField, targets: Tensor, steps: int, rate: float, learning: bool = False
) -> Tensor:
    """Coefficients (B, E, *knots) after ``steps`` steps towards ``targets`` (B, C, *spatial)."""
    lattice = centres(targets.shape[2:], field.spacing, targets.device)
    start = cast("SplineField", field.encoding).coefficients
    coefficients = start.expand(len(targets), *start.shape)
    for _ in range(steps):
        if not learning:
            coefficients = coefficients.detach().requires_grad_()
        error = (answers(field, coefficients, lattice) - targets).square()
        loss = error.flatten(1).mean(1).sum() / 2
        (slope,) = torch.autograd.grad(loss, coefficients, create_graph=learning)
        coefficients = coefficients - rate * slope
    return coefficients if learning else coefficients.detach()


def centres(
    shape: Sequence[int], spacing: Sequence[float], device: torch.device, shift: float = 0.0
) -> Lattice:
    # Voxel centres; shifted, one fewer along each axis, so that all lie between the outermost.
    axes = [
        (torch.arange(n if shift == 0 or n == 1 else n - 1) + (shift if n > 1 else 0.0)) * h
        for n, h in zip(shape, spacing, strict=True)
    ]
    return Lattice(tuple(x.double().to(device) for x in axes))


def _descent_of(operator: Representation) -> dict[str, Any]:
    known = operator.info.get("descent")
    if not isinstance(known, dict) or not isinstance(operator.field, NeuralField):
        raise ValueError(
            "operator must be what learn_operator returned, got a representation without a descent"
        )
    return known


def _at_once(field: NeuralField, grid: Grid) -> int:
    widest = max(field.network.in_channels, *field.network.channels)
    return max(BATCH_NUMBERS // (widest * math.prod(grid.shape)), 1)


@torch.no_grad()
def _representations(
    field: NeuralField, part: Signals, coefficients: Tensor
) -> Iterator[Representation]:
    on, between = (_psnr(field, part, coefficients, shift).tolist() for shift in (0.0, 0.5))
    for i, (grid, scale) in enumerate(zip(part.grids, part.scales, strict=True)):
        encoding = copy.deepcopy(field.encoding)
        cast("SplineField", encoding).coefficients.data = coefficients[i].clone()
        result = Representation(NeuralField(encoding, field.network, field.spacing), grid, scale)
        result.info = {
            "parameters": result.parameters,
            "device": str(coefficients.device),
            "psnr_grid": on[i],
            "psnr_between": between[i],
        }
        yield result


def _psnr(field: NeuralField, part: Signals, coefficients: Tensor, shift: float) -> Tensor:
    """PSNR (B,) on the voxels' centres or ``shift`` past them, over the range of each image."""
    z = part.standardised()
    lattice = centres(z.shape[2:], field.spacing, z.device, shift)
    error = (answers(field, coefficients, lattice) - truth(z, shift)).flatten(2)
    spans = z.flatten(2).amax(2) - z.flatten(2).amin(2)
    # Channels are weighed as in the image itself.
    std = torch.tensor([scale.std for scale in part.scales]).to(z)
    mse = ((error * std[..., None]) ** 2).mean((1, 2)).clamp_min(1e-20)
    low = part.values.flatten(1).amin(1)
    span = part.values.flatten(1).amax(1) - low if z.shape[1] > 1 else (spans * std)[:, 0]
    return 10 * torch.log10(span.square() / mse)


def truth(z: Tensor, shift: float) -> Tensor:
    # Values (B, C, *places) of the splines through the samples, ``shift`` past them.
    if shift == 0:
        return z
    lattice = centres(z.shape[2:], [1.0] * (z.ndim - 2), torch.device("cpu"), shift)
    between = CubicInterpolant(z.flatten(0, 1).cpu())(lattice)
    return between.to(z).unflatten(0, z.shape[:2])


# ---- learning ---------------------------------------------------------------------------------


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
    flat = images.flatten(2)
    std, mean = torch.std_mean(flat, dim=2, correction=0, keepdim=True)
    return ((flat - mean) / std.clamp_min(1e-6)).view_as(images)


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
