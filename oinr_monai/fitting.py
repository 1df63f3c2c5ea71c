"""Fit a continuous representation to an image."""

from __future__ import annotations

import math
import os
import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.engines import SupervisedTrainer
from monai.inferers import Inferer
from torch import Tensor

from .handlers import BestWeights, Checkpoint, Clock, OneCycle, ProgressBar, TensorBoard
from .machine import chosen_device, gains_from_bfloat16, seeded
from .metrics import psnr
from .neural_field import ContinuousField, LatticeField, NeuralField, few_threads
from .positions import Lattice, Positions, Scatter
from .presets import FitConfig, budget, build_field, places_of
from .representation import IntensityScale, Representation, image_source, stored_dtype
from .samplers import LatticeSampler, WholeLattice
from .scans import Scan, checked_scans
from .splines import CubicInterpolant

__all__ = ["fit"]

# Places at which psnr_between is measured, and their seed: the same for every fit of an image.
BETWEEN_PLACES, BETWEEN_SEED = 65_536, 20_240_721


def fit(
    image: Tensor | np.ndarray | Sequence[Tensor | np.ndarray],
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

    Several images of one object, at several resolutions or from several stacks, are fitted by one
    function; the nodes of a :class:`~oinr_monai.CKConvOINR` then lie at each image's own spacing.

    Args:
        image: (C, *spatial) with 1 to 3 spatial dimensions, its affine that of a MetaTensor or
            else unit spacing; or several of them, along the same axes, the finest first: its grid,
            its intensity scale and its scores are those of the representation.
        config: how to fit.
        mask: voxels that count, (*spatial) or (1, *spatial); all if None. For one image only.
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
        images: list[Any] = list(image) if isinstance(image, list | tuple) else [image]
        scans = checked_scans(images, mask)
        task = _Task(scans, config, started)
        result = task.run(checkpoint, resume, log_dir, progress)
    result.source = image_source(images[0])
    result.info |= stored_dtype(images[0])
    return result


class _Task:
    """One fit: the parts that its steps share."""

    def __init__(self, scans: Sequence[Scan], config: FitConfig, started: float) -> None:
        self.config, self.scans, self.first = config, scans, scans[0]
        self.grid = self.first.grid
        self.device = chosen_device(config.device)
        self.scale = IntensityScale.of(self.first.image, self.first.mask)
        self.truths = [CubicInterpolant(self.scale.standardise(scan.filled)) for scan in scans]
        with seeded(config.seed):
            self.field = build_field(self.grid, len(self.first.image), config).to(self.device)
        self._check_nodes()
        self.optimizer = optimizer_of(self.field, config.learning_rate)
        self.clock = Clock(*budget(self.grid, config), started=started)
        self.best = BestWeights(self.field, self._held_out_psnr(), self.clock)

    def _check_nodes(self) -> None:
        field = self.field
        fixed = field.network is field.with_spacing([1.0] * self.grid.spatial_dims).network
        if (
            len(self.scans) > 1
            and fixed
            and not (isinstance(field, NeuralField) and field.anywhere)
        ):
            raise ValueError(
                f"network must be pointwise after its first layer or a CKConvOINR for several "
                f"images, got {type(field.network).__name__} on {len(self.scans)} of them"
            )

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
            inferer=_FieldInferer(
                isinstance(self.field, NeuralField) and gains_from_bfloat16(self.device)
            ),
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
        samplers = self._samplers(generator)
        while True:
            generator.manual_seed(((self.config.seed << 32) + self.clock.step) % (1 << 63))
            chosen = 0
            if len(samplers) > 1:
                chosen = int(torch.randint(len(samplers), (), generator=generator))
            yield samplers[chosen].draw()

    def _samplers(self, generator: torch.Generator) -> list[LatticeSampler | WholeLattice]:
        return [
            self._sampler(scan, truth, generator)
            for scan, truth in zip(self.scans, self.truths, strict=True)
        ]

    def _sampler(
        self, scan: Scan, truth: CubicInterpolant, generator: torch.Generator
    ) -> LatticeSampler | WholeLattice:
        spacing = tuple(scan.grid.spacing.tolist())
        if isinstance(self.field, LatticeField):
            return WholeLattice(self.scale.standardise(scan.image), scan.mask, spacing)
        return LatticeSampler(
            truth=truth,
            shape=scan.grid.shape,
            spacing=spacing,
            places=places_of(scan.grid, self.config),
            contiguous=not self.field.anywhere,
            mask=scan.mask,
            generator=generator,
            origin=scan.origin,
        )

    def _held_out_psnr(self) -> Callable[[], float]:
        samplers = self._samplers(torch.Generator().manual_seed(BETWEEN_SEED))
        held_out = [_to_device(sampler.draw(), self.device) for sampler in samplers]
        z = self.scale.standardise(self.first.counted)
        span = float(z.max() - z.min())

        def score() -> float:
            with torch.no_grad():
                errors = [
                    float(_weighted_mse(_answer(self.field, places, **options), label))
                    for places, label, _, options in held_out
                ]
            return 10 * math.log10(span**2 / max(sum(errors) / len(errors), 1e-20))

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
        grids = [(scan.grid.shape, scan.grid.affine.tolist()) for scan in self.scans]
        return repr((grids, self.scale, self.config.settings(), repr(self.field)))

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
                self.first.image,
                None if self.first.mask is None else self.first.mask[None],
            ),
            "psnr_between": self._psnr_between(result),
        }
        return result

    def _psnr_between(self, result: Representation) -> float:
        generator = torch.Generator().manual_seed(BETWEEN_SEED)
        last = torch.tensor(self.grid.shape, dtype=torch.float64) - 1
        # Inner kernels ask for a whole neighbourhood around every place.
        around = self.field.numbers(0, scattered=True) // self.field.numbers(0, scattered=False)
        places = max(BETWEEN_PLACES // around, 1_024)
        voxels = torch.rand(places, len(last), generator=generator, dtype=torch.float64) * last
        if self.first.mask is not None:
            voxels = voxels[self.first.mask[tuple(voxels.round().long().T)]]
        z = self.truths[0](Scatter(tuple(voxels.T)))
        std, mean = (torch.tensor(v)[:, None] for v in (self.scale.std, self.scale.mean))
        error = result.at(self.grid.to_world(voxels)).T.cpu() - (z * std + mean)
        span = float(self.first.counted.max() - self.first.counted.min())
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


def optimizer_of(field: ContinuousField, rate: float) -> torch.optim.Optimizer:
    """Adam over the operator and the learned part of the input function, peak rates set."""
    groups: list[dict[str, Any]] = [
        {"params": parameters, "peak": rate / leverage}
        for parameters, leverage in field.network.leverages()
    ]
    learned = [p for p in field.encoding.parameters() if p.requires_grad]
    groups += [{"params": learned, "peak": 2 * rate}] if learned else []
    return torch.optim.Adam(groups, lr=rate, betas=(0.9, 0.99), fused=True)


class _FieldInferer(Inferer):
    """Runs the operator in reduced precision where the machine gains from it."""

    def __init__(self, bfloat16: bool) -> None:
        self.bfloat16 = bfloat16

    def __call__(  # type: ignore[override]
        self, inputs: Positions | None, network: ContinuousField, *args: Any, **kwargs: Any
    ) -> Tensor:
        device = next(network.parameters()).device.type
        with torch.autocast(device, dtype=torch.bfloat16, enabled=self.bfloat16):
            return _answer(network, inputs, **kwargs).float()


def _answer(field: ContinuousField, places: Positions | None, **options: Any) -> Tensor:
    # Signal (C, *places); on the whole lattice where there are none.
    if isinstance(field, LatticeField) and places is None:
        return field.on_lattice()
    return field(places, **options)[0]


def _to_device(
    batch: dict[str, Any], device: torch.device, *args: Any, **kwargs: Any
) -> tuple[Positions | None, tuple[Tensor, Tensor | None], tuple[()], dict[str, Any]]:
    # The form that MONAI's engines take: inputs, targets, and the network's other arguments.
    positions, (target, weight) = batch["image"], batch["label"]
    if positions is not None:
        positions = type(positions)(tuple(x.to(device) for x in positions.axes))
    label = (target.to(device), None if weight is None else weight.to(device))
    return positions, label, (), {"spacing": batch["spacing"]}


def _weighted_mse(signal: Tensor, label: tuple[Tensor, Tensor | None]) -> Tensor:
    target, weight = label
    error = (signal - target) ** 2
    if weight is None:
        return error.mean()
    return (error * weight).sum() / (weight.sum().clamp_min(1) * len(target))
