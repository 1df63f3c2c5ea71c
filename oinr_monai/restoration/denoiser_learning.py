r"""Learn an operator that takes noise out of several scans, to carry over to others.

.. math:: G = \arg\min_G E \| v - G[v + \sigma n, s] \|_1 / \sqrt{\sigma}

where v is a part of a scan, n noise of unit variance, white or smooth, and s what is told of it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from copy import deepcopy
from typing import final

import numpy as np
from torch import Tensor, nn

from oinr_monai.fitting.descent import Watch
from oinr_monai.fitting.device import seeded
from oinr_monai.fitting.interrupts import learning
from oinr_monai.grids.precision import full_precision

from .carried_denoiser import CarriedDenoiser
from .noisy_tasks import NoisyTask, NoisyTasks
from .pairs import scored
from .scan_learning import LearningConfig, ScanLearning, checked_sources

__all__ = ["learn_denoising"]

# Channels at every place and at every second place, and blocks there.
WIDTH, WIDE, BLOCKS = 32, 80, 4


@full_precision()
def learn_denoising(
    scans: Sequence[Tensor | np.ndarray],
    config: LearningConfig | None = None,
    *,
    start: CarriedDenoiser | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> CarriedDenoiser:
    """Learn to take noise out of several scans, for others.

    Parts of the scans get noise of random size, Gaussian or Rician, white or smooth, and are
    mirrored, turned, seen through thick slices, with their contrast bent. An interrupt (Ctrl-C)
    ends learning early with the best weights so far.

    Args:
        scans: (C, *spatial) with 3 spatial dimensions each, of which the first channel counts, as
            free of noise as can be had; one that is listed several times is drawn as often.
        config: how long to learn.
        start: an operator to go on from; by default one that has learned nothing.
        checkpoint: file that keeps the state of learning, which goes on from it if it exists.
        progress: show a bar on stderr.

    Returns:
        The operator, for :class:`~oinr_monai.DenoiseConfig` as ``start``; save it with ``save``.

    Raises:
        ValueError: if there are no scans, or one is not of 3 dimensions, constant or not finite.

    Example:
        >>> import torch
        >>> from oinr_monai import LearningConfig
        >>> scans = [torch.rand(1, 34, 34, 34, generator=torch.Generator().manual_seed(0))]
        >>> denoiser = learn_denoising(scans, LearningConfig(steps=2))
        >>> denoiser.sizes["width"]
        32
    """
    config = config or LearningConfig()
    started = time.monotonic()
    watch = Watch(checkpoint, progress=progress)
    with learning() as interrupts:
        parts = NoisyTasks(checked_sources(scans), config.seed)
        with seeded(config.seed):
            operator = CarriedDenoiser(WIDTH, WIDE, BLOCKS) if start is None else deepcopy(start)
        descent = _Learning(operator.requires_grad_(True), parts, config, started)
        descent.run(watch, interrupts)
    return descent.average.cpu()


@final
class _Learning(ScanLearning[CarriedDenoiser]):
    """The descent of an operator towards what lies under noise."""

    title = "learn-denoising"

    def answer(
        self, operator: nn.Module, task: NoisyTask, patch: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """What to add to noisy values, away from the borders of the patch."""
        seen, missing = patch
        answer = operator(seen).float() - seen[:, :1]
        return scored(answer, task.pair.factor), scored(missing, task.pair.factor)
