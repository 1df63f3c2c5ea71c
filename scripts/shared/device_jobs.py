"""What a device is asked, beside fits: closed forms, restoration, and the answers of the CPU."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from monai.data import MetaTensor
from torch import Tensor

from oinr_monai import (
    CZOINR,
    CKConvOINR,
    ConvOINR,
    DenoiseConfig,
    FourierEncoding,
    ReconstructConfig,
    RegisterConfig,
    Representation,
    SplineField,
    SuperResolveConfig,
    denoise,
    fit,
    reconstruct,
    register,
    super_resolve,
)
from oinr_monai.grids.positions import Lattice, Positions
from oinr_monai.representation.neural_field import NeuralField
from scripts.shared.phantom import phantom

__all__ = ["Asked", "Sizes", "asked", "compared", "timed"]

# Numbers that are read and written once to tell a device's bandwidth, 256 MiB.
COPIED = 1 << 26


@dataclass(frozen=True)
class Sizes:
    """How large a try is.

    Args:
        volume: voxels along each axis of what is asked in closed form.
        slices: shape of a stack of thick slices.
        stack: voxels along each axis of what stacks are made of.
        steps: steps of super-resolution and denoising; None for their own number.
    """

    volume: int
    slices: tuple[int, int, int]
    stack: int
    steps: int | None


@dataclass(frozen=True)
class Asked:
    """What something took.

    Args:
        name: of it.
        shape: of what it was asked of.
        seconds: of the second time, after one that warms up.
        rate: voxels of the answer a second.
        bandwidth: part of the device's bandwidth that reading and writing the answer alone takes.
        gib: peak memory of a GPU; nothing elsewhere.
        where: kind of device that did it.
    """

    name: str
    shape: str
    seconds: float
    rate: float
    bandwidth: float
    gib: float | None
    where: str


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Wall-clock seconds of a piece of work, all that it left on the device included."""
    wait: Callable[[], object] = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    wait()
    started = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - started


def bandwidth(device: torch.device) -> float:
    """Bytes a second that a copy on the device reads and writes."""
    values = torch.zeros(COPIED, device=device)
    seconds = min(timed(values.clone, device) for _ in range(4))
    return 2 * values.element_size() * COPIED / seconds


def compared(device: torch.device) -> dict[str, list[float]]:
    """Largest differences from the CPU's values, gradients and Hessians, in parts of the largest.

    On a lattice and at points, of every kind of operator.
    """
    places = Lattice(tuple(2.0 + torch.arange(n, dtype=torch.float64) for n in (7, 6, 5)))
    extent, spacing = (12.0, 11.0, 10.0), (1.0, 1.0, 1.0)
    splines = SplineField(extent, (2.0, 2.0, 2.0), 4, (3.0, 3.0, 3.0))
    waves = FourierEncoding(extent, spacing, bands=2)
    kinds: dict[str, Any] = {
        "splines": splines,
        "Fourier features": waves,
        "ConvOINR, pointwise": NeuralField(splines, ConvOINR(3, 4, 1, (8, 8), 1), spacing),
        "ConvOINR, kernels of 3": NeuralField(splines, ConvOINR(3, 4, 1, (8, 8), 3), spacing),
        "CKConvOINR": NeuralField(splines, CKConvOINR(3, 4, 1, (8,), 1.5), spacing),
        "ConvOINR on Fourier features": NeuralField(
            waves, ConvOINR(3, waves.channels, 1, (8, 8), (3, 1, 1)), spacing
        ),
    }
    found = {name: _off(field, places, device) for name, field in kinds.items()}
    wavelets, values = CZOINR(3, 4, 1, channels=2, levels=1), torch.rand(1, 4, 8, 8, 8)
    with torch.no_grad():
        there = copy.deepcopy(wavelets).to(device)(values.to(device)).cpu()
        off = float((there - wavelets(values)).abs().max() / wavelets(values).abs().max())
    return found | {"CZOINR": [off]}


@torch.no_grad()
def _off(field: Any, places: Lattice, device: torch.device) -> list[float]:  # noqa: ANN401
    moved, found = copy.deepcopy(field).to(device), [0.0, 0.0, 0.0]
    both: tuple[Positions, ...] = (places, places.points())
    for each in both:
        there = moved(replace(each, axes=tuple(x.to(device) for x in each.axes)), 2).cpu()
        for i, part in enumerate((slice(1), slice(1, 4), slice(4, None))):
            expected: Tensor = field(each, 2)[part]
            size = float(expected.abs().max().clamp_min(1e-12))
            found[i] = max(found[i], float((there[part] - expected).abs().max()) / size)
    return found


def asked(device: torch.device, sizes: Sizes) -> list[Asked]:
    """Closed forms, super-resolution, denoising, registration and reconstruction."""
    image = phantom(sizes.volume)
    whole, grid = fit(image).to(device), fit(image).grid
    points = grid.to_world((sizes.volume - 1) * torch.rand(100_000, 3).double())
    cube = f"{sizes.volume}³"
    kind, steps, slices = device.type, sizes.steps, _slices(sizes.slices)
    shape = " x ".join(map(str, sizes.slices))
    jobs: list[tuple[str, str, int, Callable[[], object], str]] = [
        ("closed form: fit and sample", cube, image.numel(), lambda: _closed(image, device), kind),
        ("closed form: sample", cube, image.numel(), whole.sample, kind),
        ("closed form: gradients", cube, 3 * image.numel(), whole.gradient, kind),
        ("closed form: Hessians", cube, 6 * image.numel(), whole.hessian, kind),
        ("closed form: points", "100,000", len(points), lambda: whole.at(points), kind),
        (
            "super-resolution",
            shape,
            4 * slices.numel(),
            lambda: super_resolve(slices, SuperResolveConfig(steps, device=kind)),
            kind,
        ),
        (
            "denoising",
            shape,
            slices.numel(),
            lambda: denoise(_noisy(slices), DenoiseConfig(steps=steps, device=kind)),
            kind,
        ),
    ]
    small, stacks = phantom(sizes.stack), _stacks(sizes.stack)
    moved = MetaTensor(small.as_tensor().roll(2, 1), affine=torch.eye(4))
    cube = f"{sizes.stack}³"
    jobs += [
        (
            "registration",
            cube,
            small.numel(),
            lambda: register(small, moved, RegisterConfig(device=kind)),
            kind,
        ),
        (
            "reconstruction",
            f"3 stacks of {cube}",
            small.numel(),
            lambda: reconstruct(stacks, ReconstructConfig()),
            "cpu",
        ),
    ]
    rate = bandwidth(device)
    return [_asked(device, rate, *job) for job in jobs]


def _asked(
    device: torch.device,
    rate: float,
    name: str,
    shape: str,
    voxels: int,
    work: Callable[[], object],
    where: str,
) -> Asked:
    work()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    seconds = timed(work, device)
    gib = torch.cuda.max_memory_allocated(device) / 2**30 if where == "cuda" else None
    found = Asked(name, shape, seconds, voxels / seconds, 8 * voxels / seconds / rate, gib, where)
    print(found, flush=True)
    return found


def _closed(image: MetaTensor, device: torch.device) -> Tensor:
    found: Representation = fit(image).to(device)
    return found.sample()


def _slices(shape: tuple[int, int, int]) -> MetaTensor:
    # Thick slices of a phantom, cut to their shape.
    whole = phantom(max(shape[0], shape[1], 4 * shape[2])).as_tensor()
    part = whole[:, : shape[0], : shape[1], : 4 * shape[2]].unflatten(3, (-1, 4)).mean(4)
    return MetaTensor(part, affine=torch.diag(torch.tensor([1.0, 1.0, 4.0, 1.0])))


def _noisy(image: MetaTensor) -> MetaTensor:
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    return MetaTensor(image.as_tensor() + 0.05 * noise, affine=image.affine)


def _stacks(size: int) -> list[MetaTensor]:
    # Three that cross, each four times as thick along another axis.
    whole, found = phantom(size).as_tensor(), []
    for axis in range(3):
        affine = torch.eye(4)
        affine[axis, axis], affine[axis, 3] = 4.0, 1.5
        values = whole.unflatten(axis + 1, (-1, 4)).mean(axis + 2)
        found.append(MetaTensor(values, affine=affine))
    return found
