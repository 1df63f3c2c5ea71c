"""Write docs/reference/README.md, the public names by rooms, and columns.md, those of tables."""

from __future__ import annotations

import argparse
import importlib
import inspect
import re
from collections.abc import Iterable, Iterator
from itertools import groupby

import oinr_monai
from oinr_monai.analysis.codebook import SHAPES, quantities
from oinr_monai.analysis.first_order import FIRST_ORDER
from oinr_monai.analysis.regions import STATISTICS as STATISTICS_OF_MAPS
from scripts.shared.report import ROOT, Report

INTRODUCTION = """
Every name is imported from `oinr_monai` itself; `help(oinr_monai.fit)` has its arguments, shapes,
units and an example. Written by `python -m scripts.reference`, which `make docs` runs.
"""

OF_COLUMNS = """
What `oinr features`, `region_features`, `shape_features` and `jet_features` call what they tell;
beside its table or image `oinr features` writes these for each column or channel, as
`OUT.codebook.csv`. Lengths are in mm, intensities in the unit of the image. `_at1.5mm` at the end
of a name is the standard deviation of the Gaussian behind which it was looked at. N and M stand for
numbers. Written by `python -m scripts.reference`.
"""

STATISTICS = """
Of intensities in a region: {all}. Percentiles are `pN`; `std`, `skewness` and `kurtosis` (less 3)
divide by the number of voxels; `entropy`, in bits, and `uniformity` are of 32 bins of equal width
from the least to the greatest. The definitions are those of the Image Biomarker Standardization
Initiative. Of maps and activations: {few}.
"""


def first_line(thing: object) -> str:
    """Return what a docstring says first, its references to other names as code."""
    line = (inspect.getdoc(thing) or "").partition("\n")[0]
    line = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", line).replace("``", "`")
    return line.replace("|", "\\|")


def room_of(name: str) -> str:
    """Return the folder, or the module, of the package that holds a public name."""
    return str(getattr(oinr_monai, name).__module__).split(".")[1]


def rooms() -> Iterator[tuple[str, list[str]]]:
    """Yield each room with its public names."""
    names = sorted(oinr_monai.__all__, key=lambda name: (room_of(name), name.lower()))
    for room, held in groupby(names, room_of):
        yield room, list(held)


def reference() -> Report:
    """Return the page."""
    report = Report("README", "Public names", ROOT / "docs" / "reference")
    report.text(INTRODUCTION)
    for room, names in rooms():
        report.heading(room)
        report.text(first_line(importlib.import_module(f"oinr_monai.{room}")))
        lines = [[f"`{name}`", first_line(getattr(oinr_monai, name))] for name in names]
        report.table(["name", "what it is"], lines, text=2)
    return report


def columns() -> Report:
    """Return the page of columns and channels."""
    report = Report("columns", "Columns of feature tables", ROOT / "docs" / "reference")
    report.text(OF_COLUMNS)
    report.heading("Of a region's shape")
    lines = [[f"`{_in_letters(c.name)}`", c.unit, c.meaning.format("N", "M")] for c in SHAPES]
    report.table(["column", "unit", "what it is"], lines, text=3)
    report.heading("Of what the image shows")
    lines = [[f"`{_in_letters(c.name)}`", c.unit, c.meaning] for c in quantities()]
    report.table(["name", "unit", "what it is"], lines, text=3)
    report.heading("Statistics")
    report.text(STATISTICS.format(all=_listed(FIRST_ORDER), few=_listed(STATISTICS_OF_MAPS)))
    return report


def _in_letters(pattern: str) -> str:
    numbers = iter("NM")
    return re.sub(r"\(?\\d\+?\)?", lambda _: next(numbers), pattern)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def main() -> None:
    """Write the pages."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    reference().write()
    columns().write()


if __name__ == "__main__":
    main()
