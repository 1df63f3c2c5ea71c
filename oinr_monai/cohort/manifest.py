"""Whose scans a cohort holds: a table, a pattern of file names, or a table from elsewhere."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

from oinr_monai.images.notes import note

from .bids import Derivative, find_scans
from .remote import is_url, name_of, urls_of

__all__ = ["Subject", "find_images", "read_dataset", "read_manifest"]

# Columns that hold paths, relative to the table.
PATHS = ("image", "mask", "labels")

# What people call these columns.
ALSO = {
    "subject": ("subject", "subject_id", "participant_id", "participant", "id", "name"),
    "image": ("image", "path", "file", "filename", "scan"),
    "mask": ("mask",),
    "labels": ("labels", "segmentation"),
    "series": ("series", "series_uid"),
}

DELIMITERS = ",;\t"

# What stands between the files of a cell that names several.
BETWEEN = "|"


@dataclass(frozen=True)
class Subject:
    """One scan of a cohort, and what belongs to it.

    Args:
        name: what its files are called.
        image: its image.
        mask: voxels that count; all if None.
        labels: its label map.
        series: UID of its series, where its image is a DICOM folder that holds several.
        others: further columns, as they stand in the table.
        more: further images of it, as stacks that cross.
        more_masks: a mask for each of these.
        scan: what a BIDS dataset says of it, if it comes from one.
        remote: URLs of those of "image", "mask" and "labels" that lie elsewhere; of the path only
            the name counts then.

    Raises:
        ValueError: if the name cannot be that of a file.
    """

    name: str
    image: Path
    mask: Path | None = None
    labels: Path | None = None
    series: str | None = None
    others: Mapping[str, str] = field(default_factory=dict)
    more: tuple[Path, ...] = ()
    more_masks: tuple[Path, ...] = ()
    scan: Derivative | None = None
    remote: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.name or self.name.startswith(".") or set(self.name) & set("/\\"):
            raise ValueError(f"the subject must be able to name a file, got {self.name!r}")

    def files(self) -> list[Path]:
        """Everything that is read of it and lies on this machine."""
        own = [getattr(self, name) for name in PATHS if name not in self.remote]
        return [*(each for each in own if each is not None), *self.more, *self.more_masks]

    def place(self, word: str) -> str:
        """Path of what is made of it in the folder of results, without ending.

        Args:
            word: for what is done.
        """
        return self.name if self.scan is None else self.scan.place(word)


def read_manifest(path: Path) -> list[Subject]:
    r"""The subjects of a table, each once.

    Columns are told by their names, in any case: ``subject`` (or ``participant_id``, ``id``,
    ``name``), ``image`` (or ``path``, ``file``), and, if there are, ``mask``, ``labels`` and
    ``series``; all others are kept as they stand. They may be separated by commas, semicolons or
    tabs; several images of a subject, or masks, by ``|``. What was read into the table is said as
    an :class:`~oinr_monai.images.notes.ImageNote`.

    Args:
        path: the table; paths in it are relative to its folder, or URLs that fsspec knows, such as
            ``s3://bucket/a.nii.gz``.

    Raises:
        ValueError: if columns are missing, a row is not whole, or a subject occurs twice or cannot
            name a file; the message names the file and the line.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     table = Path(folder, "scans.csv")
        ...     _ = table.write_text("subject,image,age\na,a.nii.gz,31\n")
        ...     [(each.name, each.image.name, each.others) for each in read_manifest(table)]
        [('a', 'a.nii.gz', {'age': '31'})]
    """
    names, rows = _rows(path)
    columns = _columns(path, names)
    subjects = [_subject(path, line, row, columns) for line, row in rows]
    check_apart(path, subjects)
    return subjects


def find_images(pattern: str, folder: Path | None = None) -> list[Subject]:
    """The images that a pattern such as ``scans/*/t1.nii.gz`` or ``s3://bucket/*.nii`` finds.

    Each is named after the parts of its path that differ from one to the other.

    Raises:
        ValueError: if there is none, or two would have one name.
    """
    if is_url(pattern):
        urls = urls_of(pattern)
        found = [Path(url.partition("://")[2]) for url in urls]
    else:
        urls, folder = [], folder or Path()
        found = sorted(_absolute(pattern) if Path(pattern).is_absolute() else folder.glob(pattern))
    if not found:
        raise ValueError(f"{pattern}: must match a file, got none; quote it for the shell")
    remote: list[dict[str, str]] = [{"image": url} for url in urls] or [{} for _ in found]
    subjects = [
        Subject(name, each, remote=elsewhere)
        for name, each, elsewhere in zip(_names(found), found, remote, strict=True)
    ]
    check_apart(Path(pattern), subjects)
    return subjects


def read_dataset(
    dataset: Path, where: Mapping[str, str], *, together: bool = False
) -> list[Subject]:
    """The scans of a BIDS dataset for which something holds; sessions and runs are subjects.

    Args:
        dataset: its root.
        where: entities, "suffix" or "datatype", and what they must be.
        together: those of a session that differ in ``acq``, ``dir`` or ``run`` alone are stacks of
            one subject.

    Raises:
        ValueError: if there is no such scan, or scans of several kinds.
    """
    return [
        Subject(scan.name, images[0], more=tuple(images[1:]), scan=scan)
        for scan, images in find_scans(dataset, where, together=together)
    ]


def check_apart(path: Path, subjects: Sequence[Subject]) -> None:
    """Raise ValueError if two subjects would write the same file, on any file system."""
    known: set[str] = set()
    for each in subjects:
        name = unicodedata.normalize("NFC", each.name).casefold()
        if name in known:
            raise ValueError(f"{path}: each subject must occur once, got {each.name!r} again")
        known.add(name)


def _rows(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str | None]]]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: must be a table in UTF-8, got {error}") from error
    first = text.partition("\n")[0]
    delimiter = max(DELIMITERS, key=first.count)
    if first.count(delimiter) and delimiter != ",":
        note(path, f"columns separated by {'tabs' if delimiter == chr(9) else 'semicolons'}")
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        names = [name.strip() for name in reader.fieldnames or ()]
        reader.fieldnames = names
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise ValueError(f"{path}: must be a table in UTF-8, got {error}") from error
    if not rows:
        found = ", ".join(map(repr, names)) or "nothing"
        raise ValueError(
            f"{path}: must have columns subject,image and at least one row, got {found}"
        )
    return names, rows


def _columns(path: Path, names: Sequence[str]) -> dict[str, str]:
    """The name in the table of each column that we know."""
    columns: dict[str, str] = {}
    for ours, theirs in ALSO.items():
        found = [name for known in theirs for name in names if name.casefold() == known]
        if found:
            columns[ours] = found[0]
            if found[0].casefold() != ours:
                note(path, f"column {found[0]!r} is taken for {ours}")
    missing = [name for name in ("subject", "image") if name not in columns]
    if missing:
        raise ValueError(
            f"{path}: must have columns subject,image, got {', '.join(map(repr, names))}"
        )
    return columns


def _subject(
    path: Path, line: int, row: Mapping[str, str | None], columns: Mapping[str, str]
) -> Subject:
    known = {ours: (row.get(theirs) or "").strip() for ours, theirs in columns.items()}
    name, image = known["subject"], known["image"]
    if not name or not image.strip(f"{BETWEEN} "):
        raise ValueError(f"{path}: line {line} must have a subject and an image")
    others = {
        key: (value or "").strip()
        for key, value in row.items()
        if isinstance(key, str) and key not in columns.values()
    }
    urls = {each: known[each] for each in PATHS if is_url(known.get(each, ""))}
    try:
        files = {each: _paths(path.parent, known.get(each, "")) for each in PATHS}
        masks = files["mask"]
        return Subject(
            name,
            files["image"][0],
            masks[0] if masks else None,
            next(iter(files["labels"]), None),
            known.get("series") or None,
            others,
            files["image"][1:],
            masks[1:],
            remote=urls,
        )
    except ValueError as error:
        raise ValueError(f"{path}: line {line}: {error}") from error


def _paths(folder: Path, cell: str) -> tuple[Path, ...]:
    if is_url(cell):
        if BETWEEN in cell:
            raise ValueError(f"files elsewhere must be one a cell, got {cell!r}")
        return (name_of(cell),)
    return tuple(folder / each.strip() for each in cell.split(BETWEEN) if each.strip())


def _absolute(pattern: str) -> Iterator[Path]:
    anchor = Path(pattern).anchor
    return iter(Path(anchor).glob(str(Path(pattern).relative_to(anchor))))


def _names(paths: Sequence[Path]) -> list[str]:
    """A name for each path, of the parts that differ; of the file alone where those do."""
    parts = [(*path.parent.parts, _stem(path)) for path in paths]
    depth = min(map(len, parts))
    ends = [each[-depth:] for each in parts]
    varying = [d for d in range(depth) if len({each[d] for each in ends}) > 1] or [depth - 1]
    for count in range(1, len(varying) + 1):
        for chosen in combinations(reversed(varying), count):
            names = ["_".join(each[d] for d in sorted(chosen)) for each in ends]
            if len({name.casefold() for name in names}) == len(names):
                return names
    return ["_".join(each) for each in ends]


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").rpartition(".")[0] or path.name
