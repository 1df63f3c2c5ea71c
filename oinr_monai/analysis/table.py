"""Tables of features: named columns of numbers, and what each row is of."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from oinr_monai.images.replacing import replacing

__all__ = ["TABLE_SUFFIXES", "FeatureTable"]

TABLE_SUFFIXES = (".csv", ".npz", ".parquet")


@dataclass(frozen=True)
class FeatureTable:
    """Numbers with named columns.

    Args:
        kind: what the rows are of; the heading of the first column.
        rows: name or number of each row.
        columns: name of each column.
        values: numbers (rows, columns).

    Raises:
        ValueError: if the numbers are not as many as the names.

    Example:
        >>> table = FeatureTable("label", [1, 2], ["voxels"], np.array([[8.0], [5.0]]))
        >>> table["voxels"].tolist()
        [8.0, 5.0]
    """

    kind: str
    rows: Sequence[int | str]
    columns: Sequence[str]
    values: NDArray[np.floating]

    def __post_init__(self) -> None:
        wanted = (len(self.rows), len(self.columns))
        if self.values.shape != wanted:
            raise ValueError(f"values must have shape {wanted}, got {self.values.shape}")

    def __getitem__(self, column: str) -> NDArray[np.floating]:
        """The numbers (rows,) of one column."""
        return self.values[:, list(self.columns).index(column)]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a .csv file with a heading, a .parquet file, or an .npz file.

        That holds ``values``, ``columns`` and ``rows``; the others begin with a column of the rows.

        Raises:
            ValueError: if the file's ending is another, or nothing installed writes Parquet.
        """
        path = Path(path)
        suffix = path.suffix.lower()
        if suffix not in TABLE_SUFFIXES:
            raise ValueError(f"path must end in {' or '.join(TABLE_SUFFIXES)}, got {path}")
        with replacing(path) as temporary:
            if suffix == ".npz":
                columns, rows = np.asarray(self.columns), np.asarray(self.rows)
                np.savez_compressed(temporary, values=self.values, columns=columns, rows=rows)
            elif suffix == ".parquet":
                self._write_parquet(temporary)
            else:
                self._write_csv(temporary)

    def beside(self, other: FeatureTable) -> FeatureTable:
        """This table with the columns of another that it lacks, of the rows that it has.

        Example:
            >>> small = FeatureTable("label", [2], ["voxels"], np.array([[5.0]]))
            >>> large = FeatureTable("label", [1, 2], ["area_mm2"], np.array([[8.0], [9.0]]))
            >>> small.beside(large).values.tolist()
            [[5.0, 9.0]]
        """
        new = [name for name in other.columns if name not in self.columns]
        rows = [list(other.rows).index(row) for row in self.rows]
        added = np.stack([other[name][rows] for name in new], axis=1) if new else self.values[:, :0]
        values = np.concatenate([self.values, added], axis=1)
        return FeatureTable(self.kind, self.rows, [*self.columns, *new], values)

    def _write_parquet(self, path: Path) -> None:
        try:
            import pyarrow as pa
            from pyarrow.parquet import write_table
        except ImportError as error:
            raise ValueError("Parquet needs `pip install oinr-monai[parquet]`") from error
        columns = {
            self.kind: list(self.rows),
            **dict(zip(self.columns, self.values.T, strict=True)),
        }
        write_table(pa.table(columns), path)

    def _write_csv(self, path: Path) -> None:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow([self.kind, *self.columns])
            for row, numbers in zip(self.rows, self.values.tolist(), strict=True):
                writer.writerow([row, *map(_told, numbers)])


def _told(number: float) -> str:
    """A number to nine digits, and to four decimals where it has more before the point."""
    before = len(f"{abs(number):.0f}") if math.isfinite(number) else 0
    return f"{number:.{max(9, before + 4)}g}"
