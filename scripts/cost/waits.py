"""What passes between host and device in each job: waits, copies, kernels; counted without a GPU.

Every job runs on a stand-in device (``oinr_monai.testing.StandIn``), whose numbers lie on the CPU
and which tells each transfer. A wait stops the host until the device has a number or a shape that
the host asks for. Kernels are operations on the device other than views.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from monai.data import MetaTensor

from oinr_monai import (
    CKConvOINR,
    DenoiseConfig,
    FitConfig,
    Representation,
    SuperResolveConfig,
    denoise,
    fit,
    fit_many,
    super_resolve,
)
from oinr_monai.fitting.presets import PresetName
from oinr_monai.testing.stand_in import StandIn
from scripts.shared.phantom import phantom
from scripts.shared.report import MEASURED, Report

PRESETS: tuple[PresetName, ...] = ("fast", "balanced", "best")

# Functions within which something belongs to a step, and those that are called a few times in all.
STEPS = ("Descent.step", "Descent.batches")
SELDOM = ("SliceDescent._renew", "SliceDescent._roughness", "constant")
KINDS = ("waits", "to host", "to device")

AWAY, SIZE = "meta", 24
NOTES = """
Counted on small images: the numbers of a step do not depend on the size. What is taken "at rest"
is that of all scores, of the start and of the answer, in all, and what is done a few times whatever
the steps: constants that are sent once, and new estimates of super-resolution. Before: commit
0b9c35d, where such estimates count among the steps. There Adam counted as one kernel, now each of
its operations does: on a GPU it is one.
"""


@dataclass(frozen=True)
class Job:
    """What is counted.

    Args:
        name: of the row.
        count: steps that it takes, or questions.
        run: does it on the stand-in.
    """

    name: str
    count: int
    run: Callable[[], object]


def thick() -> MetaTensor:
    """Slices of the phantom, four times as thick as they are wide."""
    slices = phantom(SIZE).as_tensor().unflatten(3, (-1, 4)).mean(4)
    return MetaTensor(slices, affine=torch.diag(torch.tensor([1.0, 1.0, 4.0, 1.0])))


def noisy() -> MetaTensor:
    """The phantom with noise."""
    image = phantom(SIZE)
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    return MetaTensor(image.as_tensor() + 0.05 * noise, affine=torch.eye(4))


def inner(spatial_dims: int, in_channels: int, out_channels: int) -> CKConvOINR:
    """An operator all of whose layers read around a place."""
    return CKConvOINR(spatial_dims, in_channels, out_channels, channels=(8,), support=1.5)


def trained(steps: int) -> list[Job]:
    """What takes so many steps."""
    image = phantom(SIZE)
    many = [image * (1 + 0.1 * i) for i in range(3)]
    settings = {preset: FitConfig(preset, steps=steps, device=AWAY) for preset in PRESETS}
    inside = replace(settings["fast"], network=inner)
    own = DenoiseConfig(steps=steps, device=AWAY)
    finer = SuperResolveConfig(steps=steps, device=AWAY)
    jobs: dict[str, Callable[[], object]] = {
        f"fit, {name}": partial(fit, image, each) for name, each in settings.items()
    }
    jobs |= {
        "fit, kernels in every layer": partial(fit, image, inside),
        "fit_many, 3 images": partial(fit_many, many, settings["balanced"]),
        "super_resolve": partial(super_resolve, thick(), finer),
        "denoise": partial(denoise, noisy(), own),
        "denoise, from nothing": partial(denoise, noisy(), replace(own, start=None)),
    }
    return [Job(name, steps, run) for name, run in jobs.items()]


def asked(count: int) -> list[Job]:
    """What images on the device are asked so many times."""
    image = phantom(SIZE)
    closed, fitted = fit(image), fit(image, FitConfig("fast", steps=5))
    grid, points = closed.grid.refine(2), 10 * torch.rand(1000, 3)
    questions: dict[str, Callable[[Representation], object]] = {
        "samples": lambda each: each.sample(grid),
        "jets": lambda each: each.jet(grid),
        "jets at points": lambda each: each.jet_at(points),
    }
    return [
        Job(f"{name}, {what}", count, partial(repeated, question, each, count))
        for name, each in (("closed form", closed), ("fitted", fitted))
        for what, question in questions.items()
    ]


def repeated(
    question: Callable[[Representation], object], image: Representation, count: int
) -> None:
    """Ask a question so many times, of an image that is moved to the device before."""
    there = image.to(AWAY)
    for _ in range(count):
        question(there)


def counted(job: Job) -> dict[str, float]:
    """Transfers of each step, or of each question, and those at rest."""
    with StandIn() as device:
        job.run()
    row: dict[str, float] = {}
    trains = any(device.count("to device", name) for name in STEPS)
    for kind in KINDS:
        every = device.count(kind)
        within = sum(device.count(kind, name, SELDOM) for name in STEPS)
        row[kind] = round((within if trains else every) / job.count, 2)
        row[f"{kind} at rest"] = every - within if trains else 0
    return row | {"kernels": round(device.kernels / job.count)}


def all_counted(count: int) -> dict[str, dict[str, float]]:
    """Every row, by its name."""
    found = {}
    for job in (*trained(count), *asked(count)):
        found[job.name] = counted(job)
        print(job.name, found[job.name], flush=True)
    return found


def report_of(found: dict[str, Any], folder: Path) -> Report:
    """The page: a row for each job, before and now."""
    report = Report("waits", "Waits and copies", folder)
    report.text(__doc__.split("\n\n", 1)[1])
    report.text(
        "\n".join(f"- {n}: `{each['command']}`, torch {each['torch']}" for n, each in found.items())
    )
    report.text(NOTES)
    jobs = list(next(reversed(found.values()))["rows"])
    for title, kinds in (
        ("Of each step, or of each question:", (*KINDS, "kernels")),
        ("At rest:", [f"{kind} at rest" for kind in KINDS]),
    ):
        report.text(title)
        columns = [(kind, name) for kind in kinds for name in found]
        head = ["job", *[f"{kind.removesuffix(' at rest')}, {name}" for kind, name in columns]]
        rows = (
            [job, *[found[name]["rows"].get(job, {}).get(kind, "-") for kind, name in columns]]
            for job in jobs
        )
        report.table(head, rows)
    return report


def main() -> None:
    """Count, and write the column beside the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--column", default="now", choices=["before", "now"])
    parser.add_argument("--output", type=Path, default=MEASURED)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    kept = arguments.output / "waits.json"
    found = json.loads(kept.read_text()) if kept.is_file() else {}
    found[arguments.column] = {
        "command": f"python -m scripts.cost.waits --steps {arguments.steps}"
        f" --column {arguments.column}",
        "torch": torch.__version__,
        "rows": all_counted(arguments.steps),
    }
    report = report_of(found, arguments.output)
    report.path("json").write_text(json.dumps(found, indent=2) + "\n")
    report.write()
    print(report)


if __name__ == "__main__":
    main()
