"""Tables that people write: CSV files with a line of names."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

__all__ = ["read_rows"]


def read_rows(path: Path, columns: Sequence[str]) -> list[dict[str, str | None]]:
    """The rows of a CSV file by their columns; what a short row lacks is None.

    Args:
        path: the file.
        columns: those that it must have.

    Raises:
        ValueError: if the file is no CSV in UTF-8, lacks a column or has no rows; the message names
            the file and what is found.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        try:
            reader = csv.DictReader(file)
            names, rows = list(reader.fieldnames or ()), list(reader)
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: must be a CSV file in UTF-8, got {error}") from error
    missing = [name for name in columns if name not in names]
    if missing or not rows:
        found = f"{len(rows)} rows of {', '.join(map(repr, names)) or 'nothing'}"
        raise ValueError(
            f"{path}: must have columns {','.join(columns)} separated by commas, and at least one"
            f" row, got {found}"
        )
    return rows
