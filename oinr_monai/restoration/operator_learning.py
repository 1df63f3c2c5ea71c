r"""Learn an operator of super-resolution from several scans, to carry over to others.

.. math:: G = \arg\min_G E \| v - B y - G[y; t] \|_1

where v is a part of a scan, seen as slices y = A v that t tells of, and B the corrected
spline (see :mod:`~oinr_monai.restoration.super_resolution`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import final

import numpy as np
from torch import Tensor, nn

from oinr_monai.fitting.descent import Watch
from oinr_monai.fitting.device import seeded
from oinr_monai.fitting.interrupts import learning
from oinr_monai.grids.precision import full_precision

from .carried_operator import CarriedOperator, at_places, told_slices
from .pairs import scored
from .scan_learning import LearningConfig, ScanLearning, checked_sources
from .scan_tasks import ScanTasks, SliceTask

__all__ = ["learn_super_resolution"]

# Width and number of the operator's blocks.
WIDTH, BLOCKS = 48, 4


@full_precision()
def learn_super_resolution(
    scans: Sequence[Tensor | np.ndarray],
    config: LearningConfig | None = None,
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> CarriedOperator:
    """Learn what thick slices take away from several scans, for others.

    Each scan's sharp axes, those of its smallest spacing, are seen as thick slices of random
    spacing (2 to 6 times as large), profile and noise, mirrored, turned and with their contrast
    bent; the operator is told which. An interrupt (Ctrl-C) ends learning early with the best
    weights so far.

    Args:
        scans: (C, *spatial) with 3 spatial dimensions each, of which the first channel counts;
            one that is listed several times is drawn as often.
        config: how long to learn.
        checkpoint: file that keeps the state of learning, which goes on from it if it exists.
        progress: show a bar on stderr.

    Returns:
        The operator, for :class:`~oinr_monai.SuperResolveConfig` as ``start``; save it with
        ``save``.

    Raises:
        ValueError: if there are no scans, or one is not of 3 dimensions, constant or not finite.

    Example:
        >>> import torch
        >>> from oinr_monai import LearningConfig
        >>> scans = [torch.rand(1, 26, 26, 26, generator=torch.Generator().manual_seed(0))]
        >>> operator = learn_super_resolution(scans, LearningConfig(steps=2))
        >>> operator.width
        48
    """
    config = config or LearningConfig()
    started = time.monotonic()
    watch = Watch(checkpoint, progress=progress)
    with learning() as interrupts:
        parts = ScanTasks(checked_sources(scans), config.seed)
        with seeded(config.seed):
            operator = CarriedOperator(WIDTH, BLOCKS)
        descent = _Learning(operator, parts, config, started)
        descent.run(watch, interrupts)
    return descent.average.cpu()


@final
class _Learning(ScanLearning[CarriedOperator]):
    """The descent of an operator towards what many kinds of slices lack."""

    title = "learn-super-resolution"

    def answer(
        self, operator: nn.Module, task: SliceTask, patch: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """What is missing in the slices' spline, away from the borders of the patch."""
        coarse, missing = patch
        factor = task.pair.factor
        answer = at_places(operator(told_slices(coarse, task.told)), factor[-1])
        return scored(answer.float(), factor), scored(missing, factor)
