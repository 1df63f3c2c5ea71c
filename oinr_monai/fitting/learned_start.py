"""Learn where fits should begin from images of the kind that is to be fitted."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from oinr_monai.grids.precision import full_precision
from oinr_monai.representation.info import Info
from oinr_monai.representation.representation import Representation

from .cohort import fit_many
from .presets import FitConfig
from .single import fit

__all__ = ["learn_start"]


@full_precision()
def learn_start(
    images: Sequence[Tensor | np.ndarray],
    config: FitConfig,
    rounds: int = 100,
    *,
    batch: int = 16,
    rate: float = 0.5,
    memory: float = 32.0,
) -> Representation:
    r"""Weights from which a few steps lead to any of the images, by Reptile.

    In each round a random batch of the images is fitted from the start as it is, with the steps of
    ``config``, and the start moves towards the mean of what they become,

    .. math:: \theta \leftarrow \theta + \epsilon_r (\overline{\theta_i} - \theta), \qquad
              \epsilon_r = \epsilon (1 - r / R).

    References:
        Nichol, Achiam, Schulman, "On First-Order Meta-Learning Algorithms", 2018.

    Args:
        images: (C, *spatial) each, of one shape and one spacing.
        config: how a fit from the start will be done: settings and number of steps.
        rounds: number of rounds R.
        batch: images of a round.
        rate: rate of the first round, 0 to 1; it falls to zero.
        memory: MiB that a round may hold, as :func:`~oinr_monai.fit_many` takes it.

    Returns:
        The start, on the grid and in the intensities of the first image; its ``info`` holds the
        settings, the rounds and the seconds. Save it, and give it to ``fit`` as ``start``.

    Raises:
        ValueError: if a number is out of range, ``config`` has no steps, or an image cannot be
            fitted together with the others.

    Example:
        >>> waves = [torch.sin(k * torch.linspace(0, 1, 12)).expand(1, 12, 12) for k in (3, 4, 5)]
        >>> start = learn_start(waves, FitConfig(preset="fast", steps=4), rounds=2, batch=2)
        >>> start.info["rounds"]
        2
    """
    if not config.steps or config.seconds is not None:
        raise ValueError(
            f"config must have steps, and no seconds, for the same start each time, got steps="
            f"{config.steps} and seconds={config.seconds}"
        )
    if min(rounds, batch, len(images)) < 1 or not 0 < rate <= 1:
        raise ValueError(
            f"rounds, batch and images must be 1 or more and rate in (0, 1], got {rounds}, "
            f"{batch}, {len(images)} and {rate}"
        )
    started, generator = time.monotonic(), torch.Generator().manual_seed(config.seed)
    start = fit(images[0], replace(config, steps=0))
    for r in range(rounds):
        chosen = torch.randperm(len(images), generator=generator)[:batch].tolist()
        looks = replace(config, seed=config.seed + 1 + r)
        found = fit_many([images[i] for i in chosen], looks, start=start, memory=memory)
        _move(start, found, rate * (1 - r / rounds))
    start.info = Info(
        settings=config.settings(),
        rounds=rounds,
        images=len(images),
        seconds=round(time.monotonic() - started, 3),
        device=start.info.device,
        parameters=start.parameters,
    )
    return start


@torch.no_grad()
def _move(start: Representation, found: Sequence[Representation], rate: float) -> None:
    every = [dict(each.field.named_parameters()) for each in found]
    for name, weight in start.field.named_parameters():
        weight.lerp_(torch.stack([each[name] for each in every]).mean(0), rate)
