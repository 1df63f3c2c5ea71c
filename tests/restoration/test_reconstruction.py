"""Slices that moved: the adjoint of what they see, and poses and volumes that come back."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from oinr_monai import Grid, ReconstructConfig, reconstruct
from oinr_monai.motion.affine import rotation_of
from oinr_monai.restoration.moving_slices import Samples, Seen, samples_of
from oinr_monai.restoration.reconstruction import (
    MARGIN,
    Reconstruction,
    SlicePose,
    _View,
    _volume_grid,
)
from oinr_monai.restoration.slice_poses import weighed
from oinr_monai.restoration.slice_stage import rigid_between
from oinr_monai.scanner.profiles import Boxcar, Gaussian
from oinr_monai.scanner.slices import SliceStack
from tests.motion.makers import texture
from tests.restoration.moved import GRID, THICK, moved_stacks
from tests.test_orientations import turned


def seen(poses: Tensor, profile: Boxcar | Gaussian, stack: Grid) -> Seen:
    mask = torch.ones(stack.shape, dtype=torch.bool)
    image = torch.zeros(stack.shape)
    centre = torch.zeros(3, dtype=torch.float64)
    samples = samples_of([image], [stack], [mask], [2], [profile], 2.0, centre)
    return Seen(samples, GRID, poses)


def one_stack() -> Grid:
    return GRID.scaled([0, 0, 1.0], [24, 24, 8], [1.0, 1.0, 3.0])


def some_poses(generator: torch.Generator) -> Tensor:
    return moved_stacks(generator)[1][0]


def test_the_adjoint_is_exact_and_constants_stay(generator: torch.Generator) -> None:
    model = seen(some_poses(generator), Gaussian(6.0), one_stack())
    x = torch.randn(GRID.shape, generator=generator)
    y = torch.randn(len(model.samples.values), generator=generator)
    forward, back = model.forward(x[None])[0], model.adjoint(y)
    assert float((forward * y).double().sum()) == pytest.approx(
        float((x * back).double().sum()), rel=1e-4
    )
    ones = model.forward(torch.ones(1, *GRID.shape))
    torch.testing.assert_close(ones, torch.ones_like(ones))


def test_slices_that_did_not_move_are_those_of_a_stack(generator: torch.Generator) -> None:
    stack, profile = one_stack(), Boxcar(6.0)
    still = torch.eye(4, dtype=torch.float64).repeat(8, 1, 1)
    x = torch.randn(1, *GRID.shape, generator=generator)
    wanted = SliceStack(GRID, stack, 2, profile).forward(x)
    found = seen(still, profile, stack).forward(x)
    torch.testing.assert_close(found.view(1, *stack.shape), wanted, rtol=0, atol=1e-4)


def error(found: Reconstruction, truth: list[Tensor]) -> float:
    """Mean distance in mm of the slices' places, after the motion that all have in common."""
    corners = torch.cartesian_prod(*[torch.tensor([-15.0, 15.0]).double()] * 3)
    here = [corners @ p.matrix[:3, :3].T + p.matrix[:3, 3] for p in found.poses]
    poses = [truth[p.stack][p.slice] for p in found.poses]
    there = [corners @ pose[:3, :3].T + pose[:3, 3] for pose in poses]
    both = torch.cat(here), torch.cat(there)
    common = rigid_between(*both)
    left = both[0] @ common[:3, :3].T + common[:3, 3] - both[1]
    return float(left.norm(dim=1).mean())


def test_poses_and_volume_come_back(generator: torch.Generator) -> None:
    stacks, poses = moved_stacks(generator)
    stacks[1] = stacks[1].clone()
    stacks[1][:, :, 4] *= 0.2  # a slice that lost its signal
    still = reconstruct(stacks, ReconstructConfig("still"))
    found = reconstruct(stacks)
    assert error(found, poses) < 0.35 * error(still, poses)
    assert found.noise < 0.5 * still.noise
    worst = min(found.poses, key=lambda pose: pose.weight)
    assert (worst.stack, worst.slice, worst.outlier) == (1, 4, True)
    assert found.volume.grid.shape == GRID.shape
    known = reconstruct(stacks, ReconstructConfig("still"), poses=[list(each) for each in poses])
    assert error(known, poses) < 1e-9
    assert known.noise < 0.5 * still.noise


def test_storage_does_not_matter(generator: torch.Generator) -> None:
    """The stack that the volume lies along is stored along other axes, one of them reversed."""
    stacks, _ = moved_stacks(generator)
    stored = turned(stacks[0], (2, 0, 1), (True, False, False))
    config = ReconstructConfig("stacks")
    one, other = (reconstruct([first, *stacks[1:]], config) for first in (stacks[0], stored))
    inner = GRID.crop([4] * 3, [20] * 3).points().flatten(0, -2)[::7]
    torch.testing.assert_close(one.volume.at(inner), other.volume.at(inner), rtol=0, atol=1e-2)


def test_a_dark_slice_of_one_stack_counts_for_nothing(generator: torch.Generator) -> None:
    stacks, _ = moved_stacks(generator, degrees=0.0, mm=0.0)
    stack = stacks[0] + 5
    stack[..., 3] *= 0.3
    found = reconstruct([stack], ReconstructConfig("still"))
    assert [pose.slice for pose in found.poses if pose.outlier] == [3]
    assert float(found.volume.sample().min()) > 0


def test_still_slices_stay_and_masks_count(generator: torch.Generator) -> None:
    stacks, _ = moved_stacks(generator, degrees=0.0, mm=0.0)
    masks = [torch.ones(stack.shape[1:]) for stack in stacks]
    found = reconstruct(stacks, masks=masks, profiles=[Boxcar(2.0 * THICK)] * 3)
    assert max(float(p.matrix[:3, 3].norm()) for p in found.poses) < 0.5
    inner = (0, *[slice(4, -4)] * 3)
    truth = texture(GRID.points() / 2).float()[inner[1:]]
    assert float((found.volume.sample()[inner] - truth).square().mean().sqrt()) < 0.35


def test_no_round_begins_after_the_seconds(generator: torch.Generator) -> None:
    stacks, _ = moved_stacks(generator)
    found = reconstruct(stacks, ReconstructConfig(seconds=1e-9))
    assert all(torch.equal(p.matrix, torch.eye(4).double()) for p in found.poses)


def test_a_slice_that_does_not_fit_counts_less() -> None:
    slices = torch.arange(4).repeat_interleave(50)
    none = torch.zeros(0)
    stack = torch.zeros(4, dtype=torch.long)
    samples = Samples(none, slices, none, stack, torch.arange(4), none, none, none, none)
    left = torch.linspace(-1, 1, 50).repeat(4)
    left[150:] *= 10
    fit = weighed(samples, left, torch.ones(200, dtype=torch.bool))
    assert fit.slice_weights[3] < 0.2
    assert (fit.slice_weights[:3] > 0.9).all()


def test_what_is_unfit_is_refused() -> None:
    image = torch.rand(1, 8, 8, 8)
    with pytest.raises(ValueError, match="stacks must hold at least one"):
        reconstruct([])
    with pytest.raises(ValueError, match="masks must be one for each stack"):
        reconstruct([image], masks=[])
    with pytest.raises(ValueError, match="mask must hold at least one voxel"):
        reconstruct([image], masks=[torch.zeros(8, 8, 8)])
    with pytest.raises(ValueError, match=r"stacks must be \(1, X, Y, Z\)"):
        reconstruct([torch.rand(2, 8, 8, 8)])
    with pytest.raises(ValueError, match="poses must be one for each of 8 slices, got 1"):
        reconstruct([image], poses=[[torch.eye(4)]])
    with pytest.raises(ValueError, match="stacks must lie where the first does, got stack 1"):
        reconstruct([image, Grid((8, 8, 8), torch.eye(4)).shift([9.0, 0, 0]).to_image(image)])
    with pytest.raises(ValueError, match="motion must be one of"):
        ReconstructConfig("fast")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="weight must be positive"):
        ReconstructConfig(weight=0.0)


SOME = Grid((6, 5, 4), torch.diag(torch.tensor([1.0, 1.5, 4.0, 1.0])))


def view(mask: Tensor, grid: Grid = SOME) -> _View:
    values = (grid.points() @ torch.tensor([1.0, 2.0, 3.0]).double()).float()
    return _View(values, grid, mask, 2, Boxcar(4.0))


def test_half_the_resolution_lies_where_the_whole_did() -> None:
    mask = torch.ones(SOME.shape, dtype=torch.bool)
    mask[:2, :3] = False
    half = view(mask).halved()
    assert half.grid.shape == half.image.shape == (3, 2, 4)
    torch.testing.assert_close(half.grid.spacing, torch.tensor([2.0, 3.0, 4.0]).double())
    known = half.grid.points() @ torch.tensor([1.0, 2.0, 3.0]).double()
    torch.testing.assert_close(half.image[1:], known[1:].float())
    assert half.mask.all(dim=2).tolist() == [[False, False], [True, True], [True, True]]
    # Of a block of which some voxels count, the mean of those.
    mask[:] = True
    mask[0, :2] = False
    torn = view(mask).halved()
    assert bool(torn.mask[0, 0].logical_not().all())
    torch.testing.assert_close(torn.image[0, 0], view(mask).image[1, :2].mean(dim=0))


def test_the_volume_is_over_the_mask_and_a_little_more() -> None:
    grid = Grid((40, 40, 10), torch.diag(torch.tensor([1.0, 1.5, 4.0, 1.0])))
    mask = torch.zeros(grid.shape, dtype=torch.bool)
    mask[10:20, 12:30, 4:6] = True
    volume = _volume_grid([view(mask, grid)], None)
    assert volume.spacing.tolist() == [1, 1, 1]
    ends = torch.stack([torch.full((3,), -0.5), torch.tensor(volume.shape) - 0.5])
    low, high = volume.to_world(ends).tolist()
    first, last = torch.tensor([10.0, 18.0, 16.0]), torch.tensor([19.0, 43.5, 20.0])
    spacing = torch.tensor([1.0, 1.5, 4.0])
    for d in range(3):
        for room in (float(first[d]) - low[d], high[d] - float(last[d])):
            assert room - float(spacing[d]) / 2 + 1e-6 + float(spacing[d]) >= MARGIN
            assert room <= MARGIN + 1.5 * float(spacing[d]) + 0.5
    assert _volume_grid([view(mask, grid)], 2.0).spacing.tolist() == [2, 2, 2]
    whole = _volume_grid([view(torch.ones_like(mask), grid)], None)
    assert whole.shape == (40, 60, 40)


def test_a_slice_that_counts_less_than_half_is_an_outlier() -> None:
    assert not SlicePose(0, 0, torch.eye(4), 0.5).outlier
    assert SlicePose(0, 0, torch.eye(4), 0.49).outlier
    turned = torch.eye(4).double()
    turned[:3, :3] = rotation_of(torch.tensor([0.1, -0.2, 0.3]))
    torch.testing.assert_close(
        SlicePose(0, 0, turned, 1.0).turn, torch.tensor([0.1, -0.2, 0.3]).double()
    )


def test_what_no_slice_saw_is_the_least_intensity(generator: torch.Generator) -> None:
    image = Grid((12, 12, 3), torch.diag(torch.tensor([1.0, 1.0, 8.0, 1.0]))).to_image(
        5 + torch.rand(1, 12, 12, 3, generator=generator)
    )
    found = reconstruct([image], ReconstructConfig("still"), profiles=[Boxcar(2.0)])
    volume = found.volume.sample().as_tensor()[0]
    assert [pose.slice for pose in found.poses] == [0, 1, 2]
    # Slices 2 mm thick, 8 mm apart: between them is nothing.
    blank = (volume == image.min()).all(dim=0).all(dim=0)
    assert 8 <= int(blank.sum()) <= 16
    assert not blank[[3, 4, 11, 12, 19, 20]].any()
