"""Reports on a cohort: a table with a picture of each, what is unlike the rest first."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from oinr_monai.cohort.status import Row, Summary, summary
from oinr_monai.fitting.single import fit
from oinr_monai.images.files import read_image
from oinr_monai.representation.representation import Representation
from oinr_monai.representation.sections import axes_across, png_of, section

from .answers import made
from .page import Page, Picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["report_of_cohort"]

HEAD = (
    *("", "subject", "status", "unlike the rest in", "PSNR at the voxels, dB"),
    *("PSNR between, dB", "seconds", "steps", "message"),
)

# Pixels of a picture, and pictures on a page: 3 MB of text. Chosen by hand.
PIXELS, MOST_PICTURES = 72, 400

# Numbers of a row that are drawn, and how their axes are called.
DRAWN = {
    "psnr_grid": "PSNR at the voxels, dB",
    "psnr_between": "PSNR between, dB",
    "seconds": "seconds",
}


def report_of_cohort(folder: Path, rows: Sequence[Row], title: str = "Cohort") -> Page:
    """A page on what became of each subject, what failed and what is unlike the rest first.

    Args:
        folder: of the results.
        rows: a row for each subject, as :func:`~oinr_monai.cohort.read_status` reads them.
        title: title of the page.

    Example:
        >>> page = report_of_cohort(Path("."), [Row("anna", "done", seconds=1.5)])
        >>> "anna" in page.html()
        True
    """
    page, found = Page(title, made()), summary(rows)
    _say(page, found, len(rows))
    page.facts("What it is", _facts(rows, found))
    known = {name: _known(rows, name) for name in DRAWN}
    if any(known.values()):
        page.figure("How they compare", _histograms(known), "Of the subjects that are done.")
    ordered = sorted(rows, key=lambda row: (_rank(row, found), row.subject))
    page.table("The subjects", HEAD, [_cells(folder, *each, found) for each in enumerate(ordered)])
    return page


def _say(page: Page, found: Summary, count: int) -> None:
    ended = found.counts["done"] + found.counts["skipped"]
    page.say(f"{ended} of {count} subjects are done.")
    if found.failed:
        page.warn(f"{len(found.failed)} failed; the first rows of the table say why.")
    if found.outliers:
        page.warn(f"Unlike the rest, {len(found.outliers)} in all: look at the first rows.")
    if found.counts["waiting"]:
        page.warn(f"Still waiting, {found.counts['waiting']} in all: repeat the command to go on.")


def _facts(rows: Sequence[Row], found: Summary) -> dict[str, str]:
    facts = {"subjects": str(len(rows))}
    facts |= {name: str(count) for name, count in found.counts.items() if count}
    if found.seconds is not None:
        facts["seconds of a subject, median"] = f"{found.seconds:.3g}"
    return facts


def _known(rows: Sequence[Row], name: str) -> list[float]:
    return [value for row in rows if (value := getattr(row, name)) is not None]


def _histograms(known: Mapping[str, Sequence[float]]) -> Figure:
    from matplotlib.figure import Figure as Drawn

    drawn = {name: values for name, values in known.items() if values}
    figure = Drawn(figsize=(3.6 * len(drawn), 2.8), layout="constrained")
    for axis, (name, values) in zip(
        figure.subplots(1, len(drawn), squeeze=False)[0], drawn.items(), strict=True
    ):
        axis.hist(values, bins=min(max(len(values) // 3, 5), 40))
        axis.set(xlabel=DRAWN[name], ylabel="subjects")
    return figure


def _rank(row: Row, found: Summary) -> int:
    order = (row.status == "failed", row.subject in found.outliers, row.status == "waiting")
    return order.index(True) if True in order else len(order)


def _cells(folder: Path, place: int, row: Row, found: Summary) -> list[str | Picture]:
    picture = _picture(folder, row.subject) if place < MOST_PICTURES else None
    return [
        picture or "",
        row.subject,
        row.status,
        found.outliers.get(row.subject, "").replace("_", " "),
        *(_number(each) for each in (row.psnr_grid, row.psnr_between, row.seconds)),
        "" if row.steps is None else str(row.steps),
        row.message,
    ]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _picture(folder: Path, subject: str) -> Picture | None:
    """The middle plane of a result; None where there is none to be drawn."""
    try:
        path = next(_files(folder, subject), None)
        return None if path is None else Picture(_drawn(path), f"middle plane of {subject}")
    except (OSError, ValueError):  # what is damaged has no picture, and a row all the same
        return None


def _files(folder: Path, subject: str) -> Iterator[Path]:
    """The results of a subject that can be drawn, those of a dataset of derivatives too."""
    entities, _, suffix = subject.rpartition("_")
    for ending in (".oinr", ".nii.gz"):
        if (folder / f"{subject}{ending}").is_file():
            yield folder / f"{subject}{ending}"
        if entities.startswith("sub-"):
            own = folder / entities.partition("_")[0]
            yield from own.rglob(f"{glob.escape(entities)}_desc-*_{glob.escape(suffix)}{ending}")


def _drawn(path: Path) -> bytes:
    if path.suffix == ".oinr":
        image = Representation.load(path)
    else:
        image = fit(read_image(path, finite=False))
    return png_of(section(image, axes_across(image.grid)[-1], pixels=PIXELS))
