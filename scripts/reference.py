"""Write docs/reference/README.md: the public names by the rooms of the package, each in a line."""

from __future__ import annotations

import argparse
import importlib
import inspect
import re
from collections.abc import Iterator
from itertools import groupby

import oinr_monai
from scripts.shared.report import ROOT, Report

INTRODUCTION = """
Every name is imported from `oinr_monai` itself; `help(oinr_monai.fit)` has its arguments, shapes,
units and an example. Written by `python -m scripts.reference`, which `make docs` runs.
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


def main() -> None:
    """Write the page."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    reference().write()


if __name__ == "__main__":
    main()
