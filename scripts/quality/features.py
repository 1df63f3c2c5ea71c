"""Features that tell something: writes docs/measured/features.{csv,md}.

python -m scripts.quality.features --adrenal NPZ [--json]

NPZ is AdrenalMNIST3D at 64 voxels, which the repository does not ship: masks of adrenal glands,
normal or hyperplastic, in their official parts. What was measured of each mask is kept under
build/, by the file and by the code that measures, so that a run that was broken off goes on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegressionCV
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from oinr_monai import shape_features
from oinr_monai.analysis import shape
from scripts.shared.report import MEASURED, Report

PARTS = ("train", "val", "test")

# Folds that say how well a method does, and of the choice of how far it is held back.
FOLDS, INNER = 10, 5

# Voxels along each axis of the means that the control is told, and how many parts it keeps.
CELLS, KEPT = 16, 50

HEAD = """
[AdrenalMNIST3D](https://medmnist.com) at 64³, official parts: {sizes}; `--adrenal` names its file.
A mask is normal (0) or hyperplastic (1). Area under the ROC curve and accuracy on the parts that
were not learned from, and in {folds} folds of the training part. The volume alone is the simplest
control; the voxels are means over {cells}³ cells, {kept} principal components, and a support vector
machine with radial kernels. Shape functionals are those of `shape_features`, in a logistic
regression as the volume is; the last row has the components of the cells beside them. Published on
the test part at 28³ (Yang et al., "MedMNIST v2", Scientific Data 2023): ResNet-18 3-D AUC .827,
with ACS convolutions .839.
"""


@dataclass(frozen=True)
class Masks:
    """One official part: masks (N, 64, 64, 64), and which are hyperplastic (N,)."""

    images: NDArray[np.bool_]
    labels: NDArray[np.int64]

    @property
    def cells(self) -> NDArray[np.float32]:
        """Means over cells (N, cells³)."""
        side = self.images.shape[1] // CELLS
        split = self.images.reshape(len(self.images), *[CELLS, side] * 3)
        return split.mean((2, 4, 6)).reshape(len(split), -1).astype(np.float32)

    @property
    def volumes(self) -> NDArray[np.float64]:
        """Logarithm of the voxels (N, 1)."""
        return np.log(self.images.reshape(len(self.images), -1).sum(1, keepdims=True))


def parts(path: Path) -> dict[str, Masks]:
    """The parts that the file has."""
    with np.load(path) as file:
        return {
            part: Masks(file[f"{part}_images"] > 0, file[f"{part}_labels"].ravel().astype(np.int64))
            for part in PARTS
            if f"{part}_images" in file
        }


def shapes(masks: Masks, kept: Path) -> NDArray[np.float64]:
    """Shape functionals of each mask (N, columns), those of which are known read from a file."""
    rows: list[NDArray[np.float64]] = []
    if kept.is_file():
        rows = list(np.load(kept))
    for image in masks.images[len(rows) :]:
        mask = torch.from_numpy(image[None].astype(np.float32))
        rows.append(shape_features(mask).values[0])
        if len(rows) % 50 == 0 or len(rows) == len(masks.images):
            np.save(kept, np.stack(rows))
            print(kept.name, len(rows), "of", len(masks.images), flush=True)
    return np.stack(rows)


def linear() -> Pipeline:
    """Logistic regression, held back as far as its own folds say."""
    held_back = LogisticRegressionCV(
        Cs=np.logspace(-3, 0, 7).tolist(),
        cv=INNER,
        scoring="roc_auc",
        max_iter=5_000,
    )
    return make_pipeline(StandardScaler(), held_back)


def together(shapes: int) -> Pipeline:
    """The same of so many shape functionals, and of what is alike in the cells that follow them."""
    cells = PCA(KEPT, random_state=0)
    parts = [("shapes", "passthrough", slice(0, shapes)), ("cells", cells, slice(shapes, None))]
    return make_pipeline(ColumnTransformer(parts), linear())


def voxel_machine() -> Pipeline:
    """The control of the voxels."""
    return make_pipeline(PCA(KEPT, random_state=0), SVC(C=3, probability=True, random_state=0))


@dataclass(frozen=True)
class Row:
    """What one method told."""

    method: str
    numbers: int
    auc_folds: float
    auc_val: float
    acc_val: float
    auc_test: float
    acc_test: float
    seconds: float


def row(
    name: str, make: Callable[[], Pipeline], vectors: dict[str, Any], known: dict[str, Masks]
) -> Row:
    """Learn from the training part, and score on the others."""
    started = time.process_time()
    train = vectors["train"], known["train"].labels
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of solvers that stop at their last iteration
        held = cross_val_predict(make(), *train, cv=folds, method="predict_proba")[:, 1]
        fitted = make().fit(*train)
    scores = {"auc_folds": roc_auc_score(train[1], held)}
    for part in PARTS[1:]:
        scores |= {f"auc_{part}": np.nan, f"acc_{part}": np.nan}
        if part in known:
            told = fitted.predict_proba(vectors[part])[:, 1]
            scores[f"auc_{part}"] = roc_auc_score(known[part].labels, told)
            scores[f"acc_{part}"] = accuracy_score(known[part].labels, told > 0.5)
    rounded = {key: round(float(value), 4) for key, value in scores.items()}
    seconds = round(time.process_time() - started, 1)
    return Row(name, vectors["train"].shape[1], **rounded, seconds=seconds)


def measured(known: dict[str, Masks], kept: Path) -> list[Row]:
    """Controls, and ours last."""
    kept.mkdir(parents=True, exist_ok=True)
    ours = {part: shapes(masks, kept / f"{part}.npy") for part, masks in known.items()}
    cells = {part: masks.cells for part, masks in known.items()}
    both = {part: np.concatenate([ours[part], cells[part]], axis=1) for part in known}
    count = ours["train"].shape[1]
    return [
        row("volume alone", linear, {p: m.volumes for p, m in known.items()}, known),
        row("voxels", voxel_machine, cells, known),
        row("shape functionals", linear, ours, known),
        row("shape functionals and voxels", partial(together, count), both, known),
    ]


def write(rows: list[Row], known: dict[str, Masks], folder: Path) -> None:
    """Write the page."""
    page = Report("features", "Features that tell something, measured", folder)
    page.made(without=("--adrenal", "--kept"))
    page.heading("Normal or hyperplastic, from the shape of an adrenal gland")
    sizes = ", ".join(f"{len(masks.labels):,} {part}" for part, masks in known.items())
    page.text(HEAD.format(sizes=sizes, folds=FOLDS, cells=CELLS, kept=KEPT))
    names = ("method", "numbers", f"AUC, {FOLDS} folds", "AUC, validation", "accuracy, validation")
    lines = [(r.method, r.numbers, r.auc_folds, r.auc_val, r.acc_val) for r in rows]
    page.table(names, lines)
    page.write(rows)


def _digest(*files: Path) -> str:
    content = b"".join(file.read_bytes() for file in files)
    return hashlib.sha256(content).hexdigest()[:16]


def main() -> None:
    """Measure, and write the page or one JSON object of what ours says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--adrenal", type=Path, metavar="NPZ")
    parser.add_argument("--json", action="store_true", help="print, and write no page")
    parser.add_argument("--kept", type=Path, default=Path("build/features"), help="what is kept")
    parser.add_argument("--output", type=Path, default=MEASURED)
    options = parser.parse_args()
    if options.adrenal is None:
        raise SystemExit("--adrenal must name adrenalmnist3d_64.npz, or a part of it")
    torch.set_num_threads(1)
    known = parts(options.adrenal)
    rows = measured(known, options.kept / _digest(options.adrenal, Path(shape.__file__)))
    if options.json:
        scores = {f"{kind}_{part}": getattr(rows[-1], f"{kind}_{part}")
                  for part in PARTS[1:] if part in known for kind in ("auc", "acc")}  # fmt: skip
        print(json.dumps(scores))
    else:
        write(rows, known, options.output)


if __name__ == "__main__":
    main()
