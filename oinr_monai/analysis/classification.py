"""Classifiers for vectors of weights, cross-validated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sklearn.base import ClassifierMixin
    from sklearn.pipeline import Pipeline

__all__ = [
    "CrossValidated",
    "cross_validate",
    "logistic_regression",
    "nearest_neighbours",
    "perceptron",
]


@dataclass(frozen=True)
class CrossValidated:
    """How well classes are told from vectors, on rows that the classifier did not see.

    Args:
        accuracy: part of all rows told right, each by the classifier that was not fitted to it.
        folds: the same in each fold.
        majority: accuracy of always saying the most frequent class.
        classes: number of rows of each class.
    """

    accuracy: float
    folds: list[float]
    majority: float
    classes: dict[str, int]


def nearest_neighbours(count: int = 10) -> Pipeline:
    """A classifier that counts the nearest neighbours by Euclidean distance, as published.

    Args:
        count: neighbours to count.
    """
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline

    return make_pipeline(KNeighborsClassifier(count))


def logistic_regression() -> Pipeline:
    """A linear classifier of standardised weights."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # Weights are many and rows few: strongly held back.
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1_000))


def perceptron() -> Pipeline:
    """A classifier of standardised weights with one hidden layer of 64 units."""
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    layers = MLPClassifier((64,), alpha=1.0, early_stopping=True, random_state=0)
    return make_pipeline(StandardScaler(), layers)


def cross_validate(
    vectors: NDArray[np.floating],
    labels: Sequence[str],
    classifier: ClassifierMixin,
    folds: int = 5,
    seed: int = 0,
) -> CrossValidated:
    """Cross-validated accuracy of a classifier, beside that of the most frequent class.

    Folds are drawn at random with the classes in equal parts. Rows of one subject must not stand
    in two folds: give one row a subject.

    Args:
        vectors: matrix (n, P).
        labels: class of each row.
        classifier: a scikit-learn classifier, of which every fold fits a copy.
        folds: number of folds.
        seed: seed of the folds.

    Raises:
        ValueError: if there is one class only, or one has fewer rows than there are folds.

    Example:
        >>> rows = np.repeat(np.eye(2), 20, axis=0)
        >>> cross_validate(rows, ["a"] * 20 + ["b"] * 20, nearest_neighbours(), folds=2).accuracy
        1.0
    """
    from sklearn.base import clone
    from sklearn.model_selection import StratifiedKFold

    truth = np.asarray(labels)
    names, counts = np.unique(truth, return_counts=True)
    if len(names) < 2 or folds < 2 or counts.min() < folds:
        raise ValueError(
            f"labels must be of 2 classes or more, and each of as many rows as there are folds, 2 "
            f"or more; got {dict(zip(names.tolist(), counts.tolist(), strict=True))} and {folds}"
        )
    right = np.zeros(len(truth), dtype=bool)
    each = []
    for train, test in StratifiedKFold(folds, shuffle=True, random_state=seed).split(
        vectors, truth
    ):
        model = clone(classifier).fit(vectors[train], truth[train])
        right[test] = model.predict(vectors[test]) == truth[test]
        each.append(float(right[test].mean()))
    classes = {str(name): int(count) for name, count in zip(names, counts, strict=True)}
    return CrossValidated(float(right.mean()), each, float(counts.max() / len(truth)), classes)
