"""Registration: known motions are found, whatever the storage; and what does not go together."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor
from torch import Tensor

from oinr_monai import Grid, Motion, MutualInformation, RegisterConfig, register
from oinr_monai.motion import (
    AffineMotion,
    RegistrationNote,
    SquaredDifferences,
    Velocity,
    quality_of,
    rigid_about,
    warp_image,
)
from tests.motion.makers import knots, texture, wobble

SHAPE = (24, 22, 20)

GRID = Grid(SHAPE, Grid(SHAPE, torch.eye(4)).shift([-11.0, -12.0, -9.0]).affine)

TURN = rigid_about(torch.tensor([0.1, -0.15, 0.2]), torch.tensor([2.0, -1.5, 1.0]), torch.zeros(3))


def image(points: Tensor, grid: Grid) -> MetaTensor:
    return grid.to_image(texture(points)[None].float())


def pair(truth: Motion, moving_grid: Grid | None = None) -> tuple[MetaTensor, MetaTensor]:
    """A moving image, and the fixed one that it is under the motion."""
    beyond = (moving_grid or GRID).pad(4)
    return image(truth.at(GRID.points().flatten(0, -2)).view(*SHAPE, 3), GRID), image(
        beyond.points(), beyond
    )


def miss(found: Motion, truth: Motion) -> float:
    """Largest error in mm, away from the border."""
    inner = GRID.crop([3, 3, 3], [n - 3 for n in SHAPE]).points().flatten(0, -2)
    return float((found.at(inner) - truth.at(inner)).norm(dim=1).max())


@pytest.mark.parametrize("similarity", [None, SquaredDifferences(), MutualInformation()])
def test_a_rigid_motion_is_found(similarity: object) -> None:
    config = RegisterConfig("rigid", similarity)  # type: ignore[arg-type]
    found = register(*pair(TURN), config)
    assert isinstance(found, AffineMotion)
    assert found.is_rigid
    assert miss(found, TURN) < (0.1 if isinstance(similarity, MutualInformation) else 0.02)


def test_an_affine_motion_is_found() -> None:
    stretch = torch.tensor([[0.08, 0.05, 0.0], [-0.04, -0.06, 0.02], [0.0, 0.03, 0.05]])
    truth = AffineMotion.of(torch.eye(3) + stretch, [1.5, -1.0, 2.0])
    assert miss(register(*pair(truth), RegisterConfig("affine")), truth) < 0.02


def test_a_flow_is_found_and_does_not_fold(generator: torch.Generator) -> None:
    mesh = Grid((6, 6, 6), GRID.with_spacing(8.0).affine).shift([-1.0] * 3)
    truth = Velocity(wobble(generator, 1.5, mesh))
    found = register(*pair(truth))
    before = miss(AffineMotion.identity(3), truth)
    assert before > 1.5
    assert miss(found, truth) < 0.2 * before
    quality = quality_of(found, GRID)
    assert quality.folds == 0
    assert quality.least_anywhere > 0
    assert quality.inverse_consistency_mm < 1e-3


def test_what_moved_by_several_of_its_details_is_found() -> None:
    # Blobs 2 mm wide under a flow of 6 mm on average: looking closely alone, the next
    # blob is as good.
    grid, x = Grid((96, 96), torch.eye(3)), torch.arange(96.0)
    generator = torch.Generator().manual_seed(0)
    centres, size = 96 * torch.rand(230, 2, generator=generator), 2.0
    across, along = (torch.exp(-(((x - c[:, None]) / size) ** 2) / 2) for c in centres.T)
    weights = torch.rand(230, generator=generator) + 0.5
    moving = grid.to_image(torch.einsum("k,kx,ky->xy", weights, across, along)[None])
    mesh = grid.scaled([-32.0] * 2, (7, 7), [32.0] * 2)
    truth = Velocity(wobble(torch.Generator().manual_seed(3), 12.0, mesh))
    found = register(warp_image(moving, truth, grid), moving, start=AffineMotion.identity(2))
    inner = grid.crop([12, 12], [84, 84]).points().flatten(0, -2)
    moved = (truth.at(inner) - inner).norm(dim=1)
    error = (found.at(inner) - truth.at(inner)).norm(dim=1)
    assert float(moved.mean()) > 4
    assert float(error.mean()) < 0.2
    assert float(error.max()) < 1


def test_storage_does_not_matter() -> None:
    fixed, moving = pair(TURN)
    config = RegisterConfig("affine")
    found = register(fixed, moving, config)
    flipped = [_stored(each) for each in (fixed, moving)]
    for one, other in ((fixed, flipped[1]), (flipped[0], moving)):
        assert miss(register(one, other, config), found) < 2e-3


def _stored(image: MetaTensor) -> MetaTensor:
    """The same image with two axes swapped and one reversed."""
    grid = Grid.from_image(image)
    affine = grid.affine.clone()
    affine[:3, 3] = grid.to_world(torch.tensor([0.0, grid.shape[1] - 1, 0.0]))
    affine[:3, 1] *= -1
    affine = affine[:, [1, 0, 2, 3]]
    return MetaTensor(image.as_tensor().flip(2).transpose(1, 2).contiguous(), affine=affine)


def test_an_oblique_image_far_away_is_found() -> None:
    away = knots(SHAPE, 1.0).shift([300.0, -200.0, 100.0])
    # As the axes of the knots are flipped against the world, so is the one that makes it a turn.
    mirror = torch.diag(torch.tensor([-1.0, 1, 1, 1], dtype=torch.float64))
    straight = Grid(SHAPE, mirror @ away.affine)
    there = AffineMotion(straight.affine @ torch.linalg.inv(GRID.affine))
    assert there.is_rigid
    moving = image(GRID.points(), straight)
    assert miss(register(image(GRID.points(), GRID), moving, RegisterConfig("rigid")), there) < 0.1


def test_a_mask_keeps_what_is_elsewhere_from_counting() -> None:
    fixed, moving = pair(TURN)
    mask = torch.ones(SHAPE)
    mask[:, :8] = 0
    fixed[:, :, :7] = torch.randn(1, SHAPE[0], 7, SHAPE[2]) * 3
    found = register(fixed, moving, RegisterConfig("rigid"), mask=mask)
    assert miss(found, TURN) < 0.05


def test_what_does_not_belong_together_is_told(generator: torch.Generator) -> None:
    fixed, moving = (torch.randn(1, 16, 16, 16, generator=generator) for _ in range(2))
    with pytest.warns(RegistrationNote, match="little in common"):
        register(fixed, moving, RegisterConfig("rigid"))


def test_images_beside_each_other_are_found_or_refused() -> None:
    fixed, moving = pair(TURN)
    away = AffineMotion.of(torch.eye(3), [500.0, -400.0, 300.0])
    far = MetaTensor(moving.as_tensor(), affine=away.matrix @ moving.affine)
    assert miss(register(fixed, far, RegisterConfig("rigid")), away @ TURN) < 0.02
    with pytest.raises(ValueError, match="start must bring fixed onto moving"):
        register(fixed, far, start=AffineMotion.identity(3))


def test_what_is_unfit_is_refused() -> None:
    fixed = torch.rand(1, 8, 8, 8)
    with pytest.raises(ValueError, match="mask must hold at least one voxel"):
        register(fixed, fixed, mask=torch.zeros(8, 8, 8))
    with pytest.raises(ValueError, match="moving must have 1 channels in 3 dimensions"):
        register(fixed, torch.rand(2, 8, 8, 8))
    with pytest.raises(ValueError, match="moving must vary"):
        register(fixed, torch.ones(1, 8, 8, 8))
    with pytest.raises(ValueError, match="model must be one of"):
        RegisterConfig("elastic")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="similarity must be other than MutualInformation"):
        RegisterConfig(similarity=MutualInformation())


def test_pictures_are_registered_too() -> None:
    grid = Grid((40, 36), Grid((40, 36), torch.eye(4)).shift([-20.0, -18.0]).affine)
    truth = rigid_about(torch.tensor([0.2]), torch.tensor([2.0, -3.0]), torch.zeros(2))
    fixed = grid.to_image(texture(truth.at(grid.points().flatten(0, -2))).view(1, 40, 36).float())
    moving = grid.pad(5).to_image(texture(grid.pad(5).points())[None].float())
    found = register(fixed, moving, RegisterConfig("rigid"))
    inner = grid.crop([4, 4], [36, 32]).points().flatten(0, -2)
    assert float((found.at(inner) - truth.at(inner)).norm(dim=1).max()) < 0.02


def test_what_looks_the_same_after_a_turn_is_not_turned() -> None:
    ball = torch.exp(-(GRID.points() / 5).square().sum(dim=-1))[None].float()
    found = register(ball, ball.roll(1, dims=1), RegisterConfig("rigid"))
    assert isinstance(found, AffineMotion)
    torch.testing.assert_close(found.linear, torch.eye(3).double(), rtol=0, atol=0.05)


def test_a_far_turn_is_found_from_a_part() -> None:
    # What stands out in a part has other axes than that of the whole.
    axis = torch.tensor([0.924, 0.373, 0.086])
    truth = rigid_about(axis * 1.4, torch.tensor([4.0, -3.0, 2.0]), torch.zeros(3))
    part, whole = GRID.crop([0, 0, 0], [13, 22, 20]), GRID.pad(4)
    places = part.points().flatten(0, -2)
    fixed = image(truth.at(places).view(*part.shape, 3) / 2, part)
    found = register(fixed, image(whole.points() / 2, whole), RegisterConfig("rigid"))
    assert float((found.at(places) - truth.at(places)).norm(dim=1).max()) < 0.1
