"""Stacks that cross, as one volume: nearer to the truth than any of them or their mean."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from monai.data import MetaTensor
from torch import Tensor

from oinr_monai import GaussianNoise, Grid, Representation
from oinr_monai.images.metrics import psnr
from oinr_monai.representation.exact import spline_representation
from oinr_monai.restoration.fusion import fuse
from oinr_monai.scanner.forward_model import Composition
from oinr_monai.scanner.profiles import Boxcar, Gaussian, SliceProfile
from oinr_monai.scanner.resampling import Resampling
from oinr_monai.scanner.simulation import simulate_slices
from oinr_monai.scanner.slices import SliceStack, thick_grid

SIZE, FACTOR = 24, 4


def phantom(grid: Grid) -> Tensor:
    """Balls with soft edges on a wave, (1, *grid.shape), from 0 to about 100."""
    generator = torch.Generator().manual_seed(1)
    voxels = grid.points()
    middle = voxels.flatten(0, 2).mean(dim=0)
    total = 20 * torch.sin((voxels - middle) @ torch.tensor([0.5, 0.3, -0.4]).double())
    for _ in range(12):
        centre = middle + 9 * (2 * torch.rand(3, generator=generator).double() - 1)
        radius = 2 + 3 * float(torch.rand(1, generator=generator))
        total = total + 40 * torch.sigmoid(2 * (radius - (voxels - centre).norm(dim=-1)))
    return total[None].float()


@pytest.fixture
def truth(oblique_affine: Tensor) -> MetaTensor:
    affine = oblique_affine.clone()
    affine[:3, :3] /= affine[:3, :3].norm(dim=0)
    grid = Grid((SIZE,) * 3, affine)
    return grid.to_image(phantom(grid))


def stacks(
    truth: MetaTensor, profile: SliceProfile | None = None, sigma: float | None = None
) -> list[MetaTensor]:
    noise = None if sigma is None else GaussianNoise(sigma)
    return [
        simulate_slices(truth, FACTOR, axis=axis, profile=profile, noise=noise, seed=axis)
        for axis in range(3)
    ]


def splines(images: Sequence[MetaTensor], grid: Grid) -> list[Tensor]:
    return [Resampling(Grid.from_image(s), grid).forward(s) for s in images]


@pytest.mark.parametrize("sigma", [None, 4.0])
@pytest.mark.parametrize("profile", [None, Gaussian(4.0), Boxcar(2.0)], ids=str)
def test_beats_the_mean_and_the_best_stack(
    truth: MetaTensor, profile: SliceProfile | None, sigma: float | None
) -> None:
    images = stacks(truth, profile, sigma)
    fused = fuse(images, profiles=None if profile is None else [profile] * 3)
    grid = Grid.from_image(truth)
    assert fused.grid.shape == grid.shape
    torch.testing.assert_close(fused.grid.affine, grid.affine, rtol=0, atol=1e-6)
    found = psnr(fused.sample(), truth)
    alone = splines(images, grid)
    rivals = [*alone, sum(alone) / 3]
    ahead = found - max(psnr(rival, truth) for rival in rivals)
    assert ahead > (2.0 if sigma is None else 0.5), (found, ahead)


def test_weight_rises_with_the_noise(truth: MetaTensor) -> None:
    weights = [fuse(stacks(truth, sigma=sigma)).info["weight"] for sigma in (0.1, 10.0)]
    assert weights[0] < weights[1]


def test_held_out_error_is_about_the_noise(truth: MetaTensor) -> None:
    error = fuse(stacks(truth, sigma=5.0)).info["held_out"]
    assert 4.5 < error < 8.0


def test_answer_keeps_the_slices(truth: MetaTensor) -> None:
    images = stacks(truth)
    volume = fuse(images).sample().as_tensor()
    for axis, image in enumerate(images):
        model = SliceStack(Grid.from_image(truth), Grid.from_image(image), axis, Boxcar(FACTOR))
        assert float((model.forward(volume) - image).square().mean().sqrt()) < 0.5


def test_stacks_may_be_turned_and_stored_in_another_order(truth: MetaTensor) -> None:
    grid = Grid.from_image(truth)
    middle = grid.to_world(torch.full((3,), (SIZE - 1) / 2))
    about = torch.linalg.matrix_exp(torch.tensor([[0.0, -0.2, 0.1], [0.2, 0.0, 0.0], [-0.1, 0, 0]]))
    affine = grid.affine.clone()
    affine[:3, :3] = about.double() @ affine[:3, [1, 2, 0]]
    affine[:3, 3] = middle - affine[:3, :3] @ torch.full((3,), (SIZE - 1) / 2).double()
    turned = Grid(grid.shape, affine)
    thick = thick_grid(turned, 1, FACTOR)
    scanner = Composition(Resampling(grid, turned), SliceStack(turned, thick, 1, Boxcar(FACTOR)))
    axial, coronal, _ = stacks(truth)
    images = [axial, coronal, thick.to_image(scanner.forward(truth))]
    inner = grid.crop((5,) * 3, (SIZE - 5,) * 3)
    reference = phantom(grid)[:, 5:-5, 5:-5, 5:-5]
    two, three = (psnr(fuse(each).sample(inner), reference) for each in (images[:2], images))
    assert three > two + 1


def test_a_start_keeps_its_detail_where_slices_do_not_tell(truth: MetaTensor) -> None:
    axial = stacks(truth)[0]
    grid = Grid.from_image(truth)
    start = spline_representation(truth.as_tensor(), grid)
    alone, helped = (fuse([axial], axes=[0], start=s).sample() for s in (None, start))
    assert psnr(alone, truth) < 35
    assert float((helped - truth).abs().max()) < 0.1


def test_several_channels_are_fused_each_by_itself(truth: MetaTensor) -> None:
    images = stacks(truth)
    pairs = [
        MetaTensor(torch.cat([i.as_tensor(), -3 * i.as_tensor()]), affine=i.affine) for i in images
    ]
    found = fuse(pairs).sample().as_tensor()
    torch.testing.assert_close(found[1], -3 * found[0], rtol=0, atol=0.5)


def test_what_lies_beyond_the_volume_does_not_count(truth: MetaTensor) -> None:
    images = stacks(truth)
    grid = Grid.from_image(truth).crop((0, 0, 0), (16, SIZE, SIZE))
    wrong = images[1].clone()
    wrong[:, 16:] = 1e4
    fused = [fuse([images[0], each, images[2]], grid=grid) for each in (images[1], wrong)]
    assert fused[0].info["weight"] == fused[1].info["weight"]
    # Means that are set aside differ, and rounding with them.
    torch.testing.assert_close(
        fused[0].sample().as_tensor(), fused[1].sample().as_tensor(), rtol=0, atol=2.0
    )


def test_is_a_representation(truth: MetaTensor, tmp_path: object) -> None:
    fused = fuse(stacks(truth))
    fused.save(f"{tmp_path}/fused.oinr")
    again = Representation.load(f"{tmp_path}/fused.oinr")
    assert again.info == {n: v for n, v in fused.info.items() if n != "seconds"}
    assert again.sample(again.grid.refine(2)).shape == (1, 47, 47, 47)


def test_refuses(truth: MetaTensor) -> None:
    images = stacks(truth)
    with pytest.raises(ValueError, match="at least one stack"):
        fuse([])
    with pytest.raises(ValueError, match="axes must be one for each image, got 2"):
        fuse(images, axes=[0, 1])
    with pytest.raises(ValueError, match="agree in channels and dimensions"):
        fuse([images[0], images[0].expand(2, -1, -1, -1)])
    far = images[0].affine.clone()
    far[:3, 3] += 500
    with pytest.raises(ValueError, match="must all reach the volume"):
        fuse([images[0], MetaTensor(images[1].as_tensor(), affine=far)])


@pytest.mark.parametrize("unit", [1e-33, 1e-22, 1e25, 1e33])
def test_no_unit_of_intensity_changes_what_stacks_give(unit: float) -> None:
    values = 900 * torch.rand(1, 12, 12, 9, generator=torch.Generator().manual_seed(0))
    affine = torch.diag(torch.tensor([1.0, 1.0, 2.0, 1.0]))
    one, other = (
        fuse([MetaTensor(k * values, affine=affine), MetaTensor(k * values.flip(1), affine=affine)])
        for k in (1.0, unit)
    )
    assert other.info["weight"] == one.info["weight"]
    torch.testing.assert_close(
        (other.sample().double() / unit).as_tensor(),
        one.sample().double().as_tensor(),
        rtol=1e-3,
        atol=0.1,
    )


def test_a_stack_with_a_voxel_that_is_no_number_is_refused() -> None:
    stack = torch.rand(1, 8, 8, 4)
    stack[0, 2, 3, 1] = float("nan")
    with pytest.raises(ValueError, match="image must be finite, got 1 NaN or infinite voxels"):
        fuse([stack, torch.rand(1, 8, 8, 4)])
