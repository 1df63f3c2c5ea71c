"""Digits told from input functions without labels, and from pixels: writes docs/measured/digits.md.

python -m scripts.quality.digits --data DIR

DIR holds the MNIST test digits. An operator is learned on the first 6,000 without their labels;
which operator and classifier count is chosen on 2,000 others, and the last 2,000 score. Vectors are
kept under build/, so that a run that was broken off goes on.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from sklearn.base import ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from torch import Tensor

from oinr_monai.analysis.weight_vectors import WeightVectors
from oinr_monai.fitting.modulation import modulate
from oinr_monai.fitting.shared_operator import OperatorConfig, learn_operator
from scripts.shared.digits import mnist_classes, mnist_images
from scripts.shared.report import MEASURED, Report

# Digits that are learned from, and that settings are chosen on; what is left scores.
LEARNED, CHOSEN = 6_000, 2_000

# Knot spacings in pixels that are tried, and steps of each operator.
KNOTS, STEPS = (3.0, 4.0), 600

CLASSIFIERS: dict[str, Callable[[], ClassifierMixin]] = {
    **{f"{k} neighbours": partial(KNeighborsClassifier, k) for k in (1, 3, 5, 10)},
    "linear": lambda: make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=300)),
    "support vectors": lambda: SVC(C=10),
}

HEAD = """
The {all:,} MNIST test digits. An operator is learned on the first {learned:,}, without their
labels (`learn_operator`); each digit is then an input function of its own (`modulate`), and its
vector the difference from the shared start. Controls are pixels as they are, and smoothed; pixels
and coefficients also with mean 0 and deviation 1 in each digit. For each of these, the classifier
is chosen by the accuracy on the next {chosen:,} digits, then learned again from both parts, and
scored on the last {scored:,}, which nothing was chosen on.
"""


@dataclass(frozen=True)
class Row:
    """What vectors tell with the classifier that is best for them on the digits for choosing."""

    vectors: str
    numbers: int
    classifier: str
    validation: float
    test: float


def kinds(images: Tensor, kept: Path) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Vectors (digits, numbers) of all kinds, controls first."""
    flat = images.flatten(1).numpy()
    yield "pixels", flat
    yield "pixels, standardised", _standardised(flat)
    smooth = gaussian_filter(images.numpy(), (0, 0, 1, 1)).reshape(len(flat), -1)
    yield "pixels, smoothed", smooth
    for knots in KNOTS:
        functions = _functions(images, knots, kept)
        yield f"input functions, knots of {knots:g} pixels", functions
        yield f"input functions, knots of {knots:g} pixels, standardised", _standardised(functions)


def _standardised(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return (vectors - vectors.mean(1, keepdims=True)) / vectors.std(1, keepdims=True)


def _functions(images: Tensor, knots: float, kept: Path) -> NDArray[np.float32]:
    file = kept / f"functions_{knots:g}.npy"
    if not file.is_file():
        kept.mkdir(parents=True, exist_ok=True)
        config = OperatorConfig(knot_spacing=knots, steps=STEPS)
        operator = learn_operator(list(images[:LEARNED]), config)
        np.save(file, WeightVectors(operator).fit_transform(modulate(list(images), operator)))
    return np.load(file)


def told(
    vectors: NDArray[np.float32], classes: NDArray[np.uint8]
) -> tuple[str, float, NDArray[np.bool_]]:
    """The best classifier for choosing, its accuracy there, and which of the last are right."""
    both = LEARNED + CHOSEN
    scores = {
        name: float(
            make()
            .fit(vectors[:LEARNED], classes[:LEARNED])
            .score(vectors[LEARNED:both], classes[LEARNED:both])
        )
        for name, make in CLASSIFIERS.items()
    }
    best = max(scores, key=lambda name: scores[name])
    fitted = CLASSIFIERS[best]().fit(vectors[:both], classes[:both])
    return best, scores[best], fitted.predict(vectors[both:]) == classes[both:]


def difference(ours: NDArray[np.bool_], theirs: NDArray[np.bool_]) -> tuple[float, float]:
    """By how much more of the same digits ours are right, and half a 95 % interval of it."""
    apart = ours.astype(float) - theirs.astype(float)
    return float(apart.mean()), float(1.96 * apart.std(ddof=1) / len(apart) ** 0.5)


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of MNIST's files")
    parser.add_argument("--kept", type=Path, default=Path("build/digits"), help="what is kept")
    parser.add_argument("--output", type=Path, default=MEASURED)
    options = parser.parse_args()
    torch.set_num_threads(1)
    images, classes = mnist_images(options.data), mnist_classes(options.data)
    rows, right = [], {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of solvers that stop at their last iteration
        for name, vectors in kinds(images, options.kept):
            best, accuracy, right[name] = told(vectors, classes)
            rows.append(Row(name, vectors.shape[1], best, accuracy, float(right[name].mean())))
            print(rows[-1], flush=True)
    write(rows, right, len(images), options.output)


def write(rows: list[Row], right: dict[str, NDArray[np.bool_]], count: int, folder: Path) -> None:
    """Write the page."""
    page = Report("digits", "Digits told without labels of them, measured", folder)
    page.made(without=("--kept",))
    page.text(
        HEAD.format(all=count, learned=LEARNED, chosen=CHOSEN, scored=count - LEARNED - CHOSEN)
    )
    lines = [
        (r.vectors, r.classifier, r.numbers, f"{100 * r.validation:.2f}", f"{100 * r.test:.2f}")
        for r in rows
    ]
    page.table(("vectors", "classifier", "numbers", "validation, %", "test, %"), lines, text=2)
    ours, theirs = (
        max((r for r in rows if r.vectors.startswith(kind)), key=lambda r: r.validation).vectors
        for kind in ("input functions", "pixels")
    )
    mean, half = difference(right[ours], right[theirs])
    page.text(
        f"The best of ours on the digits for choosing ({ours}) less the best control ({theirs}): "
        f"{100 * mean:+.2f} points on the others, give or take {100 * half:.2f} (95 %, paired)."
    )
    page.write(rows)


if __name__ == "__main__":
    main()
