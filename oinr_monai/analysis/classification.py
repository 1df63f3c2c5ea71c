"""Classifiers for vectors of weights, cross-validated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oinr_monai.grids.checks import check_one_of

__all__ = ["CLASSIFIERS", "CrossValidated", "classifier", "cross_validate"]


CLASSIFIERS = ("knn", "linear", "mlp")


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


def classifier(name: str, neighbours: int = 10) -> Any:  # noqa: ANN401
    """A scikit-learn pipeline for vectors of weights.

    ``knn`` counts the nearest neighbours by Euclidean distance, as published; ``linear`` is
    logistic regression on standardised weights, and ``mlp`` one hidden layer of 64 units on them.

    Args:
        name: "knn", "linear" or "mlp".
        neighbours: neighbours that ``knn`` counts.

    Raises:
        ValueError: if there is no classifier of this name.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    check_one_of("classifier", name, CLASSIFIERS)
    if name == "knn":
        return make_pipeline(KNeighborsClassifier(neighbours))
    if name == "linear":
        # Weights are many and rows few: strongly held back.
        return make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1_000))
    perceptron = MLPClassifier((64,), alpha=1.0, early_stopping=True, random_state=0)
    return make_pipeline(StandardScaler(), perceptron)


def cross_validate(
    vectors: NDArray[np.floating],
    labels: Sequence[str],
    name: str = "knn",
    folds: int = 5,
    seed: int = 0,
) -> CrossValidated:
    """Cross-validated accuracy of a classifier, beside that of the most frequent class.

    Folds are drawn at random with the classes in equal parts. Rows of one subject must not stand
    in two folds: give one row a subject.

    Args:
        vectors: matrix (n, P).
        labels: class of each row.
        name: a name that :func:`classifier` knows.
        folds: number of folds.
        seed: seed of the folds.

    Raises:
        ValueError: if there is one class only, or one has fewer rows than there are folds.

    Example:
        >>> rows = np.repeat(np.eye(2), 20, axis=0)
        >>> cross_validate(rows, ["a"] * 20 + ["b"] * 20, "knn", folds=2).accuracy
        1.0
    """
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
        model = classifier(name, min(10, len(train))).fit(vectors[train], truth[train])
        right[test] = model.predict(vectors[test]) == truth[test]
        each.append(float(right[test].mean()))
    classes = {str(name): int(count) for name, count in zip(names, counts, strict=True)}
    return CrossValidated(float(right.mean()), each, float(counts.max() / len(truth)), classes)
