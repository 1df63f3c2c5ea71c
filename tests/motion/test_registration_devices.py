"""Images are compared on a device as they are on the CPU, and the motion is on the CPU."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor
from torch import Tensor

from oinr_monai import MutualInformation, RegisterConfig, SquaredDifferences, register
from oinr_monai.motion.similarity import Similarity
from oinr_monai.testing import StandIn


def blob(shift: float, *sizes: int) -> MetaTensor:
    axes = torch.meshgrid(*[torch.linspace(-2, 2, n) for n in sizes], indexing="ij")
    apart = (axes[0] - shift) ** 2 + sum((k + 1) * x**2 for k, x in enumerate(axes[1:]))
    waves = 0.2 * torch.sin(4 * axes[0] - 4 * shift) * torch.cos(3 * axes[1])
    return MetaTensor((torch.exp(-apart) + waves)[None], affine=torch.eye(len(sizes) + 1))


def found(config: RegisterConfig, sizes: tuple[int, ...]) -> Tensor:
    fixed, moving = blob(0.0, *sizes), blob(0.15, *sizes)
    inside = torch.ones(sizes)
    inside[:2] = 0
    motion = register(fixed, moving, config, mask=inside)
    points = torch.rand(20, len(sizes), generator=torch.Generator().manual_seed(0)).double()
    return motion.at(points * (torch.tensor(sizes) - 1))


@pytest.mark.parametrize(
    ("model", "similarity", "sizes"),
    [
        ("rigid", MutualInformation(), (20, 18)),
        ("affine", SquaredDifferences(), (20, 18)),
        ("deformable", None, (12, 11, 10)),
    ],
)
def test_a_device_finds_the_motion_that_the_cpu_finds(
    model: str, similarity: Similarity | None, sizes: tuple[int, ...]
) -> None:
    here = RegisterConfig(model, similarity, device="cpu")  # type: ignore[arg-type]
    there = RegisterConfig(model, similarity, device="meta")  # type: ignore[arg-type]
    expected = found(here, sizes)
    with StandIn():
        moved = found(there, sizes)
    assert moved.device.type == "cpu"
    assert torch.allclose(moved, expected, atol=1e-3)
