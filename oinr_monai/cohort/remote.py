"""Files that lie in object stores, or wherever else fsspec reaches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from oinr_monai.images.scratch import Scratch

if TYPE_CHECKING:
    from .manifest import Subject

__all__ = ["at_hand", "is_url", "marks_of", "name_of", "urls_of"]


def is_url(text: str) -> bool:
    """Whether a text names a file elsewhere, such as ``s3://bucket/t1.nii.gz``."""
    return "://" in text


def name_of(url: str) -> Path:
    """What the file of a URL is called."""
    return Path(PurePosixPath(url.partition("?")[0]).name)


def urls_of(pattern: str) -> list[str]:
    """The files that a pattern with a protocol finds, in the order of their names.

    Raises:
        ValueError: if the protocol is not known, or what it needs is not installed.
    """
    store, path = _store(pattern)
    return sorted(str(store.unstrip_protocol(each)) for each in store.glob(path))


def marks_of(remote: Mapping[str, str]) -> dict[str, str]:
    """What tells the files of URLs from later ones, without reading them: sizes, times, ETags."""
    found = {name: _store(url) for name, url in remote.items()}
    return {name: str(store.ukey(path)) for name, (store, path) in found.items()}


@contextmanager
def at_hand(subject: Subject) -> Iterator[Subject]:
    """The subject with all its files on this machine, while the block lasts."""
    if not subject.remote:
        yield subject
        return
    with Scratch() as folder:
        files = {name: folder / name / name_of(url) for name, url in subject.remote.items()}
        for name, path in files.items():
            path.parent.mkdir()
            store, there = _store(subject.remote[name])
            store.get_file(there, str(path))
        yield replace(
            subject,
            image=files.get("image", subject.image),
            mask=files.get("mask", subject.mask),
            labels=files.get("labels", subject.labels),
            remote={},
        )


def _store(url: str) -> tuple[Any, str]:
    import fsspec

    try:
        store, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise ValueError(f"{url}: must have a protocol that fsspec can use, got {error}") from error
    return store, path
