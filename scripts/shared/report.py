"""A page of what was measured: title, command line, machine, tables and pictures."""

from __future__ import annotations

import argparse
import platform
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from scripts.shared.rows import write_rows

ROOT = Path(__file__).parents[2]
# Where benches write their pages.
MEASURED = ROOT / "docs" / "measured"
# Options whose values are places on this machine, and what a page says instead.
PLACES = {"--data": "DIR", "--rivals": "PYTHON", "--eclare": "COMMAND"}
# Options that say where results go or that none are made: the page is the same without them.
UNSAID = ("--output", "--run-nothing")


def command(*without: str) -> str:
    """Return the command line as anyone may repeat it, without some of its options."""
    program, *told = sys.argv
    module = Path(program).resolve().relative_to(ROOT).with_suffix("")
    words = ["python", "-m", ".".join(module.parts)]
    for option, *values in _options(told):
        if option not in (*UNSAID, *without):
            words += [option, *([PLACES[option]] if option in PLACES else values)]
    return shlex.join(words)


def _options(told: Sequence[str]) -> list[list[str]]:
    # Each option with its values, which follow it or its equals sign.
    words = [word for each in told for word in (each.split("=", 1) if each[:2] == "--" else [each])]
    starts = [i for i, word in enumerate(words) if word.startswith("--")]
    return [words[a:b] for a, b in pairwise([*starts, len(words)])]


def cpu_model() -> str:
    """Return the name of the processor."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def machine() -> str:
    """Return processor, threads and torch version."""
    return f"{cpu_model()}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def setting(*without: str) -> str:
    """Return command line and machine, for a page whose parts were made by several."""
    return f"`{command(*without)}` on {machine()}"


def line(cells: Iterable[object]) -> str:
    """Return a row of a table."""
    return f"| {' | '.join(map(str, cells))} |"


class Table:
    """A table of a page.

    Args:
        head: the title of each column.
        rows: those known from the start.
        text: how many of the first columns hold words; the others hold numbers.
    """

    def __init__(
        self, head: Sequence[str], rows: Iterable[Iterable[object]] = (), text: int = 1
    ) -> None:
        rule = "|" + "---|" * text + "---:|" * (len(head) - text)
        self.lines = [line(head), rule, *map(line, rows)]

    def row(self, *cells: object) -> None:
        """Add a row and show it, since the next one may take a while."""
        self.lines.append(line(cells))
        print(self.lines[-1], flush=True)

    def __str__(self) -> str:
        return "\n".join(self.lines)


class Report:
    """A page that grows from its title on.

    Args:
        name: of the page, its CSV and its picture, without ending.
        title: the heading.
        folder: where all of it is written.
    """

    def __init__(self, name: str, title: str, folder: Path = MEASURED) -> None:
        self.name, self.folder = name, folder
        self.parts: list[str | Table] = [f"# {title}"]

    def made(self, notes: str = "", without: Sequence[str] = ()) -> None:
        """Say by which command on which machine, and what else there is to know of it."""
        self.text(f"Made by {setting(*without)}" + (f"; {notes.strip()}" if notes else "."))

    def text(self, text: str) -> None:
        """Add paragraphs."""
        self.parts.append(text.strip("\n"))

    def heading(self, title: str) -> None:
        """Begin a section."""
        self.parts.append(f"## {title}")

    def table(
        self, head: Sequence[str], rows: Iterable[Iterable[object]] = (), text: int = 1
    ) -> Table:
        """Add a table, which may get more rows."""
        made = Table(head, rows, text)
        self.parts.append(made)
        return made

    def picture(self, caption: str, name: str | None = None) -> None:
        """Show a picture that lies beside the page, of the page's own name if none is given."""
        self.parts.append(f"![{caption}]({name or self.name}.png)")

    def path(self, ending: str) -> Path:
        """Where a file of the page's name lies; its folder is made."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder / f"{self.name}.{ending}"

    def write(self, rows: Sequence[Any] = ()) -> None:
        """Write the page, and what its tables are made of as CSV."""
        self.path("md").write_text(str(self))
        if rows:
            write_rows(self.path("csv"), rows)

    def write_section(self, title: str) -> None:
        """Put all but the heading into one section of the page, whose others stay."""
        path = self.path("md")
        heading, *sections = (path.read_text() if path.is_file() else "").split("\n## ")
        kept = {each.split("\n", 1)[0]: each.strip() for each in sections}
        kept[title] = "\n\n".join([title, *map(str, self.parts[1:])])
        whole = [heading.strip() or self.parts[0], *kept.values()]
        path.write_text("\n\n## ".join(map(str, whole)) + "\n")

    def __str__(self) -> str:
        return "\n\n".join(map(str, self.parts)) + "\n"


def write_parts(
    name: str, title: str, said: str, parts: Mapping[str, Callable[[Report, Path], None]]
) -> None:
    """Run the parts that the command line asks for, all by default, each a section of one page.

    Args:
        name: of the page.
        title: of the page.
        said: what the program says of itself.
        parts: by name, what writes a section, given a page and a folder to work in.
    """
    parser = argparse.ArgumentParser(description=said)
    parser.add_argument("--parts", nargs="+", choices=list(parts), default=list(parts))
    parser.add_argument("--output", type=Path, default=MEASURED)
    arguments = parser.parse_args()
    for part in arguments.parts:
        report = Report(name, title, arguments.output)
        report.made()
        with tempfile.TemporaryDirectory() as folder:
            parts[part](report, Path(folder))
        report.write_section(part)
