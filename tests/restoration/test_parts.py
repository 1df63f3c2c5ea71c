"""Parts of reconstructions and of error bars, each against its closed form."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import NormalDist
from typing import Any

import pytest
import torch
from monai.data import MetaTensor
from torch import Tensor, nn

from oinr_monai import Grid, fit
from oinr_monai.motion.affine import rotation_of
from oinr_monai.restoration.averaging import Averaging
from oinr_monai.restoration.local_energy import bend, log_root, slope, window_mean
from oinr_monai.restoration.moving_slices import TAIL, Samples, Seen, _nodes, samples_of
from oinr_monai.restoration.restored import Errors, Restored
from oinr_monai.restoration.slice_gap import BLURRING, LEAST, POWER, RANGE, Gap, without_noise
from oinr_monai.restoration.slice_poses import (
    HUBER,
    MEDIAN,
    _by_group,
    _drift,
    _moved,
    taken_apart,
    weighed,
)
from oinr_monai.restoration.slice_stage import SliceStage, rigid_between, settled
from oinr_monai.restoration.told import NOISE_UNIT, Told
from oinr_monai.scanner.profiles import Boxcar, Gaussian

THICK = Grid((6, 5, 4), torch.diag(torch.tensor([1.0, 1.5, 4.0, 1.0])))


def flipped(grid: Grid) -> Grid:
    """The same voxels, the last axis the other way."""
    affine = grid.affine.clone()
    affine[:3, 3] = grid.to_world(torch.tensor([0.0, 0, grid.shape[2] - 1]))
    affine[:3, 2] *= -1
    return Grid(grid.shape, affine)


# ---- what slices see -----------------------------------------------------------------------------


def test_nodes_share_out_what_a_slice_sees() -> None:
    for width, wanted in ((6.0, [1 / 3] * 3), (5.0, [0.3, 0.4, 0.3]), (2.0, [1.0])):
        distances, shares = _nodes(Boxcar(width), 2.0)
        torch.testing.assert_close(shares, torch.tensor(wanted))
        torch.testing.assert_close(distances, 2.0 * (torch.arange(len(wanted)) - len(wanted) // 2))
    profile = Gaussian(5.0)
    distances, shares = _nodes(profile, 1.0)
    assert float(shares.sum()) == pytest.approx(1)
    torch.testing.assert_close(shares, shares.flip(0))
    beyond = float(profile.cumulative(distances[:1].double() - 0.5))
    one_less = float(profile.cumulative(distances[1:2].double() - 0.5))
    assert beyond <= TAIL < one_less


def two_stacks(generator: torch.Generator) -> tuple[Samples, list[Tensor], list[Tensor]]:
    images = [torch.rand(THICK.shape, generator=generator) for _ in range(2)]
    masks = [torch.rand(THICK.shape, generator=generator) > 0.4 for _ in range(2)]
    masks[1][:, :, 2] = False
    centre = torch.tensor([2.0, -1.0, 5.0]).double()
    grids, profiles = [THICK, flipped(THICK)], [Boxcar(2.0), Boxcar(6.0)]
    return samples_of(images, grids, masks, [2, 2], profiles, 2.0, centre), images, masks


def test_samples_are_the_voxels_that_count(generator: torch.Generator) -> None:
    samples, images, masks = two_stacks(generator)
    assert samples.count == 8
    assert samples.stack_of.tolist() == [0] * 4 + [1] * 4
    assert samples.number_of.tolist() == [0, 1, 2, 3] * 2
    torch.testing.assert_close(
        samples.values, torch.cat([images[0][masks[0]], images[1][masks[1]]])
    )
    places = [grid.points()[m] for grid, m in zip((THICK, flipped(THICK)), masks, strict=True)]
    torch.testing.assert_close(samples.places.double(), torch.cat(places) - samples.centre)
    number = torch.arange(4).expand(THICK.shape)
    assert torch.equal(samples.slices, torch.cat([number[masks[0]], number[masks[1]] + 4]))
    assert torch.equal(samples.stacks, samples.stack_of[samples.slices])
    # Across the slices, towards the next one; nodes that one profile lacks do not count.
    assert samples.normals.tolist() == [[0, 0, 1]] * 4 + [[0, 0, -1]] * 4
    assert samples.shares[0].tolist() == [1, 0, 0]
    torch.testing.assert_close(samples.shares[7], torch.full((3,), 1 / 3))
    ones = torch.ones_like(samples.values)
    counts = [int(m[..., k].sum()) for m in masks for k in range(4)]
    assert samples.summed(ones).tolist() == counts
    assert counts[6] == 0


def test_powers_are_all_polynomials_up_to_the_second(generator: torch.Generator) -> None:
    samples, _, _ = two_stacks(generator)
    x, y, z = samples.places.T
    for wanted in (1 + x - 3 * y + z, x**2 - y**2 + 0.5 * z**2, x * y, y * z, z * x - 2):
        found = torch.linalg.lstsq(samples.powers.T.double(), wanted[:, None].double()).solution
        left = samples.powers.T.double() @ found - wanted[:, None]
        assert float(left.abs().max()) < 1e-5 * float(wanted.abs().max())
    assert len(samples.powers) == 10
    assert float(samples.powers.abs().max()) == 1


def test_places_move_with_their_slice_and_may_leave(generator: torch.Generator) -> None:
    samples, _, _ = two_stacks(generator)
    poses = torch.eye(4).double().repeat(8, 1, 1)
    poses[3, :3, 3] = torch.tensor([0.0, 0.0, 1.99])
    poses[5, :3, 3] = torch.tensor([0.0, 0.0, 100.0])
    seen = Seen(samples, THICK, poses)
    torch.testing.assert_close(
        seen.moved, samples.places + poses[samples.slices, :3, 3].float(), rtol=0, atol=1e-5
    )
    gone = samples.slices == 5
    assert torch.equal(seen.inside, ~gone)
    poses[3, 2, 3] = 2.01
    assert torch.equal(Seen(samples, THICK, poses).inside, ~gone & (samples.slices != 3))


# ---- how slices are weighed, and move ------------------------------------------------------------


def test_voxels_are_weighed_as_huber_has_it(generator: torch.Generator) -> None:
    samples, _, _ = two_stacks(generator)
    left = torch.randn(len(samples.values), generator=generator)
    left[4] = 50.0
    inside = torch.ones(len(left), dtype=torch.bool)
    inside[7] = False
    fit = weighed(samples, left, inside)
    noise = MEDIAN * float(left[inside].abs().median())
    assert fit.noise == pytest.approx(noise)
    edge = HUBER * noise
    far = left.abs() > edge
    wanted = torch.where(far, edge / left.abs(), 1.0) * inside
    torch.testing.assert_close(fit.weights, wanted * fit.slice_weights[samples.slices])
    costs = torch.where(far, 2 * edge * left.abs() - edge**2, left**2)
    costs[7] = 9 * edge**2
    torch.testing.assert_close(fit.costs, samples.summed(costs))
    assert float(fit.slice_weights[samples.summed(inside.float()) > 0].max()) == 1


def test_a_slice_drifts_to_the_middle_of_its_neighbours() -> None:
    samples, _, _ = two_stacks(torch.Generator().manual_seed(0))
    poses = torch.eye(4).double().repeat(8, 1, 1)
    poses[:, 0, 3] = torch.tensor([0.0, 1, 2, 3, 10, 20, 30, 40])
    one = torch.ones(8, dtype=torch.long)
    steady = _drift(samples, poses, one)
    # Inside a stack there is nothing to drift to; its ends have one neighbour.
    torch.testing.assert_close(
        steady[:, 3], torch.tensor([1.0, 0, 0, -1, 10, 0, 0, -10]).double(), rtol=0, atol=1e-9
    )
    poses[1, :3, :3] = rotation_of(torch.tensor([0.0, 0.0, 0.02]))
    turned = _drift(samples, poses, one)[:, 2] / 30
    torch.testing.assert_close(
        turned[:4], torch.tensor([0.02, -0.02, 0.01, 0.0]).double(), rtol=0, atol=1e-4
    )
    farther = _drift(samples, poses, 2 * one)
    torch.testing.assert_close(
        farther[4:, 3], torch.tensor([20.0, 20, -20, -20]).double(), rtol=0, atol=1e-9
    )


def moving_stacks(
    orders: list[int], count: int, generator: torch.Generator
) -> tuple[Samples, Tensor]:
    """Stacks whose slices are taken in steps of each of the orders, and a random walk of theirs."""
    poses = torch.eye(4).double().repeat(len(orders) * count, 1, 1)
    for stack, order in enumerate(orders):
        taken = torch.cat([torch.arange(first, count, order) for first in range(order)])
        walk = torch.randn(count, 3, generator=generator, dtype=torch.float64).cumsum(dim=0)
        poses[stack * count + taken, :3, 3] = walk
    numbers = torch.arange(count).repeat(len(orders))
    stacks = torch.arange(len(orders)).repeat_interleave(count)
    slices, none = torch.arange(len(poses)), torch.zeros(0)
    ones = torch.ones(len(poses))
    return Samples(ones, slices, none, stacks, numbers, none, none, none, none), poses


def test_the_order_of_slices_is_that_in_which_they_move_least(generator: torch.Generator) -> None:
    orders = [1, 2, 3, 4, 2, 1]
    samples, poses = moving_stacks(orders, 40, generator)
    assert taken_apart(samples, poses)[::40].tolist() == orders
    assert taken_apart(samples, poses).unique_consecutive().tolist() == orders


def test_poses_that_moved_as_one_tell_no_order() -> None:
    samples, _, _ = two_stacks(torch.Generator().manual_seed(0))
    still = torch.eye(4).double().repeat(8, 1, 1)
    drift = _drift(samples, still, taken_apart(samples, still))
    assert not drift.any()
    assert int(taken_apart(samples, still).min()) == samples.count


def test_a_change_is_a_turn_and_a_shift() -> None:
    change = torch.tensor([[3.0, 0, 0, 1, 2, 3], [0.0, 0, -6, 0, 0, 0]]).double()
    moved = _moved(torch.eye(4).double().repeat(2, 1, 1), change)
    torch.testing.assert_close(moved[0, :3, :3], rotation_of(torch.tensor([0.1, 0, 0])))
    torch.testing.assert_close(moved[1, :3, :3], rotation_of(torch.tensor([0, 0, -0.2])))
    assert moved[0, :3, 3].tolist() == [1, 2, 3]
    sums = _by_group(torch.tensor([[1.0, 2, 4], [1, 1, 1]]), torch.tensor([2, 0, 2]))
    assert sums.tolist() == [[2, 0, 5], [1, 0, 2]]


@pytest.mark.parametrize("mirror", [1.0, -1.0])
def test_the_best_rigid_motion_is_no_mirror(mirror: float, generator: torch.Generator) -> None:
    here = torch.randn(20, 3, generator=generator, dtype=torch.float64)
    turn = rotation_of(torch.tensor([0.4, -1.0, 0.3]))
    there = (here * torch.tensor([1, 1, mirror]).double()) @ turn.T + torch.tensor([5.0, 1, -2])
    found = rigid_between(here, there)
    assert float(torch.linalg.det(found[:3, :3])) == pytest.approx(1)
    if mirror > 0:
        torch.testing.assert_close(found[:3, :3], turn)
        torch.testing.assert_close(found[:3, 3], torch.tensor([5.0, 1, -2]).double())
    torch.testing.assert_close(here.mean(dim=0) @ found[:3, :3].T + found[:3, 3], there.mean(dim=0))


def test_what_all_poses_have_in_common_is_taken_out(generator: torch.Generator) -> None:
    samples, _, _ = two_stacks(generator)
    common = torch.eye(4).double()
    common[:3, :3], common[:3, 3] = rotation_of(torch.tensor([0.1, 0.2, -0.3])), 7.0
    found = settled(samples, common.repeat(8, 1, 1))
    torch.testing.assert_close(found, torch.eye(4).double().repeat(8, 1, 1), rtol=0, atol=1e-5)


def test_a_stack_that_is_too_bright_is_told_by_a_polynomial(generator: torch.Generator) -> None:
    samples, _, _ = two_stacks(generator)
    stage = SliceStage(samples, THICK, 0.03)
    found = 1 + torch.rand(len(samples.values), generator=generator)
    x = samples.places[:, 0] / samples.places.abs().max()
    bright = torch.where(samples.stacks == 1, 1.2 + 0.3 * x, 0.9 - 0.1 * x**2)
    stage.samples = replace(samples, values=bright * found)
    told = stage._bias(found)
    torch.testing.assert_close(told, bright / bright.mean(), rtol=0.02, atol=0.02)


# ---- error bars ----------------------------------------------------------------------------------


def test_the_gap_is_a_product_within_its_range() -> None:
    assert Gap(1.2, 1.5).factor == pytest.approx(1.2 * 1.5**POWER)
    assert Gap(1.0, 0.1).factor == RANGE[0]
    assert Gap(1.5, 9.0).factor == RANGE[1]
    assert without_noise(5.0, 2.0) == 3.0
    assert without_noise(5.0, 4.9) == LEAST * 5.0
    assert BLURRING[0] == 1


def test_numbers_that_an_operator_is_told() -> None:
    numbers = Told(8.0, (0.5, 0.1, -0.2), 3 * NOISE_UNIT).numbers()
    torch.testing.assert_close(numbers, torch.tensor([1.0, 0.5, 0.1, -0.2, math.log(4)]))
    assert len(numbers) == Told.COUNT
    bell = Told.of(2.0, Gaussian(3.0), 3.0).transfer
    sigma = 3.0 / math.sqrt(8 * math.log(2))
    wanted = [math.exp(-2 * (math.pi * f / 3.0 * sigma) ** 2) for f in (0.5, 1.0, 1.5)]
    assert bell == pytest.approx(wanted, abs=1e-4)


def test_slopes_and_bends_of_a_parabola() -> None:
    x = torch.arange(7.0)
    for axis, shape in ((1, (1, 7, 1)), (2, (1, 1, 7))):
        parabola = (3 * x**2 - x).view(shape).expand(2, *([7, 7]))
        inner = parabola.narrow(axis, 1, 5)
        steep = (6 * x - 1).view(shape).expand(2, 7, 7).narrow(axis, 1, 5)
        torch.testing.assert_close(slope(parabola, axis).narrow(axis, 1, 5), steep)
        torch.testing.assert_close(bend(parabola, axis).narrow(axis, 1, 5), 6 + 0 * inner)
        assert not slope(parabola, 3 - axis).any()
        # Beyond the border the value goes on.
        assert float(slope(parabola, axis).flatten()[0]) == 1.0
    assert float(log_root(torch.tensor(-1.0))) == pytest.approx(math.log(1e-3))
    assert float(log_root(torch.tensor(4.0))) == pytest.approx(math.log(2.001))


@pytest.mark.parametrize("size", [(3,), (3, 1), (5, 3), (3, 5, 1)])
def test_means_over_windows_as_if_the_border_went_on(
    size: tuple[int, ...], generator: torch.Generator
) -> None:
    shape = (7, 6, 5)[: len(size)]
    values = torch.rand(2, *shape, generator=generator)
    found = window_mean(values, size)
    for place in ((0,) * len(size), (3, 2, 4)[: len(size)], tuple(n - 1 for n in shape)):
        rows = [
            torch.arange(p - n // 2, p + n // 2 + 1).clamp(0, m - 1)
            for p, n, m in zip(place, size, shape, strict=True)
        ]
        window = values[(slice(None), *torch.meshgrid(*rows, indexing="ij"))]
        torch.testing.assert_close(found[(slice(None), *place)], window.flatten(1).mean(dim=1))


class Known(Errors):
    """Errors of size 2, or as they are drawn."""

    def half_width(self, level: float) -> Tensor:
        return torch.full((1, 4, 5), 2.0 * NormalDist().inv_cdf((1 + level) / 2))

    def sample(self, generator: torch.Generator) -> Tensor:
        return 2 * torch.randn(1, 4, 5, generator=generator)

    def statement(self) -> dict[str, Any]:
        return {}


@pytest.fixture
def restored(generator: torch.Generator) -> Restored:
    affine = torch.diag(torch.tensor([2.0, 3.0, 1.0])).double()
    image = MetaTensor(torch.rand(1, 4, 5, generator=generator), affine=affine)
    return Restored(fit(image), Known())


def test_intervals_lie_about_the_answer(restored: Restored) -> None:
    low, high = restored.interval(0.8)
    answer = restored.answer.sample()
    torch.testing.assert_close((low + high) / 2, answer)
    torch.testing.assert_close((high - low) / 2, restored.half_width(0.8))
    assert torch.equal(low.affine, answer.affine)
    assert float(restored.half_width().max()) == pytest.approx(2 * 1.6449, rel=1e-4)
    for level in (0.0, 1.0):
        with pytest.raises(ValueError, match="level must be between 0 and 1"):
            restored.half_width(level)
        with pytest.raises(ValueError, match="level must be between 0 and 1"):
            restored.interval_of(torch.mean, level)


def test_samples_are_the_answer_with_errors(restored: Restored) -> None:
    found = list(restored.samples(3, seed=5))
    generator, answer = torch.Generator().manual_seed(5), restored.answer.sample()
    for each in found:
        torch.testing.assert_close(each, answer + restored.errors.sample(generator))
        assert torch.equal(each.affine, answer.affine)
    assert len(list(restored.samples(1))) == 1
    with pytest.raises(ValueError, match="count must be 1 or more, got 0"):
        restored.samples(0)


def test_only_slices_tell_a_share(restored: Restored) -> None:
    with pytest.raises(ValueError, match="share must be asked of thick slices made finer"):
        restored.share()
    with pytest.raises(ValueError, match="hidden must be asked of thick slices made finer"):
        restored.hidden()


def test_a_measure_lies_within_what_samples_scatter(restored: Restored) -> None:
    def measure(image: MetaTensor) -> Tensor:
        return image.as_tensor().mean(dim=(1, 2))

    low, high = restored.interval_of(measure, 0.9, count=400, seed=2)
    torch.testing.assert_close((low + high) / 2, measure(restored.answer.sample()))
    assert float(high - low) / 2 == pytest.approx(1.645 * 2 / math.sqrt(20), rel=0.1)
    each = torch.stack([measure(image) for image in restored.samples(2, seed=2)])
    two = restored.interval_of(measure, 0.9, count=2, seed=2)
    scatter = (each - measure(restored.answer.sample())).square().mean().sqrt()
    assert float(two[1] - two[0]) / 2 == pytest.approx(1.6449 * float(scatter), rel=1e-3)
    with pytest.raises(ValueError, match="count must be 2 or more, got 1"):
        restored.interval_of(measure, count=1)


def test_averaged_weights_forget_the_beginning() -> None:
    network, average = (nn.Linear(1, 1).requires_grad_(False) for _ in range(2))
    averaged = Averaging(network, average, memory=0.7)
    value = float(average.weight)
    for step in range(1, 40):
        nn.init.constant_(network.weight, float(step))
        averaged._update()
        kept = min(0.7, step / (step + 9))
        value = kept * value + (1 - kept) * step
        assert float(average.weight) == pytest.approx(value, rel=1e-5)
