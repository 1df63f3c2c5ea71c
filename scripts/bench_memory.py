"""Peak process memory of fitting and sampling a 256^3 volume, each stage in its own process.

Writes the table ``docs/memory.md``.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STAGES = ("fit", "sample", "sample x2 of a quarter", "gradient", "rotated grid of a quarter")


def phantom(size: int) -> object:
    """A smooth head-like volume with fine detail, (1, size, size, size), at 1 mm."""
    import torch
    from monai.data import MetaTensor

    axis = torch.linspace(-1, 1, size)
    x, y, z = torch.meshgrid(axis, axis, axis, indexing="ij")
    radius = (x**2 + 1.5 * y**2 + z**2).sqrt()
    volume = torch.sigmoid((0.8 - radius) * 40) * (
        1 + 0.3 * torch.sin(25 * x) * torch.cos(30 * y * z)
    )
    return MetaTensor(volume[None], affine=torch.eye(4))


def stage(name: str, path: Path, size: int, steps: int) -> None:
    """Run one stage and print its seconds and peak memory as JSON."""
    import torch

    from oinr_monai import FitConfig, Grid, Representation, fit

    started = time.monotonic()
    if name == "fit":
        fit(phantom(size), FitConfig(preset="balanced", steps=steps)).save(path)
    else:
        representation = Representation.load(path)
        quarter = representation.grid.crop((0, 0, 0), (size, size, size // 4))
        turn = torch.linalg.matrix_exp(
            torch.tensor([[0, -0.1, 0], [0.1, 0, 0], [0, 0, 0]]).double()
        )
        affine = quarter.affine.clone()
        affine[:3, :3] = turn @ affine[:3, :3]
        answer = {
            "sample": lambda: representation.sample(),
            "sample x2 of a quarter": lambda: representation.sample(quarter.refine(2)),
            "gradient": lambda: representation.gradient(),
            "rotated grid of a quarter": lambda: representation.sample(Grid(quarter.shape, affine)),
        }[name]
        answer()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"seconds": time.monotonic() - started, "gib": peak}))


def main() -> None:
    """Run every stage in a process of its own and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--stage", choices=STAGES)
    parser.add_argument("--file", type=Path)
    parser.add_argument("--output", type=Path, default=Path("docs"))
    arguments = parser.parse_args()
    if arguments.stage:
        stage(arguments.stage, arguments.file, arguments.size, arguments.steps)
        return
    lines = [
        f"`python scripts/bench_memory.py --size {arguments.size} --steps {arguments.steps}`",
        "",
        "| stage | seconds | peak process memory (GiB) |",
        "|---|---:|---:|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for name in STAGES:
            command = [sys.executable, __file__, "--stage", name]
            command += ["--file", f"{folder}/volume.oinr", "--size", str(arguments.size)]
            command += ["--steps", str(arguments.steps)]
            shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            result = json.loads(shown.splitlines()[-1])
            lines.append(f"| {name} | {result['seconds']:.1f} | {result['gib']:.2f} |")
            print(lines[-1], flush=True)
    (arguments.output / "memory.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
