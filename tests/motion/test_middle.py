"""Motions to the middle: known shifts are found, and nothing moves what does not move."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from oinr_monai.grids.grid import Grid
from oinr_monai.motion import middle
from oinr_monai.motion.middle import to_middle
from oinr_monai.motion.pyramid import Looked, ViewScale

SHAPE = {1: (64,), 2: (40, 36), 3: (22, 20, 24)}


def bumps(dims: int, shift: float) -> Tensor:
    """Two blobs (1, *shape), moved along the first axis by so many voxels."""
    axes = [torch.arange(float(n)) - n / 2 for n in SHAPE[dims]]
    axes[0] = axes[0] - shift
    mesh = torch.meshgrid(*axes, indexing="ij")
    first = torch.exp(-sum(((x - 3) / 4) ** 2 for x in mesh))
    second = torch.exp(-sum(((x + 4) / 3) ** 2 for x in mesh))
    return 4 * (first + 0.7 * second)[None]


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_shift_is_found_half_of_it_on_each_side(dims: int) -> None:
    here, there = to_middle(torch.stack([bumps(dims, -1.0), bumps(dims, 1.0)]))
    centre = (slice(None), *(n // 2 for n in SHAPE[dims]))
    expected = torch.zeros(dims)
    expected[0] = 1.0
    torch.testing.assert_close(there[centre], expected, rtol=0, atol=0.06)
    torch.testing.assert_close(here, -there, rtol=0, atol=1e-5)


def test_what_moved_far_is_found_by_looking_from_farther() -> None:
    _, there = to_middle(torch.stack([bumps(2, -6.0), bumps(2, 6.0)]))
    assert abs(float(there[0, 20, 18]) - 6) < 0.5


def test_images_are_looked_at_as_sparsely_as_their_smoothing_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[float, tuple[int, ...]]] = []

    class Counted(Looked):
        def __init__(self, image: Tensor, grid: Grid, scale: ViewScale) -> None:
            super().__init__(image, grid, scale)
            seen.append((scale.sigma, self.grid.shape))

    monkeypatch.setattr(middle, "Looked", Counted)
    monkeypatch.setattr(middle, "PLACES", 40 * 36 / 4)
    group = middle._Group(torch.stack([bumps(2, 0.0)] * 2))
    group.moved((ViewScale(16.0, 8.0), ViewScale(4.0, 2.0), ViewScale(1.0, 1.0)))
    # Twice as far apart each, as a quarter of the places are allowed; kept at twice that.
    assert seen == [(8.0, (19, 17))] * 2 + [(2.0, (39, 35))] * 2


@pytest.mark.parametrize("gone", [0.5, 2.0, 4.0])
def test_a_motion_is_taken_back_where_it_explains_little(gone: float) -> None:
    # Slopes two voxels apart differ by as much as the way that is left to go.
    apart, x = 2.0, torch.arange(40.0)[:, None].expand(40, 36)
    group = middle._Group(torch.stack([x, x - apart])[:, None])
    moved = torch.zeros(2, 2, 40, 36)
    moved[0, 0], moved[1, 0] = -gone / 2, gone / 2
    before, after = apart**2, (apart - gone) ** 2
    expected = torch.full((16, 36), max((before - after) / (before + after), 0))
    torch.testing.assert_close(group.explained(moved)[12:28], expected, rtol=0, atol=5e-3)


def test_noise_hardly_moves() -> None:
    noise = torch.randn(2, 1, 40, 36, generator=torch.Generator().manual_seed(0))
    assert float(to_middle(noise).square().mean().sqrt()) < 0.35


def test_equal_images_do_not_move() -> None:
    assert float(to_middle(bumps(2, 0.0).expand(3, -1, -1, -1)).abs().max()) < 1e-3


def test_no_image_is_the_reference() -> None:
    group = torch.stack([bumps(2, s) for s in (-2.0, 0.0, 1.0)])
    found, turned = to_middle(group), to_middle(group.flip(0))
    torch.testing.assert_close(found.sum(dim=0), torch.zeros(found.shape[1:]), rtol=0, atol=1e-4)
    torch.testing.assert_close(found, turned.flip(0), rtol=0, atol=1e-2)
    apart = (found[2] - found[0])[0, 20, 18]
    assert abs(float(apart) - 3) < 0.2
