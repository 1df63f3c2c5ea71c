"""Fit a continuous representation to an image."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from monai.data import MetaTensor
from monai.engines import SupervisedTrainer
from monai.inferers import Inferer
from torch import Tensor, nn

from .encodings import Field, SplineField
from .grids import Grid
from .handlers import BestWeights, Checkpoint, Clock, OneCycle, ProgressBar, TensorBoard
from .metrics import psnr
from .networks import ConvOINR
from .neural_field import NeuralField
from .positions import Lattice, Positions, Scatter
from .representation import IntensityScale, Representation
from .samplers import LatticeSampler
from .splines import CubicInterpolant

__all__ = ["PRESETS", "FitConfig", "Preset", "fit"]

# Places at which psnr_between is measured, and their seed: the same for every fit of an image.
BETWEEN_PLACES, BETWEEN_SEED = 65_536, 20_240_721


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


def fit(
    image: Any,
    config: FitConfig | None = None,
    *,
    mask: Any = None,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    log_dir: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> Representation:
    """Fit an operator, and the input function it reads, to an image.

    Every step looks at fresh random places between the samples, where the truth is the cubic
    B-spline through them; so the result is as good between samples as on them. An interrupt
    (Ctrl-C) ends the fit early and returns the best representation so far, marked in its ``info``.

    Args:
        image: (C, *spatial) with 1 to 3 spatial dimensions, its affine that of a MetaTensor or
            else unit spacing.
        config: how to fit.
        mask: voxels that count, (*spatial) or (1, *spatial); all if None.
        checkpoint: file to save the state of the fit to every 15 seconds.
        resume: go on from ``checkpoint`` if it exists.
        log_dir: directory for TensorBoard.
        progress: show a bar on stderr.

    Returns:
        The representation; its ``info`` holds steps, seconds, psnr_grid, psnr_between, parameters,
        device and the settings.

    Raises:
        ValueError: if the image is empty, constant, not finite or of the wrong shape.

    Example:
        >>> wave = torch.sin(torch.linspace(0, 6, 16))[None, :, None].expand(1, 16, 16)
        >>> representation = fit(wave, FitConfig(preset="fast", steps=20))
        >>> representation.sample(representation.grid.refine(2)).shape
        torch.Size([1, 31, 31])
    """
    config = config or FitConfig()
    started = time.monotonic()
    # A transform or an inferer may be called where gradients are off; a fit needs them.
    with torch.inference_mode(False), torch.enable_grad(), _seeded(config.seed):
        values, grid = _checked_image(image)
        task = _Task(values, grid, _checked_mask(mask, grid), config, started)
        return task.run(checkpoint, resume, log_dir, progress)


def _checked_image(image: Any) -> tuple[Tensor, Grid]:
    if not isinstance(image, Tensor | np.ndarray):
        raise TypeError(f"image must be a tensor or an array, got {type(image).__name__}")
    if not 2 <= image.ndim <= 4:
        raise ValueError(
            f"image must have shape (C, *spatial) with 1 to 3 spatial dimensions, "
            f"got {tuple(image.shape)}; select one volume first"
        )
    if 0 in image.shape:
        raise ValueError(f"image must hold voxels, got shape {tuple(image.shape)}")
    tensor = torch.as_tensor(image.as_tensor() if isinstance(image, MetaTensor) else image)
    values = tensor.detach().clone().float()
    wrong = int((~torch.isfinite(values)).sum())
    if wrong:
        raise ValueError(
            f"image must be finite, got {wrong} NaN or infinite voxels; replace them first"
        )
    if float(values.max()) == float(values.min()):
        raise ValueError(f"image must vary, got the constant {float(values.max())}")
    return values, Grid.from_image(image)


def _checked_mask(mask: Any, grid: Grid) -> Tensor | None:
    if mask is None:
        return None
    tensor = torch.as_tensor(mask.as_tensor() if isinstance(mask, MetaTensor) else mask).bool()
    tensor = tensor[0] if tensor.ndim == grid.spatial_dims + 1 else tensor
    if tuple(tensor.shape) != grid.shape:
        raise ValueError(f"mask must have shape {grid.shape}, got {tuple(tensor.shape)}")
    if not bool(tensor.any()):
        raise ValueError("mask must hold at least one voxel, got none")
    return tensor


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    # The start is drawn from torch's global generator; the caller's is given back as it was.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


class _Task:
    """One fit: the parts that its steps share."""

    def __init__(
        self, image: Tensor, grid: Grid, mask: Tensor | None, config: FitConfig, started: float
    ) -> None:
        self.config, self.grid, self.image, self.mask = config, grid, image, mask
        self.device = _device(config.device)
        self.scale = IntensityScale.of(image, mask)
        self.truth = CubicInterpolant(self.scale.standardise(image))
        self.field = build_field(grid, len(image), config).to(self.device)
        self.optimizer = _optimizer(self.field, config.learning_rate)
        self.clock = Clock(*_budget(grid, config), started=started)
        self.generator = torch.Generator().manual_seed(config.seed)
        self.best = BestWeights(self.field, self._held_out_psnr(), self.clock)

    def run(
        self,
        checkpoint: str | os.PathLike[str] | None,
        resume: bool,
        log_dir: str | os.PathLike[str] | None,
        progress: bool,
    ) -> Representation:
        handlers: list[Any] = [self.clock, OneCycle(self.optimizer, self.clock), self.best]
        if checkpoint is not None:
            handlers.append(Checkpoint(Path(checkpoint), self._state))
            if resume and Path(checkpoint).is_file():
                self._resume(Path(checkpoint))
        if log_dir is not None:
            handlers.append(TensorBoard(Path(log_dir), self.clock, self.best, self._middle_slice))
        if progress:
            handlers.append(ProgressBar(self.clock, self.best))
        interrupted = self._train(handlers)
        if interrupted and checkpoint is not None:
            Checkpoint(Path(checkpoint), self._state).save()
        return self._result(interrupted)

    def _train(self, handlers: Sequence[Any]) -> bool:
        if self.clock.fraction >= 1:
            return False
        trainer = SupervisedTrainer(
            device=self.device,
            max_epochs=1,
            epoch_length=(self.clock.steps or 1 << 40) - self.clock.step,
            train_data_loader=self._sampler(self.generator),
            network=self.field,
            optimizer=self.optimizer,
            loss_function=_weighted_mse,
            prepare_batch=_to_device,
            inferer=_FieldInferer(gains_from_bfloat16(self.device)),
            train_handlers=handlers,
            optim_set_to_none=True,
            decollate=False,
        )
        trainer.logger.setLevel("WARNING")
        try:
            trainer.run()
        except KeyboardInterrupt:
            return True
        finally:
            for handler in handlers:
                if isinstance(handler, TensorBoard | ProgressBar):
                    handler.close()
        self.best.take()
        return False

    def _sampler(self, generator: torch.Generator, places: int | None = None) -> LatticeSampler:
        return LatticeSampler(
            truth=self.truth,
            shape=self.grid.shape,
            spacing=tuple(self.grid.spacing.tolist()),
            places=places or PRESETS[self.config.preset].places,
            contiguous=self.field.network.inner_radius > 0,
            mask=self.mask,
            generator=generator,
        )

    def _held_out_psnr(self) -> Callable[[], float]:
        held_out = self._sampler(torch.Generator().manual_seed(BETWEEN_SEED)).draw()
        positions, (target, weight) = _to_device(held_out, self.device)
        z = self.scale.standardise(self.image)
        span = float(z.max() - z.min())

        def score() -> float:
            with torch.no_grad():
                error = float(_weighted_mse(self.field(positions)[0], (target, weight)))
            return 10 * math.log10(span**2 / max(error, 1e-20))

        return score

    def _state(self) -> dict[str, Any]:
        return {
            "settings": repr(self.config.settings()),
            "field": self.field.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "step": self.clock.step,
            "elapsed": self.clock.elapsed,
            "best": self.best.best,
            "best_weights": self.best.weights,
        }

    def _resume(self, path: Path) -> None:
        state = torch.load(path, map_location=self.device, weights_only=True)
        if state["settings"] != repr(self.config.settings()):
            raise ValueError(
                f"checkpoint must be of a fit with the same settings, got {path} with "
                f"{state['settings']}; remove it or repeat those settings"
            )
        self.field.load_state_dict(state["field"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"].cpu())
        self.clock.step, self.clock.spent = state["step"], state["elapsed"]
        self.best.best, self.best.weights = state["best"], state["best_weights"]

    def _result(self, interrupted: bool) -> Representation:
        seconds = self.clock.elapsed
        if self.best.weights:
            self.field.load_state_dict(self.best.weights)
        result = Representation(self.field, self.grid, self.scale)
        result.info = {
            "settings": self.config.settings(),
            "steps": self.clock.step,
            "seconds": round(seconds, 3),
            "interrupted": interrupted,
            "device": str(self.device),
            "parameters": result.parameters,
            "psnr_grid": psnr(result.sample().as_tensor(), self.image, self.mask),
            "psnr_between": self._psnr_between(result),
        }
        return result

    def _psnr_between(self, result: Representation) -> float:
        generator = torch.Generator().manual_seed(BETWEEN_SEED)
        last = torch.tensor(self.grid.shape, dtype=torch.float64) - 1
        voxels = (
            torch.rand(BETWEEN_PLACES, len(last), generator=generator, dtype=torch.float64) * last
        )
        if self.mask is not None:
            voxels = voxels[self.mask[tuple(voxels.round().long().T)]]
        z = self.truth(Scatter(tuple(voxels.T)))
        std, mean = (torch.tensor(v)[:, None] for v in (self.scale.std, self.scale.mean))
        error = result.at(self.grid.to_world(voxels)).T.cpu() - (z * std + mean)
        counted = self.image if self.mask is None else self.image[:, self.mask]
        span = float(counted.max() - counted.min())
        return 10 * math.log10(span**2 / max(float((error.double() ** 2).mean()), 1e-30))

    def _middle_slice(self) -> Tensor:
        with torch.no_grad():
            axes = [
                torch.arange(n, dtype=torch.float64) * h
                for n, h in zip(self.grid.shape, self.grid.spacing.tolist(), strict=True)
            ]
            if len(axes) == 3:
                axes[2] = axes[2][len(axes[2]) // 2 :][:1]
            image = self.field(Lattice(tuple(x.to(self.device) for x in axes)))[0, 0].flatten(1)
        low, high = image.min(), image.max()
        return ((image - low) / (high - low).clamp_min(1e-12)).T.flip(0).cpu()


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
        sizes = config.kernel_size
        radius = sum(k // 2 for k in sizes) if isinstance(sizes, tuple) else 0
        if isinstance(sizes, int):
            radius = sizes // 2 * (len(config.channels or preset.channels) + 1)
        spacing = grid.spacing.tolist()
        knots = [h * preset.knot_spacing for h in spacing]
        margin = [h * radius for h in spacing]
        return SplineField(grid.extent.tolist(), knots, preset.field_channels, margin)

    return make


def _budget(grid: Grid, config: FitConfig) -> tuple[int | None, float | None]:
    if config.steps is not None or config.seconds is not None:
        return config.steps, config.seconds
    preset = PRESETS[config.preset]
    wanted = math.prod(grid.shape) * preset.visits / preset.places
    return int(min(max(wanted, preset.steps[0]), preset.steps[1])), None


def _optimizer(field: NeuralField, rate: float) -> torch.optim.Optimizer:
    # A weight w under sin(omega_0 w u) moves the phase omega_0 times as far: its rate is so much less.
    network = field.network
    sines = [p for layer in network.layers[:-1] for p in layer.parameters()]
    groups = [
        {"params": sines, "peak": rate / network.omega_0},
        {"params": list(network.last.parameters()), "peak": rate},
        {"params": [p for p in field.encoding.parameters() if p.requires_grad], "peak": 4 * rate},
    ]
    groups = [group for group in groups if group["params"]]
    return torch.optim.Adam(groups, lr=rate, betas=(0.9, 0.99), fused=True)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f'device must be "auto" or "cpu" on a machine without CUDA, got {name!r}')
    return torch.device(name)


def gains_from_bfloat16(device: torch.device) -> bool:
    """Whether matrix products in bfloat16 are faster than in float32 on ``device``."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


class _FieldInferer(Inferer):
    """Runs the operator in reduced precision where the machine gains from it."""

    def __init__(self, bfloat16: bool) -> None:
        self.bfloat16 = bfloat16

    def __call__(self, inputs: Positions, network: nn.Module, *args: Any, **kwargs: Any) -> Tensor:
        device = inputs.axes[0].device.type
        with torch.autocast(device, dtype=torch.bfloat16, enabled=self.bfloat16):
            return network(inputs)[0].float()


def _to_device(
    batch: dict[str, Any], device: torch.device, *args: Any, **kwargs: Any
) -> tuple[Positions, tuple[Tensor, Tensor | None]]:
    positions, (target, weight) = batch["image"], batch["label"]
    axes = tuple(x.to(device) for x in positions.axes)
    return type(positions)(axes), (target.to(device), None if weight is None else weight.to(device))


def _weighted_mse(signal: Tensor, label: tuple[Tensor, Tensor | None]) -> Tensor:
    target, weight = label
    error = (signal - target) ** 2
    if weight is None:
        return error.mean()
    return (error * weight).sum() / (weight.sum().clamp_min(1) * len(target))
