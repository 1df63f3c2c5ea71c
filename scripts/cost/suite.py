"""Seconds of the test suite as ``make test`` runs it: in all, for each folder, and the slowest.

Writes the page ``docs/measured/suite.md``.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from scripts.shared.report import MEASURED, ROOT, Report

SLOWEST = 12


@dataclass(frozen=True)
class Tried:
    """A test, and the seconds that it took with what it alone had set up."""

    folder: str
    name: str
    seconds: float


def run(processes: int, log: Path) -> tuple[int, float, float]:
    """Exit status, wall-clock and processor seconds of the suite."""
    options = ["--numprocesses", str(processes), "--dist", "worksteal", "-q", "--junitxml", log]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run([sys.executable, "-m", "pytest", *map(str, options)], cwd=ROOT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return done.returncode, time.monotonic() - started, spent


def tried(log: Path) -> list[Tried]:
    """The tests of a run, as pytest's log tells them."""
    found = []
    for case in ET.parse(log).getroot().iter("testcase"):
        module = case.get("classname", "").split(".")
        within = [part for part in module if not part.startswith(("test_", "Test"))]
        folder = "/".join(within[:2]) or "documents"
        found.append(Tried(folder, f"{module[-1]}::{case.get('name')}", float(case.get("time", 0))))
    return found


def main() -> None:
    """Run the suite and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--output", type=Path, default=MEASURED)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.xml"
        status, wall, spent = run(arguments.processes, log)
        tests = tried(log)
    report = Report("suite", "The test suite", arguments.output)
    report.made(f"{arguments.processes} processes, one thread each.")
    passed = "all passed" if status == 0 else f"pytest ended with status {status}"
    report.text(
        f"{len(tests)} tests and examples in {wall:.0f} s, {spent:.0f} s of processor time;"
        f" {passed}."
    )
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    for test in tests:
        seconds[test.folder].append(test.seconds)
    table = report.table(["folder", "tests", "seconds"])
    for name, each in sorted(seconds.items(), key=lambda item: -sum(item[1])):
        table.row(name, len(each), f"{sum(each):.1f}")
    report.heading("The slowest")
    table = report.table(["test", "seconds"])
    for test in sorted(tests, key=lambda test: -test.seconds)[:SLOWEST]:
        table.row(f"`{test.name}`", f"{test.seconds:.1f}")
    report.write()
    sys.exit(status)


if __name__ == "__main__":
    main()
