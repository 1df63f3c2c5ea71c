"""One process against several: the volume bundle trained by torchrun, a thread for each.

The processes share the places of a step, or (weak scaling) each keeps as many as the one has. What
is timed is the difference between a long and a short run of the bundle, so that starting Python and
reading the volume do not count. Writes ``docs/torchrun.md``.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from bench_memory import phantom
from measuring import machine

from oinr_monai import Representation
from oinr_monai.metrics import psnr

ROOT = Path(__file__).parents[1]
BUNDLE = ROOT / "bundles/volume_oinr_representation"
# Steps of the short run, whose seconds are taken off those of the long one.
SHORT = 10


@dataclass(frozen=True)
class Run:
    """Training by a number of processes.

    Args:
        processes: processes of torchrun.
        places: places of a step, of all processes together.
        steps: steps of the long run.
        seconds: wall-clock seconds of the steps between the short and the long run.
        score: PSNR of the long run's fit on the volume's grid, in dB.
    """

    processes: int
    places: int
    steps: int
    seconds: float
    score: float

    @property
    def throughput(self) -> float:
        """Places a second, of all processes together."""
        return self.places * (self.steps - SHORT) / self.seconds

    def row(self, one: Run) -> str:
        """A row of the markdown table; the speed-up is that of the places a second over ``one``."""
        gain = self.throughput / one.throughput
        cells = [f"{self.processes}", f"{self.places:,}", f"{self.steps}", f"{self.seconds:.1f}"]
        cells += [f"{self.throughput:,.0f}", f"{gain:.2f}", f"{100 * gain / self.processes:.0f} %"]
        return "| " + " | ".join([*cells, f"{self.score:.2f}"]) + " |"


def train(processes: int, places: int, steps: int, image: Path, output: Path) -> float:
    """Wall-clock seconds of the whole command for so many steps, all in one epoch."""
    folder = BUNDLE / "configs"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--local_addr", "127.0.0.1", "--nproc_per_node", str(processes)]
    command += ["-m", "monai.bundle", "run", "--config_file"]
    command += [f"['{folder}/train.json','{folder}/multi_gpu_train.json']"]
    command += ["--bundle_root", str(BUNDLE), "--image", str(image), "--output_dir", str(output)]
    command += ["--epochs", "1", "--epoch_length", str(steps), "--places", str(places)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    started = time.monotonic()
    subprocess.run(command, check=True, cwd=output, env=environment, capture_output=True)
    return time.monotonic() - started


def measure(processes: int, places: int, steps: int, size: int, folder: Path) -> Run:
    """One short and one long run."""
    volume = phantom(size)
    image, output = folder / "volume.nii.gz", folder / f"{processes}_{places}"
    nibabel.save(nibabel.Nifti1Image(volume[0].numpy(), np.eye(4)), image)
    output.mkdir()
    short = train(processes, places, SHORT, image, output)
    seconds = train(processes, places, steps, image, output) - short
    answer = Representation.load(output / "fit.oinr").sample().as_tensor()
    return Run(processes, places, steps, seconds, psnr(answer, volume.as_tensor()))


def report_of(runs: list[Run], size: int, load: float) -> str:
    """Return the report."""
    lines = [
        "# One process and several, by torchrun",
        "",
        f"Made by `{shlex.join(['python', 'scripts/bench_torchrun.py', *sys.argv[1:]])}`",
        f"on {machine()}, one thread a process, gloo, {os.cpu_count()} cores.",
        f"Bundle volume_oinr_representation with multi_gpu_train.json, a phantom of {size}³;",
        "wall-clock seconds of the steps alone, PSNR on the grid after them.",
        f"Other work on the machine as it began: a load of {load:.1f}.",
        "",
        "| processes | places of a step | steps | s | places a second | speed-up | efficiency "
        "| PSNR, dB |",
        "|---:" * 8 + "|",
        *[run.row(runs[0]) for run in runs],
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run one process, then several on shared and on as many places each; write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, nargs="+", default=[2])
    parser.add_argument("--places", type=int, default=8192, help="of a step of one process")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--output", type=Path, default=Path("docs"), help="folder of the table")
    arguments = parser.parse_args()
    plans = [(1, arguments.places)]
    for processes in arguments.processes:
        plans += [(processes, arguments.places), (processes, processes * arguments.places)]
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        runs = [measure(*plan, arguments.steps, arguments.size, Path(folder)) for plan in plans]
    report = report_of(runs, arguments.size, load)
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "torchrun.md").write_text(report)
    print(report)


if __name__ == "__main__":
    main()
