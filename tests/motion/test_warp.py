"""What images, labels and points show where a motion takes them."""

from __future__ import annotations

import warnings

import pytest
import torch
from monai.data import MetaTensor
from monai.networks.blocks import Warp

from oinr_monai import Grid
from oinr_monai.motion import (
    AffineMotion,
    Velocity,
    Warped,
    from_voxels,
    rigid_about,
    to_voxels,
    warp,
    warp_image,
    warp_labels,
)
from oinr_monai.representation.exact import spline_representation
from tests.motion.makers import knots, places, texture, wobble

GRID = knots((14, 13, 12), 1.0)


def test_an_image_is_its_function_at_the_moved_places(generator: torch.Generator) -> None:
    affine = AffineMotion(GRID.affine)
    motion = affine @ Velocity(wobble(generator, 0.5, knots((9, 9, 9), 2.0))) @ affine.inverse()
    beyond = GRID.pad(6).refine(2)
    centre = GRID.to_world(torch.tensor([[6.5, 6, 5.5]]))[0]
    image = beyond.to_image(texture(beyond.points() - centre)[None].float())
    moved = warp_image(image, motion, GRID)
    truth = texture(motion.at(GRID.points().flatten(0, -2)) - centre).view(GRID.shape)
    assert float((moved[0] - truth).abs().max()) < 0.03
    assert torch.equal(moved.affine, GRID.affine)


def test_beyond_the_image_is_its_least_value() -> None:
    image = GRID.to_image(torch.rand(2, *GRID.shape) + 1)
    away = AffineMotion.of(torch.eye(3), [100.0, 0.0, 0.0])
    moved = warp_image(image, away, GRID)
    least = image.as_tensor().flatten(1).amin(dim=1)
    torch.testing.assert_close(moved.as_tensor(), least.view(2, 1, 1, 1).expand_as(moved))
    assert not warp_labels((image[:1] * 10).int(), away, GRID).any()


def test_labels_move_by_whole_voxels_exactly(generator: torch.Generator) -> None:
    names = torch.tensor([0, 3, 312782546, -4])
    labels = names[torch.randint(4, (1, *GRID.shape), generator=generator)]
    step = GRID.matrix @ torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
    moved = warp_labels(GRID.to_image(labels), AffineMotion.of(torch.eye(3), step), GRID)
    assert torch.equal(moved[0, :-1, 2:, :-3].as_tensor(), labels[0, 1:, :-2, 3:])
    assert moved.dtype == torch.int64


def test_labels_keep_their_volume_under_a_rotation() -> None:
    radius = (GRID.points() - GRID.to_world(torch.tensor([6.5, 6, 5.5]))).norm(dim=-1)
    labels = GRID.to_image((radius < 4.5).long()[None] * 5)
    centre = GRID.to_world(torch.tensor([[6.5, 6, 5.5]]))[0]
    turned = warp_labels(labels, rigid_about(torch.ones(3), torch.zeros(3), centre), GRID)
    assert set(turned.unique().tolist()) == {0, 5}
    assert int((turned > 0).sum()) == pytest.approx(int((labels > 0).sum()), rel=0.05)


def test_the_displacement_in_voxels_is_what_monai_warps_by(generator: torch.Generator) -> None:
    motion = Velocity(wobble(generator, 0.5, knots((9, 9, 9), 2.0)))
    displacement = to_voxels(motion, GRID, GRID)
    back = from_voxels(displacement, GRID, GRID)
    points = GRID.points().flatten(0, -2)
    torch.testing.assert_close(back.at(points), motion.at(points), rtol=0, atol=1e-5)
    labels = (torch.rand(1, *GRID.shape, generator=generator) > 0.5).long()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MONAI tells which of its own ways it takes
        theirs = Warp()(labels[None].float(), displacement[None])[0]
    ours = warp_labels(GRID.to_image(labels), motion, GRID).as_tensor()
    inside = (theirs[0] - 0.5).abs() > 1e-3
    voxels = GRID.to_voxel(motion.on(GRID))
    inside &= ((voxels >= 0) & (voxels <= torch.tensor(GRID.shape) - 1)).all(dim=-1)
    assert int(inside.sum()) > 500
    assert torch.equal(ours[0][inside], (theirs[0] > 0.5).long()[inside])


def test_another_grid_may_be_anywhere(generator: torch.Generator) -> None:
    image = GRID.to_image(torch.rand(1, *GRID.shape, generator=generator))
    part = GRID.crop([2, 3, 1], [9, 8, 7])
    still = warp_image(image, AffineMotion.identity(3), part)
    torch.testing.assert_close(
        still.as_tensor(), image.as_tensor()[:, 2:9, 3:8, 1:7], rtol=0, atol=1e-5
    )
    assert isinstance(still, MetaTensor)
    assert len(places(generator, part)) == 40


def test_a_warped_representation_is_a_function_with_its_gradient(
    generator: torch.Generator,
) -> None:
    image = GRID.to_image(texture(GRID.points() - GRID.origin)[None].float())
    function = spline_representation(image.as_tensor(), GRID)
    first = Velocity(wobble(generator, 0.4, knots((9, 9, 9), 2.0)))
    still = AffineMotion(torch.eye(4))
    warped = Warped(function, still).then(first)
    inner = GRID.crop([4, 4, 4], [9, 9, 9])
    points = inner.points().flatten(0, -2)
    torch.testing.assert_close(warped.at(points), function.at(first.at(points)))
    steps = 1e-2 * torch.eye(3, dtype=torch.float64)
    ends = [(warped.at(points + s) - warped.at(points - s)) / 2e-2 for s in steps]
    slopes = warped.gradient_at(points)
    torch.testing.assert_close(slopes, torch.stack(ends, dim=-1).to(slopes), rtol=0, atol=5e-3)
    sampled = warped.sample(inner).as_tensor().flatten(1)
    torch.testing.assert_close(sampled, warped.at(points).T)
    flat = rigid_about(torch.tensor([0.1]), torch.zeros(2), torch.zeros(2))
    with pytest.raises(ValueError, match="motion must have 3 dimensions as representation, got 2"):
        Warped(function, flat)


def test_a_warped_picture_is_sampled_on_its_grid(generator: torch.Generator) -> None:
    grid = knots((7, 5), 1.0)
    image = grid.to_image(torch.rand(2, 7, 5, generator=generator))
    still = Warped(spline_representation(image.as_tensor(), grid), AffineMotion.identity(2))
    sampled = still.sample(grid)
    torch.testing.assert_close(sampled.as_tensor(), image.as_tensor(), rtol=0, atol=1e-5)
    assert torch.equal(sampled.affine, grid.affine)


def test_only_the_labels_near_a_slab_are_looked_at(
    monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    labels = torch.arange(24).repeat_interleave(2).expand(1, 6, 5, 48).contiguous()
    motion = AffineMotion.of(torch.eye(3), [0.3, -0.2, 1.4])
    grid = Grid((6, 5, 48), torch.eye(4))
    whole = warp_labels(labels, motion, grid)
    seen: list[int] = []
    looked = warp.F.grid_sample
    monkeypatch.setattr(warp, "AT_ONCE", 60)
    monkeypatch.setattr(
        warp.F, "grid_sample", lambda *given, **more: (seen.append(1), looked(*given, **more))[1]
    )
    assert torch.equal(warp_labels(labels, motion, grid).as_tensor(), whole.as_tensor())
    assert len(seen) < 24 * 6
