"""What thick slices miss as MONAI training: pairs of many scans as a dataset, a loss, and scores.

:func:`~oinr_monai.learn_super_resolution` is the short way. These are the pieces by which a
bundle's ``train.json`` teaches a :class:`~oinr_monai.CarriedOperator` with MONAI's trainer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import IterableDataset, get_worker_info

from oinr_monai.restoration.carried_operator import at_places, told_slices
from oinr_monai.restoration.pairs import scored
from oinr_monai.restoration.scan_learning import checked_sources
from oinr_monai.restoration.scan_parts import TaskPool
from oinr_monai.restoration.scan_tasks import ScanTasks, SliceTask

__all__ = ["MissingDetail", "RandomSlices", "detail_and_truth"]


class RandomSlices(IterableDataset[dict[str, Tensor]]):
    """Random parts of scans seen as thick slices, and what the slices' spline misses of them.

    Each item holds ``image``, standardised slices and what is told of them (1 + 5, x, y, z), and
    ``label``, what is missing (1, x, y, z factor). Spacing, profile, noise, contrast and
    orientation are drawn anew (:mod:`~oinr_monai.restoration.scan_tasks`), so that factors differ
    from item to item: batches hold one.

    Args:
        data: the items of a datalist.
        transform: loads an item to a mapping whose ``key`` is an image (C, *spatial).
        key: key of the image.
        length: items to give, the same ones each time; None for an endless stream.
        seed: seed of the items; give each process its own.

    Raises:
        ValueError: if there are no scans, or one is not of 3 dimensions, constant or not finite.

    Example:
        >>> scan = torch.rand(1, 26, 26, 26, generator=torch.Generator().manual_seed(0))
        >>> item = next(iter(RandomSlices([{"image": scan}])))
        >>> item["image"].shape[:-1], item["label"].shape[-1] % item["image"].shape[-1]
        (torch.Size([6, 20, 20]), 0)
    """

    def __init__(
        self,
        data: Sequence[Any],
        transform: Callable[[Any], Mapping[str, Any]] | None = None,
        key: str = "image",
        length: int | None = None,
        seed: int = 0,
    ) -> None:
        if transform is not None:  # items that are alike are loaded once
            known = {frozenset(each.items()): each for each in data}
            loaded = {like: transform(each) for like, each in known.items()}
            data = [loaded[frozenset(each.items())] for each in data]
        self.sources = checked_sources([each[key] for each in data])
        self.length, self.seed = length, seed

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """Items, from the start of their sequence each time."""
        worker = get_worker_info()
        seed = self.seed if worker is None else self.seed + 7919 * (worker.id + 1)
        pool = TaskPool(ScanTasks(self.sources, seed))
        generator = torch.Generator().manual_seed(seed)
        for step in count() if self.length is None else range(self.length):
            task: Any = pool.draw(step, generator)
            yield _item(task, generator)


def _item(task: SliceTask, generator: torch.Generator) -> dict[str, Tensor]:
    coarse, missing = next(task.patches(generator))
    return {"image": told_slices(coarse, task.told)[0], "label": missing[0]}


class MissingDetail(nn.Module):
    """Absolute error of what an operator answers of missing detail, away from the borders.

    Example:
        >>> float(MissingDetail()(torch.zeros(1, 8, 9, 9, 9), torch.ones(1, 1, 9, 9, 27)))
        1.0
    """

    def forward(self, coefficients: Tensor, missing: Tensor) -> Tensor:
        """Mean over the places that count.

        Args:
            coefficients: what the operator answers (B, 8, x, y, z).
            missing: what it should find (B, 1, x, y, z factor).
        """
        answer, truth = _answered(coefficients, missing)
        return (answer - truth).abs().mean()


def detail_and_truth(output: Sequence[Mapping[str, Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
    """What an operator found of missing detail, and what it should, for a metric's handler.

    Args:
        output: of a MONAI engine, items with ``pred`` and ``label``.

    Example:
        >>> item = {"pred": torch.zeros(8, 9, 9, 9), "label": torch.ones(1, 9, 9, 27)}
        >>> [each[0].shape for each in detail_and_truth([item])]
        [torch.Size([1, 3, 3, 21]), torch.Size([1, 3, 3, 21])]
    """
    pairs = [_answered(each["pred"][None], each["label"][None]) for each in output]
    return [answer[0] for answer, _ in pairs], [truth[0] for _, truth in pairs]


def _answered(coefficients: Tensor, missing: Tensor) -> tuple[Tensor, Tensor]:
    factor = missing.shape[-1] // coefficients.shape[-1]
    answer = at_places(coefficients, factor)
    return scored(answer, (1, 1, factor)), scored(missing, (1, 1, factor))
