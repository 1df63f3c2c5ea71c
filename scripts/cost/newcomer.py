"""Run every command of the README and of the how-to pages as it stands there, one by one.

By default with the programs of this environment; ``--programs FOLDER`` takes those of another one,
such as one that holds the built wheel alone. Writes the page ``docs/measured/newcomer.md``.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scripts.shared.newcomer_inputs import write_inputs
from scripts.shared.report import MEASURED, ROOT, Report
from scripts.shared.rows import read_rows, write_rows

HOW_TO = sorted((ROOT / "docs" / "how-to").glob("[a-z]*.md"))
PAGES = [ROOT / "README.md", *HOW_TO]
NAMES = [page.stem for page in PAGES]
FENCE = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)
QUOTED = re.compile(r"`(oinr [^`]* -o [^`]*)`")

# What a page takes for granted, beside its inputs.
BEFORE = {
    "cohorts-and-weights": ["oinr cohort fit manifest.csv -o fits --preset fast --steps 300"],
    "files-and-dicom": ["oinr fit organs.nii.gz -o organs.oinr --labels --steps 100"],
    "report": [
        "oinr fit t1.nii.gz -o t1.oinr",
        "oinr super-resolve thick.nii.gz -o fine.nii.gz --steps 0 --error-map error.nii.gz"
        " --share share.nii.gz",
        "oinr register fixed.nii.gz moving.nii.gz -o m.nii.gz --model rigid --transform there.tfm",
        "oinr cohort fit manifest.csv -o fits",
    ],
    "labels-and-surfaces": ["oinr fit t1.nii.gz -o t1.oinr"],
    "README": ["oinr fit cta.nii.gz -o cta.oinr"],
}


@dataclass(frozen=True)
class Ran:
    """A command as it ran: its page, how it ended, seconds by the clock and of processors."""

    page: str
    command: str
    status: int
    seconds: float
    processor: float
    said: str


def commands(page: Path) -> list[str]:
    """Return the commands that a page shows, in order, but for those of clusters and stores."""
    found: list[str] = []
    text = page.read_text()
    for match in re.finditer(f"{FENCE.pattern}|{QUOTED.pattern}", text, FENCE.flags):
        block, quoted = match.groups()
        found += [quoted] if quoted else list(_lines(block))
    return list(dict.fromkeys(found))


def _lines(block: str) -> Iterator[str]:
    for line in block.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        elsewhere = "$" in line or "://" in line
        if words and words[0] in ("oinr", "python") and not elsewhere:
            yield shlex.join(words)


def ran(page: str, command: str, folder: Path, programs: Path) -> Ran:
    """Run a command in a folder, by the programs of an environment."""
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    known = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        command, shell=True, cwd=folder, env=known | {"PATH": path}, capture_output=True, text=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    said = (done.stderr.strip().splitlines() or [""])[-1] if done.returncode else ""
    return Ran(page, command, done.returncode, time.monotonic() - began, spent, said)


def run_page(page: Path, inputs: Path, programs: Path, known: list[Ran], rows: Path) -> None:
    """Run the commands of a page that are not all known, in a folder of their own."""
    told, found = {each.command for each in known if each.page == page.stem}, []
    asked = commands(page)
    if not set(asked) - told:
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "here")
        shutil.copytree(inputs, folder)
        for command in BEFORE.get(page.stem, []):
            ran(page.stem, command, folder, programs)
        for command in asked:
            found.append(ran(page.stem, command, folder, programs))
            print(f"{found[-1].status} {found[-1].seconds:6.1f} s  {command}", flush=True)
    others = [each for each in known if each.page != page.stem]
    write_rows(rows, [*others, *found])


def page_of(rows: list[Ran]) -> Report:
    """Return the page."""
    report = Report("newcomer", "What a newcomer runs")
    wrong = [each for each in rows if each.status]
    asked = {name for name, page in zip(NAMES, PAGES, strict=True) if commands(page)}
    left = sorted(asked - {each.page for each in rows})
    size = "A head of 39 x 47 x 24 voxels stands for every scan"
    chosen = ("--programs", "--pages")
    report.made(f"{size}, its slices twice as thick for every stack.", without=chosen)
    report.text(
        f"{len(rows)} commands of {len({each.page for each in rows})} pages, copied and run one by"
        f" one: {len(rows) - len(wrong)} end with 0, {len(wrong)} do not."
        f" {sum(each.processor for each in rows):.0f} processor seconds in all."
        + (f" Not run yet: {', '.join(left)}." if left else "")
    )
    head = ["page", "command", "ends with", "seconds", "processor seconds"]
    table = report.table(head, text=2)
    for each in rows:
        numbers = (f"{each.seconds:.1f}", f"{each.processor:.1f}")
        table.row(each.page, f"`{each.command}`".replace("|", "\\|"), each.status, *numbers)
    if wrong:
        report.heading("What went wrong")
        report.table(["command", "what it said"], [[f"`{e.command}`", e.said] for e in wrong], 2)
    return report


def main() -> None:
    """Run the commands and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", type=Path, default=Path(sys.executable).parent)
    parser.add_argument("--pages", nargs="*", choices=NAMES, default=NAMES, metavar="PAGE")
    parser.add_argument("--output", type=Path, default=MEASURED)
    arguments = parser.parse_args()
    rows = arguments.output / "newcomer.csv"
    with tempfile.TemporaryDirectory() as folder:
        inputs = Path(folder, "inputs")
        inputs.mkdir()
        write_inputs(inputs)
        for page in (each for each in PAGES if each.stem in arguments.pages):
            known = read_rows(rows, Ran)
            run_page(page, inputs, arguments.programs.resolve(), known, rows)
    found = sorted(read_rows(rows, Ran), key=lambda each: NAMES.index(each.page))
    report = page_of(found)
    report.folder = arguments.output
    report.write(found)


if __name__ == "__main__":
    main()
