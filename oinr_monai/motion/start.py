"""Where a registration begins: a few guesses from far away, of which the best is followed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from oinr_monai.grids.grid import Grid

from .affine import AffineMotion, rotation_of
from .matching import Matched, match_pose, unlikeness
from .pair import ImagePair
from .pose import Freedom, RigidBody
from .pyramid import Level
from .similarity import Similarity

__all__ = ["best_start", "far_guesses", "guesses"]

# Turned guesses that are followed, and the gain of a step that ends it. Chosen by hand.
FOLLOWED, ENOUGH = 2, 1e-3

# Difference in unlikeness that does not count against a guess that moves less. Chosen by hand.
AS_GOOD = 0.02

# Degrees between turns that are tried, and how far they go by the number of dimensions; how many
# are followed; and the part of what the other guesses leave that one of them must be below. A
# quarter turn about any axis in reach of Gauss-Newton, which on a dozen places takes half of the
# first. Chosen by hand.
APART, FARTHEST = 30.0, {2: 180.0, 3: 90.0}
FAR_FOLLOWED, CLEARLY = 4, 0.75


def guesses(pair: ImagePair) -> tuple[list[AffineMotion], list[AffineMotion]]:
    """Motions that bring together what is known without looking closely.

    Returns:
        Those that turn nothing: the places in the world as they are, the centres of the grids, the
        centres of what stands out of the background. And those that turn the main axes of that
        onto each other, in each of their directions.
    """
    dims = pair.fixed_grid.spatial_dims
    unit = torch.eye(dims, dtype=torch.float64)
    here, there = (_moments(*each) for each in _both(pair))
    middle = _middle(pair.moving_grid) - _middle(pair.fixed_grid)
    still = [AffineMotion.of(unit, shift) for shift in (0 * middle, middle, there[0] - here[0])]
    turned = []
    for signs in _signs(dims):
        turn = there[1] @ torch.diag(signs) @ here[1].T
        if float(torch.linalg.det(turn)) > 0:
            turned.append(AffineMotion.of(turn, there[0] - turn @ here[0]))
    return still, turned


def far_guesses(pair: ImagePair) -> list[AffineMotion]:
    """Turns of every kind about what stands out, onto what stands out in the moving image."""
    dims = pair.fixed_grid.spatial_dims
    (here, _), (there, _) = (_moments(*each) for each in _both(pair))
    found = []
    for turn in torch.deg2rad(_turns(dims)):
        linear = rotation_of(turn)
        found.append(AffineMotion.of(linear, there - linear @ here))
    return found


def _turns(dims: int) -> Tensor:
    """Axes times angles in degrees (N, 1 or 3), on a lattice."""
    count = int(FARTHEST[dims] / APART)
    steps = torch.arange(-count, count + 1, dtype=torch.float64) * APART
    turns = torch.cartesian_prod(*[steps] * 3) if dims == 3 else steps[:, None]
    return turns[turns.norm(dim=1) <= FARTHEST[dims]]


def best_start(pair: ImagePair, level: Level, similarity: Similarity) -> AffineMotion:
    """The best motion that the guesses lead to at a coarse level, as rigid bodies.

    Turns of every kind are tried too, and followed where they are clearly better.

    Raises:
        ValueError: if under none of them the images overlap.
    """
    still, turned = guesses(pair)
    near = _followed(level, similarity, [*still, *_best(level, similarity, turned, FOLLOWED)])
    # Of those that are as good, the first: what looks the same after a turn has not been turned.
    best = min(each.unlikeness for each in near)
    chosen = next(each for each in near if each.unlikeness <= best + AS_GOOD)
    far = _followed(level, similarity, _best(level, similarity, far_guesses(pair), FAR_FOLLOWED))
    farthest = min(far, key=lambda each: each.unlikeness)
    if farthest.unlikeness < CLEARLY * chosen.unlikeness - AS_GOOD:
        chosen = farthest
    if chosen.unlikeness == float("inf"):
        raise ValueError("moving must overlap with fixed, got an image beside it")
    return chosen.motion


def _best(
    level: Level, similarity: Similarity, motions: Sequence[AffineMotion], count: int
) -> list[AffineMotion]:
    tried = [Matched(motion, unlikeness(level, motion, similarity)) for motion in motions]
    tried.sort(key=lambda each: each.unlikeness)
    return [each.motion for each in tried[:count]]


def _followed(
    level: Level, similarity: Similarity, motions: Sequence[AffineMotion]
) -> list[Matched]:
    body: Freedom = RigidBody()
    return [match_pose(level, motion, body, similarity, ENOUGH) for motion in motions]


def _both(pair: ImagePair) -> list[tuple[Tensor, Grid]]:
    fixed = pair.fixed if pair.mask is None else pair.fixed.where(pair.mask, pair.fixed.amin())
    return [(fixed, pair.fixed_grid), (pair.moving, pair.moving_grid)]


def _middle(grid: Grid) -> Tensor:
    return grid.to_world(torch.tensor([(n - 1) / 2 for n in grid.shape], dtype=torch.float64))


def _moments(image: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Centre of the intensities above the darkest, in mm, and their main axes as columns."""
    weight = (image - image.flatten(1).amin(dim=1).view(-1, *[1] * grid.spatial_dims)).sum(dim=0)
    weight = weight.double().flatten() / weight.sum()
    points = grid.points().flatten(0, -2)
    centre = weight @ points
    about = points - centre
    spread = (about * weight[:, None]).T @ about
    return centre, torch.linalg.eigh(spread).eigenvectors


def _signs(dims: int) -> list[Tensor]:
    ends = torch.tensor([1.0, -1.0], dtype=torch.float64)
    return list(torch.cartesian_prod(*[ends] * dims))
