"""What was measured, as dataclass instances in a CSV, so that a broken-off run goes on."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

Row = TypeVar("Row")


def read_rows(path: Path, kind: Callable[..., Row]) -> list[Row]:
    """Read the dataclass instances of ``kind`` that a CSV holds; none where there is no file."""
    if not path.is_file():
        return []
    kinds = get_type_hints(kind)
    with path.open(newline="") as file:
        return [
            kind(**{name: _value(text, kinds[name]) for name, text in line.items()})
            for line in csv.DictReader(file)
        ]


def _value(text: str, kind: Any) -> Any:  # noqa: ANN401
    # What a cell holds, its field being a kind, or that or None.
    one, *other = get_args(kind) or (kind,)
    return None if other and not text else one(text)


def write_rows(path: Path, rows: Sequence[Any]) -> None:
    """Write dataclass instances of one kind as a CSV with their fields for columns."""
    path.unlink(missing_ok=True)
    for row in rows:
        append_row(path, row)


def append_row(path: Path, row: Any) -> None:  # noqa: ANN401
    """Add a dataclass instance to a CSV, which begins with the names of its fields."""
    new = not path.is_file()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(row)], lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(asdict(row))
