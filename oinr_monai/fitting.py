"""Fit a continuous representation to an image."""

from __future__ import annotations

import math
import os
import pickle
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.engines import SupervisedTrainer
from monai.inferers import Inferer
from scipy.ndimage import distance_transform_edt
from torch import Tensor, nn

from .grids import Grid
from .handlers import BestWeights, Checkpoint, Clock, OneCycle, ProgressBar, TensorBoard
from .layers import KernelIntegral
from .metrics import psnr
from .networks import ConvOINR
from .neural_field import NeuralField, few_threads
from .positions import Lattice, Positions, Scatter
from .presets import FitConfig, budget, build_field, places_of
from .representation import IntensityScale, Representation, image_source, stored_dtype
from .samplers import LatticeSampler
from .splines import CubicInterpolant

__all__ = ["fit", "gains_from_bfloat16"]

# Places at which psnr_between is measured, and their seed: the same for every fit of an image.
BETWEEN_PLACES, BETWEEN_SEED = 65_536, 20_240_721


def fit(
    image: Tensor | np.ndarray,
    config: FitConfig | None = None,
    *,
    mask: Tensor | np.ndarray | None = None,
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
    with torch.inference_mode(False), torch.enable_grad():
        values, grid = _checked_image(image)
        inside = _checked_mask(mask, grid)
        _check_intensities(values if inside is None else values[:, inside])
        task = _Task(values, grid, inside, config, started)
        result = task.run(checkpoint, resume, log_dir, progress)
    result.source = image_source(image)
    result.info |= stored_dtype(image)
    return result


def _checked_image(image: Tensor | np.ndarray) -> tuple[Tensor, Grid]:
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
    return tensor.detach().clone().float(), Grid.from_image(image)


def _check_intensities(counted: Tensor) -> None:
    wrong = int((~torch.isfinite(counted)).sum())
    if wrong:
        raise ValueError(
            f"image must be finite, got {wrong} NaN or infinite voxels; replace them first"
        )
    if float(counted.max()) == float(counted.min()):
        raise ValueError(f"image must vary, got the constant {float(counted.max())}")


def _checked_mask(mask: Tensor | np.ndarray | None, grid: Grid) -> Tensor | None:
    if mask is None:
        return None
    tensor = torch.as_tensor(mask.as_tensor() if isinstance(mask, MetaTensor) else mask).bool()
    tensor = tensor[0] if tensor.ndim == grid.spatial_dims + 1 else tensor
    if tuple(tensor.shape) != grid.shape:
        raise ValueError(f"mask must have shape {grid.shape}, got {tuple(tensor.shape)}")
    if not bool(tensor.any()):
        raise ValueError("mask must hold at least one voxel, got none")
    return tensor


def _filled(image: Tensor, mask: Tensor | None) -> Tensor:
    # Voxels that do not count take the nearest one that does, lest the spline carries them inside.
    if mask is None:
        return image
    nearest = distance_transform_edt(~mask.numpy(), return_distances=False, return_indices=True)
    return image[(slice(None), *torch.from_numpy(nearest).long())]


_START = threading.Lock()


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    # The start is drawn from torch's global generator, which threads share; the caller's state is
    # given back as it was.
    with _START, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


class _Task:
    """One fit: the parts that its steps share."""

    def __init__(
        self, image: Tensor, grid: Grid, mask: Tensor | None, config: FitConfig, started: float
    ) -> None:
        self.config, self.grid, self.image, self.mask = config, grid, image, mask
        self.device = _device(config.device)
        self.scale = IntensityScale.of(image, mask)
        self.truth = CubicInterpolant(self.scale.standardise(_filled(image, mask)))
        with _seeded(config.seed):
            self.field = build_field(grid, len(image), config).to(self.device)
        self.optimizer = _optimizer(self.field, config.learning_rate)
        self.clock = Clock(*budget(grid, config), started=started)
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
            if not Path(checkpoint).parent.is_dir():
                raise ValueError(f"checkpoint must be in an existing folder, got {checkpoint}")
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
            train_data_loader=self._batches(),
            network=self.field,
            optimizer=self.optimizer,
            loss_function=_weighted_mse,
            prepare_batch=_to_device,
            inferer=_FieldInferer(gains_from_bfloat16(self.device)),
            train_handlers=handlers,
            optim_set_to_none=True,
            decollate=False,
        )
        trainer.logger.setLevel("CRITICAL")
        try:
            with few_threads(self.field):
                trainer.run()
        except KeyboardInterrupt:
            return True
        finally:
            for handler in handlers:
                if isinstance(handler, TensorBoard | ProgressBar):
                    handler.close()
        self.best.take()
        return False

    def _batches(self) -> Iterator[dict[str, object]]:
        # Each step draws from a seed of its own, so that a resumed fit sees the places it missed.
        generator = torch.Generator()
        sampler = self._sampler(generator)
        while True:
            generator.manual_seed(((self.config.seed << 32) + self.clock.step) % (1 << 63))
            yield sampler.draw()

    def _sampler(self, generator: torch.Generator) -> LatticeSampler:
        return LatticeSampler(
            truth=self.truth,
            shape=self.grid.shape,
            spacing=tuple(self.grid.spacing.tolist()),
            places=places_of(self.grid, self.config),
            contiguous=self.field.network.inner_radius > 0,
            mask=self.mask,
            generator=generator,
        )

    @property
    def _counted(self) -> Tensor:
        return self.image if self.mask is None else self.image[:, self.mask]

    def _held_out_psnr(self) -> Callable[[], float]:
        held_out = self._sampler(torch.Generator().manual_seed(BETWEEN_SEED)).draw()
        positions, (target, weight) = _to_device(held_out, self.device)
        z = self.scale.standardise(self._counted)
        span = float(z.max() - z.min())

        def score() -> float:
            with torch.no_grad():
                error = float(_weighted_mse(self.field(positions)[0], (target, weight)))
            return 10 * math.log10(span**2 / max(error, 1e-20))

        return score

    def _state(self) -> dict[str, Any]:
        return {
            "of": self._identity(),
            "field": self.field.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.clock.step,
            "elapsed": self.clock.elapsed,
            "best": self.best.best,
            "best_weights": self.best.weights,
            "due": self.best.due,
        }

    def _identity(self) -> str:
        grid = (self.grid.shape, self.grid.affine.tolist())
        return repr((grid, self.scale, self.config.settings()))

    def _resume(self, path: Path) -> None:
        remedy = "remove it, or repeat the image and settings it is of"
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
            of = state["of"]
        except (pickle.UnpicklingError, RuntimeError, EOFError, LookupError, TypeError) as error:
            raise ValueError(
                f"checkpoint must be whole, got the damaged {path}; {remedy}"
            ) from error
        if of != self._identity():
            raise ValueError(
                f"checkpoint must be of the same image and the same settings, got {path}; {remedy}"
            )
        self.field.load_state_dict(state["field"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.clock.step, self.clock.spent = state["step"], state["elapsed"]
        self.best.best, self.best.weights = state["best"], state["best_weights"]
        self.best.due = state["due"]

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
            "psnr_grid": psnr(
                result.sample().as_tensor(),
                self.image,
                None if self.mask is None else self.mask[None],
            ),
            "psnr_between": self._psnr_between(result),
        }
        return result

    def _psnr_between(self, result: Representation) -> float:
        generator = torch.Generator().manual_seed(BETWEEN_SEED)
        last = torch.tensor(self.grid.shape, dtype=torch.float64) - 1
        # Inner kernels ask for a whole neighbourhood around every place.
        around = (2 * self.field.network.inner_radius + 1) ** len(last)
        places = max(BETWEEN_PLACES // around, 1_024)
        voxels = torch.rand(places, len(last), generator=generator, dtype=torch.float64) * last
        if self.mask is not None:
            voxels = voxels[self.mask[tuple(voxels.round().long().T)]]
        z = self.truth(Scatter(tuple(voxels.T)))
        std, mean = (torch.tensor(v)[:, None] for v in (self.scale.std, self.scale.mean))
        error = result.at(self.grid.to_world(voxels)).T.cpu() - (z * std + mean)
        span = float(self._counted.max() - self._counted.min())
        return 10 * math.log10(span**2 / max(float((error.double() ** 2).mean()), 1e-30))

    def _middle_slice(self) -> Tensor:
        with torch.no_grad():
            axes = [
                torch.arange(n, dtype=torch.float64) * h
                for n, h in zip(self.grid.shape, self.grid.spacing.tolist(), strict=True)
            ]
            if len(axes) == 3:
                axes[2] = axes[2][len(axes[2]) // 2 :][:1]
            image = self.field(Lattice(tuple(x.to(self.device) for x in axes)))[0, 0]
        image = image.reshape(len(image), -1)
        low, high = image.min(), image.max()
        return ((image - low) / (high - low).clamp_min(1e-12)).T.flip(0).cpu()


def _optimizer(field: NeuralField, rate: float) -> torch.optim.Optimizer:
    network = field.network
    groups = [
        {"params": list(layer.parameters()), "peak": rate / _leverage(layer, network)}
        for layer in network.integrals
    ]
    learned = [p for p in field.encoding.parameters() if p.requires_grad]
    groups += [{"params": learned, "peak": 2 * rate}] if learned else []
    return torch.optim.Adam(groups, lr=rate, betas=(0.9, 0.99), fused=True)


def _leverage(layer: KernelIntegral, network: ConvOINR) -> float:
    # How far a step of every weight moves the output. Under sin(omega_0 w u) it is omega_0 times as
    # far; and neighbours of a smooth function are alike, so that the steps of all taps add up.
    taps = layer.weight[0, 0].numel()
    return taps * (1.0 if layer is network.last else network.omega_0)


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

    def __call__(  # type: ignore[override]
        self, inputs: Positions, network: nn.Module, *args: Any, **kwargs: Any
    ) -> Tensor:
        device = inputs.axes[0].device.type
        with torch.autocast(device, dtype=torch.bfloat16, enabled=self.bfloat16):
            return network(inputs).squeeze(0).float()


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
