"""DICOM files: found in folders of any depth, and told apart by their series."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .raw import reading

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.dataset import FileDataset

__all__ = ["is_dicom", "read_headers", "series_in"]

# What tells a series from another, and what a person chooses one by. No name, date or description.
_TOLD_BY = ["SeriesInstanceUID", "Modality", "Rows", "Columns", "NumberOfFrames", "SOPClassUID"]

# How a file without a preamble begins: with a group of identification, little endian or big.
_FIRST_GROUPS = (b"\x02\x00", b"\x08\x00", b"\x00\x08")

# More series than this are not listed one by one.
_LISTED = 8


def is_dicom(path: Path) -> bool:
    """Whether a file says that it is DICOM, whatever its name; old ones do without a preamble."""
    try:
        with path.open("rb") as file:
            start = file.read(132)
    except OSError:
        return False
    return start[128:] == b"DICM" or (start[:2] in _FIRST_GROUPS and _has_class(path))


def _has_class(path: Path) -> bool:
    import pydicom

    try:
        with quiet_pydicom():
            told = pydicom.dcmread(path, force=True, specific_tags=["SOPClassUID"])
    except Exception:  # whatever pydicom makes of a file of another kind
        return False
    return bool(told.get("SOPClassUID"))


def series_in(folder: Path, wanted: Sequence[str] = ()) -> list[Path]:
    """The files of the one series in a folder, or of the one that is among those wanted.

    Raises:
        ValueError: if there is no DICOM image, or not one series to choose; the message lists
            those there are.
    """
    found: dict[str, list[tuple[Path, Dataset]]] = {}
    for path, told in _images_in(folder):
        found.setdefault(str(told.get("SeriesInstanceUID", "")), []).append((path, told))
    if not found:
        raise ValueError(f"{folder}: the folder holds no DICOM image, at any depth; give another")
    chosen = [uid for uid in found if uid in wanted] if wanted else list(found)
    if len(chosen) != 1:
        listed = [_described(uid, found[uid]) for uid in sorted(found)[:_LISTED]]
        more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
        raise ValueError(
            f"{folder}: the folder holds {len(found)} DICOM series: {', '.join(listed)}{more};"
            f" choose one by --series UID{_missed(wanted, chosen)}"
        )
    return [path for path, _ in found[chosen[0]]]


def _missed(wanted: Sequence[str], chosen: Sequence[str]) -> str:
    if not wanted:
        return ""
    return f", got {', '.join(chosen or wanted)}"


def _described(uid: str, files: Sequence[tuple[Path, Dataset]]) -> str:
    first = files[0][1]
    images = sum(int(told.get("NumberOfFrames", 1) or 1) for _, told in files)
    kind, rows, columns = first.get("Modality", "?"), first.get("Rows"), first.get("Columns")
    return f"{uid or 'without UID'} ({kind}, {images} of {columns} x {rows})"


def _images_in(folder: Path) -> Iterator[tuple[Path, Dataset]]:
    import pydicom

    for path in _files_in(folder):
        if not (is_dicom(path) or path.suffix.lower() == ".dcm"):
            continue
        with reading(path, "DICOM"), quiet_pydicom():
            told = pydicom.dcmread(path, force=True, specific_tags=_TOLD_BY)
            if not told.get("SOPClassUID"):
                raise ValueError("it does not say what it holds")
        if "Rows" in told:
            yield path, told


def _files_in(folder: Path) -> Iterator[Path]:
    """All files at any depth in the order of their names, but for hidden ones."""
    been = set()
    for place, inner, names in os.walk(folder, followlinks=True, onerror=_refuse):
        been.add(os.path.realpath(place))
        inner[:] = sorted(
            name
            for name in inner
            if not name.startswith(".") and os.path.realpath(Path(place) / name) not in been
        )
        yield from (Path(place) / name for name in sorted(names) if not name.startswith("."))


def _refuse(error: OSError) -> None:
    raise error


def read_headers(paths: Sequence[Path], pixels: bool = False) -> list[Dataset]:
    """The data sets of files, with their pixels or without.

    Raises:
        ValueError: if one cannot be read, or holds no image.
    """
    import pydicom

    found: list[Dataset] = []
    for path in paths:
        with reading(path, "DICOM"), quiet_pydicom():
            dataset = pydicom.dcmread(path, force=True, stop_before_pixels=not pixels)
            if "Rows" not in dataset:
                raise ValueError("there is no image in it")
            _know_syntax(dataset)
        found.append(dataset)
    return found


def _know_syntax(dataset: FileDataset) -> None:
    """Say how a file without meta information was found to be written, for those that decode it."""
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    if "TransferSyntaxUID" in dataset.file_meta:
        return
    implicit, little = dataset.original_encoding
    explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Keep pydicom's remarks on sloppy files off the terminal: what matters here is checked."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pydicom")
        yield
