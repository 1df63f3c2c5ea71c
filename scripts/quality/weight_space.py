"""Classes told from fitted weights: digits and brain tissue, beside the same told from pixels.

`python -m scripts.quality.weight_space [--digits N] [--json] [--data DIR]` writes
docs/measured/weight_space.md when all digits are used and no --json is asked for.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from oinr_monai import FitConfig, Representation, fit_many
from oinr_monai.analysis.classification import (
    logistic_regression,
    nearest_neighbours,
    perceptron,
)
from oinr_monai.analysis.weight_vectors import WeightVectors
from oinr_monai.fitting.learned_start import learn_start
from oinr_monai.fitting.modulation import modulate
from oinr_monai.fitting.shared_operator import OperatorConfig, learn_operator
from oinr_monai.images.metrics import psnr
from scripts.paper.published import PublishedOINR2d
from scripts.shared.digits import MNIST, mnist_classes, mnist_images
from scripts.shared.report import MEASURED, Report
from scripts.shared.tissue import patches

IMAGES_ONLY = OperatorConfig(knot_spacing=3.0, steps=1_200)
WITH_LABELS = OperatorConfig(knot_spacing=4.0, steps=1_200, supervision=1.0)
CLASSIFIERS = {"knn": nearest_neighbours, "linear": logistic_regression, "mlp": perceptron}

SMALL = FitConfig(preset="fast", channels=(16, 16), steps=60)

PUBLISHED_MOST = 200  # digits fitted by the published recipe: most of a second each
STACKED_MOST = 2_000  # digits fitted with all their weights


@dataclass
class Row:
    """One line of a table: what was told from what, how well, at what cost."""

    vectors: str
    supervision: str
    train: int
    test: int
    numbers: int
    accuracy: dict[str, float]
    psnr: float | None = None
    seconds: float | None = None  # of fitting, each
    learning: float | None = None  # of what is learned once


def known(value: float | None) -> float:
    """A number of a row that must have it.

    Raises:
        ValueError: if it has none.
    """
    if value is None:
        raise ValueError("value must be a number, got None")
    return value


def noted(row: Row) -> Row:
    """The same row, said on stderr: a run takes a while."""
    print(row, file=sys.stderr, flush=True)
    return row


def scored(vectors: np.ndarray, labels: np.ndarray, train: int) -> dict[str, float]:
    """Accuracy of each classifier on the rows after ``train``, which it has not seen."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of solvers that stop at their last iteration
        return {
            name: float(make().fit(vectors[:train], labels[:train]).score(
                vectors[train:], labels[train:]))
            for name, make in CLASSIFIERS.items()
        }  # fmt: skip


def control(name: str, values: Tensor, labels: np.ndarray, train: int) -> Row:
    """The same classifiers on the samples themselves."""
    vectors = values.flatten(1).numpy()
    accuracy = scored(vectors, labels, train)
    return Row(name, "-", train, len(labels) - train, vectors.shape[1], accuracy)


def row_of(
    name: str,
    supervision: str,
    found: Sequence[Representation],
    start: Representation | None,
    labels: np.ndarray,
    train: int,
) -> Row:
    """A row for representations, with the PSNR of those that are tested on."""
    vectors = WeightVectors(start).fit_transform(found)
    held = [each.info["psnr_grid"] for each in found[train:]]
    return Row(
        name,
        supervision,
        train,
        len(labels) - train,
        vectors.shape[1],
        scored(vectors, labels, train),
        float(np.mean(held)),
    )


def standardised(images: Tensor) -> Tensor:
    """Each image at zero mean and unit variance, as a representation sees it."""
    std, mean = torch.std_mean(images.flatten(1), 1, correction=0)
    return (images - mean.view(-1, 1, 1, 1)) / std.view(-1, 1, 1, 1)


def augmented(images: Tensor, generator: torch.Generator) -> Tensor:
    """Digits (B, 1, X, Y) turned, scaled, sheared and moved a little."""

    def draw(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator) * 2 - 1

    count = len(images)
    angle, scale = draw(count) * math.radians(12), 1 + 0.12 * draw(count)
    maps = torch.zeros(count, 2, 3)
    maps[:, 0, 0], maps[:, 0, 1] = angle.cos() * scale, -angle.sin() * scale + 0.15 * draw(count)
    maps[:, 1, 0], maps[:, 1, 1] = angle.sin() * scale, angle.cos() * scale
    maps[:, :, 2] = draw(count, 2) * 4 / images.shape[-1]
    grid = F.affine_grid(maps, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def modulated(
    images: Tensor,
    labels: np.ndarray,
    train: int,
    config: OperatorConfig,
    supervised: bool = False,
    turn: bool = True,
) -> Row:
    """Vectors of input functions read by one operator, learned on the training part."""
    begun = time.process_time()
    operator = learn_operator(
        list(images[:train]),
        config,
        labels=labels[:train].tolist() if supervised else None,
        augment=augmented if supervised and turn else None,
    )
    learned = time.process_time()
    found = modulate(list(images), operator)
    seconds = (time.process_time() - learned) / len(images)
    name = f"input functions of one operator, {config.descent} steps"
    row = row_of(name, "labels" if supervised else "none", found, operator, labels, train)
    return noted(replace(row, seconds=seconds, learning=learned - begun))


def stacked(images: Tensor, labels: np.ndarray, learned: bool) -> Row:
    """All weights of fits from one start, random or learned by Reptile, all fitted together."""
    count = min(len(images), STACKED_MOST)
    train, chosen = int(0.8 * count), list(images[:count])
    begun = time.process_time()
    start = learn_start(chosen[:train], SMALL, rounds=30) if learned else None
    middle = time.process_time()
    found = fit_many(chosen, SMALL, start=start)
    seconds = (time.process_time() - middle) / count
    name = f"all weights, one {'learned' if learned else 'random'} start, {SMALL.steps} steps"
    row = row_of(name, "none", found, start, labels[:count], train)
    return noted(replace(row, seconds=seconds, learning=middle - begun if learned else None))


def published(images: Tensor, labels: np.ndarray, wanted: float) -> list[Row]:
    """The published recipe, each digit from a random start of its own, until ``wanted`` dB."""
    count = min(len(images), PUBLISHED_MOST)
    vectors, reached, begun = [], [], time.process_time()
    for i, image in enumerate(images[:count]):
        torch.manual_seed(i)
        recipe, score = PublishedOINR2d(image), -math.inf
        for step in range(1, recipe.published_steps + 1):
            recipe.step(0.0)
            score = psnr(recipe.on_grid(), image) if step % 5 == 0 else score
            if score >= wanted:
                break
        reached.append(score)
        vectors.append(torch.cat([p.detach().flatten() for p in recipe.network.parameters()]))
    seconds = (time.process_time() - begun) / count
    of, rows = labels[:count], []
    fields = {"published recipe, all weights, random starts": torch.stack(vectors)}
    fields["pixels of these digits"] = images[:count].flatten(1)
    for name, values in fields.items():
        accuracy = cross_validated(values.numpy(), of)
        ours = name.startswith("published")
        row = Row(name, "none" if ours else "-", count * 4 // 5, count, values.shape[1], accuracy)
        rows.append(replace(row, psnr=float(np.mean(reached)), seconds=seconds) if ours else row)
    return rows


def cross_validated(vectors: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Nearest neighbours, as published, in five folds: few rows, all of them tested."""
    from sklearn.model_selection import KFold

    right: dict[str, list[float]] = {"knn": []}
    for train, test in KFold(5, shuffle=True, random_state=0).split(vectors):
        for name, parts in right.items():
            model = CLASSIFIERS[name]().fit(vectors[train], labels[train])
            parts.append(float(model.score(vectors[test], labels[test])))
    return {name: float(np.mean(parts)) for name, parts in right.items()}


def small_digits() -> list[Row]:
    """scikit-learn's digits, 8 x 8."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    images = torch.from_numpy(pixels).float().view(-1, 1, 8, 8) / 16
    train = int(0.8 * len(images))
    plain = OperatorConfig(knot_spacing=2.0, steps=300)
    return [
        modulated(images, labels, train, plain),
        modulated(images, labels, train, replace(plain, supervision=1.0), True, turn=False),
        control("pixels", images, labels, train),
        control("pixels, standardised each", standardised(images), labels, train),
    ]


def tissue() -> list[Row]:
    """Tissue of blocks of a brain, learned on the left hemisphere and told on the right."""
    images, labels, train = patches()
    config = OperatorConfig(
        knot_spacing=3.0, field_channels=4, kernel_size=1, steps=200, batch=16, supervision=1.0
    )
    most = float(np.bincount(labels[train:]).max() / len(labels[train:]))
    rows = [
        modulated(images, labels, train, config),
        modulated(images, labels, train, config, True, turn=False),
        control("voxels", images, labels, train),
        control("voxels, standardised each", (images - images.mean((1, 2, 3, 4), keepdim=True))
                / images.std((1, 2, 3, 4), keepdim=True), labels, train),
    ]  # fmt: skip
    always = dict.fromkeys(CLASSIFIERS, most)
    return [*rows, Row("always the most frequent", "-", train, len(labels) - train, 0, always)]


HEAD = (
    *("vectors", "labels seen", "train / test", "numbers", "KNN", "linear", "MLP"),
    *("PSNR (dB)", "ms each", "learning (s)"),
)


def cells_of(row: Row) -> list[str]:
    """A row of a table."""
    told = [row.accuracy.get(name) for name in CLASSIFIERS]
    return [
        row.vectors,
        {"none": "no", "labels": "yes", "-": ""}[row.supervision],
        f"{row.train:,} / {row.test:,}",
        f"{row.numbers:,}" if row.numbers else "",
        *("" if each is None else f"{100 * each:.2f}" for each in told),
        "" if row.psnr is None else f"{row.psnr:.1f}",
        "" if row.seconds is None else f"{1e3 * row.seconds:.2f}",
        "" if row.learning is None else f"{row.learning:.0f}",
    ]


@dataclass
class Found:
    """All that one run has measured."""

    digits: list[Row]
    published: list[Row]
    plain: Row
    labelled: Row
    pixels: list[Row]

    def summary(self) -> dict[str, float]:
        """What --json prints, accuracies as parts of one."""

        def best(row: Row) -> float:
            return max(row.accuracy[name] for name in ("knn", "linear"))

        theirs, ours = known(self.published[0].seconds), known(self.plain.seconds)
        learning = known(self.plain.learning) / (self.plain.train + self.plain.test)
        return {
            "mnist_accuracy": max(best(self.plain), best(self.labelled)),
            "mnist_accuracy_without_labels": best(self.plain),
            "mnist_control": max(best(row) for row in self.pixels),
            "published_accuracy": self.published[0].accuracy["knn"],
            "published_digits": self.published[0].test,
            "speedup": theirs / ours,
            "speedup_with_learning": theirs / (ours + learning),
        }


def digits(images: Tensor, labels: np.ndarray) -> Found:
    """All that is measured on MNIST."""
    train = int(0.8 * len(images))
    # Fewer digits are learned from in fewer steps.
    share = min(1.0, max(0.2, len(images) / 10_000))
    configs = [replace(c, steps=round(c.steps * share)) for c in (IMAGES_ONLY, WITH_LABELS)]
    plain = modulated(images, labels, train, configs[0])
    labelled = modulated(images, labels, train, configs[1], True)
    whole = [stacked(images, labels, learned) for learned in (False, True)]
    recipe = published(images[: max(len(images) // 10, 50)], labels, known(plain.psnr))
    pixels = [
        control("pixels", images, labels, train),
        control("pixels, standardised each", standardised(images), labels, train),
    ]
    return Found([*recipe, *whole, plain, labelled, *pixels], recipe, plain, labelled, pixels)


NOTES = """
What can be told from fitted weights alone, and what can be told from the samples by the same
classifiers: 10 nearest neighbours, logistic regression (C = 0.01, standardised), a perceptron of 64
units. Accuracy in per cent on what neither classifiers nor starts have seen; PSNR is the mean over
these test images: weights that do not represent an image would be no representation of it.
"""

DIGITS = """
The published recipe starts every digit at random; its two rows are of {few} digits in five folds,
and each of its fits goes on until it has the PSNR of the operator learned without labels. That
operator serves {speedup:,.0f} times as many digits a second, {learned:,.0f} times with the learning
counted in.

"One operator" is learned on the training digits (`learn_operator`); a digit is then an input
function of its own, {descent} steps of gradient descent from a shared start (`modulate`), and the
vector is the difference of its coefficients from the start. With labels, a linear reading of the
coefficients of the training digits, turned and moved a little, counts beside the squared error
while the operator is learned: the descent then works as an encoder, and pays for it in PSNR. KNN
on pixels needs no fit at all; it is the bar. The settings were chosen with the accuracy on these
digits in view, so that the operator's rows are somewhat hopeful.
"""

TISSUE = """
Blocks of 12³ voxels by their most frequent tissue (grey, white, CSF); learned on the left
hemisphere, told on the right. A representation has its block standardised, so that the mean
intensity is not in these vectors; the voxels as they are have it.
"""


def fill(report: Report, found: Found) -> None:
    """Write the digits into the page, and what else is measured."""
    report.text(NOTES)
    report.heading("MNIST, 28 x 28")
    report.table(HEAD, map(cells_of, found.digits), text=2)
    summary = found.summary()
    told = {"speedup": summary["speedup"], "learned": summary["speedup_with_learning"]}
    few = found.published[0].test
    report.text(DIGITS.format(few=few, descent=IMAGES_ONLY.descent, **told))
    report.heading("scikit-learn's digits, 8 x 8")
    report.table(HEAD, map(cells_of, small_digits()), text=2)
    report.heading("Tissue of MNI152 blocks, 12 mm")
    report.text(TISSUE)
    report.table(HEAD, map(cells_of, tissue()), text=2)


def main() -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--digits", type=int, default=10_000, help="digits to use, in 80 to 20")
    parser.add_argument("--json", action="store_true", help="print one object; MNIST alone")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the MNIST files")
    parser.add_argument("--output", type=Path, default=MEASURED)
    options = parser.parse_args()
    if not 100 <= options.digits <= 10_000:
        parser.error(f"--digits must be 100 to 10000, got {options.digits}")
    if not (options.data / MNIST).is_file():
        parser.error(f"--data must be a folder with the files of MNIST, got {options.data}")
    torch.set_num_threads(1)
    images, labels = mnist_images(options.data), mnist_classes(options.data)
    found = digits(images[: options.digits], labels[: options.digits])
    if options.json:
        print(json.dumps(found.summary()))
        return
    report = Report("weight_space", "Weight space", options.output)
    report.made("of a CPU that others used too; seconds of process time.")
    fill(report, found)
    print(report, json.dumps(found.summary()), sep="\n")
    if options.digits == len(images):
        report.write()


if __name__ == "__main__":
    main()
