"""How to fit: quality presets that follow the image, and what a user may set instead."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from .encodings import SplineField
from .fields import Field
from .grids import Grid
from .networks import ConvOINR, kernel_sizes
from .neural_field import NeuralField

__all__ = ["PRESETS", "FitConfig", "Preset", "budget", "build_field"]


@dataclass(frozen=True)
class Preset:
    """What a quality level means, in voxels, so that it follows every image.

    Args:
        knot_spacing: distance between the knots of the learned input function, in voxels.
        field_channels: channels of that function.
        channels: hidden channels of the operator.
        places: places looked at in each step.
        visits: looks at each voxel over the whole fit, on average, which sets the steps ...
        steps: ... between this least and this greatest number.
    """

    knot_spacing: float
    field_channels: int
    channels: tuple[int, ...]
    places: int
    visits: float
    steps: tuple[int, int]


PRESETS: dict[str, Preset] = {
    "fast": Preset(3.0, 4, (16, 16), 16_384, 8.0, (1_000, 2_500)),
    "balanced": Preset(3.0, 8, (32, 32), 16_384, 30.0, (3_000, 8_000)),
    "best": Preset(2.0, 4, (32, 32, 32), 16_384, 100.0, (10_000, 30_000)),
}


@dataclass(frozen=True)
class FitConfig:
    """How to fit. Every default follows the image; nothing needs to be set.

    Args:
        preset: "fast", "balanced" or "best": quality against time and size.
        steps: steps to take, instead of the preset's number.
        seconds: seconds to take, instead of steps; with both, whichever is spent first.
        channels: hidden channels of the operator, instead of the preset's.
        kernel_size: odd width of the kernels, one number or one per layer.
        encoding: makes the input function for a grid, instead of the preset's learned splines.
        learning_rate: peak rate of the effective weights, omega_0 times the stored ones.
        seed: seed of the start and of the places looked at.
        device: "auto", "cpu" or "cuda".

    Raises:
        ValueError: if a budget is not positive or the preset is unknown.

    Example:
        >>> FitConfig(preset="fast", seconds=5.0).steps is None
        True
    """

    preset: Literal["fast", "balanced", "best"] = "balanced"
    steps: int | None = None
    seconds: float | None = None
    channels: tuple[int, ...] | None = None
    kernel_size: int | tuple[int, ...] = 1
    encoding: Callable[[Grid], Field] | None = None
    learning_rate: float = 1.5e-2
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise ValueError(f"preset must be one of {sorted(PRESETS)}, got {self.preset!r}")
        for name in ("steps", "seconds", "learning_rate"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be positive, got {value}")

    def settings(self) -> dict[str, Any]:
        """The settings as JSON values, to be kept with the fit."""
        return {**asdict(self), "encoding": None if self.encoding is None else "given"}


def build_field(grid: Grid, out_channels: int, config: FitConfig) -> NeuralField:
    """The untrained field that :func:`fit` starts from, on ``grid``.

    Args:
        grid: grid of the image.
        out_channels: channels of the image.
        config: how to fit.
    """
    preset = PRESETS[config.preset]
    channels = config.channels or preset.channels
    encoding = (config.encoding or _spline_field(preset, config))(grid)
    network = ConvOINR(
        grid.spatial_dims, encoding.channels, out_channels, channels, config.kernel_size
    )
    return NeuralField(encoding, network, grid.spacing.tolist())


def _spline_field(preset: Preset, config: FitConfig) -> Callable[[Grid], Field]:
    def make(grid: Grid) -> Field:
        layers = len(config.channels or preset.channels) + 1
        radius = sum(size // 2 for size in kernel_sizes(config.kernel_size, layers))
        spacing = grid.spacing.tolist()
        knots, margin = ([h * k for h in spacing] for k in (preset.knot_spacing, radius))
        return SplineField(grid.extent.tolist(), knots, preset.field_channels, margin)

    return make


def budget(grid: Grid, config: FitConfig) -> tuple[int | None, float | None]:
    """Steps and seconds that a fit on ``grid`` may take; None is no limit."""
    if config.steps is not None or config.seconds is not None:
        return config.steps, config.seconds
    preset = PRESETS[config.preset]
    wanted = math.prod(grid.shape) * preset.visits / preset.places
    return int(min(max(wanted, preset.steps[0]), preset.steps[1])), None
