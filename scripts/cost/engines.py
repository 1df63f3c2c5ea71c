"""What a cohort costs beside its fits: growth, overhead, two nodes, and batches.

Processor time of all processes of a run, those of the cluster included, so that other work on the
machine counts little; where the clock on the wall counts, what others took of the machine is told.
Each part writes its section of ``docs/measured/engines.md``.
"""

from __future__ import annotations

import math
import os
import statistics
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from oinr_monai import FitConfig, fit, fit_many
from oinr_monai.cohort import Cohort, Engine, FitTask, LocalEngine, RayEngine, Subject, Task
from oinr_monai.images.files import read_image
from oinr_monai.representation.info import Info
from scripts.shared.meters import timed
from scripts.shared.report import Report, write_parts
from scripts.shared.runs import MARK, OURS, make_scans, marked

EXACT = FitTask(FitConfig(preset="exact", device="cpu"))
COUNTS, LARGEST, SOME = (10, 100, 500), 10_000, 100
# Times that a cohort of so many is run, of which the median counts.
TURNS = {10: 3, 100: 1, 500: 1}
# What Ray runs for the tasks; its other processes poll, whether there are any or not.
AT_WORK = ("ray::", "raylet", "gcs_server")
# Subjects of a throughput, and their fit, of a second or two.
MANY, TRAINED = 8, FitTask(FitConfig(preset="fast", steps=80, device="cpu"))
# Sizes of images that are fitted together or not, and how many.
SIZES, TOGETHER, STEPS = ((28, 28), (16,) * 3, (24,) * 3, (32,) * 3, (40,) * 3), 8, 20


@contextmanager
def ray_here() -> Iterator[str]:
    """A Ray of this machine, with one core; the mark of all its processes."""
    import ray

    mark = uuid.uuid4().hex
    os.environ |= OURS | {MARK: mark}
    ray.init(address="local", num_cpus=1, log_to_driver=False, include_dashboard=False)
    try:
        yield mark
    finally:
        ray.shutdown()


def spent(mark: str) -> float:
    """Processor seconds of this process and of those with the mark that work on its tasks."""
    found = [each for each in marked(mark) if any(name in each.command for name in AT_WORK)]
    return time.process_time() + sum(each.seconds for each in found)


def resident() -> float:
    """MiB of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@dataclass(frozen=True)
class Run:
    """A cohort of so many: processor seconds of a subject, and MiB of the driver afterwards."""

    count: int
    seconds: float
    mib: float


def run_of(cohort: Cohort, count: int, engine: Engine, folder: Path, mark: str) -> Run:
    """Fit the first so many of a cohort."""
    some, costs = Cohort(cohort.subjects[:count]), []
    for turn in range(TURNS[count]):
        before = spent(mark)
        rows = some.map(EXACT, folder / f"{type(engine).__name__}{count}-{turn}", engine)
        if {row.status for row in rows} != {"done"}:
            raise RuntimeError(str(rows))
        costs.append((spent(mark) - before) / count)
    return Run(count, statistics.median(costs), resident())


def alone(cohort: Cohort, folder: Path) -> float:
    """Processor seconds of a subject that is read, fitted and saved, and nothing else."""
    folder.mkdir()

    some = cohort.subjects[:SOME]

    def work() -> None:
        for each in some:
            made = fit(read_image(each.image), EXACT.config)
            made.save(folder / f"{each.name}.oinr")

    return timed(work) / len(some)


def slope(runs: Sequence[Run]) -> float:
    """Slope of log seconds over log subjects: 1 is linear."""
    counts = [math.log(each.count) for each in runs]
    return float(np.polyfit(counts, [math.log(each.seconds * each.count) for each in runs], 1)[0])


GROWTH = """Scans of 32³, preset `exact`, one thread, after four others that pay what is paid once.
Processor seconds are of the driver, which is the process that the command runs in, of the workers,
and of the two daemons of Ray that hand out tasks; its others poll, whether there are tasks or not.
Beyond the fit is what a subject of the largest cohort takes more than reading, fitting and saving
it in a loop, {alone:.0f} ms."""


def growth(report: Report, folder: Path) -> None:
    """10, 100 and 500 subjects on either engine."""
    cohort = cohort_of(make_scans(folder / "in", max(COUNTS)))
    first = Cohort(cohort.subjects[-4:])
    first.map(EXACT, folder / "first")
    before = alone(cohort, folder / "alone")
    runs = {"local": [run_of(cohort, n, LocalEngine(), folder, "none") for n in COUNTS]}
    with ray_here() as mark:
        first.map(EXACT, folder / "first ray", RayEngine())
        runs["ray"] = [run_of(cohort, n, RayEngine(), folder, mark) for n in COUNTS]
    report.text(GROWTH.format(alone=1e3 * before))
    named = [f"{n} subjects, ms each" for n in COUNTS]
    memory = [f"driver after {n}, MiB" for n in COUNTS]
    table = report.table(("engine", *named, "slope", "beyond the fit, ms", *memory))
    for name, some in runs.items():
        each = [f"{1e3 * run.seconds:.1f}" for run in some]
        beyond = 1e3 * (some[-1].seconds - before)
        mib = [f"{run.mib:.0f}" for run in some]
        table.row(name, *each, f"{slope(some):.3f}", f"{beyond:.1f}", *mib)
    hours = {name: LARGEST * some[-1].seconds / 3_600 for name, some in runs.items()}
    report.text(
        f"Were {LARGEST:,} as dear each as {COUNTS[-1]}: "
        + ", ".join(f"{each:.2f} core hours ({name})" for name, each in hours.items())
        + ". That is extrapolated, not measured."
    )


def cohort_of(paths: Sequence[Path]) -> Cohort:
    """The cohort of these files."""
    return Cohort(tuple(Subject(each.stem, each) for each in paths))


class Wait(Task):
    """Takes half a second of the wall's clock and hardly any of the processor's."""

    @property
    def suffix(self) -> str:
        """Of a text."""
        return ".txt"

    def settings(self) -> dict[str, Any]:
        """None."""
        return {}

    def make(self, subject: Subject, output: Path) -> Info:
        """Wait, and write the name."""
        time.sleep(0.5)
        output.write_text(subject.name)
        return Info()


def others(work: Callable[[], object], mark: str) -> tuple[float, float]:
    """Seconds on the wall of a piece of work, and the share of the machine that others took."""
    started, own, busy = time.monotonic(), spent(mark), _busy()
    work()
    seconds = time.monotonic() - started
    taken = _busy() - busy - (spent(mark) - own)
    return seconds, max(taken, 0) / seconds / (os.cpu_count() or 1)


def _busy() -> float:
    """Processor seconds that the machine has worked since it was started."""
    user, nice, system, _, _, irq, soft, *_ = map(
        int, Path("/proc/stat").read_text().partition("\n")[0].split()[1:]
    )
    return (user + nice + system + irq + soft) / os.sysconf("SC_CLK_TCK")


NODES = """A cluster whose head has no cores, and one or two nodes with one core and one thread
each, on a machine of two cores. A subject is a training of a second or so, or waits half a second,
which shows the engine without the machine. The clock is the one on the wall: what others took of
the machine meanwhile is told, and no ratio of trainings says much where that is much. Runs with one
node and with two take turns, {turns} of each, of which the best counts."""


def nodes(report: Report, folder: Path) -> None:
    """Subjects a minute of one node and of two."""
    import ray
    from ray.cluster_utils import Cluster

    mark, turns = uuid.uuid4().hex, 1
    os.environ |= OURS | {MARK: mark}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    first = cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    cohort = cohort_of(make_scans(folder / "in", MANY, (32, 32, 33)))
    found: dict[tuple[str, int], list[tuple[float, float]]] = {}
    try:
        for turn in range(turns):
            for count in (1, 2):
                second = cluster.add_node(num_cpus=1) if count == 2 else None
                for name, task in (("training", TRAINED), ("waiting", Wait())):
                    out = folder / f"{name}{turn}{count}"
                    cohort_warm(cohort, task, folder / f"warm {out.name}", count)
                    run = others(lambda: cohort.map(task, out, RayEngine()), mark)  # noqa: B023
                    found.setdefault((name, count), []).append(run)
                    print(name, count, run, flush=True)
                if second is not None:
                    cluster.remove_node(second)
    finally:
        ray.shutdown()
        cluster.shutdown()
        del first
    report.text(NODES.format(turns=turns))
    head = ("subject", "one node, a minute", "others", "two nodes, a minute", "others", "ratio")
    table = report.table(head)
    for name in ("training", "waiting"):
        (one, share), (two, shared) = (min(found[name, count]) for count in (1, 2))
        rates = [f"{60 * MANY / each:.1f}" for each in (one, two)]
        table.row(name, rates[0], f"{share:.0%}", rates[1], f"{shared:.0%}", f"{one / two:.2f}")


def cohort_warm(cohort: Cohort, task: Task, out: Path, count: int) -> None:
    """Let each node begin its worker."""
    Cohort(cohort.subjects[: 4 * count]).map(task, out, RayEngine())


BATCHES = """`fit` on each of {count} images of noise, and `fit_many` on all, preset `fast`, {steps}
steps, one thread, processor seconds of an image. `FitTask` fits images together up to 32,768 voxels
where something is trained; the closed form has nothing to share."""


def batches(report: Report, _: Path) -> None:
    """Images that are fitted together, and one after another."""
    report.text(BATCHES.format(count=TOGETHER, steps=STEPS))
    table = report.table(("image", "voxels", "alone, s", "together, s", "ratio"))
    config = FitConfig(preset="fast", steps=STEPS, device="cpu")
    fit(torch.rand(1, 8, 8), config)
    for size in SIZES:
        images = [torch.rand(1, *size) for _ in range(TOGETHER)]
        one = timed(lambda: [fit(each, config) for each in images]) / TOGETHER  # noqa: B023
        many = timed(lambda: fit_many(images, config)) / TOGETHER  # noqa: B023
        shape = " x ".join(map(str, size))
        table.row(shape, math.prod(size), f"{one:.3f}", f"{many:.3f}", f"{one / many:.2f}")


PARTS = {"Growth": growth, "Two nodes": nodes, "Batches": batches}


def main() -> None:
    """Measure, and write the section of each part."""
    torch.set_num_threads(1)
    write_parts("engines", "What a cohort costs beside its fits", str(__doc__), PARTS)


if __name__ == "__main__":
    main()
