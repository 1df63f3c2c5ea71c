"""Fit a continuous representation to an image."""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from oinr_monai.grids.positions import Lattice
from oinr_monai.images.meta import inherit
from oinr_monai.images.metrics import peak_ratio
from oinr_monai.images.scans import checked_scans
from oinr_monai.images.stored import StoredImage
from oinr_monai.representation.exact import spline_field
from oinr_monai.representation.lineage import digest
from oinr_monai.representation.neural_field import NeuralField
from oinr_monai.representation.representation import Representation

from .descent import adam, answer, descend, weighted_mse
from .device import chosen_device, gains_from_bfloat16
from .handlers import BestWeights, Checkpoint, Clock, OneCycle, ProgressBar, TensorBoard
from .objective import ImageObjective, Objective
from .presets import EXACT, FitConfig, budget
from .start import begin
from .stored_objective import StoredObjective

__all__ = ["fit"]

Image = Tensor | np.ndarray


def fit(
    image: Image | Sequence[Image] | StoredImage,
    config: FitConfig | None = None,
    *,
    start: Representation | None = None,
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
            its intensity scale and its scores are those of the representation. A
            :class:`~oinr_monai.StoredImage` stays on disk, and is read block by block.
        config: how to fit.
        start: another fit to begin with, of the same kind, instead of random weights; see
            :func:`~oinr_monai.fitting.start.begin` for what is carried over. The result is never
            worse than it at the places that choose the best weights.
        mask: voxels that count, (*spatial) or (1, *spatial); all if None. For one image in memory.
        checkpoint: file to save the state of the fit to every 15 seconds.
        resume: go on from ``checkpoint`` if it exists.
        log_dir: directory for TensorBoard.
        progress: show a bar on stderr.

    Returns:
        The representation; its ``info`` holds steps, seconds, psnr_grid, psnr_between, parameters,
        device and the settings, and which start it had.

    Raises:
        ValueError: if the image is empty, constant, not finite or of the wrong shape, or the start
            is of another kind than the settings make.

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
        objective = _objective_of(image, config, mask)
        if config.preset == EXACT:
            result = _interpolated(objective, start, started)
        else:
            result = _Task(objective, start, started).run(checkpoint, resume, log_dir, progress)
    return inherit(result, image[0] if isinstance(image, list | tuple) else image)


def _objective_of(
    image: Image | Sequence[Image] | StoredImage,
    config: FitConfig,
    mask: Tensor | np.ndarray | None,
) -> Objective:
    if isinstance(image, StoredImage):
        if mask is not None:
            raise ValueError("mask must be None for an image on disk, got one")
        return StoredObjective(image, config)
    images: list[Any] = list(image) if isinstance(image, list | tuple) else [image]
    return ImageObjective(checked_scans(images, mask), config)


def _interpolated(
    objective: Objective, start: Representation | None, started: float
) -> Representation:
    if (
        not (isinstance(objective, ImageObjective) and len(objective.scans) == 1)
        or start is not None
    ):
        raise ValueError(
            "preset must train something for several images, another start or an image on disk, "
            'got "exact"'
        )
    device = chosen_device(objective.config.device)
    filled = objective.scale.standardise(objective.first.filled)
    field = spline_field(filled, objective.grid).to(device)
    seconds = round(time.monotonic() - started, 3)
    taken = {"steps": 0, "seconds": seconds, "interrupted": False, "device": str(device)}
    return objective.result(field, taken)


class _Task:
    """One fit: the parts that its steps share."""

    def __init__(self, objective: Objective, start: Representation | None, started: float) -> None:
        self.start = None if start is None else digest(start)
        self.objective, self.grid, config = objective, objective.grid, objective.config
        self.config, self.device = config, chosen_device(config.device)
        self.field = begin(self.grid, objective.channels, config, start).to(self.device)
        objective.check(self.field)
        weights = dict(self.field.named_parameters())
        self.optimizer = adam(self.field, config.learning_rate, weights)
        self.clock = Clock(*budget(self.grid, config), started=started)
        self.best = BestWeights(self.field, self._held_out_psnr(), self.clock)
        if start is not None:
            self.best.take()

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
        field, objective, clock = self.field, self.objective, self.clock
        reduced = isinstance(field, NeuralField) and gains_from_bfloat16(self.device)
        if descend(field, field, objective, self.optimizer, clock, weighted_mse, handlers, reduced):
            return True
        self.best.take()
        return False

    def _held_out_psnr(self) -> Callable[[], float]:
        held_out = self.objective.held_out(self.field, self.device)

        def score() -> float:
            with torch.no_grad():
                errors = [
                    float(weighted_mse(answer(self.field, places, **options), label))
                    for places, label, _, options in held_out
                ]
            return peak_ratio(sum(errors) / len(errors), self.objective.span)

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
        settings = self.config.settings()
        return repr((self.objective.identity, settings, repr(self.field), self.start))

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
        taken = {
            "steps": self.clock.step,
            "seconds": round(seconds, 3),
            "interrupted": interrupted,
            "device": str(self.device),
            **({} if self.start is None else {"start": self.start}),
        }
        return self.objective.result(self.field, taken)

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
