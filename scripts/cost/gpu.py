"""What the best device at hand does: time to a quality, places a second, share of its peak.

Each device has rows of its own in ``gpu.md``; those of others, kept in ``gpu.json``, stay
as they were measured. The operator's floating-point operations are set against the greatest rate
that a matrix product or a 3-D convolution reaches in the same precision; those of the splines
do not count.
"""

from __future__ import annotations

import argparse
import json
import resource
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from oinr_monai import FitConfig, Grid, Representation, fit, fit_many
from oinr_monai.fitting.presets import PresetName, places_of
from oinr_monai.grids.device import chosen_device
from oinr_monai.operators.operator import LocalOperator
from scripts.shared.device_jobs import Asked, Sizes, asked, compared, timed
from scripts.shared.phantom import phantom
from scripts.shared.report import MEASURED, Report, command, cpu_model

GOALS = (35.0, 40.0, 45.0)
# Steps of the first rung of the ladder; each has twice as many as the one before.
FIRST_RUNG = 125
AT_ONCE, SMALL, SMALL_STEPS = (1, 4, 16), 32, 200
NOTES = """
Seconds to a PSNR between samples are those of complete fits of a phantom; steps double from fit to
fit. Sampling includes bringing the answer to memory.
"""
PRESETS: tuple[PresetName, ...] = ("fast", "balanced", "best")

# What is asked beside fits on a GPU, on a CPU, and to see that all of it runs.
ASKED = {
    "cuda": Sizes(256, (128, 160, 32), 128, None),
    "cpu": Sizes(64, (48, 48, 12), 32, 20),
    "dry": Sizes(16, (24, 24, 6), 16, 2),
}

ASKED_NOTES = """
What is asked beside fits, the second time. Of the bandwidth of a copy, what it would take to read
and write the answer once. Reconstruction works on the CPU wherever it is asked.
"""

COMPILED_NOTES = """
Milliseconds of a step as it is, and as a program of `torch.compile`, on CUDA in a graph:
"""

# Steps that are counted for that, on a device and to see that all of it runs.
COUNTED, DRY_COUNTED = 400, 4

# A product and a convolution large enough to fill the device.
PEAK_SIZES = {"cuda": (8192, 128), "cpu": (1024, 24)}

# What is missing in rows that were measured before it was asked.
UNKNOWN = "-"


@dataclass(frozen=True)
class Row:
    """One volume on one device.

    Args:
        size: voxels along each axis.
        preset: of the fit.
        seconds_to: seconds of the shortest complete fit that reaches each goal; None if none does.
        best: PSNR between samples of the longest fit, in dB.
        fit_rate: places a second while fitting.
        fit_share: part of the device's peak that the operator takes while fitting.
        sample_rate: voxels a second while sampling.
        sample_share: part of the device's peak that the operator takes while sampling.
        gib: peak memory, of the device on CUDA, of the process so far on a CPU.
    """

    size: int
    preset: str
    seconds_to: list[float | None]
    best: float
    fit_rate: float
    fit_share: float
    sample_rate: float
    sample_share: float
    gib: float


def name_of(device: torch.device) -> str:
    """Name of a GPU; of a processor with its threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{cpu_model()} CPU, {torch.get_num_threads()} threads"


def peak_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second of the faster of a product and a 3-D convolution."""
    product, lattice = PEAK_SIZES[device.type]
    a = torch.randn(product, product, device=device, dtype=dtype)
    u = torch.randn(1, 64, *[lattice] * 3, device=device, dtype=dtype)
    w = torch.randn(64, 64, 3, 3, 3, device=device, dtype=dtype)
    of_product = 2 * product**3 / best_time(lambda: a @ a, device)
    operations = 2 * w.numel() * (lattice - 2) ** 3
    convolve = torch.nn.functional.conv3d
    return max(of_product, operations / best_time(lambda: convolve(u, w), device))


def best_time(work: Callable[[], object], device: torch.device) -> float:
    """Least seconds of a few repetitions."""
    return min(timed(work, device) for _ in range(6))


def operations(representation: Representation) -> int:
    """Floating-point operations of the operator at one place: a product and a sum a weight."""
    network = representation.field.network
    assert isinstance(network, LocalOperator), f"network must have kernels, got {network}"
    return sum(2 * layer.weight.numel() for layer in network.integrals)


def ladder(image: torch.Tensor, config: FitConfig, limit: float) -> list[Representation]:
    """Fits of twice the steps each time, until all goals are met or one has taken ``limit`` s."""
    rungs: list[Representation] = []
    steps = FIRST_RUNG if limit else 4
    while not rungs or (
        rungs[-1].info["psnr_between"] < GOALS[-1] and rungs[-1].info["seconds"] < limit
    ):
        rungs.append(fit(image, replace(config, steps=steps)))
        print(steps, {k: rungs[-1].info[k] for k in ("seconds", "psnr_between")}, flush=True)
        steps *= 2
    if len(rungs) == 1:
        rungs.append(fit(image, replace(config, steps=steps)))
    return rungs


def seconds_to(rungs: list[Representation], goal: float) -> float | None:
    """Seconds of the first rung that reaches ``goal``."""
    reached = [rung.info["seconds"] for rung in rungs if rung.info["psnr_between"] >= goal]
    return reached[0] if reached else None


def step_rate(rungs: list[Representation]) -> float:
    """Steps a second: what the last rung has more of than the one before, in what it took more."""
    before, last = rungs[-2].info, rungs[-1].info
    return (last["steps"] - before["steps"]) / (last["seconds"] - before["seconds"])


def gibibytes(device: torch.device) -> float:
    """Peak memory of the device since it was last reset; on a CPU of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure(size: int, preset: PresetName, device: torch.device, limit: float) -> Row:
    """Fit and sample one volume."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    image = phantom(size)
    config = FitConfig(preset=preset, device=device.type)
    fit(image, replace(config, steps=5))
    rungs = ladder(image, config, limit)
    places = places_of(Grid.from_image(image), FitConfig(preset=preset))
    fit_rate = places * step_rate(rungs)
    sample_rate = size**3 / best_time(rungs[-1].sample, device)
    # Fitting takes the operator forwards, and backwards to its weights and to its inputs.
    each = operations(rungs[-1])
    return Row(
        size,
        preset,
        [seconds_to(rungs, goal) for goal in GOALS],
        rungs[-1].info["psnr_between"],
        fit_rate,
        3 * each * fit_rate / peak_rate(device, torch.float32),
        sample_rate,
        each * sample_rate / peak_rate(device, torch.float32),
        gibibytes(device),
    )


def together(count: int, preset: PresetName, device: torch.device) -> float:
    """Seconds per volume of ``count`` small volumes fitted at once."""
    images = [phantom(SMALL) * (1 + 0.1 * i) for i in range(count)]
    config = FitConfig(preset=preset, steps=SMALL_STEPS, device=device.type)
    return timed(lambda: fit_many(images, config), device) / count


def step_seconds(size: int, config: FitConfig, count: int) -> float:
    """Wall-clock seconds of a further step: those before it, and a program's making, left out."""
    image, found = phantom(size), []
    for steps in (count // 2, count // 2, count):
        taken = fit(image, replace(config, steps=steps)).info
        found.append(taken["seconds"])
    return float(found[2] - found[1]) / (count - count // 2)


def cells(row: Row) -> list[str]:
    """Cells of a row of the first table."""
    times = ["not reached" if s is None else f"{s:.1f}" for s in row.seconds_to]
    times += [UNKNOWN] * (len(GOALS) - len(times))
    rates = [f"{row.fit_rate:,.0f}", f"{100 * row.fit_share:.1f} %"]
    rates += [f"{row.sample_rate:,.0f}", f"{100 * row.sample_share:.1f} %"]
    return [f"{row.size}³", row.preset, *times, f"{row.best:.1f}", *rates, f"{row.gib:.2f}"]


def report_of(found: dict[str, Any], folder: Path) -> Report:
    """Return the page of all devices measured so far."""
    head = ["device", "volume", "preset", *[f"s to {goal:.0f} dB" for goal in GOALS], "last dB"]
    head += ["fit, places/s", "of peak", "sample, voxels/s", "of peak", "peak GiB"]
    rows = [
        [name, *cells(Row(**({"preset": "balanced"} | row)))]
        for name, on in found.items()
        for row in on["rows"]
    ]
    small = [[name, *[f"{s:.2f}" for s in on["together"]]] for name, on in found.items()]
    report = Report("gpu", "Devices", folder)
    report.text(__doc__.split("\n\n", 1)[1])
    made = [f"- {name}: `{on['command']}`, torch {on['torch']}" for name, on in found.items()]
    report.text("\n".join(made))
    if not any(on["cuda"] for on in found.values()):
        report.text("No GPU measured yet.")
    report.text(NOTES)
    report.table(head, rows)
    report.text(f"Seconds a volume of {SMALL}³, {SMALL_STEPS} steps:")
    report.table(["device", *[f"{n} at once" for n in AT_ONCE]], small)
    _add_asked(report, found)
    return report


def _add_asked(report: Report, found: dict[str, Any]) -> None:
    """The tables of what is asked beside fits, of the devices that were asked."""
    steps = [
        [name, size, preset, *[f"{1e3 * each:.2f}" for each in both]]
        for name, on in found.items()
        for preset, size, *both in on.get("compiled", [])
    ]
    if steps:
        report.text(COMPILED_NOTES)
        report.table(["device", "volume", "preset", "as it is", "compiled"], steps, text=3)
    some = {name: on for name, on in found.items() if "asked" in on}
    if not some:
        return
    report.text(ASKED_NOTES)
    report.table(
        ["device", "job", "of", "on", "s", "voxels/s", "of bandwidth", "peak GiB"],
        [
            [
                name,
                row.name,
                row.shape,
                row.where,
                f"{row.seconds:.3f}",
                f"{row.rate:,.0f}",
                f"{100 * row.bandwidth:.1f} %",
                UNKNOWN if row.gib is None else f"{row.gib:.2f}",
            ]
            for name, on in some.items()
            for row in (Asked(**each) for each in on["asked"])
        ],
        text=4,
    )
    report.text("Largest differences from the CPU, in parts of the largest number there:")
    report.table(
        ["device", "of", "values", "gradients", "Hessians"],
        [
            [name, kind, *[f"{off:.1e}" for off in offs], *[UNKNOWN] * (3 - len(offs))]
            for name, on in some.items()
            for kind, offs in on["compared"].items()
        ],
        text=2,
    )


def parse_arguments() -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--sizes", type=int, nargs="+", help="128 256 on CUDA, 32 48 on a CPU")
    parser.add_argument("--presets", nargs="+", default=PRESETS, choices=PRESETS)
    parser.add_argument(
        "--dry-run", action="store_true", help="go through all of it, small, and write nothing"
    )
    parser.add_argument("--limit", type=float, default=20, help="seconds of a fit to stop after")
    parser.add_argument("--output", type=Path, default=MEASURED, help="folder of the tables")
    return parser.parse_args()


def main() -> None:
    """Measure the device, and write its rows beside those of others."""
    arguments = parse_arguments()
    device = chosen_device(arguments.device)
    kept = arguments.output / "gpu.json"
    found = json.loads(kept.read_text()) if kept.is_file() else {}
    found[name_of(device)] = measured(device, arguments)
    report = report_of(found, arguments.output)
    if not arguments.dry_run:
        report.path("json").write_text(json.dumps(found, indent=2) + "\n")
        report.write()
    print(report)


def measured(device: torch.device, arguments: argparse.Namespace) -> dict[str, Any]:
    """All that is measured of a device."""
    dry = arguments.dry_run
    usual = [16] if dry else [128, 256] if device.type == "cuda" else [32, 48]
    limit = 0.0 if dry else arguments.limit
    rows = [
        asdict(measure(size, preset, device, limit))
        for size in arguments.sizes or usual
        for preset in arguments.presets
    ]
    size, count = max(arguments.sizes or usual), DRY_COUNTED if dry else COUNTED
    compiled = [
        (
            preset,
            f"{size}³",
            *[
                step_seconds(size, FitConfig(preset, device=device.type, compiled=each), count)
                for each in (False, True)
            ],
        )
        for preset in arguments.presets
    ]
    return {
        "command": command(),
        "torch": torch.__version__,
        "cuda": device.type == "cuda",
        "rows": rows,
        "together": [together(count, "balanced", device) for count in AT_ONCE[: 1 + 2 * (not dry)]],
        "asked": [asdict(each) for each in asked(device, ASKED["dry" if dry else device.type])],
        "compared": compared(device),
        "compiled": compiled,
    }


if __name__ == "__main__":
    main()
