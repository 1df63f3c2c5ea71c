"""The commands ``oinr cohort``: many images, listed in a table, fitted in one run."""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from .console import message_of, say, show
from .inputs import check_budget, check_grid, device_of
from .options import Command, Commands, Device, Json, Overwrite, Preset, Seconds, Seed, Steps
from .outputs import check_folder, check_output, check_unused
from .tables import read_rows

if TYPE_CHECKING:
    from monai.data import MetaTensor

    from oinr_monai.fitting.presets import FitConfig
    from oinr_monai.representation.representation import Representation

__all__ = ["Subject", "cohort", "read_manifest"]

# Voxels that are read before they are fitted: 64 MiB of each shape.
VOXELS_AT_ONCE = 1 << 24

# What ``info`` and status.csv both have, in the order of the latter.
SCORES = ("psnr_grid", "psnr_between", "steps", "seconds")

# What a subject may fail by; the others go on.
FAILURES = (ValueError, OSError, RuntimeError, MemoryError)

cohort = typer.Typer(
    cls=Commands,
    rich_markup_mode=None,
    help="Many images, listed in a CSV file with columns subject,image.",
)

Manifest = Annotated[
    Path,
    typer.Argument(
        metavar="MANIFEST.csv", help="Columns subject,image[,series]; paths relative to it."
    ),
]


@dataclass(frozen=True)
class Subject:
    """One row of a manifest.

    Args:
        subject: its name, which names its files.
        image: path of its image.
        label: its label, or None where the manifest has none.
        series: UID of the series, where its image is a DICOM folder that holds several.
    """

    subject: str
    image: Path
    label: str | None
    series: str | None = None


def read_manifest(path: Path) -> list[Subject]:
    """The rows of a manifest, each subject once.

    Raises:
        ValueError: if columns are missing, a row is not whole, or a subject occurs twice or cannot
            name a file; the message names the file and the line.
    """
    rows = read_rows(path, ("subject", "image"))
    subjects = [_subject(path, line, row) for line, row in enumerate(rows, start=2)]
    names = [each.subject for each in subjects]
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if twice is not None:
        raise ValueError(f"{path}: each subject must occur once, got {twice!r} again")
    return subjects


def _subject(path: Path, line: int, row: dict[str, str | None]) -> Subject:
    name, image = (row["subject"] or "").strip(), (row["image"] or "").strip()
    if not name or not image:
        raise ValueError(f"{path}: line {line} must have a subject and an image")
    if Path(name).name != name or name.startswith("."):
        raise ValueError(f"{path}: line {line}: the subject must be able to name a file: {name!r}")
    series = (row.get("series") or "").strip() or None
    return Subject(name, path.parent / image, row.get("label"), series)


@cohort.command("fit", cls=Command)
def fit_cohort(  # noqa: PLR0913
    manifest: Manifest,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for SUBJECT.oinr files.")
    ],
    init: Annotated[
        Path | None, typer.Option(metavar="REP.oinr", help="Fit that each begins with.")
    ] = None,
    preset: Preset = "balanced",
    steps: Steps = None,
    seconds: Seconds = None,
    seed: Seed = 0,
    device: Device = "auto",
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Fit a representation to each image; those of one shape go together.

    Subjects that are there already, of the same image and with the same settings, are skipped. What
    became of each is in DIR/status.csv. Ends with 0 if all are there, with 1 if any failed.
    """
    check_budget(steps, seconds)
    if preset == "exact":
        raise ValueError('--preset must train something for a cohort, got "exact"')
    subjects = read_manifest(manifest)
    check_folder(output)
    for name in ("status.csv", *(f"{each.subject}.oinr" for each in subjects)):
        with suppress(OSError):  # a name that no file can have fails its row
            check_unused(output / name, [manifest, init], overwrite)
    from oinr_monai.fitting.presets import FitConfig
    from oinr_monai.representation.representation import Representation

    config = FitConfig(
        preset=preset, steps=steps, seconds=seconds, seed=seed, device=device_of(device)
    )
    start = None if init is None else Representation.load(init)
    output.mkdir(exist_ok=True)
    started = time.monotonic()
    run = _Run(output, config, start, progress=not as_json and sys.stderr.isatty())
    interrupted = run.all(subjects)
    counts = {status: run.count(status) for status in ("done", "skipped", "failed")}
    show(
        {
            "output": str(output),
            "status": str(output / "status.csv"),
            **counts,
            "seconds": round(time.monotonic() - started, 3),
        },
        as_json,
    )
    if interrupted:
        say("interrupted; repeat the command to go on")
        raise typer.Exit(130)
    if counts["failed"]:
        say(f"{counts['failed']} of {len(subjects)} subjects failed; see {output / 'status.csv'}")
    if counts["failed"] or run.untold is not None:
        raise typer.Exit(1)


@dataclass
class _Row:
    # A line of status.csv; scores of what did not become a file stay empty.
    subject: str
    status: Literal["done", "failed", "skipped"]
    psnr_grid: float | None = None
    psnr_between: float | None = None
    steps: int | None = None
    seconds: float | None = None
    message: str = ""

    @classmethod
    def of(cls, subject: str, status: Literal["done", "skipped"], info: dict[str, Any]) -> _Row:
        scores: list[Any] = [info.get(name) for name in SCORES]
        return cls(subject, status, *scores)


@dataclass
class _Run:
    """One run over a manifest: what waits to be fitted together, and what became of the rest."""

    output: Path
    config: FitConfig
    start: Representation | None
    progress: bool
    rows: dict[str, _Row] = field(default_factory=dict)
    waiting: dict[object, list[tuple[Subject, MetaTensor]]] = field(default_factory=dict)
    untold: OSError | None = None

    def all(self, subjects: Sequence[Subject]) -> bool:
        """Fit what is to be fitted; whether an interrupt came."""
        interrupted = False
        try:
            for subject in subjects:
                self._take(subject)
            for together in list(self.waiting):
                self._fit(together)
        except KeyboardInterrupt:
            interrupted = True
        for subject in subjects:
            self.rows.setdefault(
                subject.subject, _Row(subject.subject, "failed", message="interrupted")
            )
        self.rows = {each.subject: self.rows[each.subject] for each in subjects}
        self._write()
        return interrupted

    def count(self, status: str) -> int:
        """Subjects of this status."""
        return sum(row.status == status for row in self.rows.values())

    def _take(self, subject: Subject) -> None:
        try:
            check_output(self._path(subject), (".oinr",))
            image, digest = _read(subject.image, subject.series)
        except FAILURES as error:
            self._fail([subject], error)
            return
        known = self._known(subject, digest)
        if known is not None:
            self.rows[subject.subject] = _Row.of(subject.subject, "skipped", known)
            return
        spacing = tuple(f"{h:.6g}" for h in check_grid(subject.image, image).spacing.tolist())
        together = (tuple(image.shape), spacing)
        group = self.waiting.setdefault(together, [])
        group.append((subject, image))
        if len(group) * image.numel() >= VOXELS_AT_ONCE:
            self._fit(together)

    def _known(self, subject: Subject, image: str) -> dict[str, Any] | None:
        # What is known of a fit that is there, of this image and as it is wanted.
        from oinr_monai.representation.info import Info
        from oinr_monai.representation.lineage import digest
        from oinr_monai.representation.representation import Representation

        try:
            info = Representation.load(self._path(subject)).info
        except (OSError, ValueError):
            return None
        start = None if self.start is None else digest(self.start)
        wanted = Info(settings=self.config.settings(), image=image, start=start)
        same = [info.get(name) == wanted.get(name) for name in ("settings", "image", "start")]
        return info if all(same) else None

    def _path(self, subject: Subject) -> Path:
        return self.output / f"{subject.subject}.oinr"

    def _fit(self, together: object) -> None:
        from oinr_monai.fitting.cohort import fit_many

        group = self.waiting.pop(together)
        try:
            found = fit_many(
                [image for _, image in group], self.config, start=self.start, progress=self.progress
            )
        except FAILURES as error:
            self._fail([subject for subject, _ in group], error)
            return
        for (subject, _), representation in zip(group, found, strict=False):
            if not representation.info.interrupted:
                self._save(subject, representation)
        self._write()
        if found[-1].info.interrupted:
            raise KeyboardInterrupt

    def _save(self, subject: Subject, representation: Representation) -> None:
        try:
            representation.save(self._path(subject))
        except OSError as error:
            self._fail([subject], error)
        else:
            self.rows[subject.subject] = _Row.of(subject.subject, "done", representation.info)

    def _fail(self, subjects: Sequence[Subject], error: Exception) -> None:
        message = " ".join(message_of(error).split())
        for each in subjects:
            self.rows[each.subject] = _Row(each.subject, "failed", message=message)

    def _write(self) -> None:
        """Write what became of each so far; where that cannot be written, it is said once."""
        try:
            self._write_rows()
        except OSError as error:
            if self.untold is None:
                say(message_of(error))
            self.untold = error
        else:
            self.untold = None

    def _write_rows(self) -> None:
        from oinr_monai.images.replacing import replacing

        with (
            replacing(self.output / "status.csv") as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, list(_Row.__dataclass_fields__))
            writer.writeheader()
            writer.writerows(self._cells())

    def _cells(self) -> Iterator[dict[str, Any]]:
        for row in self.rows.values():
            yield {
                name: f"{value:.4f}" if isinstance(value, float) else value
                for name, value in asdict(row).items()
            }


def _read(path: Path, series: str | None) -> tuple[MetaTensor, str]:
    """The image, and what tells it from any other."""
    from oinr_monai.images.files import read_image
    from oinr_monai.images.scans import checked_scans

    from .console import about

    image = read_image(path, [series] if series else ())
    with about(path):
        (scan,) = checked_scans([image], None)
    return image, scan.digest
