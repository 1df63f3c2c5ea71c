"""Commands on many representations: their weights as a table, and classes told from them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .console import about, show
from .options import Json, Output
from .outputs import check_output
from .tables import read_rows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from sklearn.pipeline import Pipeline


__all__ = ["classify", "cohort_features"]

Start = Annotated[
    Path | None,
    typer.Option(metavar="START.oinr", help="What all started from; differences from it count."),
]
Representations = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Folder of SUBJECT.oinr files; the manifest's.")
]


def cohort_features(
    source: Annotated[
        Path, typer.Argument(metavar="DIR|MANIFEST", help="Folder of .oinr files, or a table.")
    ],
    output: Output,
    representations: Representations = None,
    start: Start = None,
    as_json: Json = False,
) -> None:
    """Write the fitted weights of many representations, a row for each."""
    from oinr_monai.analysis.table import TABLE_SUFFIXES, FeatureTable

    check_output(output, TABLE_SUFFIXES)
    if source.is_dir():
        files = {path.stem: path for path in sorted(source.glob("*.oinr"))}
        if not files:
            raise ValueError(f"{source}: must hold .oinr files, got none; write them by `oinr fit`")
    else:
        files = _files(source, _rows(source), representations)
    values, columns = _weights(list(files.values()), start)
    FeatureTable("subject", list(files), columns, values).save(output)
    rows, width = values.shape
    show({"output": str(output), "representations": rows, "weights": width}, as_json)


def classify(
    manifest: Annotated[
        Path, typer.Argument(metavar="MANIFEST.csv", help="Table with a row for each subject.")
    ],
    label: Annotated[str, typer.Option(metavar="COLUMN", help="Column of the classes.")],
    representations: Representations = None,
    classifier: Annotated[
        Literal["knn", "linear", "mlp"],
        typer.Option(help="Neighbours, logistic regression or a small network."),
    ] = "knn",
    folds: Annotated[int, typer.Option(min=2, metavar="N", help="Folds.")] = 5,
    start: Start = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of the folds.")] = 0,
    as_json: Json = False,
) -> None:
    """Tell classes from fitted weights: accuracy by cross-validation, and by mere guessing."""
    rows = _rows(manifest)
    if label not in rows[0]:
        raise ValueError(f"{manifest}: --label must be among {', '.join(rows[0])}, got {label!r}")
    files = _files(manifest, rows, representations)
    values, _ = _weights(list(files.values()), start)
    from oinr_monai.analysis.classification import cross_validate

    with about(manifest):
        chosen = _classifier(classifier, len(rows), folds)
        found = cross_validate(values, [row[label] or "" for row in rows], chosen, folds, seed)
    result = {
        "classifier": classifier,
        "accuracy": found.accuracy,
        "majority": found.majority,
        "folds": found.folds,
        "classes": found.classes,
        "representations": len(rows),
        "weights": values.shape[1],
    }
    show(result, as_json)


def _classifier(name: str, rows: int, folds: int) -> Pipeline:
    from oinr_monai.analysis import classification

    if name == "linear":
        return classification.logistic_regression()
    if name == "mlp":
        return classification.perceptron()
    # The largest fold leaves so many rows to count among.
    return classification.nearest_neighbours(min(10, rows - math.ceil(rows / folds)))


def _rows(manifest: Path) -> list[dict[str, str | None]]:
    rows = read_rows(manifest, ("subject",))
    subjects = [row["subject"] for row in rows]
    if len(set(subjects)) < len(subjects):
        raise ValueError(f"{manifest}: every subject must have one row, got several for one")
    return rows


def _files(
    manifest: Path, rows: list[dict[str, str | None]], folder: Path | None
) -> dict[str, Path]:
    folder = folder or manifest.parent
    return {str(row["subject"]): folder / f"{row['subject']}.oinr" for row in rows}


def _weights(paths: list[Path], start: Path | None) -> tuple[NDArray[np.float32], list[str]]:
    """The matrix (n, P), and what its columns are."""
    from oinr_monai.analysis.weight_vectors import WeightVectors, weight_names
    from oinr_monai.representation.representation import Representation

    values = WeightVectors(start).fit_transform(paths)
    return values, weight_names(Representation.load(paths[0]))
