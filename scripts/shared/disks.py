"""Folders in which a cohort meets a full disk, or one that it may not write or read."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from oinr_monai.cli.app import main
from oinr_monai.cohort.status import Row, read_status
from scripts.shared.runs import bits_of, wait_for

# Who nobody is, on any Linux.
NOBODY = 65_534
# Bytes of a small disk: at least, and for each place more; a result of 16^3 has 8,500 or so, and
# what is made takes as many again for a moment.
LEAST, MORE = 24 << 10, 12 << 10


@dataclass
class Outcome:
    """What became of a cohort that met a fault, and of the same command afterwards."""

    code: int
    failed: int
    kept: int
    again: int
    half: int
    lost: int

    def counts(self) -> tuple[int, ...]:
        """What is counted."""
        return self.failed, self.kept, self.again, self.half, self.lost


@dataclass
class Folder:
    """A folder of results, and of the scans they are of."""

    out: Path
    scans: Path
    user: int = 0
    codes: list[int] = field(default_factory=list)
    before: dict[str, int] = field(default_factory=dict)
    failed: int = 0

    def run(self) -> None:
        """Fit all, in a process that begins where the imports have ended."""
        child = os.fork()
        if not child:
            self._become_it()
        self.codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    def _become_it(self) -> None:
        status = 70
        try:
            silent = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silent, 1)
            os.dup2(silent, 2)
            if self.user:
                os.setuid(self.user)
            line = [
                "cohort",
                "fit",
                f"{self.scans}/*.nii",
                "-o",
                str(self.out),
                "--preset",
                "exact",
            ]
            status = main([*line, "--json"])
        finally:
            os._exit(status)

    def note(self) -> None:
        """Remember what is known after the fault."""
        rows = read_status(self.out)
        self.failed = sum(row.status == "failed" for row in rows.values())
        for name, row in rows.items():
            path = self.out / f"{name}.oinr"
            if row.result and path.is_file():
                self.before[path.name] = path.stat().st_mtime_ns

    def outcome(self, whole: Folder) -> Outcome:
        """How it ended, beside an undisturbed one."""
        found, expected = bits_of(self.out, ".oinr"), bits_of(whole.out, ".oinr")
        rows = read_status(self.out)
        right = [n for n, bits in expected.items() if found.get(n) == bits]
        known = [n for n in right if rows.get(Path(n).stem, Row("")).result]
        more = {each.name for each in self.out.iterdir()} - {*expected, "status.csv"}
        again = [n for n, t in self.before.items() if (self.out / n).stat().st_mtime_ns != t]
        lost = len(expected) - len(known) + (self.codes[-1] != 0)
        return Outcome(self.codes[0], self.failed, len(self.before), len(again), len(more), lost)


def full_disks(folder: Path, count: int) -> Iterator[Folder]:
    """Disks that hold more and more results, and then all of them."""
    for place in range(count):
        made = Folder(folder / f"disk{place}", folder / "in")
        made.out.mkdir()
        size = f"size={LEAST + place * MORE}"
        subprocess.run(["mount", "-t", "tmpfs", "-o", size, "oinr", made.out], check=True)
        try:
            made.run()
            made.note()
            larger = "remount,size=8m"
            subprocess.run(["mount", "-o", larger, made.out], check=True)
            made.run()
            yield made
        finally:
            subprocess.run(["umount", made.out], check=True)


def closed_folders(folder: Path, count: int) -> Iterator[Folder]:
    """Folders that are closed after so many results, and then opened."""
    os.chmod(folder, 0o755)
    for place in range(count):
        made = Folder(folder / f"closed{place}", folder / "in", NOBODY)
        made.out.mkdir()
        os.chown(made.out, NOBODY, NOBODY)
        _close_at(made.out, 2 * place)
        made.run()
        made.note()
        os.chmod(made.out, 0o755)
        made.run()
        yield made


def _close_at(out: Path, results: int) -> None:
    def close() -> None:
        wait_for(lambda: len(list(out.glob("*.oinr"))) >= results, 60)
        os.chmod(out, 0o555)

    if results:
        threading.Thread(target=close, daemon=True).start()
    else:
        close()


def closed_inputs(folder: Path, count: int) -> Iterator[Folder]:
    """Scans, one more each time, that may not be read, and then may."""
    os.chmod(folder, 0o755)
    scans = sorted((folder / "in").glob("*.nii"))
    for place in range(count):
        made = Folder(folder / f"input{place}", folder / "in", NOBODY)
        made.out.mkdir()
        os.chown(made.out, NOBODY, NOBODY)
        for path in scans[place : 2 * place + 1]:
            os.chmod(path, 0o000)
        made.run()
        made.note()
        for path in scans:
            os.chmod(path, 0o644)
        made.run()
        yield made
