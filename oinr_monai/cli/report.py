"""``oinr report``: what was made of a scan, as a page to look at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .console import about, show
from .inputs import load_representation
from .options import Device, Json, Overwrite
from .outputs import check_output, check_unused

if TYPE_CHECKING:
    from monai.data import MetaTensor

    from oinr_monai.report import Page

__all__ = ["report"]

Answer = Annotated[
    Path, typer.Argument(metavar="REP.oinr|ANSWER", help="A fit, or an image that was made better.")
]


def report(
    answer: Answer,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="REPORT.html", help="Page to write.")
    ],
    image: Annotated[
        Path | None, typer.Option(metavar="IMAGE", help="What it was made of, to compare with.")
    ] = None,
    error_map: Annotated[
        Path | None,
        typer.Option(metavar="MAP", help="Half widths that --error-map wrote beside the answer."),
    ] = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write a page on a fit, or on an answer beside what it was made of.

    One HTML file of a few megabytes, that needs no network and nothing beside it.
    """
    check_output(output, (".html",))
    check_unused(output, [answer, image, error_map], overwrite)
    page = _page(answer, image, error_map, device)
    page.write(output)
    show({"output": str(output), "bytes": output.stat().st_size}, as_json)


def _page(answer: Path, image: Path | None, error_map: Path | None, device: str) -> Page:
    from oinr_monai.report import report_of_answer, report_of_fit

    if answer.suffix.lower() == ".oinr" and error_map is not None:
        raise ValueError(f"--error-map must go with an image that was made better, got {answer}")
    source = None if image is None else _read(image)
    if answer.suffix.lower() == ".oinr":
        representation = load_representation(answer, device)
        return report_of_fit(representation, source, answer.stat().st_size, answer.name)
    if source is None:
        raise ValueError(f"--image must be what {answer.name} was made of, got none; name it")
    from oinr_monai.fitting.presets import FitConfig
    from oinr_monai.fitting.single import fit

    with about(answer):
        better = fit(_read(answer), FitConfig(preset="exact", device=device))
    errors = None if error_map is None else _read(error_map)
    return report_of_answer(better, source, answer.name, error=errors)


def _read(path: Path) -> MetaTensor:
    from oinr_monai.images.files import read_image

    return read_image(path)
