"""The machine that a fit runs on: its device, its precision, its random numbers."""

from __future__ import annotations

import inspect
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec

import torch
from torch import Tensor

from oinr_monai.grids.precision import REDUCING

__all__ = ["compiled", "fuses", "gains_from_bfloat16", "rests", "seeded"]

P = ParamSpec("P")

# Programs of one fit do not count among those of another, where torch knows how: else it gives up
# after the eighth.
ISOLATED: dict[str, Any] = {
    name: True
    for name in ("isolate_recompiles",)
    if name in inspect.signature(torch.compile).parameters
}

# Steps on a device that are drawn at once, and between two looks at what comes of them. By hand.
STEPS_AWAY = 50


def compiled(work: Callable[P, Tensor], device: torch.device) -> Callable[P, Tensor]:
    """The same work as a program of ``torch.compile``, on CUDA captured in a graph.

    Args:
        work: what a step costs; of the same shapes each time.
        device: where.

    Raises:
        ValueError: if that takes a C++ compiler, as on a CPU, and there is none.
    """
    compilers = {"darwin": "clang++", "win32": "cl"}
    compiler = os.environ.get("CXX", compilers.get(sys.platform, "g++"))
    if device.type == "cpu" and shutil.which(compiler) is None:
        raise ValueError(
            f"compiled must be False on a machine without a C++ compiler ({compiler}), got True"
        )
    if device.type != "cuda":
        return torch.compile(work, dynamic=False, **ISOLATED)
    captured = torch.compile(work, dynamic=False, mode="reduce-overhead", **ISOLATED)

    def replayed(*arguments: P.args, **options: P.kwargs) -> Tensor:
        # A replay writes over what the last one answered, which may still be looked at.
        torch.compiler.cudagraph_mark_step_begin()
        return captured(*arguments, **options).clone()

    return replayed


def gains_from_bfloat16(device: torch.device) -> bool:
    """Whether matrix products in bfloat16 are faster than in float32 on ``device``."""
    if device.type not in REDUCING:
        return False
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def fuses(device: torch.device) -> bool:
    """Whether an optimizer's step on ``device`` can be one kernel."""
    return device.type in REDUCING


def rests(device: torch.device) -> int:
    """Steps on ``device`` after which host and device meet: one where they are the same."""
    return 1 if device.type == "cpu" else STEPS_AWAY


# Entered again by a fit within one, such as that of a field that another operator reads.
_START = threading.RLock()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw from torch's global generator as if it had this seed, and leave it as it was."""
    # The start is drawn from torch's global generator, which threads share; the caller's state is
    # given back as it was.
    with _START, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
