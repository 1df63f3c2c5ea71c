"""One process against several: the volume bundle trained by torchrun, a thread for each.

The processes share the places of a step, or (weak scaling) each keeps as many as the one has. A
step's time is the median between the entries that the bundle writes for TensorBoard, of several
turns the least, since other work on the machine lengthens it. Writes ``docs/measured/torchrun.md``.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import nibabel
import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from oinr_monai import Representation
from oinr_monai.images.metrics import psnr
from scripts.shared.phantom import phantom
from scripts.shared.report import MEASURED, ROOT, Report

BUNDLE = ROOT / "bundles/volume_oinr_representation"
# Steps before the ones that are timed.
WARM = 10


@dataclass(frozen=True)
class Run:
    """Training by a number of processes.

    Args:
        processes: processes of torchrun.
        places: places of a step, of all processes together.
        step: wall-clock seconds of a step.
        score: PSNR of the fit on the volume's grid, in dB.
    """

    processes: int
    places: int
    step: float
    score: float

    @property
    def throughput(self) -> float:
        """Places a second, of all processes together."""
        return self.places / self.step

    def cells(self, one: Run) -> list[str]:
        """A row of the table; the speed-up is that of the places a second over ``one``."""
        gain = self.throughput / one.throughput
        cells = [f"{self.processes}", f"{self.places:,}", f"{1e3 * self.step:.1f}"]
        cells += [f"{self.throughput:,.0f}", f"{gain:.2f}", f"{100 * gain / self.processes:.0f} %"]
        return [*cells, f"{self.score:.2f}"]


def train(processes: int, places: int, steps: int, image: Path, output: Path) -> float:
    """Train for so many steps, all in one epoch; the median seconds of a step."""
    folder = BUNDLE / "configs"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--local_addr", "127.0.0.1", "--nproc_per_node", str(processes)]
    command += ["-m", "monai.bundle", "run", "--config_file"]
    command += [f"['{folder}/train.json','{folder}/multi_gpu_train.json']"]
    command += ["--bundle_root", str(BUNDLE), "--image", str(image), "--output_dir", str(output)]
    command += ["--epochs", "1", "--epoch_length", str(steps), "--places", str(places)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    subprocess.run(command, check=True, cwd=output, env=environment, capture_output=True)
    return median_step(output)


def median_step(output: Path) -> float:
    """Median seconds between the losses of one step and the next, in the latest run's events."""
    logs = [EventAccumulator(str(path)).Reload() for path in sorted(output.glob("events*"))]
    losses = [log.Scalars(tag) for log in logs for tag in log.Tags()["scalars"]]
    # One loss a step; other curves have one value an epoch.
    steps = max(losses, key=lambda events: (len(events), events[0].wall_time))
    times = [event.wall_time for event in steps][WARM:]
    return statistics.median(b - a for a, b in pairwise(times))


@dataclass
class Plan:
    """One way to share the work, and the seconds of a step in each turn so far.

    Args:
        processes: processes of torchrun.
        places: places of a step, of all processes together.
        output: folder of its fits.
    """

    processes: int
    places: int
    output: Path
    seconds: list[float] = field(default_factory=list)

    def turn(self, steps: int, image: Path) -> None:
        """One run."""
        self.output.mkdir(exist_ok=True)
        self.seconds.append(train(self.processes, self.places, steps, image, self.output))

    def result(self, volume: Tensor) -> Run:
        """The least of all turns."""
        answer = Representation.load(self.output / "fit.oinr").sample().as_tensor()
        return Run(self.processes, self.places, min(self.seconds), psnr(answer, volume))


def compare(shares: list[tuple[int, int]], arguments: argparse.Namespace) -> list[Run]:
    """All ways to share the work, by turns."""
    volume = phantom(arguments.size).as_tensor()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        image = folder / "volume.nii.gz"
        nibabel.save(nibabel.Nifti1Image(volume[0].numpy(), np.eye(4)), image)
        plans = [Plan(*share, folder / f"{share[0]}_{share[1]}") for share in shares]
        for _ in range(arguments.repeats):
            for plan in plans:
                plan.turn(arguments.steps, image)
        return [plan.result(volume) for plan in plans]


HEAD = (
    *("processes", "places of a step", "ms a step", "places a second"),
    *("speed-up", "efficiency", "PSNR, dB"),
)
NOTES = """one thread a process, gloo, {cores} cores. Bundle volume_oinr_representation with
multi_gpu_train.json, a phantom of {size}³; wall-clock milliseconds of a step, least of the runs'
medians; PSNR on the grid. Other work on the machine as it began: a load of {load:.1f}."""


def main() -> None:
    """Run one process, then several on shared and on as many places each; write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, nargs="+", default=[2])
    parser.add_argument("--places", type=int, default=8192, help="of a step of one process")
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, default=MEASURED, help="folder of the table")
    arguments = parser.parse_args()
    shares = [(1, arguments.places)]
    for processes in arguments.processes:
        shares += [(processes, arguments.places), (processes, processes * arguments.places)]
    load = os.getloadavg()[0]
    runs = compare(shares, arguments)
    report = Report("torchrun", "One process and several, by torchrun", arguments.output)
    report.made(NOTES.format(cores=os.cpu_count(), size=arguments.size, load=load))
    report.table(HEAD, (run.cells(runs[0]) for run in runs), text=0)
    report.write()
    print(report)


if __name__ == "__main__":
    main()
