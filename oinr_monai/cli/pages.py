"""``--report``: a page to look at, beside the answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from .outputs import check_output

if TYPE_CHECKING:
    from monai.data import MetaTensor
    from torch import Tensor

    from oinr_monai.report.page import Page
    from oinr_monai.representation.representation import Representation

__all__ = ["check_page", "page_of_answer", "write_page"]


def check_page(path: Path | None, inputs: Sequence[Path | None], overwrite: bool) -> None:
    """Find out before the work whether a page about it can be written, where one is asked for."""
    if path is None:
        return
    check_output(path, (".html",), inputs, overwrite)
    missing = [name for name in ("matplotlib", "nilearn") if find_spec(name) is None]
    if missing:
        raise ValueError(
            f"{path}: must have {missing[0]} to be drawn with, got none;"
            " run `pip install 'oinr-monai[report]'`"
        )


def write_page(path: Path | None, make: Callable[[], Page]) -> dict[str, str]:
    """Make and write the page, where one is asked for; what a command says of it."""
    if path is None:
        return {}
    make().write(path)
    return {"report": str(path)}


def page_of_answer(
    answer: Representation,
    image: Tensor,
    title: str,
    maps: Mapping[str, Any] | None = None,
) -> Page:
    """A page on an image that was made better, with maps by their names.

    See :func:`oinr_monai.report.report_of_answer`.
    """
    from oinr_monai.report import report_of_answer

    return report_of_answer(answer, cast("MetaTensor", image), title, **(maps or {}))
