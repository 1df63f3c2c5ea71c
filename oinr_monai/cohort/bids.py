"""Datasets as BIDS lays them out: scans that they hold, and derivatives of them."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from oinr_monai.images.replacing import replacing

__all__ = ["Derivative", "find_scans", "is_dataset", "write_description", "write_sidecar"]

DESCRIPTION = "dataset_description.json"

# The edition whose rules derivatives follow.
EDITION = "1.10.0"

# What BIDS does not know: our tables, representations and motions.
IGNORED = ("*.csv", "*.oinr", "*_motion.safetensors")

# Entities by which files of one session differ that are stacks of one volume.
OF_STACKS = ("acq", "run", "dir")

IMAGES = (".nii.gz", ".nii")


@dataclass(frozen=True)
class Derivative:
    """How files are called that are made of a scan.

    Args:
        folder: of the scan, in its dataset.
        entities: of the scan, in the order of its name, such as ``(("sub", "01"), ("ses", "a"))``.
        suffix: of the scan, such as "T1w".
        sources: what it is made of, as BIDS URIs.
        metadata: what sidecars say of the scan.

    Example:
        >>> scan = Derivative("sub-01/anat", (("sub", "01"), ("run", "2")), "T1w")
        >>> scan.place("denoise")
        'sub-01/anat/sub-01_run-2_desc-denoise_T1w'
    """

    folder: str
    entities: tuple[tuple[str, str], ...]
    suffix: str
    sources: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Of the scan."""
        return f"{_joined(self.entities)}_{self.suffix}"

    def place(self, word: str) -> str:
        """Path in a dataset of derivatives, without ending, of what a word describes."""
        kept = [each for each in self.entities if each[0] != "desc"]
        return f"{self.folder}/{_joined((*kept, ('desc', word)))}_{self.suffix}"


def is_dataset(path: Path) -> bool:
    """Whether a folder is the root of a dataset."""
    return (path / DESCRIPTION).is_file()


def find_scans(
    dataset: Path, where: Mapping[str, str], *, together: bool = False
) -> list[tuple[Derivative, list[Path]]]:
    """The raw scans of a dataset for which something holds, in the order of their names.

    Args:
        dataset: its root.
        where: entities, "suffix" or "datatype", and what they must be, such as
            ``{"suffix": "T1w", "ses": "a"}``.
        together: those of a session that differ in ``acq``, ``dir`` or ``run`` alone are one.

    Raises:
        ValueError: if ancpbids is not installed, there is no such scan, or scans of several kinds
            and no suffix that says which.
    """
    found = sorted(_raw(dataset), key=lambda each: each[1].as_posix())
    chosen = [each for each in found if _holds(each[0], where)]
    if len({scan.suffix for scan, _ in chosen}) != 1:
        kinds = Counter(scan.suffix for scan, _ in found)
        told = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())) or "none"
        asked = " ".join(f"{key}={value}" for key, value in where.items()) or "nothing"
        raise ValueError(
            f"{dataset}: where must choose scans of one suffix, such as suffix=T1w, got {asked};"
            f" there are {told}"
        )
    groups: dict[str, tuple[Derivative, list[Path]]] = {}
    for scan, path in chosen:
        named = _of_stacks(scan) if together else scan
        groups.setdefault(named.name, (named, []))[1].append(path)
    return [
        (_told(dataset, scan, paths), [dataset / each for each in paths])
        for scan, paths in groups.values()
    ]


def write_description(folder: Path, dataset: Path, word: str) -> None:
    """Make a folder a dataset of derivatives of another, unless it is one.

    Raises:
        ValueError: if it is a dataset of another kind.
        OSError: if it cannot be written.
    """
    if is_dataset(folder):
        if _json(folder / DESCRIPTION).get("DatasetType") != "derivative":
            raise ValueError(
                f"{folder}: must be no raw dataset, since derivatives go there; give another"
                f" folder, such as {folder / 'derivatives' / 'oinr'}"
            )
        return
    source = Path(os.path.relpath(dataset.resolve(), folder.resolve())).as_posix()
    told = {
        "Name": f"{word} by oinr_monai of {dataset.resolve().name}",
        "BIDSVersion": EDITION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "oinr_monai", "Version": metadata.version("oinr-monai")}],
        "DatasetLinks": {"raw": source},
    }
    _write(folder / "README", "Made by `oinr cohort`; status.csv says what became of each scan.\n")
    _write(folder / ".bidsignore", "".join(f"{each}\n" for each in IGNORED))
    _write_json(folder / DESCRIPTION, told)


def write_sidecar(path: Path, scan: Derivative, settings: Mapping[str, Any]) -> None:
    """Write what is known of a derivative that is an image.

    Raises:
        OSError: if it cannot be written.
    """
    # Raw scans have their skulls.
    told = {
        "SkullStripped": False,
        **scan.metadata,
        "Description": f"{', '.join(settings)} by oinr",
    }
    _write_json(path, {**told, "Sources": list(scan.sources), "Settings": dict(settings)})


def _raw(dataset: Path) -> Iterator[tuple[Derivative, Path]]:
    """The images of a dataset itself, and their paths in it."""
    for path in _images(dataset):
        named = re.fullmatch(r"((?:[a-zA-Z]+-[^_]+_)+)([a-zA-Z0-9]+)", _stem(path))
        if named is not None:
            pairs = [part.partition("-") for part in named[1].rstrip("_").split("_")]
            entities = tuple((key, value) for key, _, value in pairs)
            yield Derivative(path.parent.as_posix(), entities, named[2]), path


def _images(dataset: Path) -> Iterator[Path]:
    try:
        import ancpbids
    except ImportError as error:
        raise ValueError("a BIDS dataset needs `pip install oinr-monai[bids]`") from error
    for each in ancpbids.load_dataset(str(dataset)).query(scope="raw", extension=list(IMAGES)):
        yield Path(each.get_relative_path())


def _holds(scan: Derivative, where: Mapping[str, str]) -> bool:
    own = {"suffix": scan.suffix, "datatype": Path(scan.folder).name, **dict(scan.entities)}
    return all(own.get(key) == value for key, value in where.items())


def _of_stacks(scan: Derivative) -> Derivative:
    kept = tuple(each for each in scan.entities if each[0] not in OF_STACKS)
    return replace(scan, entities=kept)


def _told(dataset: Path, scan: Derivative, paths: Sequence[Path]) -> Derivative:
    metadata: dict[str, Any] = {}
    for path in paths[:1]:
        for sidecar in _sidecars(dataset, path):
            metadata |= _json(sidecar)
    sources = tuple(f"bids:raw:{each.as_posix()}" for each in paths)
    return replace(scan, sources=sources, metadata=metadata)


def _sidecars(dataset: Path, path: Path) -> Iterator[Path]:
    """Those that a file inherits, the most general one first."""
    *own, suffix = _stem(path).split("_")
    for folder in (*reversed(path.parent.parents), path.parent):
        found = [
            (each.stem.split("_"), each) for each in (dataset / folder).glob(f"*{suffix}.json")
        ]
        fit = [(len(parts), each) for parts, each in found if {*parts} <= {*own, suffix}]
        yield from (each for _, each in sorted(fit))


def _joined(entities: Sequence[tuple[str, str]]) -> str:
    return "_".join(f"{key}-{value}" for key, value in entities)


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").rpartition(".")[0]


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path}: must be JSON, got {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path}: must be an object of JSON, got {type(found).__name__}")
    return found


def _write_json(path: Path, told: Mapping[str, Any]) -> None:
    _write(path, json.dumps(told, indent=2, ensure_ascii=False) + "\n")


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
