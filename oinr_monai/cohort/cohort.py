"""Many scans, one task: each once, whatever ends in between."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from oinr_monai.grids.checks import check_one_of
from oinr_monai.images.scratch import sweep
from oinr_monai.representation.info import Info

from .bids import is_dataset, write_description, write_sidecar
from .digests import digest_of_files, digest_of_work
from .engine import Engine, LocalEngine
from .manifest import Subject, check_apart, find_images, read_dataset, read_manifest
from .remote import at_hand, is_url, marks_of
from .status import NUMBERS, TABLES, Row, read_status, write_status
from .task import Task

__all__ = ["Cohort"]

# How the names of manifests end; everything else that is no file is a pattern.
MANIFESTS = (".csv", ".tsv", ".txt")

# Seconds between two writings of the table, at least, and in times of what the last one took.
PAUSE, SHARE = 1.0, 20.0


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
        except Exception as error:  # whatever is wrong with one, the others go on
            rows[output] = _failed(subject, error)
    known = {o: work.known.get(work.subjects[o].name, Row("")) for o in keys}
    there = {o for o, row in known.items() if row.key == keys[o] and _is_there(work, o, row)}
    if there != keys.keys():
        # All that go together, so that each has the bits that it would have in a run of its own.
        rows |= _made(work, keys)
    rows |= {o: replace(known[o], status="skipped", message="") for o in there}
    return [rows[output] for output in work.subjects]


def _made(work: Work, keys: Mapping[Path, str]) -> dict[Path, Row]:
    started, rows = time.monotonic(), {}
    together = {output: work.subjects[output] for output in keys}
    for output in together:
        output.parent.mkdir(parents=True, exist_ok=True)
    for output, found in _results(work, together):
        subject = together[output]
        if isinstance(found, Exception):
            rows[output] = _failed(subject, found)
            continue
        scores: dict[str, Any] = {name: found.get(name) for name in NUMBERS}
        try:
            result = _result(work, output)
        except OSError as error:
            rows[output] = _failed(subject, error)
            continue
        rows[output] = Row(subject.name, "done", **scores, key=keys[output], result=result)
    seconds, ended = (time.monotonic() - started) / len(together), time.time()
    return {o: replace(row, seconds=seconds, ended=ended) for o, row in rows.items()}


def _results(
    work: Work, together: Mapping[Path, Subject]
) -> Iterator[tuple[Path, Info | Exception]]:
    """What comes of each, where those that lie elsewhere are brought here one at a time."""
    here = {output: subject for output, subject in together.items() if not subject.remote}
    if here:
        yield from work.task.make_all(here)
    for output in together.keys() - here.keys():
        try:
            with at_hand(together[output]) as subject:
                yield from work.task.make_all({output: subject})
        except Exception as error:
            yield output, error


def _result(work: Work, output: Path) -> str:
    """The digest of a result, whose sidecar is written, if it is to have one."""
    subject = work.subjects[output]
    files = work.task.outputs(output, subject)
    if subject.scan is not None and files[-1].suffix == ".json":
        write_sidecar(files[-1], subject.scan, work.task.settings())
    return digest_of_files(files)


def _failed(subject: Subject, error: Exception) -> Row:
    message = " ".join(_message(error).split())
    return Row(subject.name, "failed", message=message, ended=time.time())


def _settings(work: Work, subject: Subject) -> dict[str, Any]:
    own = {"series": subject.series} | ({"scan": asdict(subject.scan)} if subject.scan else {})
    elsewhere = {"remote": marks_of(subject.remote)} if subject.remote else {}
    return work.task.settings() | own | elsewhere


def _is_there(work: Work, output: Path, known: Row) -> bool:
    # A file that was damaged or replaced since is made anew.
    files = work.task.outputs(output, work.subjects[output])
    return all(each.is_file() for each in files) and digest_of_files(files) == known.result


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    kind = type(error).__name__
    told = isinstance(error, ValueError | OSError | RuntimeError) and str(error)
    return told or f"{kind}: {error}".removesuffix(": ")


@dataclass(frozen=True)
class Cohort:
    """Scans of many subjects.

    Args:
        subjects: each of another name.
        dataset: root of the BIDS dataset that they come from, if they do; what is made of them is a
            dataset of derivatives then.

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
    dataset: Path | None = None

    def __post_init__(self) -> None:
        if not self.subjects:
            raise ValueError("subjects must be one or more, got none")
        check_apart(Path("subjects"), self.subjects)

    @classmethod
    def of(
        cls, source: str | Path, where: Mapping[str, str] | None = None, *, together: bool = False
    ) -> Cohort:
        """The cohort of a table, a BIDS dataset, or a pattern such as ``scans/*/t1.nii.gz``.

        Images may lie wherever fsspec reaches, such as ``s3://bucket/*/t1.nii.gz``; each is brought
        to what works on it, for as long as that takes.

        Args:
            source: the table, the root of the dataset, or the pattern.
            where: of a dataset, entities, "suffix" or "datatype" and what they must be, such as
                ``{"suffix": "T1w"}``.
            together: of a dataset, the scans of a session that differ in ``acq``, ``dir`` or
                ``run`` alone are stacks of one subject.

        Raises:
            ValueError: if it holds no such scan, or is not whole.
        """
        path = Path(source)
        if is_dataset(path):
            return cls(tuple(read_dataset(path, where or {}, together=together)), path)
        if where:
            raise ValueError(f"where must go with a BIDS dataset, got {path}, which is none")
        is_table = not is_url(str(source)) and (path.suffix.lower() in MANIFESTS or path.is_file())
        found = read_manifest(path) if is_table else find_images(str(source))
        return cls(tuple(found))

    def shard(self, index: int, count: int) -> Cohort:
        """Every ``count``-th subject from the ``index``-th on, counted from 1.

        Raises:
            ValueError: if there is no such part, or nothing in it.
        """
        check_one_of("index", index, range(1, count + 1))
        return replace(self, subjects=self.subjects[index - 1 :: count])

    def places(self, task: Task, output: Path) -> dict[str, Path]:
        """Where the result of each subject goes in a folder, by its name."""
        return {each.name: output / (each.place(task.word) + task.suffix) for each in self.subjects}

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
            output: folder of the results, SUBJECT and the task's suffix each, or as BIDS has it if
                the scans come from a dataset; made if missing.
            engine: what runs it; this process if None.
            table: name of the table in that folder.
            progress: show a bar on stderr.

        Returns:
            A row for each subject, in their order.

        Raises:
            ValueError: if two subjects would write one file, or one the table.
            OSError: if the table cannot be written.
            KeyboardInterrupt: if it was interrupted, once the table is written.
        """
        places = self.places(task, output.absolute())
        _check_places(self.subjects, task, places)
        output.mkdir(parents=True, exist_ok=True)
        if self.dataset is not None:
            write_description(output, self.dataset, task.word)
        known = _known(output)
        works = [
            Work(
                task,
                {places[each.name]: _anywhere(each) for each in together},
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
            for each in {output, *(place.parent for place in places.values())}:
                sweep(each)  # of what a process that was lost left half done
            ledger.write()
        return list(ledger.rows.values())


def _check_places(subjects: Iterable[Subject], task: Task, places: Mapping[str, Path]) -> None:
    """Raise where two subjects would write one file, or one a table of status."""
    owners: dict[str, str] = {}
    for each in subjects:
        for path in task.outputs(places[each.name], each):
            name = owners.setdefault(str(path).casefold(), each.name)
            if name != each.name or path.match(TABLES):
                raise ValueError(
                    f"subjects must write files of their own, got {path.name} of {each.name!r};"
                    " rename it"
                )


def _anywhere(subject: Subject) -> Subject:
    """The subject as it is told to a process that may be in another folder."""
    return replace(
        subject,
        image=subject.image.absolute(),
        mask=subject.mask and subject.mask.absolute(),
        labels=subject.labels and subject.labels.absolute(),
        more=tuple(each.absolute() for each in subject.more),
        more_masks=tuple(each.absolute() for each in subject.more_masks),
    )


class _Ledger:
    """The table, as it fills."""

    def __init__(self, path: Path, subjects: Sequence[Subject], known: Mapping[str, Row]) -> None:
        # What is known stays known, should this run end before it comes to it.
        before = {each.name: known.get(each.name, Row(each.name)) for each in subjects}
        self.rows = {name: replace(row, status="waiting") for name, row in before.items()}
        self.path, self._next = path, 0.0
        self._lock = threading.RLock()
        self._later: threading.Timer | None = None

    def note(self, rows: Iterable[Row]) -> None:
        """Take rows; the table is written now or soon, and a full disk costs no result."""
        with self._lock:
            self.rows |= {row.subject: row for row in rows}
            pause = self._next - time.monotonic()
            if pause <= 0:
                self._try()
            elif self._later is None:
                self._later = threading.Timer(pause, self._try)
                self._later.daemon = True
                self._later.start()

    def write(self) -> None:
        """Write it now."""
        with self._lock:
            if self._later is not None:
                self._later.cancel()
                self._later = None
            started = time.monotonic()
            write_status(self.path, self.rows.values())
            ended = time.monotonic()
            self._next = ended + max(PAUSE, SHARE * (ended - started))

    def _try(self) -> None:
        with suppress(OSError):
            self.write()


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
