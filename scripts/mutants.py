"""Do the tests notice? Small random faults, one at a time, each against the tests of its module.

The package, its tests and its settings are copied to a temporary folder; the work tree is not
touched. A fault is noticed if the tests that mirror its module, or the examples of its docstrings,
fail or take too long; a module without tests of its own is tested by those of its folder, and
those that name it. Writes
``docs/measured/mutants.md``.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import redirect_stderr, suppress
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from scripts.shared.mutation import Mutation, mutations, with_mutation
from scripts.shared.report import MEASURED, ROOT, Report

COPIED = ("oinr_monai", "tests", "scripts", "bundles", "docs", "data")
# A folder's tests of what comes in and goes out lie in another.
DOORS = {"images": "field"}
# A run of tests may take so many times longer than without a fault, and so many seconds more, both
# of processor time; on the clock so many times that, for a fault that makes them wait for ever.
PATIENCE, GRACE, WAITING = 3.0, 20.0, 6.0
# Seconds of processor time after which tests count as too slow to try a fault with.
LONGEST = 300.0


@dataclass(frozen=True)
class Tried:
    """What became of one fault: whether it was noticed; None where its tests are no test of it."""

    path: Path
    mutation: Mutation
    noticed: bool | None

    @property
    def cells(self) -> tuple[str, ...]:
        """Its row of the table."""
        where = f"`{self.path.relative_to('oinr_monai')}:{self.mutation.line}`"
        shown = [f"`{each.splitlines()[0][:60]}`" for each in (self.mutation.before, self.after)]
        return where, self.mutation.kind, *(each.replace("|", "\\|") for each in shown)

    @property
    def after(self) -> str:
        """The code with the fault, in one line."""
        return self.mutation.after or "pass"


class Copy:
    """A copy of the repository to make faults in.

    Args:
        folder: where.
    """

    def __init__(self, folder: Path) -> None:
        self.root = folder / "repository"
        self.root.mkdir()
        self._seconds: dict[tuple[Path, ...], float | None] = {}
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, self.root / name, symlinks=True)
        for path in (*ROOT.glob("*.md"), *ROOT.glob("*.cfg"), *ROOT.glob("*.toml")):
            shutil.copy2(path, self.root)

    def tests_of(self, path: Path) -> tuple[Path, ...]:
        """The tests that mirror a module, else those that name it, then those of its folder."""
        room = path.relative_to("oinr_monai").parent
        mirror = Path("tests") / room / f"test_{path.stem}.py"
        if (self.root / mirror).is_file():
            return mirror, path
        name = ".".join(path.with_suffix("").parts)
        every = sorted((self.root / "tests").rglob("test_*.py"))
        named = [each for each in every if name in each.read_text()]
        near = [self.root / "tests" / each for each in (room, DOORS.get(str(room), room))]
        alike = [each for each in every if each.stem.split("_")[1] == path.stem.split("_")[0]]
        beside = [each for each in every if each.parent in near]
        files = [each.relative_to(self.root) for each in dict.fromkeys([*named, *alike, *beside])]
        return *files, path

    def seconds(self, tests: tuple[Path, ...]) -> float | None:
        """Processor time of the tests without a fault; None if they fail."""
        if tests not in self._seconds:
            before = os.times()
            passed = self.passes(tests, LONGEST)
            after = os.times()
            spent = sum(after[2:4]) - sum(before[2:4])
            self._seconds[tests] = spent if passed else None
        return self._seconds[tests]

    def tried(self, path: Path, mutation: Mutation) -> Tried:
        """Make a fault, run the tests, and undo it."""
        tests = self.tests_of(path)
        usual = self.seconds(tests)
        if usual is None:
            return Tried(path, mutation, None)
        file = self.root / path
        whole, when = file.read_text(), file.stat()
        file.write_text(with_mutation(whole, mutation.number))
        try:
            return Tried(path, mutation, not self.passes(tests, PATIENCE * usual + GRACE))
        finally:
            file.write_text(whole)
            # What is compiled of it holds again.
            os.utime(file, ns=(when.st_atime_ns, when.st_mtime_ns))

    def passes(self, tests: Sequence[Path], seconds: float) -> bool:
        """Whether these tests pass within a processor time, in a process of their own."""
        child = os.fork()
        if not child:
            os.setsid()
            # What a shell starts in the background ignores Ctrl-C, which is part of some tests.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            resource.setrlimit(resource.RLIMIT_CPU, (ceil(seconds), ceil(seconds) + 1))
            self._run(tests)
        ends = time.monotonic() + WAITING * seconds
        while time.monotonic() < ends:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status) == 0
            time.sleep(0.05)
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return False

    def _run(self, tests: Sequence[Path]) -> None:
        code = 70
        try:
            with Path(os.devnull).open("w") as nowhere:
                os.dup2(nowhere.fileno(), 1)
                os.dup2(nowhere.fileno(), 2)
            os.chdir(self.root)
            os.environ["PYTHONPATH"] = str(self.root)
            sys.path[:] = [str(self.root), *[each for each in sys.path if each != str(ROOT)]]
            sys.dont_write_bytecode = True
            for name in [each for each in sys.modules if each.split(".")[0] == "scripts"]:
                del sys.modules[name]
            import pytest

            code = int(pytest.main([*map(str, tests), "-x", "-q", "-p", "no:cacheprovider"]))
        finally:
            os._exit(code)


def chosen(root: Path, paths: Sequence[Path], count: int, seed: int) -> list[tuple[Path, Mutation]]:
    """So many faults of these modules, each as likely as any other."""
    every = [(path, each) for path in paths for each in mutations((root / path).read_text())]
    return random.Random(seed).sample(every, min(count, len(every)))


def modules(only: Path | None) -> list[Path]:
    """The modules to make faults in."""
    if only is not None:
        return [only.resolve().relative_to(ROOT)]
    found = sorted((ROOT / "oinr_monai").rglob("*.py"))
    return [each.relative_to(ROOT) for each in found if each.name != "__init__.py"]


def warm() -> None:
    """Import once what every run of tests imports, the package aside.

    What keeps the stream of errors as it is imported gets none of ours, where tests would read it.
    """
    code = "import oinr_monai.cli.app, pytest, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    for name in done.stdout.split():
        if name.split(".")[0] not in ("__main__", "oinr_monai"):
            with suppress(Exception), redirect_stderr(io.StringIO()):
                importlib.import_module(name)


def report(tried: Sequence[Tried], folder: Path) -> None:
    """Write the page."""
    known = [each for each in tried if each.noticed is not None]
    noticed = sum(bool(each.noticed) for each in known)
    page = Report("mutants", "Do the tests notice?", folder)
    page.made(f"{noticed} of {len(known)} faults were noticed by the tests of their module")
    head = ("where", "what", "before", "after")
    for title, wanted in (("Not noticed", False), ("Noticed", True), ("Not tried", None)):
        rows = [each.cells for each in tried if each.noticed is wanted]
        if rows:
            page.heading(title)
            page.table(head, rows, text=len(head))
    page.write()


def main() -> None:
    """Make the faults and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="faults to try")
    parser.add_argument("--seed", type=int, default=0, help="seed of their choice")
    parser.add_argument("--package-file", type=Path, help="the one module to make faults in")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="when to stop")
    parser.add_argument("--output", type=Path, default=MEASURED, help="folder of the page")
    options = parser.parse_args()
    ends = time.monotonic() + 60 * options.minutes
    warm()
    tried: list[Tried] = []
    with tempfile.TemporaryDirectory() as folder:
        copy = Copy(Path(folder))
        paths = modules(options.package_file)
        for path, mutation in chosen(copy.root, paths, options.count, options.seed):
            if time.monotonic() > ends:
                break
            tried.append(copy.tried(path, mutation))
            print(tried[-1].noticed, *tried[-1].cells, flush=True)
    report(tried, options.output)


if __name__ == "__main__":
    main()
