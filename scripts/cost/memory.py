"""Peak process memory of fitting and sampling large volumes, each stage in its own process.

A volume in memory (256^3), and one that stays on disk as int16 NIfTI (512^3) and is never in memory
as a whole. Writes the table ``docs/measured/memory.md``.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.shared.phantom import phantom, write_phantom
from scripts.shared.report import MEASURED, Report, Table

if TYPE_CHECKING:
    pass

IN_MEMORY = ("fit", "sample", "sample x2 of a quarter", "gradient", "rotated grid of a quarter")
ON_DISK = ("fit, from disk", "sample, to disk", "sample x2, to disk")


def asked(name: str, path: Path, size: int) -> Callable[[], object]:
    """What a stage asks of a representation in memory."""
    import torch

    from oinr_monai import Grid, Representation

    representation = Representation.load(path)
    quarter = representation.grid.crop((0, 0, 0), (size, size, size // 4))
    turn = torch.linalg.matrix_exp(torch.tensor([[0, -0.1, 0], [0.1, 0, 0], [0, 0, 0]]).double())
    affine = quarter.affine.clone()
    affine[:3, :3] = turn @ affine[:3, :3]
    return {
        "sample": lambda: representation.sample(),
        "sample x2 of a quarter": lambda: representation.sample(quarter.refine(2)),
        "gradient": lambda: representation.gradient(),
        "rotated grid of a quarter": lambda: representation.sample(Grid(quarter.shape, affine)),
    }[name]


def command_of(name: str, folder: Path, arguments: argparse.Namespace) -> list[str]:
    """What a stage on disk runs: the command line that a user would."""
    fitted = str(folder / "stored.oinr")
    if name == "fit, from disk":
        options = ["--memory", str(arguments.memory), "--steps", str(arguments.stored_steps)]
        return ["fit", str(folder / "stored.nii"), "-o", fitted, *options]
    factor = "2" if "x2" in name else "1"
    return ["sample", fitted, "-o", str(folder / "sampled.nii"), "--factor", factor]


def stage(name: str, folder: Path, arguments: argparse.Namespace) -> None:
    """Run one stage and print its seconds and peak memory as JSON."""
    started = time.monotonic()
    if name in ON_DISK:
        from oinr_monai.cli.app import main as oinr

        oinr([*command_of(name, folder, arguments), "--json"])
    elif name == "fit":
        from oinr_monai import FitConfig, fit

        config = FitConfig(preset="balanced", steps=arguments.steps)
        fit(phantom(arguments.size), config).save(folder / "volume.oinr")
    else:
        asked(name, folder / "volume.oinr", arguments.size)()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"seconds": time.monotonic() - started, "gib": peak}))


def measure(table: Table, name: str, folder: str, arguments: argparse.Namespace) -> None:
    """Add the row of a stage, run in a process of its own."""
    run = [sys.executable, "-m", "scripts.cost.memory", "--stage", name, "--folder", folder]
    for option in ("size", "steps", "stored_steps", "memory"):
        run += [f"--{option.replace('_', '-')}", str(getattr(arguments, option))]
    shown = subprocess.run(run, check=True, capture_output=True, text=True).stdout
    result = json.loads(shown.splitlines()[-1])
    size = arguments.stored_size if name in ON_DISK else arguments.size
    table.row(f"{size}^3: {name}", f"{result['seconds']:.1f}", f"{result['gib']:.2f}")


def parse_arguments() -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=256, help="of the volume in memory")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--stored-size", type=int, default=512, help="of the volume on disk")
    parser.add_argument("--stored-steps", type=int, default=100)
    parser.add_argument("--memory", type=float, default=256.0, help="MiB to read at once")
    parser.add_argument("--stage", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, default=MEASURED)
    return parser.parse_args()


def main() -> None:
    """Run every stage in a process of its own and write the table."""
    arguments = parse_arguments()
    if arguments.stage:
        stage(arguments.stage, arguments.folder, arguments)
        return
    report = Report("memory", "Memory of large volumes", arguments.output)
    report.made(
        f"all with preset `balanced`, {arguments.steps} steps in memory, {arguments.stored_steps}"
        f" from disk with --memory {arguments.memory:g}."
    )
    table = report.table(["stage", "seconds", "peak process memory (GiB)"])
    with tempfile.TemporaryDirectory() as folder:
        write_phantom(Path(folder) / "stored.nii", arguments.stored_size)
        for name in (*IN_MEMORY, *ON_DISK):
            measure(table, name, folder, arguments)
    report.write()


if __name__ == "__main__":
    main()
