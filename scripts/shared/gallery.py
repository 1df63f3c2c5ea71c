"""Examples that run as they are, and as pages: cells of code between comments that say why."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from scripts.shared.report import ROOT

EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.py"))

# How a cell begins, as notebooks and editors know it.
CELL = re.compile(r"^# %%( \[markdown\])?$", re.MULTILINE)


def cells_of(example: Path) -> Iterator[tuple[bool, str]]:
    """Yield each cell of a program: whether it is text, and what it says."""
    text = example.read_text()
    parts = CELL.split(text)
    for mark, body in zip(parts[1::2], parts[2::2], strict=True):
        is_text = bool(mark)
        yield is_text, _uncommented(body) if is_text else body.strip("\n")


def page_of_example(example: Path) -> str:
    """Return an example as Markdown."""
    parts = [body if is_text else f"```python\n{body}\n```" for is_text, body in cells_of(example)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _uncommented(body: str) -> str:
    lines = [line.removeprefix("#").removeprefix(" ") for line in body.strip("\n").splitlines()]
    return "\n".join(lines)
