"""Cost against voxels: seconds of a fit and of sampling for volumes of 32^3 to 256^3.

A fit looks at each voxel a fixed number of times, or takes a least number of steps where that is
more; its cost per voxel is that of one look. The clock is the processor's own, so that other work
on the machine counts little. Writes ``docs/scaling.md`` and ``docs/scaling.csv``.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from bench_memory import phantom
from measuring import PRESETS, command, machine, write_rows

from oinr_monai import FitConfig, Grid, Representation, fit
from oinr_monai.descent import ImageObjective, adam, descend, weighted_mse
from oinr_monai.handlers import Clock, OneCycle
from oinr_monai.machine import chosen_device, gains_from_bfloat16
from oinr_monai.presets import PresetName, build_field, places_of
from oinr_monai.scans import checked_scans

# Sizes up to which twice as fine a grid is sampled too: its answer has eight times as many voxels.
FINER = 128
# Untimed steps before the timed ones.
WARM = 5


@dataclass(frozen=True)
class Cost:
    """What one preset costs on one volume.

    Args:
        preset: quality preset.
        size: voxels along each axis.
        steps: steps timed.
        places: places of a step.
        step_ms: milliseconds of a step, their mean.
        fit_ns: nanoseconds of one look at one place while fitting.
        setup_s: seconds of a fit without steps: spline, scores, their samples.
        sample_s: seconds of sampling the volume's own grid.
        sample_ns: the same for a voxel, in nanoseconds.
        finer_ns: nanoseconds for a voxel of the grid twice as fine; none for large volumes.
    """

    preset: str
    size: int
    steps: int
    places: int
    step_ms: float
    fit_ns: float
    setup_s: float
    sample_s: float
    sample_ns: float
    finer_ns: float | None


def timed(work: Callable[[], object]) -> float:
    """Processor seconds of a piece of work."""
    started = time.process_time()
    work()
    return time.process_time() - started


def repeats(voxels: int) -> int:
    """How often a sampling is repeated: 9 times, and less for millions of voxels."""
    return max(3, min(9, round(2e7 / voxels)))


def step_seconds(image: torch.Tensor, config: FitConfig, steps: int) -> float:
    """Processor seconds of ``steps`` steps of a fit, by its own loop, after a few untimed ones."""
    device = chosen_device(config.device)
    scans = checked_scans([image], None)
    objective = ImageObjective(scans, config)
    field = build_field(scans[0].grid, len(image), config).to(device)
    optimizer = adam(field, config.learning_rate, dict(field.named_parameters()))

    def take(count: int) -> None:
        clock = Clock(count, None)
        handlers = [clock, OneCycle(optimizer, clock)]
        reduced = gains_from_bfloat16(device)
        descend(field, field, objective, optimizer, clock, weighted_mse, handlers, reduced)

    take(WARM)
    return timed(lambda: take(steps))


def cost_of(preset: PresetName, size: int, looks: float, least: int) -> Cost:
    """Measure one preset on one volume."""
    image, config = phantom(size), FitConfig(preset=preset, steps=0)
    places = places_of(Grid.from_image(image), config)
    steps = max(least, round(looks * size**3 / places))
    seconds = step_seconds(image, config, steps)
    fitted: list[Representation] = []
    setup = timed(lambda: fitted.append(fit(image, config)))
    sample, finer = samplings(fitted[0], size)
    return Cost(
        preset,
        size,
        steps,
        places,
        1e3 * seconds / steps,
        1e9 * seconds / steps / places,
        setup,
        sample,
        1e9 * sample / size**3,
        finer,
    )


def samplings(representation: Representation, size: int) -> tuple[float, float | None]:
    """Seconds for the own grid, and nanoseconds for each voxel of the one twice as fine."""
    own = [timed(representation.sample) for _ in range(repeats(size**3))]
    if size > FINER:
        return statistics.median(own), None
    grid = representation.grid.refine(2)
    voxels = math.prod(grid.shape)
    finer = [timed(lambda: representation.sample(grid)) for _ in range(repeats(voxels) // 3)]
    return statistics.median(own), 1e9 * statistics.median(finer) / voxels


def slope(costs: list[Cost], seconds: Callable[[Cost], float]) -> float:
    """Slope of log seconds over log voxels, by least squares: 1 is linear."""
    x = [math.log(cost.size**3) for cost in costs]
    return float(np.polyfit(x, [math.log(seconds(cost)) for cost in costs], 1)[0])


def slopes_of(costs: list[Cost]) -> list[str]:
    """Return the lines that tell the slopes of each preset."""
    lines = ["| preset | fit, per look at all voxels | sample |", "|---|---:|---:|"]
    for preset in dict.fromkeys(cost.preset for cost in costs):
        of = [cost for cost in costs if cost.preset == preset]
        fitting = slope(of, lambda cost: cost.fit_ns * cost.size**3)
        sampling = slope(of, lambda cost: cost.sample_s)
        lines.append(f"| {preset} | {fitting:.3f} | {sampling:.3f} |")
    return lines


def row(cost: Cost) -> str:
    """Return a row of the markdown table."""
    finer = "" if cost.finer_ns is None else f"{cost.finer_ns:.0f}"
    cells = [cost.preset, f"{cost.size}³", f"{cost.steps}", f"{cost.places:,}"]
    cells += [f"{cost.step_ms:.2f}", f"{cost.fit_ns:.0f}", f"{cost.setup_s:.2f}"]
    cells += [f"{cost.sample_s:.4f}", f"{cost.sample_ns:.0f}", finer]
    return "| " + " | ".join(cells) + " |"


HEAD = (
    "| preset | volume | steps | places | ms a step | fit, ns a look | set-up and scores, s "
    "| sample, s | sample, ns a voxel | twice as fine, ns a voxel |"
)


def report_of(costs: list[Cost]) -> str:
    """Return the report."""
    lines = [
        "# Cost against voxels",
        "",
        f"Made by `{command()}`",
        f"on {machine()}; processor time, a phantom. A look is one place of one step; set-up and",
        "scores are a whole fit of no steps. Slopes of log seconds over log voxels, 1 is linear:",
        "",
        *slopes_of(costs),
        "",
        HEAD,
        "|---|---:" + "|---:" * 8 + "|",
        *map(row, costs),
    ]
    return "\n".join(lines) + "\n"


def write(folder: Path, costs: list[Cost]) -> None:
    """Write ``scaling.md`` and ``scaling.csv``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "scaling.md").write_text(report_of(costs))
    write_rows(folder / "scaling.csv", costs)


def parse_arguments() -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    sizes = [32, 48, 64, 96, 128, 192, 256]
    parser.add_argument("--sizes", type=int, nargs="+", default=sizes)
    parser.add_argument("--presets", nargs="+", default=list(PRESETS))
    parser.add_argument("--looks", type=float, default=0.25, help="looks at each voxel")
    parser.add_argument("--steps", type=int, default=60, help="least steps")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("docs"), help="folder of the tables")
    return parser.parse_args()


def main() -> None:
    """Measure every preset on every volume, write the tables and print them."""
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    costs = []
    cost_of(arguments.presets[0], 16, arguments.looks, WARM)  # pays what is paid once
    for size in arguments.sizes:
        for preset in arguments.presets:
            costs.append(cost_of(preset, size, arguments.looks, arguments.steps))
            print(row(costs[-1]), flush=True)
    costs.sort(key=lambda cost: arguments.presets.index(cost.preset))
    write(arguments.output, costs)
    print(report_of(costs))


if __name__ == "__main__":
    main()
