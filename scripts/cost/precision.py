"""What bfloat16 and TF32 cost in accuracy: writes docs/measured/precision.md.

python -m scripts.cost.precision

Wide operators learn, and restoring ones restore, in bfloat16 where a device gains from it; those of
the presets are narrow, and do so here to show what it would cost. Nothing is done in TF32, which is
imitated here by rounding what products and convolutions read to its 10 bits.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

import torch
from monai.data import MetaTensor
from monai.transforms import CenterSpatialCrop
from torch import Tensor
from torch.overrides import TorchFunctionMode

from oinr_monai import (
    CKConvOINR,
    DenoiseConfig,
    FitConfig,
    GaussianNoise,
    Grid,
    Representation,
    SuperResolveConfig,
    denoise,
    fit,
    super_resolve,
)
from oinr_monai.fitting.device import gains_from_bfloat16
from oinr_monai.fitting.presets import PresetName
from oinr_monai.scanner.simulation import simulate_slices
from scripts.shared.problem import load_image
from scripts.shared.report import MEASURED, Report

PRESETS: tuple[PresetName, ...] = ("fast", "balanced", "best")
CROP, STEPS = (64, 80, 64), 1_000
PATCHED = (
    "oinr_monai.fitting.single",
    "oinr_monai.restoration.slice_descent",
    "oinr_monai.restoration.carried_denoising",
)
PRODUCTS = (torch.nn.functional.conv3d, torch.nn.functional.linear, torch.matmul, torch.einsum)

HEAD = """
A block of MNI152, {crop} voxels of 1 mm. PSNR in dB over the range of the block: of fits of {steps}
steps between samples, of slices four times as thick made fine at once, of 5 % of noise taken out;
and what bfloat16 adds. {gains}
"""
SAMPLED = """
Answers of a fitted representation, all of whose layers are continuous kernels, and its gradient:
the largest difference from single precision if products and convolutions read what TF32 or bfloat16
leave of their factors, as a part of the range.
"""


@contextmanager
def working_in(reduced: bool) -> Iterator[None]:
    """Operators learn and restore in bfloat16, or do not, whatever this processor gains."""
    with ExitStack() as stack:
        stack.enter_context(patch("oinr_monai.fitting.single.WIDE", 0))
        for module in PATCHED:
            stack.enter_context(patch(f"{module}.gains_from_bfloat16", lambda device: reduced))
        yield


class Rounded(TorchFunctionMode):
    """Products and convolutions read so many bits of the mantissa of their factors."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.dropped = 23 - bits

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        if func in (*PRODUCTS, Tensor.matmul, Tensor.__matmul__):
            args = tuple(self._rounded(x) for x in args)
        return func(*args, **(kwargs or {}))

    def _rounded(self, x: Any) -> Any:  # noqa: ANN401
        if not isinstance(x, Tensor) or x.dtype != torch.float32:
            return x
        half, kept = 1 << (self.dropped - 1), -1 << self.dropped
        return ((x.detach().contiguous().view(torch.int32) + half) & kept).view(torch.float32)


def psnr(found: Tensor, truth: Tensor) -> float:
    """Over the range of the truth, in dB."""
    error = (found - truth).square().mean()
    return float(10 * torch.log10((truth.max() - truth.min()) ** 2 / error))


def jobs(truth: MetaTensor) -> dict[str, Callable[[], float]]:
    """What is scored, in dB."""
    plain, grid = truth.as_tensor(), Grid.from_image(truth)
    slices = simulate_slices(truth, 4.0)
    size = 0.05 * float(plain.max() - plain.min())
    noise = size * torch.randn(plain.shape, generator=torch.Generator().manual_seed(0))
    noisy = grid.to_image(plain + noise)

    def fitted(preset: PresetName) -> float:
        return float(fit(truth, FitConfig(preset, steps=STEPS)).info["psnr_between"])

    def finer() -> float:
        found = super_resolve(slices, SuperResolveConfig(steps=0)).sample(grid)
        return psnr(found.as_tensor(), plain)

    def cleaner() -> float:
        config = DenoiseConfig(noise=GaussianNoise(size))
        return psnr(denoise(noisy, config).sample().as_tensor(), plain)

    return {
        **{f"fit, {name}": partial(fitted, name) for name in PRESETS},
        "super-resolution, at once": finer,
        "denoising, at once": cleaner,
    }


def answers(image: MetaTensor) -> dict[str, Callable[[], Tensor]]:
    """What a representation with continuous kernels in all of its layers is asked."""

    def network(**sizes: Any) -> CKConvOINR:
        return CKConvOINR(**sizes, channels=(8,), support=1.5)

    whole: Representation = fit(image, FitConfig("fast", steps=200, network=network))
    return {
        "samples": lambda: whole.sample().as_tensor(),
        "gradients": lambda: whole.gradient().as_tensor(),
    }


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=MEASURED)
    options = parser.parse_args()
    torch.set_num_threads(1)
    report = Report("precision", "What shorter numbers cost", options.output)
    report.made()
    truth = cast("MetaTensor", CenterSpatialCrop(CROP)(load_image("mni152")).float())
    gains = gains_from_bfloat16(torch.device("cpu"))
    told = "This processor has bfloat16." if gains else "This processor only imitates bfloat16."
    crop = " x ".join(map(str, CROP))
    report.text(HEAD.format(crop=crop, steps=f"{STEPS:,}", gains=told))
    table = report.table(("", "single", "bfloat16 adds", "seconds, single", "bfloat16"))
    for name, job in jobs(truth).items():
        found = []
        for reduced in (False, True):
            started = time.process_time()
            with working_in(reduced):
                found.append((job(), time.process_time() - started))
        (one, took), (other, less) = found
        table.row(name, f"{one:.2f}", f"{other - one:+.3f}", f"{took:.1f}", f"{less:.1f}")
    report.text(SAMPLED)
    small = cast("MetaTensor", truth[:, 16:40, 16:40, 16:40])
    table = report.table(("", "TF32", "bfloat16"))
    for name, ask in answers(small).items():
        exact, cells = ask(), []
        for bits in (10, 7):
            with Rounded(bits):
                off = (ask() - exact).abs().max() / (exact.max() - exact.min())
            cells.append(f"{float(off):.1e}")
        table.row(name, *cells)
    report.write()


if __name__ == "__main__":
    main()
