"""Many scans, one task: each once, whatever ends in between."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from oinr_monai.grids.checks import check_one_of

from .digests import digest_of_files, digest_of_work
from .engine import Engine, LocalEngine
from .manifest import Subject, check_apart, find_images, read_manifest
from .status import NUMBERS, Row, read_status, write_status
from .task import FAILURES, Task

__all__ = ["Cohort"]

# How the names of tables end; everything else that is no file is a pattern.
TABLES = (".csv", ".tsv", ".txt")

# Seconds between two writings of the table, at least.
PAUSE = 1.0


@dataclass(frozen=True)
class Work:
    """A task on subjects that go together, as it travels to what works on it.

    Args:
        task: what is to be done.
        subjects: with what, by the file to write.
        known: what is known of results that may be there already, by subject.
    """

    task: Task
    subjects: dict[Path, Subject]
    known: dict[str, Row]


def done(work: Work) -> list[Row]:
    """Do the work, unless its results are there already; the row of each subject."""
    keys: dict[Path, str] = {}
    rows: dict[Path, Row] = {}
    for output, subject in work.subjects.items():
        try:
            keys[output] = digest_of_work(subject.files(), _settings(work, subject))
        except FAILURES as error:
            rows[output] = _failed(subject, error)
    known = {o: work.known.get(work.subjects[o].name, Row("")) for o in keys}
    there = {o for o, row in known.items() if _is_there(o, row, keys[o])}
    if there != keys.keys():
        # All that go together, so that each has the bits that it would have in a run of its own.
        rows |= _made(work, keys)
    rows |= {o: replace(known[o], status="skipped", message="") for o in there}
    return [rows[output] for output in work.subjects]


def _made(work: Work, keys: Mapping[Path, str]) -> dict[Path, Row]:
    started, rows = time.monotonic(), {}
    together = {output: work.subjects[output] for output in keys}
    for output, found in work.task.make_all(together):
        subject = together[output]
        if isinstance(found, Exception):
            rows[output] = _failed(subject, found)
            continue
        scores: dict[str, Any] = {name: found.get(name) for name in NUMBERS}
        result = digest_of_files([output])
        rows[output] = Row(subject.name, "done", **scores, key=keys[output], result=result)
    seconds = (time.monotonic() - started) / len(together)
    return {output: replace(row, seconds=seconds) for output, row in rows.items()}


def _failed(subject: Subject, error: Exception) -> Row:
    return Row(subject.name, "failed", message=" ".join(_message(error).split()))


def _settings(work: Work, subject: Subject) -> dict[str, Any]:
    return {**work.task.settings(), "series": subject.series}


def _is_there(output: Path, known: Row, key: str) -> bool:
    # A file that was damaged or replaced since is made anew.
    return known.key == key and output.is_file() and digest_of_files([output]) == known.result


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error) or type(error).__name__


@dataclass(frozen=True)
class Cohort:
    """Scans of many subjects.

    Args:
        subjects: each of another name.

    Raises:
        ValueError: if there is none, or two have one name.

    Example:
        >>> import tempfile
        >>> from monai.data import MetaTensor
        >>> import torch
        >>> from oinr_monai.cohort import FitTask
        >>> from oinr_monai.images.files import write_image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in "ab":
        ...         scan = MetaTensor(torch.rand(1, 5, 6, 7), affine=torch.eye(4))
        ...         write_image(f"{folder}/{name}.nii", scan)
        ...     cohort = Cohort.of(f"{folder}/*.nii")
        ...     [row.status for row in cohort.map(FitTask(), Path(folder, "fits"))]
        ['done', 'done']
    """

    subjects: tuple[Subject, ...]

    def __post_init__(self) -> None:
        if not self.subjects:
            raise ValueError("subjects must be one or more, got none")
        check_apart(Path("subjects"), self.subjects)

    @classmethod
    def of(cls, source: str | Path) -> Cohort:
        """The cohort that a table names, or that a pattern such as ``scans/*/t1.nii.gz`` finds."""
        path = Path(source)
        is_table = path.suffix.lower() in TABLES or path.is_file()
        found = read_manifest(path) if is_table else find_images(str(source))
        return cls(tuple(found))

    def shard(self, index: int, count: int) -> Cohort:
        """Every ``count``-th subject from the ``index``-th on, counted from 1.

        Raises:
            ValueError: if there is no such part, or nothing in it.
        """
        check_one_of("index", index, range(1, count + 1))
        return Cohort(self.subjects[index - 1 :: count])

    def map(
        self,
        task: Task,
        output: Path,
        engine: Engine | None = None,
        *,
        table: str = "status.csv",
        progress: bool = False,
    ) -> list[Row]:
        """Do a task on each subject, and write what became of each to a table.

        What is there already, of the same inputs by the same settings, is not made again. An
        interrupt (Ctrl-C) ends the run after what is whole; the rest stays "waiting".

        Args:
            task: what is to be done.
            output: folder of the results, SUBJECT and the task's suffix each; made if missing.
            engine: what runs it; this process if None.
            table: name of the table in that folder.
            progress: show a bar on stderr.

        Returns:
            A row for each subject, in their order.

        Raises:
            OSError: if the table cannot be written.
            KeyboardInterrupt: if it was interrupted, once the table is written.
        """
        output.mkdir(parents=True, exist_ok=True)
        known = _known(output)
        works = [
            Work(
                task,
                {output / f"{each.name}{task.suffix}": each for each in together},
                {each.name: known[each.name] for each in together if each.name in known},
            )
            for together in task.groups(self.subjects)
        ]
        ledger = _Ledger(output / table, self.subjects, known)
        try:
            for each in _shown((engine or LocalEngine()).run(done, works), len(works), progress):
                lost = (
                    Row(subject.name, "failed", message=each.reason)
                    for subject in each.job.subjects.values()
                )
                ledger.note(each.result or lost)
        finally:
            ledger.write()
        return list(ledger.rows.values())


class _Ledger:
    """The table, as it fills."""

    def __init__(self, path: Path, subjects: Sequence[Subject], known: Mapping[str, Row]) -> None:
        # What is known stays known, should this run end before it comes to it.
        before = {each.name: known.get(each.name, Row(each.name)) for each in subjects}
        self.rows = {name: replace(row, status="waiting") for name, row in before.items()}
        self.path, self._next = path, 0.0

    def note(self, rows: Iterable[Row]) -> None:
        """Take rows; the table is written once in a while, and a full disk costs no result."""
        self.rows |= {row.subject: row for row in rows}
        if time.monotonic() >= self._next:
            with suppress(OSError):
                self.write()
            self._next = time.monotonic() + PAUSE

    def write(self) -> None:
        """Write it."""
        write_status(self.path, self.rows.values())


def _known(output: Path) -> dict[str, Row]:
    # A table that somebody broke tells nothing, and all is made anew.
    try:
        return read_status(output)
    except (OSError, ValueError):
        return {}


def _shown(ended: Iterable[Any], count: int, progress: bool) -> Iterable[Any]:
    if not progress:
        return ended
    from tqdm import tqdm

    return tqdm(ended, total=count, unit="scan")
