"""What became of each subject: a table that is written again and again, and read by people."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from oinr_monai.images.replacing import replacing

__all__ = ["Row", "Summary", "read_status", "read_table", "summary", "write_status"]

State = Literal["waiting", "done", "skipped", "failed"]

# How far from the others an outlier lies, in their median distance; 3.5 of a normal one's sigma.
FAR = 3.5 / 0.6745

# And by which part of the median, lest subjects that are all alike have outliers.
APART = 0.05

# Names of tables, which no result may have.
TABLES = "status*.csv"

# Subjects from which on it is said that one is unlike the others.
FEW = 8


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Args:
        subject: name of the subject.
        status: what became of it.
        psnr_grid: PSNR on the voxels in dB, of a fit.
        psnr_between: PSNR between them.
        steps: steps that were taken.
        seconds: seconds that it took.
        message: why it failed.
        key: digest of inputs and settings.
        result: digest of the files that were written.
        ended: when it ended, in seconds since 1970.
    """

    subject: str
    status: State = "waiting"
    psnr_grid: float | None = None
    psnr_between: float | None = None
    steps: int | None = None
    seconds: float | None = None
    message: str = ""
    key: str = ""
    result: str = ""
    ended: float | None = None

    @classmethod
    def read(cls, cells: Mapping[str, str | None]) -> Row:
        """The row that these cells are; what they do not say is left out."""
        numbers = {name: _number(cells.get(name)) for name in (*NUMBERS, "ended")}
        steps = numbers.pop("steps")
        state: Any = cells.get("status")
        return cls(
            subject=cells.get("subject") or "",
            status=state if state in ("waiting", "done", "skipped", "failed") else "failed",
            steps=None if steps is None else int(steps),
            message=cells.get("message") or "",
            key=cells.get("key") or "",
            result=cells.get("result") or "",
            **numbers,
        )

    def cells(self) -> dict[str, Any]:
        """What stands in the table."""
        return {
            name: f"{value:.4f}" if isinstance(value, float) else value
            for name, value in asdict(self).items()
        }


NUMBERS = ("psnr_grid", "psnr_between", "steps", "seconds")


def write_status(path: Path, rows: Iterable[Row]) -> None:
    """Write the table, complete or not at all.

    Raises:
        OSError: if it cannot be written.
    """
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [each.name for each in fields(Row)])
        writer.writeheader()
        writer.writerows(row.cells() for row in rows)


def read_table(path: Path) -> list[Row]:
    """The rows of one table.

    Raises:
        ValueError: if it cannot be read.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [Row.read(cells) for cells in csv.DictReader(file)]
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: must be a table in UTF-8, got {error}") from error


def read_status(folder: Path) -> dict[str, Row]:
    """The rows of all tables in a folder, by subject; of several, that of the newest table.

    Raises:
        ValueError: if a table cannot be read.
    """
    rows: dict[str, Row] = {}
    for path in sorted(folder.glob(TABLES), key=lambda path: (path.stat().st_mtime_ns, path.name)):
        rows |= {row.subject: row for row in read_table(path)}
    return rows


@dataclass(frozen=True)
class Summary:
    """A cohort at a glance.

    Args:
        counts: subjects of each status.
        seconds: median of what a subject took; None if none is known.
        failed: why each that failed did.
        outliers: what is unlike the others, and in what.
        rate: subjects an hour, of those that were worked on; None of fewer than two.
    """

    counts: dict[str, int]
    seconds: float | None
    failed: dict[str, str]
    outliers: dict[str, str]
    rate: float | None = None

    @property
    def seconds_left(self) -> float | None:
        """Until the subjects that wait are done, at this rate."""
        return None if self.rate is None else self.counts["waiting"] / self.rate * 3_600


def summary(rows: Sequence[Row]) -> Summary:
    """What the rows say together.

    Outliers lie farther from the median than 3.5 standard deviations would, estimated by the median
    distance (Iglewicz and Hoaglin, 1993).

    Example:
        >>> rows = [Row(str(i), "done", seconds=1.0 + 0.01 * i) for i in range(9)]
        >>> summary([*rows, Row("slow", "done", seconds=60.0)]).outliers
        {'slow': 'seconds 60'}
    """
    states = ("waiting", "done", "skipped", "failed")
    outliers: dict[str, str] = {}
    for name in ("psnr_grid", "psnr_between", "seconds"):
        known = {r.subject: v for r in rows if (v := getattr(r, name)) is not None}
        for subject in _far(known):
            outliers.setdefault(subject, f"{name} {known[subject]:.4g}")
    times = [row.seconds for row in rows if row.seconds is not None]
    return Summary(
        counts={each: sum(row.status == each for row in rows) for each in states},
        seconds=statistics.median(times) if times else None,
        failed={row.subject: row.message for row in rows if row.status == "failed"},
        outliers=outliers,
        rate=_rate(rows),
    )


def _rate(rows: Sequence[Row]) -> float | None:
    ends = [r.ended for r in rows if r.ended is not None and r.status in ("done", "failed")]
    passed = max(ends) - min(ends) if ends else 0.0
    return 3_600 * (len(ends) - 1) / passed if passed > 0 else None


def _far(values: Mapping[str, float]) -> list[str]:
    if len(values) < FEW:
        return []
    middle = statistics.median(values.values())
    spread = statistics.median(abs(value - middle) for value in values.values())
    least = max(FAR * spread, APART * abs(middle))
    return [name for name, value in values.items() if abs(value - middle) > least]


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
