"""Do the tests notice? Small random faults, one at a time, each against the tests of its module.

The package, its tests and its settings are copied to a temporary folder; the work tree is not
touched. A fault is noticed if the tests that mirror its module, or the examples of its docstrings,
fail or take too long; a module without tests of its own is tested by those that name it, then
those of its folder. In the end the tests that noticed something must pass where there is no fault.
What was found is kept in a CSV, so that a run that was broken off goes on; another ``--seed`` adds
another sample to it. ``--again`` judges anew, on the package as it is now, what went unnoticed in
it; what is noticed only then is told apart, for tests were written for it.
Writes ``docs/measured/mutants.md``.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
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
from collections.abc import Collection, Sequence
from contextlib import redirect_stderr, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.shared.equivalent import CHANGES_NOTHING
from scripts.shared.mutation import Mutation, mutations, with_mutation
from scripts.shared.report import MEASURED, ROOT, Report
from scripts.shared.rows import append_row, read_rows, write_rows

if TYPE_CHECKING:
    import pytest

COPIED = ("oinr_monai", "tests", "scripts", "bundles", "docs", "data")
# A folder's tests of what comes in and goes out lie in another.
DOORS = {"images": "field"}
# Seconds of processor time that tests may take, twice what the slowest folder does, and so many
# times that on the clock, for a fault that makes them wait for ever.
LONGEST, WAITING = 300, 6
# What noticed a fault that made tests take that long.
TOO_LONG = "too long"
# What stands there for a fault that went unnoticed in code that has been written anew since.
GONE = "gone"
# What stands there for a fault that there was no time for yet.
LATER = "later"
# The sample of which only the end is known: tests had been written for it, round after round,
# before what was noticed only then was told apart.
FIRST = 0


@dataclass(frozen=True)
class Tried:
    """What became of one fault.

    Args:
        path: its module.
        line: where it is.
        within: the class and the function.
        kind: what is changed.
        before: the code that is changed.
        after: what it becomes.
        which: it is the one of this number among those that are alike in all this but the line.
        by: the test that noticed it; none if empty, or if the code is no more.
        sound: whether that test passes where there is no fault.
        seed: of the sample that it was drawn in.
        late: whether it was missed when drawn, and is noticed by tests that were written since.
    """

    path: str
    line: int
    within: str
    kind: str
    before: str
    after: str
    which: int
    by: str = ""
    sound: int = 1
    seed: int = FIRST
    late: int = 0

    @property
    def alike(self) -> tuple[str, ...]:
        """What tells it from others, wherever its line is now."""
        return self.path, self.within, self.kind, self.before, self.after

    @property
    def reason(self) -> str | None:
        """Why it changes nothing, if that is known."""
        key = self.path, self.within, self.before, self.after, self.which
        return CHANGES_NOTHING.get(key)

    @property
    def cells(self) -> tuple[str, ...]:
        """Its row of the table."""
        where = f"`{self.path.removeprefix('oinr_monai/')}:{self.line}` {self.within}"
        shown = (f"`{each.splitlines()[0][:60]}`" for each in (self.before, self.after or "pass"))
        why = self.reason if not self.by and self.reason else f"`{self.by}`" if self.by else ""
        # Neither a column nor a link.
        plain = (each.replace("|", "\\|").replace("](", "] (") for each in (*shown, why))
        return where, self.kind, *plain


class Copy:
    """A copy of the repository to make faults in.

    Args:
        folder: where.
    """

    def __init__(self, folder: Path) -> None:
        self.root = folder / "repository"
        self.root.mkdir()
        self._failed = folder / "failed"
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, self.root / name, symlinks=True)
        for path in (*ROOT.glob("*.md"), *ROOT.glob("*.cfg"), *ROOT.glob("*.toml")):
            shutil.copy2(path, self.root)

    def tests_of(self, path: Path) -> tuple[str, ...]:
        """The tests that mirror a module, else those that name it, then those of its folder."""
        room = path.relative_to("oinr_monai").parent
        mirror = Path("tests") / room / f"test_{path.stem}.py"
        if (self.root / mirror).is_file():
            return str(mirror), str(path)
        name = ".".join(path.with_suffix("").parts)
        every = sorted((self.root / "tests").rglob("test_*.py"))
        named = [each for each in every if name in each.read_text()]
        alike = [each for each in every if each.stem.split("_")[1] == path.stem.split("_")[0]]
        near = [self.root / "tests" / each for each in (room, DOORS.get(str(room), room))]
        beside = [each for each in every if each.parent in near]
        files = dict.fromkeys([*named, *alike, *beside])
        return *(str(each.relative_to(self.root)) for each in files), str(path)

    def faults(self, path: Path) -> list[tuple[Mutation, Tried]]:
        """All faults of a module, each with what is known of it before it is tried."""
        found: list[tuple[Mutation, Tried]] = []
        seen: dict[tuple[str, ...], int] = {}
        for each in mutations((self.root / path).read_text()):
            tried = Tried(
                str(path), each.line, each.within, each.kind, each.before, each.after, which=0
            )
            number = seen[tried.alike] = seen.get(tried.alike, -1) + 1
            found.append((each, replace(tried, which=number)))
        return found

    def judged(self, mutation: Mutation, fault: Tried) -> Tried:
        """Make a fault, run the tests until one notices it, and undo it."""
        file = self.root / fault.path
        whole, when = file.read_text(), file.stat()
        file.write_text(with_mutation(whole, mutation.number))
        try:
            failed = self.failing(self.tests_of(Path(fault.path)), fault.within.split("."))
        finally:
            file.write_text(whole)
            # What is compiled of it holds again.
            os.utime(file, ns=(when.st_atime_ns, when.st_mtime_ns))
        return replace(fault, by=failed[0] if failed else "", sound=1)

    def failing(
        self, tests: Sequence[str], words: Collection[str] = (), *, every: bool = False
    ) -> list[str]:
        """Those of the tests that fail, in a process of their own.

        Args:
            tests: files or tests.
            words: names; the tests in which one occurs come first.
            every: whether to go on after the first that fails.
        """
        self._failed.write_text("")
        child = os.fork()
        if not child:
            os.setsid()
            # What a shell starts in the background ignores Ctrl-C, which is part of some tests.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            resource.setrlimit(resource.RLIMIT_CPU, (LONGEST, LONGEST + 1))
            self._run(tests, _Told(self._failed, words), [] if every else ["-x"])
        code = _ended(child)
        failed = self._failed.read_text().split("\n")[:-1]
        return failed or ([] if code in (0, 5) else [TOO_LONG if code < 0 else tests[0]])

    def _run(self, tests: Sequence[str], told: _Told, options: Sequence[str]) -> None:
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

            more = ["-q", "-p", "no:cacheprovider", *options]
            code = int(pytest.main([*tests, *more], plugins=[told]))
        finally:
            os._exit(code)


class _Told:
    """Tells which tests fail, and lets those come first that name what is changed."""

    def __init__(self, path: Path, words: Collection[str]) -> None:
        self.path = path
        self.words = [word.strip("_") for word in words if word.strip("_") != "init"]

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=lambda item: not any(word in _source(item) for word in self.words))

    def pytest_runtest_logreport(self, report: Any) -> None:  # noqa: ANN401 (pytest's)
        self._note(report)

    def pytest_collectreport(self, report: Any) -> None:  # noqa: ANN401
        self._note(report)

    def _note(self, report: Any) -> None:  # noqa: ANN401
        if report.failed:
            with self.path.open("a") as file:
                file.write(f"{report.nodeid}\n")


def _source(item: pytest.Item) -> str:
    function = getattr(item, "function", None)
    return item.name if function is None else inspect.getsource(function)


def _ended(child: int) -> int:
    """Wait for a process; its exit code, less than 0 where it was stopped."""
    ends = time.monotonic() + WAITING * LONGEST
    while time.monotonic() < ends:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def chosen(copy: Copy, paths: Sequence[Path], count: int, seed: int) -> list[Tried]:
    """So many faults of these modules, each as likely as any other."""
    every = [replace(fault, seed=seed) for path in paths for _, fault in copy.faults(path)]
    return random.Random(seed).sample(every, min(count, len(every)))


def modules(only: Path | None) -> list[Path]:
    """The modules to make faults in."""
    if only is not None:
        return [only.resolve().relative_to(ROOT)]
    found = sorted((ROOT / "oinr_monai").rglob("*.py"))
    return [each.relative_to(ROOT) for each in found if each.name != "__init__.py"]


def there(copy: Copy, fault: Tried) -> tuple[Mutation, Tried] | None:
    """The fault in the package as it is now; None where its code is no more."""
    if not (copy.root / fault.path).is_file():
        return None
    found = copy.faults(Path(fault.path))
    key = (fault.alike, fault.which)
    return next((each for each in found if (each[1].alike, each[1].which) == key), None)


def judged_now(copy: Copy, fault: Tried, *, again: bool) -> Tried:
    """The fault judged on the package as it is now, in the sample that it was drawn in.

    Args:
        copy: to make it in.
        fault: as it was found.
        again: whether it was missed before.
    """
    now = there(copy, fault)
    if now is None:
        return replace(fault, by=GONE)
    found = replace(copy.judged(*now), seed=fault.seed)
    return replace(found, late=int(fault.by in ("", GONE) and again and bool(found.by)))


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


def sound(copy: Copy, tried: Sequence[Tried]) -> list[Tried]:
    """The same, but with a mark on those whose test fails without a fault too."""
    tests = sorted({each.by for each in tried if each.by not in ("", TOO_LONG, GONE, LATER)})
    failing = copy.failing(tests, every=True) if tests else []
    return [replace(each, sound=int(each.by not in failing)) for each in tried]


def samples(tried: Sequence[Tried]) -> list[tuple[object, ...]]:
    """For each sample how many there are; as drawn, noticed and missed; noticed and missed now.

    What changes nothing, and is known to, counts as neither.
    """
    found: list[tuple[object, ...]] = []
    for seed in sorted({each.seed for each in tried}):
        own = [each for each in tried if each.seed == seed]
        same = sum(not each.by and each.reason is not None for each in own)
        gone = sum(each.by == GONE for each in own)
        late = sum(each.late for each in own)
        missed = sum(not each.by for each in own) - same
        noticed = len(own) - same - missed - gone
        drawn: tuple[object, ...] = (noticed - late, missed + late + gone)
        if seed == FIRST:
            drawn = ("", "")
        share = f"{100 * noticed / max(len(own) - same - gone, 1):.0f} %"
        found.append((seed, len(own), same, *drawn, noticed, missed, gone, share))
    return found


def report(tried: Sequence[Tried], folder: Path) -> None:
    """Write the page."""
    known = [each for each in tried if each.sound and each.by != LATER]
    missed = [each for each in known if not each.by]
    page = Report("mutants", "Do the tests notice?", folder)
    later, unsound = sum(e.by == LATER for e in tried), [e for e in tried if not e.sound]
    page.made(
        "each sample is so many faults of the package as it was then, drawn at random; for"
        f" {later} there was no time.",
        without=("--again", "--minutes"),
    )
    page.text(
        "As drawn: by the tests that there were. Now: tests were written for what had been missed,"
        " so that the next sample tells more than this one. The part is of those that change"
        " something and whose code is still there."
    )
    head = ("seed", "faults", "change nothing", "noticed as drawn", "missed as drawn")
    page.table((*head, "noticed now", "missed now", "code is gone", "part"), samples(known))
    parts = {
        "Not noticed": ("", [each for each in missed if not each.reason]),
        "Not noticed, since nothing changes": ("why", [each for each in missed if each.reason]),
        "Not noticed, in code that has been written anew since": (
            "",
            [each for each in known if each.by == GONE],
        ),
        "Noticed by tests that were written for it": ("by", [e for e in known if e.late]),
        "Noticed": ("by", [e for e in known if e.by not in ("", GONE) and not e.late]),
        "Not judged: the tests fail without a fault": ("by", unsound),
    }
    for title, (last, rows) in parts.items():
        if rows:
            page.heading(title)
            page.table(("where", "what", "before", "after", last), [r.cells for r in rows], text=5)
    page.write(tried)


def main() -> None:
    """Make the faults and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="faults to try")
    parser.add_argument("--seed", type=int, default=0, help="seed of their choice")
    parser.add_argument("--package-file", type=Path, help="the one module to make faults in")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="when to stop")
    parser.add_argument("--output", type=Path, default=MEASURED, help="folder of the page")
    parser.add_argument("--again", action="store_true", help="judge anew what went unnoticed")
    options = parser.parse_args()
    ends = time.monotonic() + 60 * options.minutes
    rows = options.output / "mutants.csv"
    options.output.mkdir(parents=True, exist_ok=True)
    before = read_rows(rows, Tried)
    warm()
    with tempfile.TemporaryDirectory() as folder:
        copy = Copy(Path(folder))
        if options.again:
            faults = [e for e in before if e.by in ("", GONE, LATER) and not e.reason]
            kept = [each for each in before if each not in faults]
            write_rows(rows, kept)
        else:
            paths = modules(options.package_file)
            faults, kept = chosen(copy, paths, options.count, options.seed), before
        done = {(each.alike, each.which) for each in kept}
        for fault in faults:
            if (fault.alike, fault.which) in done:
                continue
            judged = fault if options.again else replace(fault, by=LATER)
            if time.monotonic() < ends:
                judged = judged_now(copy, fault, again=options.again)
            append_row(rows, judged)
            print(bool(judged.by), *judged.cells, flush=True)
        tried = sound(copy, read_rows(rows, Tried))
    report(tried, options.output)


if __name__ == "__main__":
    main()
