"""Poses of slices by Gauss-Newton, alone or in groups that move together."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from oinr_monai.grids.grid import Grid
from oinr_monai.motion.affine import rotation_of, turn_of
from oinr_monai.motion.pyramid import at_scale
from oinr_monai.motion.similarity import HUBER, MEDIAN

from .moving_slices import Samples, Seen

__all__ = ["SliceFit", "bright_enough", "refined_poses", "taken_apart", "weighed"]

# A slice whose residual is so many times that of the middle one counts a quarter. Chosen by hand.
ODD = 3.0

# Slices on each side that tell how bright one is to be, and the part of that below which it counts
# for nothing. Chosen by hand.
AROUND, DARK = 2, 0.7

# What a group of slices is held by, as a part of the curvature of the middle one. Chosen by hand.
HELD, DAMPING = 1e-3, 1e-3

# Distance in mm that makes turns and shifts commensurate. Chosen by hand.
REACH = 30.0

# How many slices farther one lies that was taken next, at most, and the mm² below which slices have
# moved as one. Chosen by hand.
MOST_APART, AS_ONE = 4, 1e-9

# How far a slice strays from the middle of its neighbours, in mm, and how many voxels tell no more
# than one of them, as what a volume gets wrong is smooth. Chosen by hand.
STRAY, SHARED = 1.0, 30.0


@dataclass(frozen=True, eq=False)
class SliceFit:
    """How the slices go with a volume.

    Args:
        weights: how much each voxel counts (K,).
        slice_weights: how much each slice counts (S,), 1 for those that fit.
        costs: what is left of each slice (S,).
        noise: standard deviation of what is left.
    """

    weights: Tensor
    slice_weights: Tensor
    costs: Tensor
    noise: float


def weighed(
    samples: Samples, left: Tensor, inside: Tensor, bright: Tensor | None = None
) -> SliceFit:
    """Robust weights by what is left (K,): of voxels as Huber has it, of slices as Geman has it.

    Slices that are not ``bright`` enough (S,) count for nothing.
    """
    count = samples.summed(inside.float())
    rough = (samples.summed(left.square() * inside) / count.clamp_min(1)).sqrt()
    known = rough[count > 0]
    middle = known.median().clamp_min(1e-6) if len(known) else left.new_ones(())
    slice_weights = 1 / (1 + (rough / (ODD * middle)) ** 2) ** 2
    slice_weights = slice_weights / slice_weights[count > 0].max()
    slice_weights = slice_weights if bright is None else slice_weights * bright
    noise = MEDIAN * left[inside].abs().median().clamp_min(1e-6)
    edge = HUBER * noise
    huber = (edge / left.abs().clamp_min(1e-12)).clamp_max(1) * inside
    far = left.abs() > edge
    cost = torch.where(far, 2 * edge * left.abs() - edge**2, left.square())
    # What leaves the volume costs as much as what does not fit.
    cost = torch.where(inside, cost, 9 * edge**2)
    return SliceFit(
        huber * slice_weights[samples.slices], slice_weights, samples.summed(cost), float(noise)
    )


def bright_enough(samples: Samples) -> Tensor:
    """Which slices (S,) are not much darker than those on both sides, as if signal were lost.

    Towards the end of a stack slices get darker, but not than the ones that follow. A volume of one
    stack would go along with a dark slice, and its residual show nothing odd.
    """
    count = samples.summed(torch.ones_like(samples.values))
    mean = samples.summed(samples.values) / count.clamp_min(1)
    enough = torch.ones_like(mean, dtype=torch.bool)
    for i in range(samples.count):
        ahead = samples.number_of - samples.number_of[i]
        near = (samples.stack_of == samples.stack_of[i]) & (count > 0) & (ahead.abs() <= AROUND)
        sides = [mean[near & side] for side in (ahead < 0, ahead > 0)]
        if count[i] > 0 and min(map(len, sides)) > 0:
            enough[i] = mean[i] > DARK * min(float(side.max()) for side in sides)
    return enough


def refined_poses(
    samples: Samples,
    values: Tensor,
    volume: Tensor,
    grid: Grid,
    poses: Tensor,
    groups: Tensor,
    steps: int,
    sigma: float = 0.0,
) -> Tensor:
    """Poses (S, 4, 4) after Gauss-Newton steps towards a volume.

    Args:
        samples: the voxels.
        values: their intensities as they are to be seen (K,).
        volume: (*grid.shape).
        grid: of the volume.
        poses: where to begin.
        groups: for each slice the group that it moves with (S,).
        steps: at most.
        sigma: smoothing of the volume in mm.
    """
    jets = at_scale(volume[None], grid, grid, sigma, order=1)[:, 0]
    # From per voxel along the axes to per mm in the world.
    jets = torch.cat([jets[:1], torch.einsum("ji,j...->i...", _inverse(grid), jets[1:])])
    alone = int(groups.max()) + 1 == samples.count
    damping = torch.full((int(groups.max()) + 1,), DAMPING)
    apart = taken_apart(samples, poses)
    here = _look(samples, values, jets, grid, poses)
    for _ in range(steps):
        drift = _drift(samples, poses, apart) if alone else torch.zeros(samples.count, 6).double()
        held = SHARED * (here.fit.noise / STRAY) ** 2 if alone else 0.0
        change = _change(samples, here, groups, damping, drift, held)
        tried = _moved(poses, change[groups])
        there = _look(samples, values, jets, grid, tried)
        strayed = [each.square().sum(dim=1) * held for each in (drift, drift - change[groups])]
        costs = [look.fit.costs + s for look, s in zip((here, there), strayed, strict=True)]
        before, after = (_by_group(each, groups) for each in costs)
        damping = torch.where(after < before, damping / 10, damping * 10)
        poses = torch.where((after < before)[groups][:, None, None], tried, poses)
        here = _look(samples, values, jets, grid, poses)
    return poses


def taken_apart(samples: Samples, poses: Tensor) -> Tensor:
    r"""How many slices apart those lie that were taken one after the other (S,), for each stack.

    .. math:: \operatorname{argmin}_k \operatorname{median}_i \; |T_{i+k} T_i^{-1} - 1|^2

    Scanners take slices one by one, or every other one and then those between. As the object goes
    on moving, poses of slices that followed one another in time differ least.
    """
    apart = torch.ones(samples.count, dtype=torch.long)
    known = samples.summed(torch.ones_like(samples.values)) > 0
    for stack in samples.stack_of.unique():
        own = samples.stack_of == stack
        numbers = (own & known).nonzero()[:, 0]
        steps = []
        for k in range(1, MOST_APART + 1):
            later = numbers[(numbers[:, None] + k == numbers).any(dim=1)]
            change = _between(poses[later], poses[later + k]).square().sum(dim=1)
            steps.append(float(change.median()) if len(change) else float("inf"))
        least = min(steps)
        # Poses that moved as one tell nothing: no slice has neighbours.
        apart[own] = 1 + steps.index(least) if least > AS_ONE else samples.count
    return apart


def _drift(samples: Samples, poses: Tensor, apart: Tensor) -> Tensor:
    """Turns times the reach and shifts (S, 6) that take each slice to the middle of its neighbours.

    Those were taken just before and after it, ``apart`` (S,) slices away. Zero for those that have
    none.
    """
    one = torch.zeros(len(poses), 4, 4, dtype=torch.float64)
    for step in (apart, -apart):
        at = torch.arange(samples.count) + step
        near = at.clamp(0, samples.count - 1)
        same = (near == at) & (samples.stack_of == samples.stack_of[near])
        one += poses[near] * same[:, None, None]
    count = one[:, 3, 3]
    middle = torch.where((count > 0)[:, None, None], one / count.clamp_min(1)[:, None, None], poses)
    u, _, v = torch.linalg.svd(middle[:, :3, :3])
    middle[:, :3, :3] = u @ v
    return _between(poses, middle)


def _between(poses: Tensor, others: Tensor) -> Tensor:
    """Turns times the reach and shifts (S, 6) that take poses to others."""
    change = others @ torch.linalg.inv(poses)
    return torch.cat([turn_of(change[:, :3, :3]) * REACH, change[:, :3, 3]], dim=1)


@dataclass(frozen=True, eq=False)
class _Look:
    left: Tensor
    slopes: Tensor
    moved: Tensor
    fit: SliceFit


def _look(samples: Samples, values: Tensor, jets: Tensor, grid: Grid, poses: Tensor) -> _Look:
    seen = Seen(samples, grid, poses)
    found, *slopes = seen.forward(jets)
    fit = weighed(samples, values - found, seen.inside)
    return _Look(values - found, torch.stack(slopes), seen.moved, fit)


def _change(
    samples: Samples, here: _Look, groups: Tensor, damping: Tensor, drift: Tensor, strength: float
) -> Tensor:
    """Turns times the reach and shifts in mm (groups, 6), about the origin of the frame."""
    g = here.slopes
    lever = here.moved.T
    rows = torch.cat([torch.linalg.cross(lever, g, dim=0) / REACH, g])
    normal = torch.stack([samples.summed(here.fit.weights * rows * row) for row in rows])
    force = samples.summed(here.fit.weights * rows * here.left)
    matrix = _by_group(normal, groups).permute(2, 0, 1).double()
    wanted = _by_group(force, groups).T.double()
    diagonal = matrix.diagonal(dim1=1, dim2=2)
    held = HELD * diagonal.mean(dim=1).median() + strength
    damped = matrix + torch.diag_embed(damping[:, None].double() * diagonal + held)
    return torch.linalg.solve(damped, wanted + strength * _by_group(drift.T, groups).T)


def _moved(poses: Tensor, change: Tensor) -> Tensor:
    """Poses after turns times the reach and shifts (S, 6)."""
    turned = torch.eye(4, dtype=torch.float64).repeat(len(poses), 1, 1)
    turned[:, :3, :3] = torch.stack([rotation_of(each / REACH) for each in change[:, :3]])
    turned[:, :3, 3] = change[:, 3:]
    return turned @ poses


def _by_group(values: Tensor, groups: Tensor) -> Tensor:
    sums = values.new_zeros(*values.shape[:-1], int(groups.max()) + 1)
    return sums.index_add_(-1, groups, values)


def _inverse(grid: Grid) -> Tensor:
    return torch.linalg.inv(grid.matrix).float()
