"""What a cohort survives: killed workers, drivers and nodes, full disks, closed folders, bad scans.

Every run must end with each subject once, the same bits that an undisturbed run writes, nothing
half done, and no process left. Full disks and closed folders need a root to make them. Each part
writes its section of ``docs/measured/losses.md``.
"""

from __future__ import annotations

import os
import random
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen
from typing import Any

from oinr_monai.cohort.status import Row, read_status
from scripts.shared.disks import Folder, closed_folders, closed_inputs, full_disks
from scripts.shared.report import Report, write_parts
from scripts.shared.rows import append_row, read_rows
from scripts.shared.runs import MARK, OURS, begun, bits_of, make_scans, marked, wait_for

# A fit of a second or so; a voxel more than the images that are fitted together.
SHAPE, TRAINED = (32, 32, 33), ("--preset", "fast", "--steps", "60", "--device", "cpu")
SUBJECTS, MOMENTS = 24, 10
# Seconds after which a run that shows nothing new has failed.
PATIENCE = 400.0
# Seconds after which a process is said to be left, where others keep the machine busy.
GONE = 120.0
HEAD = (
    *("lost", "moments", "subjects", "each once", "same bits", "half done", "made twice"),
    *("processes gone after, s", "left"),
)


@dataclass(frozen=True)
class Loss:
    """What became of a cohort parts of which were killed.

    Args:
        lost: what was killed.
        moments: how often.
        subjects: how many there are.
        once: those that have one row and one result.
        same: those whose result has the bits of an undisturbed run.
        half: other files that are there.
        twice: results that the table knew at a kill and that were written again.
        gone: seconds until no process of a run was there, at most.
        left: runs after which one was there for longer than is waited.
    """

    lost: str
    moments: int
    subjects: int
    once: int
    same: int
    half: int
    twice: int
    gone: float
    left: int

    def cells(self) -> list[object]:
        """A row of the table."""
        counts = [f"{each} of {self.subjects}" for each in (self.once, self.same)]
        told = [self.lost, self.moments, self.subjects, *counts, self.half, self.twice]
        return [*told, f"{self.gone:.0f}", self.left]


@dataclass
class Trial:
    """A cohort that is disturbed."""

    folder: Path
    pattern: str
    expected: dict[str, str]
    kept: dict[str, int] = field(default_factory=dict)
    gone: float = 0.0
    left: int = 0

    @property
    def out(self) -> Path:
        """Where its results are."""
        return self.folder / "out"

    def line(self, *options: object) -> list[object]:
        """The command."""
        return ["cohort", "fit", self.pattern, "-o", self.out, *TRAINED, *options]

    def rows(self) -> dict[str, Row]:
        """What the table says, if there is one."""
        return read_status(self.out) if self.out.is_dir() else {}

    def count(self) -> int:
        """Results that are there."""
        return len(list(self.out.glob("*.oinr")))

    def keep(self) -> None:
        """Note which results the table knows, and when they were written."""
        for name, row in self.rows().items():
            path = self.out / f"{name}.oinr"
            if row.key and row.result and path.is_file():
                self.kept.setdefault(path.name, path.stat().st_mtime_ns)

    def wait(self, mark: Callable[[], object]) -> None:
        """Note how long it takes until no process is there."""
        started = time.monotonic()
        self.left += not wait_for(lambda: not mark(), GONE)
        self.gone = max(self.gone, time.monotonic() - started)

    def loss(self, lost: str) -> Loss:
        """What came of it."""
        found, rows = bits_of(self.out, ".oinr"), self.rows()
        lines = (self.out / "status.csv").read_text().count("\n") - 1
        once = [name for name in self.expected if rows.get(Path(name).stem, Row("")).result]
        same = [name for name, bits in self.expected.items() if found.get(name) == bits]
        more = {each.name for each in self.out.iterdir()} - {*self.expected, "status.csv"}
        again = [n for n, t in self.kept.items() if (self.out / n).stat().st_mtime_ns != t]
        whole = len(once) if lines == len(self.expected) else 0
        counts = (whole, len(same), len(more), len(again))
        return Loss(lost, MOMENTS, SUBJECTS, *counts, round(self.gone, 1), self.left)


def undisturbed(folder: Path) -> Callable[[str], Trial]:
    """Makes trials, whose bits were made by one process."""
    make_scans(folder / "in", SUBJECTS, SHAPE)
    whole = Trial(folder / "whole", f"{folder}/in/*.nii", {})
    whole.folder.mkdir()
    with begun(whole.line(), whole.folder / "log") as (process, _):
        if process.wait():
            raise RuntimeError((whole.folder / "log").read_text())
    expected = bits_of(whole.out, ".oinr")

    def make(name: str) -> Trial:
        made = Trial(folder / name, whole.pattern, expected)
        made.folder.mkdir()
        return made

    return make


def new_result(trial: Trial, chance: random.Random) -> None:
    """Wait until there are one or two more, and then for a part of another."""
    wanted = min(trial.count() + chance.choice((1, 2)), SUBJECTS)
    if not wait_for(lambda: trial.count() >= wanted, PATIENCE):
        raise RuntimeError((trial.folder / "log").read_text())
    wait_for(lambda: False, chance.uniform(0, 1))


def lose_drivers(trial: Trial) -> None:
    """Kill the command, three times as it starts and else as it works, and begin it again."""
    chance = random.Random(0)
    for moment in range(MOMENTS):
        with begun(trial.line("--engine", "ray"), trial.folder / "log") as (process, mark):
            if moment < 3:
                wait_for(lambda: process.poll() is not None, chance.uniform(0, 25))
            else:
                new_result(trial, chance)
            trial.keep()
            process.kill()
            process.wait()
            trial.wait(lambda: marked(mark))
        print(f"driver {moment}: {trial.count()} results", flush=True)
    with begun(trial.line("--engine", "ray"), trial.folder / "log") as (process, mark):
        finish(trial, process, mark)


def finish(trial: Trial, process: Popen[bytes], mark: str) -> None:
    """Let a run come to its end."""
    if process.wait(10 * PATIENCE):
        raise RuntimeError((trial.folder / "log").read_text())
    trial.wait(lambda: marked(mark))


def lose_workers(trial: Trial) -> None:
    """Kill what works on a subject, ten times in one run."""
    chance = random.Random(1)
    line = trial.line("--engine", "ray", "--retries", MOMENTS)
    with begun(line, trial.folder / "log") as (process, mark):
        for moment in range(MOMENTS):
            new_result(trial, chance)
            wait_for(lambda: kill_one(mark, chance), PATIENCE)  # until one is at work
            print(f"worker {moment}: {trial.count()} results", flush=True)
        finish(trial, process, mark)


def kill_one(mark: str, chance: random.Random) -> bool:
    """Kill a process that works on a subject, if there is one."""
    busy = [each for each in marked(mark) if each.command.startswith("ray::_")]
    return bool(busy) and chance.choice(busy).kill()


@contextmanager
def cluster() -> Iterator[Any]:
    """A cluster of this machine whose nodes have one core each; its head has none."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        yield made
    finally:
        made.shutdown()


def lose_nodes(trial: Trial) -> None:
    """Kill one of two nodes, ten times in one run; each time another takes its place later."""
    chance, mark = random.Random(2), uuid.uuid4().hex
    os.environ |= OURS | {MARK: mark}
    with cluster() as made:
        nodes = [made.add_node(num_cpus=1) for _ in range(2)]
        line = trial.line("--engine", "ray", "--address", made.address, "--retries", MOMENTS)
        with begun(line, trial.folder / "log") as (process, own):
            for moment in range(MOMENTS):
                new_result(trial, chance)
                made.remove_node(nodes.pop(chance.randrange(2)), allow_graceful=False)
                print(f"node {moment}: {trial.count()} results", flush=True)
                if moment % 2:  # every other time the one that is left works on alone
                    new_result(trial, chance)
                nodes.append(made.add_node(num_cpus=1))
            finish(trial, process, own)
    trial.wait(lambda: [each for each in marked(mark) if each.pid != os.getpid()])


LOST = {"worker": lose_workers, "node": lose_nodes, "driver": lose_drivers}
KILLED = """Each was killed by SIGKILL at ten moments of one cohort on Ray: the driver, three times
as it started, with a cluster of its own, and begun again; a process that worked on a subject; one
of two nodes of one core, every other time with a pause before another took its place. "Made twice"
counts results that the table knew at a kill and that were written again; "left" counts runs after
which a process was there for more than two minutes, on a machine that others kept busy."""


def kills(report: Report, folder: Path) -> None:
    """What becomes of cohorts whose parts are killed; what the CSV has is not done again."""
    path, make = report.path("csv"), None
    for name, lose in LOST.items():
        if name not in {each.lost for each in read_rows(path, Loss)}:
            make = make or undisturbed(folder)
            trial = make(name)
            lose(trial)
            append_row(path, trial.loss(name))
    report.text(KILLED)
    report.table(HEAD, [each.cells() for each in read_rows(path, Loss)])


def bad_scans(report: Report, folder: Path) -> None:
    """Five hundred small scans on Ray, of which five are none."""
    paths = make_scans(folder / "in", 500)
    for i, path in enumerate(paths[50::100]):
        whole = path.read_bytes()
        path.write_bytes((whole[:-5_000], b"", whole[:300], b"text", whole[::-1])[i])
    line = ["cohort", "fit", f"{folder}/in/*.nii", "-o", folder / "out", "--preset", "exact"]
    with begun([*line, "--engine", "ray"], folder / "log") as (process, _mark):
        code = process.wait()
    rows = read_status(folder / "out").values()
    counts = {each: sum(row.status == each for row in rows) for each in ("done", "failed")}
    files = len(list((folder / "out").glob("*.oinr")))
    report.text(
        f"Of 500 scans of 32³ on Ray, five cut, empty or garbled: {counts['done']} done,"
        f" {files} files, {counts['failed']} rows with reasons, exit code {code}:"
    )
    said = [row for row in rows if row.status == "failed"]
    report.table(
        ("subject", "reason"),
        [(row.subject, row.message.replace(f"{folder}/", "")) for row in said],
        text=2,
    )


FAULTS = """Each at another place in a cohort of 12 scans of 16³ in one process, and then the same
command where all is well again: disks that hold more and more results; folders that are closed to
who runs it after more and more of them, five times; more and more scans that may not be read, five
times. "Kept" counts results that the table knew after the fault, "made twice" those of them that
were written again, "lost" what was not there in the end."""


def faults(report: Report, folder: Path) -> None:
    """Disks that are full, folders and inputs that are closed, and the same command afterwards."""
    report.text(FAULTS)
    head = ("fault", "runs", "exit codes", "rows failed", "kept", "made twice", "half done", "lost")
    table = report.table(head)
    make_scans(folder / "in", 12, (16, 16, 16))
    whole = Folder(folder / "whole", folder / "in")
    whole.run()
    kinds = {
        "full disk": full_disks,
        "closed folder": closed_folders,
        "closed input": closed_inputs,
    }
    for name, kind in kinds.items():
        runs = [each.outcome(whole) for each in kind(folder, 10 if name == "full disk" else 5)]
        codes = sorted({each.code for each in runs})
        sums = [sum(each) for each in zip(*(run.counts() for run in runs), strict=True)]
        table.row(name, len(runs), ", ".join(map(str, codes)), *sums)


PARTS = {"Kills": kills, "Bad scans": bad_scans, "Faults": faults}


def main() -> None:
    """Disturb, and write the section of each part."""
    write_parts("losses", "What a cohort survives", str(__doc__), PARTS)


if __name__ == "__main__":
    main()
