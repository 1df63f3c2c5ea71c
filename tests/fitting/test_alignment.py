"""Motions between images: known shifts are found, and nothing moves what does not move."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from oinr_monai.fields.spline import SplineField
from oinr_monai.fitting import alignment
from oinr_monai.fitting.alignment import Alignment
from oinr_monai.grids.positions import Lattice

SHAPE = {1: (64,), 2: (40, 36), 3: (22, 20, 24)}


def bumps(dims: int, shift: float) -> Tensor:
    """Two blobs (1, *shape), moved along the first axis by so many voxels."""
    axes = [torch.arange(float(n)) - n / 2 for n in SHAPE[dims]]
    axes[0] = axes[0] - shift
    mesh = torch.meshgrid(*axes, indexing="ij")
    first = torch.exp(-sum(((x - 3) / 4) ** 2 for x in mesh))
    second = torch.exp(-sum(((x + 4) / 3) ** 2 for x in mesh))
    return (first + 0.7 * second)[None]


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_shift_is_found_in_mm(dims: int) -> None:
    spacing = (1.5, 2.0, 0.5)[:dims]
    group = torch.stack([bumps(dims, -1.0), bumps(dims, 1.0)])[None]
    ((a, b),) = Alignment(steps=40).motions(group, spacing)
    centre = Lattice(
        tuple(torch.tensor([n / 2 * h]) for n, h in zip(SHAPE[dims], spacing, strict=True))
    )
    apart = (b(centre)[0] - a(centre)[0]).flatten()
    expected = torch.zeros(dims)
    expected[0] = 2 * spacing[0]
    assert torch.allclose(apart, expected, rtol=0, atol=0.1 * 2 * spacing[0])


def test_images_are_looked_at_as_sparsely_as_their_blur_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps: list[float] = []

    def every(size: int, step: float, device: torch.device) -> Tensor:
        steps.append(step)
        return found(size, step, device)

    found = alignment._every
    monkeypatch.setattr(alignment, "_every", every)
    group = torch.stack([bumps(1, -1.0), bumps(1, 1.0)])
    Alignment(blurs=(8.0, 4.0, 0.5), steps=1)._descent(group, (8.0, 4.0, 0.5))
    assert steps == [4.0, 2.0, 1.0]


def test_a_motion_is_taken_back_where_it_explains_little(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = torch.linspace(0.1, 0.9, 64)  # how much of the disagreement it explains
    left = iter([torch.ones(64), (1 - wanted) / (1 + wanted)])
    monkeypatch.setattr(alignment, "_disagreement", lambda images: next(left))
    motion = SplineField((63.0,), (4.0,), 1)
    nn.init.ones_(motion.coefficients)
    Alignment()._take_back(torch.zeros(2, 1, 64), [motion, copy.deepcopy(motion)])
    places = torch.arange(12.0, 52.0).double()
    kept = motion(Lattice((places,)))[0].flatten().detach()
    assert float((kept - wanted[12:52]).abs().max()) < 0.04


def test_equal_images_do_not_move() -> None:
    group = bumps(2, 0.0).expand(1, 3, -1, -1, -1)
    (found,) = Alignment(steps=5).motions(group, (1.0, 1.0))
    assert max(float(m.coefficients.detach().abs().max()) for m in found) < 1e-3


def test_no_image_is_the_reference() -> None:
    group = torch.stack([bumps(2, s) for s in (-2.0, 0.0, 1.0)])[None]
    (found,) = Alignment(steps=20).motions(group, (1.0, 1.0))
    (turned,) = Alignment(steps=20).motions(group.flip(1), (1.0, 1.0))
    assert torch.allclose(sum(m.coefficients for m in found), torch.tensor(0.0), atol=1e-4)
    for a, b in zip(found, turned[::-1], strict=True):
        assert torch.allclose(a.coefficients, b.coefficients, rtol=0, atol=1e-2)
