"""What a scan costs each task of a cohort: processor seconds and memory, for planning a study.

Each is one subject in a process of its own, with one thread. Writes ``docs/measured/sizing.md`` and
``docs/measured/sizing.csv``; rows that the CSV has are not measured again.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from monai.data import MetaTensor

from oinr_monai import DenoiseConfig, FitConfig, SuperResolveConfig, simulate_slices
from oinr_monai.cohort import (
    Cohort,
    DenoiseTask,
    FitTask,
    ReconstructTask,
    RegisterTask,
    Subject,
    SuperResolveTask,
    Task,
)
from oinr_monai.images.files import write_image
from oinr_monai.motion.registration import RegisterConfig
from oinr_monai.restoration.reconstruction import ReconstructConfig
from oinr_monai.scanner.profiles import Boxcar
from scripts.shared.phantom import phantom
from scripts.shared.report import MEASURED, Report
from scripts.shared.rows import append_row, read_rows


@dataclass(frozen=True)
class Cost:
    """What one scan costs.

    Args:
        task: what is done with it.
        image: its size in voxels.
        seconds: of the processor.
        gib: the most memory that the process had, Python and PyTorch included.
    """

    task: str
    image: str
    seconds: float
    gib: float


def scan(folder: Path, size: int, name: str = "scan") -> Path:
    """A phantom with some noise."""
    image = phantom(size)
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(size))
    return _written(
        folder / f"{name}.nii", MetaTensor(image.as_tensor() + 0.02 * noise, affine=image.affine)
    )


def moved(folder: Path, size: int) -> Path:
    """The same, elsewhere by some millimetres."""
    image = phantom(size)
    affine = image.affine.clone()
    affine[:3, 3] += torch.tensor([3.0, -2.0, 1.0])
    return _written(folder / "moved.nii", MetaTensor(image.as_tensor(), affine=affine))


def thick(folder: Path, size: int, axis: int = 2) -> Path:
    """Slices that are four times as thick as they are finely sampled."""
    stack = simulate_slices(phantom(size), 4.0, axis=axis, profile=Boxcar(4.0))
    return _written(folder / f"thick{axis}.nii", stack)


def _written(path: Path, image: MetaTensor) -> Path:
    write_image(path, image)
    return path


Made = tuple[Task, Subject]


def of_image(task: Task) -> Callable[[Path, int], Made]:
    """A task on a scan alone."""
    return lambda folder, size: (task, Subject("s", scan(folder, size)))


def of_pair(model: str) -> Callable[[Path, int], Made]:
    """A registration of a scan that lies elsewhere."""

    def make(folder: Path, size: int) -> Made:
        task = RegisterTask(scan(folder, size), RegisterConfig(model))  # type: ignore[arg-type]
        return task, Subject("s", moved(folder, size))

    return make


def of_slices(folder: Path, size: int) -> Made:
    """Thick slices made fine."""
    return SuperResolveTask(SuperResolveConfig(device="cpu")), Subject("s", thick(folder, size))


def of_stacks(folder: Path, size: int) -> Made:
    """Three stacks that cross."""
    first, *more = (thick(folder, size, axis) for axis in range(3))
    return ReconstructTask(ReconstructConfig()), Subject("s", first, more=tuple(more))


EXACT, FAST = FitConfig(preset="exact"), FitConfig(preset="fast", device="cpu")
TASKS: dict[str, tuple[Callable[[Path, int], Made], tuple[int, ...]]] = {
    "fit --preset exact": (of_image(FitTask(EXACT)), (64, 128, 256)),
    "denoise": (of_image(DenoiseTask(DenoiseConfig(device="cpu"))), (64, 128)),
    "register --model rigid": (of_pair("rigid"), (64, 128)),
    "register": (of_pair("deformable"), (64,)),
    "reconstruct, three stacks": (of_stacks, (64,)),
    "super-resolve, slices 4 voxels thick": (of_slices, (64, 128)),
    "fit --preset fast": (of_image(FitTask(FAST)), (64,)),
}


def measured(name: str, size: int, folder: Path) -> Cost:
    """One subject, in a process of its own."""
    task, subject = TASKS[name][0](folder, size)
    child = os.fork()
    if not child:
        status = 1
        try:
            (row,) = Cohort((subject,)).map(task, folder / "out")
            print(row.message, end="", flush=True)
            status = int(row.status != "done")
        finally:
            os._exit(status)
    _, status, usage = os.wait4(child, 0)
    if status:
        raise RuntimeError(f"{name} of {size}³ failed")
    seconds = usage.ru_utime + usage.ru_stime
    return Cost(name, f"{size}³", round(seconds, 2), round(usage.ru_maxrss / 2**20, 2))


NOTES = """one thread, a phantom; three stacks and thick slices have a quarter of its voxels each.
Memory is the most that the process had, half a GiB of which are Python, PyTorch and MONAI. An hour
of a core is that of this machine: `--cpus` gives a scan several cores, `--workers` or Ray several
scans at once."""


def report_of(costs: list[Cost], folder: Path) -> Report:
    """Return the page."""
    report = Report("sizing", "What a scan costs", folder)
    report.made(NOTES)
    head = ("`oinr cohort`", "image", "processor seconds", "scans an hour a core", "GiB a scan")
    table = report.table(head, text=2)
    for each in costs:
        hourly = 3_600 / each.seconds
        rate = f"{hourly:,.0f}" if hourly >= 10 else f"{hourly:.1f}"
        table.row(each.task, each.image, f"{each.seconds:.1f}", rate, f"{each.gib:.2f}")
    return report


def main() -> None:
    """Measure what is not known yet, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--largest", type=int, default=256, help="voxels along an axis, at most")
    parser.add_argument("--output", type=Path, default=MEASURED)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    path = arguments.output / "sizing.csv"
    known = read_rows(path, Cost)
    for name, (_, sizes) in TASKS.items():
        for size in sizes:
            told = any((each.task, each.image) == (name, f"{size}³") for each in known)
            if told or size > arguments.largest:
                continue
            report_of(known, arguments.output).write()  # of what is known, should this break off
            with tempfile.TemporaryDirectory() as folder:
                known.append(measured(name, size, Path(folder)))
            append_row(path, known[-1])
    report_of(known, arguments.output).write()


if __name__ == "__main__":
    main()
