"""How to fit: quality presets that follow the image, and what a user may set instead."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from oinr_monai.fields.field import Field
from oinr_monai.grids.checks import check_one_of, check_positive
from oinr_monai.grids.grid import Grid
from oinr_monai.operators.operator import LatticeOperator, LocalOperator

__all__ = [
    "CHANNELS",
    "EXACT",
    "PRESETS",
    "FitConfig",
    "Preset",
    "begins_closed",
    "budget",
    "places_of",
    "preset_of",
    "rate_of",
]


PresetName = Literal["fast", "balanced", "best", "exact"]


@dataclass(frozen=True)
class Preset:
    """What a quality level means, in voxels, so that it follows every image.

    Args:
        knot_spacing: distance between the knots of the learned input function, in voxels.
        field_channels: channels of that function, for an image of one channel; they grow with the
            square root of the image's.
        visits: looks at each voxel over the whole fit, on average, which sets the steps ...
        steps: ... between this least and this greatest number.
        pair: instead of those knots, where a training begins in closed form: the distance between
            the knots of the spline that it begins with, and of a channel beside it, in voxels; None
            where it never does. The rate is then multiplied ...
        calm: ... by this.
    """

    knot_spacing: float
    field_channels: int
    visits: float
    steps: tuple[int, int]
    pair: tuple[float, float] | None = None
    calm: float = 1.0


# Knots, channels and rates are those of docs/measured/performance.md; how often to look, and within
# how many steps, is chosen by hand.
PRESETS: dict[str, Preset] = {
    "fast": Preset(3.0, 4, 8.0, (1_500, 3_000)),
    "balanced": Preset(3.0, 8, 30.0, (4_000, 8_000), (1.5, 3.0)),
    "best": Preset(1.75, 4, 100.0, (10_000, 30_000), (1.07, 6.0), 1 / 3),
}


# Hidden channels of the operator: wider ones cost more than they gain, as
# docs/measured/performance.md measures.
CHANNELS = (16, 16)


# Nothing is trained: the function is the spline through the samples.
EXACT = "exact"


# Peak rate of the effective weights.
RATE = 3e-2


# Settings of training alone, and what they are where they are not given.
TRAINING = {
    **dict.fromkeys(("steps", "seconds", "channels", "encoding", "network", "places")),
    "kernel_size": 1,
    "learning_rate": RATE,
    "compiled": False,
}


# Degrees of that spline, the usual one first.
DEGREES = (3, 5)


# In a plane, closer knots with fewer channels are worth 1.6 dB in 5 s, and closer ones still 4 to
# 6 dB in 15 s (docs/measured/images.md): pictures are rough, and their coefficients few.
IN_A_PLANE = {
    "balanced": replace(PRESETS["balanced"], knot_spacing=2.0, field_channels=4),
    "best": replace(PRESETS["best"], knot_spacing=1.5),
}


@dataclass(frozen=True)
class FitConfig:
    """How to fit. Every default follows the image; nothing needs to be set.

    Args:
        preset: "exact", which trains nothing: the function is the B-spline through all samples, one
            number a voxel; or "fast", "balanced" or "best", which train an operator and what it
            reads, quality against time and size. If None, "exact", or "balanced" where something is
            given that only training uses: ``steps`` to ``learning_rate``.
        steps: steps to take, instead of the preset's number; 0 leaves the start as it is.
        seconds: seconds to take, instead of steps; with both, whichever is spent first.
        channels: hidden channels of the operator, instead of 16 and 16.
        kernel_size: odd width of the kernels, one number or one per layer.
        encoding: makes the input function for a grid, instead of the preset's learned splines; what
            was fitted before may be a part of it, and stays as it is.
        network: makes the operator, instead of ``channels`` and ``kernel_size``; it is called with
            ``spatial_dims``, ``in_channels`` and ``out_channels`` and must return a new one.
        places: places looked at in each step, instead of a number that grows with the image:
            1,024 to 131,072.
        learning_rate: peak rate of the effective weights, omega_0 times the stored ones.
        seed: seed of the start and of the places looked at.
        device: "auto", "cpu" or "cuda".
        compiled: make a program of a step by ``torch.compile`` before the first: 5 to 10 s of a
            processor, that pay where a fit takes thousands of steps (docs/measured/steps.md). On
            CUDA it is captured in a graph. Takes a C++ compiler.
        degree: degree of the spline of preset "exact", 3 or 5.

    Raises:
        ValueError: if a budget is negative, the preset or the degree is unknown, "exact" is given
            what only training uses, or another preset a degree.

    Example:
        >>> FitConfig().preset, FitConfig(seconds=5.0).preset
        ('exact', 'balanced')
        >>> FitConfig(preset="fast", seconds=5.0).steps is None
        True
    """

    preset: PresetName | None = None
    steps: int | None = None
    seconds: float | None = None
    channels: tuple[int, ...] | None = None
    kernel_size: int | tuple[int, ...] = 1
    encoding: Callable[[Grid], Field] | None = None
    network: Callable[..., LocalOperator | LatticeOperator] | None = None
    places: int | None = None
    learning_rate: float = RATE
    seed: int = 0
    device: str = "auto"
    compiled: bool = False
    degree: int = 3

    def __post_init__(self) -> None:
        given = [name for name, usual in TRAINING.items() if getattr(self, name) != usual]
        if self.preset is None:
            object.__setattr__(self, "preset", "balanced" if given else EXACT)
        check_one_of("preset", self.preset, (*PRESETS, EXACT))
        check_one_of("degree", self.degree, DEGREES if self.preset == EXACT else DEGREES[:1])
        if self.preset == EXACT and given:
            raise ValueError(
                f'{given[0]} must be {TRAINING[given[0]]} for preset "exact", which trains '
                f"nothing, got {getattr(self, given[0])}"
            )
        if self.steps is not None and self.steps < 0:
            raise ValueError(f"steps must be 0 or more, got {self.steps}")
        check_positive(self, "seconds", "places", "learning_rate")

    def settings(self) -> dict[str, Any]:
        """The settings as JSON values, to be kept with the fit."""
        made = {
            name: None if getattr(self, name) is None else "given"
            for name in ("encoding", "network")
        }
        return {**asdict(replace(self, encoding=None, network=None)), **made}


def preset_of(grid: Grid, config: FitConfig) -> Preset:
    """The preset for ``grid``: in 2-D, and for a single slice, it may differ from that in 3-D.

    Raises:
        ValueError: if it is the one that trains nothing.
    """
    if config.preset == EXACT:
        raise ValueError(
            f"preset must be one of {', '.join(PRESETS)} where something is trained, got 'exact'"
        )
    flat = sum(size > 1 for size in grid.shape) == 2
    return (PRESETS | IN_A_PLANE if flat else PRESETS)[str(config.preset)]


def begins_closed(grid: Grid, channels: int, config: FitConfig) -> bool:
    """Whether a training on ``grid`` begins at the least-squares spline of its own knots.

    Those of volumes do, where the preset has a pair of knots for it, with its own parts and layers
    that are wide enough to hand on the image's channels and pointwise.
    """
    sizes = config.kernel_size
    pointwise = max([sizes] if isinstance(sizes, int) else sizes) == 1
    own = config.encoding is None and config.network is None and pointwise
    layers = CHANNELS if config.channels is None else config.channels
    wide = channels < min(layers, default=0)
    solid = grid.spatial_dims == 3 and min(grid.shape) > 1
    return own and wide and solid and preset_of(grid, config).pair is not None


def rate_of(grid: Grid, channels: int, config: FitConfig) -> float:
    """Peak rate of the effective weights, for an image of so many channels."""
    calm = preset_of(grid, config).calm if begins_closed(grid, channels, config) else 1.0
    return calm * config.learning_rate


def places_of(grid: Grid, config: FitConfig, images: int = 1) -> int:
    """Places to look at in each step: one voxel in 64, and more where they hardly cost anything.

    A step of a large image moves all its coefficients, which costs as much as so many places; one
    of a small image costs as much whether it looks at a few places or at 12,288 (measured,
    docs/measured/performance.md). A quarter of the voxels is enough.
    """
    if config.places is not None:
        return config.places
    voxels = images * math.prod(grid.shape)
    return min(max(voxels // 64, min(voxels // 4, 12_288), 1_024), 131_072)


def budget(grid: Grid, config: FitConfig, images: int = 1) -> tuple[int | None, float | None]:
    """Steps and seconds that a fit of images on ``grid`` may take; None is no limit."""
    if config.steps is not None or config.seconds is not None:
        return config.steps, config.seconds
    preset = preset_of(grid, config)
    wanted = images * math.prod(grid.shape) * preset.visits / places_of(grid, config, images)
    return int(min(max(wanted, preset.steps[0]), preset.steps[1])), None
