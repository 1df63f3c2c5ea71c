"""One job, timed by itself: processor seconds with few steps and with many.

Run by its path, with another checkout on PYTHONPATH, it times the package of that one.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import torch
from monai.data import MetaTensor

import oinr_monai as oinr
from scripts.shared.phantom import phantom

__all__ = ["FITS", "JOBS", "STEPS", "WHOLE"]

# Jobs that can be compiled, others that take steps, and those that are timed as they are; beside
# each how many steps are few and many.
FITS = {"fast": (20, 220), "balanced": (20, 220), "best": (20, 220), "fit_many": (20, 120)}
STEPS = {"super_resolve": (5, 155), "denoise": (2, 42)}
# How many times more steps of a program, whose making varies by what hundreds of them take.
MORE = 4
WHOLE = ("closed form, samples and gradients", "register", "reconstruct")
JOBS = (*FITS, *STEPS, *WHOLE)


def thick(size: int) -> MetaTensor:
    """Slices of the phantom, four times as thick as they are wide."""
    slices = phantom(size).as_tensor().unflatten(3, (-1, 4)).mean(4)
    return MetaTensor(slices, affine=torch.diag(torch.tensor([1.0, 1.0, 4.0, 1.0])))


def work(name: str, steps: int, **settings: Any) -> Callable[[], object]:
    """What is timed."""
    if name == "fit_many":
        many = [phantom(32) * (1 + i) for i in range(3)]
        config = oinr.FitConfig("fast", steps=steps, device="cpu", **settings)
        return lambda: oinr.fit_many(many, config)
    if name in FITS:
        config = oinr.FitConfig(name, steps=steps, device="cpu", **settings)  # type: ignore[arg-type]
        return lambda: oinr.fit(phantom(64), config)
    if name == "super_resolve":
        return lambda: oinr.super_resolve(thick(64), oinr.SuperResolveConfig(steps=steps))
    if name == "denoise":
        noise = torch.randn(1, 48, 48, 48, generator=torch.Generator().manual_seed(0))
        noisy = phantom(48) + 0.05 * noise
        return lambda: oinr.denoise(noisy, oinr.DenoiseConfig(steps=steps))
    return _whole(name)


def _whole(name: str) -> Callable[[], object]:
    image = phantom(48)
    if name == "register":
        return lambda: oinr.register(image, phantom(48).roll(2, 1))
    if name == "reconstruct":
        return lambda: oinr.reconstruct([thick(32)] * 2)

    def asked() -> object:
        found = oinr.fit(image)
        return found.sample(found.grid.refine(2)), found.gradient()

    return asked


def seconds(name: str, steps: int, **settings: Any) -> float:
    """Processor seconds of a job."""
    job = work(name, steps, **settings)
    started = time.process_time()
    job()
    return time.process_time() - started


def main() -> None:
    """Time one job, and print it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("job", choices=JOBS)
    parser.add_argument("--compiled", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    few, many = (FITS | STEPS).get(options.job, (0, 0))
    many += MORE * (many - few) if options.compiled else 0
    settings = {"compiled": True} if options.compiled else {}
    first = seconds(options.job, few, **settings)
    found = {"first": first, "few": seconds(options.job, few, **settings)}
    if many:
        found["step"] = (seconds(options.job, many, **settings) - found["few"]) / (many - few)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
