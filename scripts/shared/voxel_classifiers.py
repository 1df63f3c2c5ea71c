"""The simplest ways to segment: where labels mostly are, and classifiers of single voxels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.nn import functional as F

from oinr_monai import jet_features

from .hippocampi import CLASSES, Subject

__all__ = ["mean_labels", "on_jets"]

# Of voxels that are learned from, those of each volume, drawn at random.
VOXELS = 8_000

SCALES = (1.0, 2.0, 4.0)

# Vesselness is of parts of the largest in an image, and is left out.
MAPS = ("value", "gradient", "hessian")


def mean_labels(labelled: Sequence[Subject]) -> Callable[[Tensor], Tensor]:
    """Of each voxel the label that most have there, middle on middle."""
    size = [max(each.labels.shape[d] for each in labelled) + 40 for d in (1, 2, 3)]
    votes = torch.zeros(CLASSES, *size)
    for each in labelled:
        one_hot = F.one_hot(each.labels[0].long(), CLASSES).movedim(-1, 0).float()
        box = _middle(each.labels.shape[1:], size)
        votes[:, box[0], box[1], box[2]] += one_hot
        votes[0] += 1.0  # what lies beyond a volume is background
        votes[0, box[0], box[1], box[2]] -= 1.0
    label = votes.argmax(0)

    def told(image: Tensor) -> Tensor:
        return label[_middle(image.shape[1:], size)][None]

    return told


def _middle(shape: Sequence[int], size: Sequence[int]) -> tuple[slice, ...]:
    starts = [(whole - n) // 2 for n, whole in zip(shape, size, strict=True)]
    return tuple(slice(a, a + n) for a, n in zip(starts, shape, strict=True))


def on_jets(kind: str, labelled: Sequence[Subject], seed: int) -> Callable[[Tensor], Tensor]:
    """A classifier of voxels by jets at scales in mm, and by how far they lie from the middle."""
    generator = np.random.default_rng(seed)
    rows, classes = [], []
    for each in labelled:
        chosen = generator.permutation(each.labels.numel())[:VOXELS]
        rows.append(_numbers(each.image)[chosen])
        classes.append(each.labels.flatten().numpy()[chosen])
    fitted = _classifier(kind, seed).fit(np.concatenate(rows), np.concatenate(classes))

    def told(image: Tensor) -> Tensor:
        return torch.from_numpy(fitted.predict(_numbers(image))).reshape(image.shape)

    return told


def _classifier(kind: str, seed: int) -> Pipeline:
    if kind.startswith("linear"):
        return make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
    layers = MLPClassifier((64, 64), early_stopping=True, max_iter=40, random_state=seed)
    return make_pipeline(StandardScaler(), layers)


@cache
def _numbers(image: Tensor) -> NDArray[np.float32]:
    """Jets and place of each voxel, (voxels, numbers)."""
    jets = jet_features(image, MAPS, SCALES).as_tensor().flatten(1)
    axes = [torch.arange(n) - (n - 1) / 2 for n in image.shape[1:]]
    place = torch.stack(torch.meshgrid(*axes, indexing="ij")).flatten(1)
    return torch.cat([jets, place, place**2 / 10]).T.numpy().astype(np.float32)
