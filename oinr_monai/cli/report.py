"""``oinr report``: what was made of a scan, as a page to look at."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .console import about, show
from .inputs import load_representation
from .options import Device, Json, Overwrite
from .pages import check_page, page_of_answer

if TYPE_CHECKING:
    from monai.data import MetaTensor

    from oinr_monai.report import Page

__all__ = ["report"]

Answer = Annotated[
    Path,
    typer.Argument(
        metavar="REP.oinr|ANSWER|TRANSFORM|DIR",
        help="A fit, an image that was made better, a motion, or a folder of a cohort.",
    ),
]


def report(  # noqa: PLR0913
    answer: Answer,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="REPORT.html", help="Page to write.")
    ],
    image: Annotated[
        Path | None,
        typer.Option(metavar="IMAGE", help="What it was made of; of a motion, what stays."),
    ] = None,
    moving: Annotated[
        Path | None, typer.Option(metavar="MOVING", help="Of a motion, the image that is moved.")
    ] = None,
    error_map: Annotated[
        Path | None,
        typer.Option(metavar="MAP", help="Half widths that --error-map wrote beside the answer."),
    ] = None,
    share: Annotated[
        Path | None,
        typer.Option(metavar="MAP", help="Shares that --share wrote beside the answer."),
    ] = None,
    hidden: Annotated[
        Path | None,
        typer.Option(metavar="MAP", help="Contrasts that --hidden wrote beside the answer."),
    ] = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write a page on a fit, an answer beside what it was made of, a motion, or a cohort.

    One HTML file of a few megabytes, that needs no network and nothing beside it.
    """
    maps = {"--error-map": error_map, "--share": share, "--hidden": hidden}
    inputs = [None if answer.is_dir() else answer, image, moving, *maps.values()]
    check_page(output, inputs, overwrite)
    is_answer = not answer.is_dir() and answer.suffix.lower() != ".oinr" and moving is None
    for option, path in maps.items():
        if path is not None and not is_answer:
            raise ValueError(f"{option} must go with an image that was made better, got {answer}")
    page = _page(answer, image, moving, maps, device)
    page.write(output)
    show({"output": str(output), "bytes": output.stat().st_size}, as_json)


def _page(
    answer: Path,
    image: Path | None,
    moving: Path | None,
    maps: Mapping[str, Path | None],
    device: str,
) -> Page:
    if moving is not None:
        return _of_motion(answer, image, moving)
    if answer.is_dir():
        return _of_cohort(answer)
    if answer.suffix.lower() == ".oinr":
        return _of_fit(answer, image, device)
    if image is None:
        raise ValueError(f"--image must be what {answer.name} was made of, got none; name it")
    from oinr_monai.fitting.presets import FitConfig
    from oinr_monai.fitting.single import fit

    with about(answer):
        better = fit(_read(answer), FitConfig(preset="exact", device=device))
    named = {"--error-map": "error", "--share": "share", "--hidden": "hidden"}
    layers = {named[option]: _read(path) for option, path in maps.items() if path is not None}
    return page_of_answer(better, _read(image), answer.name, layers)


def _of_fit(path: Path, image: Path | None, device: str) -> Page:
    """A page on a representation, or on the family that it is."""
    from oinr_monai.report import report_of_family, report_of_fit
    from oinr_monai.representation.family import Family, is_family

    representation = load_representation(path, device)
    if is_family(representation):
        return report_of_family(Family(representation), path.name)
    source = None if image is None else _read(image)
    return report_of_fit(representation, source, path.stat().st_size, path.name)


def _of_motion(path: Path, fixed: Path | None, moving: Path) -> Page:
    from oinr_monai.motion.exchange import load_motion
    from oinr_monai.report import report_of_motion

    if fixed is None:
        raise ValueError(f"--image must be the image that {path.name} starts from, got none")
    motion, still, moved = load_motion(path), _read(fixed), _read(moving)
    dims = {motion.spatial_dims, still.ndim - 1, moved.ndim - 1}
    if len(dims) > 1:
        raise ValueError(f"{path}: must have as many dimensions as the images, got {sorted(dims)}")
    return report_of_motion(still, moved, motion, f"{moving.name} on {fixed.name}")


def _of_cohort(folder: Path) -> Page:
    from oinr_monai.cohort import read_status
    from oinr_monai.report import report_of_cohort

    rows = list(read_status(folder).values())
    if not rows:
        raise ValueError(f"{folder}: must hold a status.csv, got none; `oinr cohort fit` writes it")
    return report_of_cohort(folder, rows, f"{folder.resolve().name}, a cohort")


def _read(path: Path) -> MetaTensor:
    from oinr_monai.images.files import read_image

    return read_image(path)
