"""Where a registration begins: a few guesses from far away, of which the best is followed."""

from __future__ import annotations

import torch
from torch import Tensor

from oinr_monai.grids.grid import Grid

from .affine import AffineMotion
from .matching import Matched, match_pose, unlikeness
from .pair import ImagePair
from .pose import Freedom, RigidBody
from .pyramid import Level
from .similarity import Similarity

__all__ = ["best_start", "guesses"]

# Turned guesses that are followed, and the gain of a step that ends it. Chosen by hand.
FOLLOWED, ENOUGH = 2, 1e-3

# Difference in unlikeness that does not count against a guess that moves less. Chosen by hand.
AS_GOOD = 0.02


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


def best_start(pair: ImagePair, level: Level, similarity: Similarity) -> AffineMotion:
    """The best motion that the guesses lead to at a coarse level, as rigid bodies.

    Raises:
        ValueError: if under none of them the images overlap.
    """
    still, turned = guesses(pair)
    tried = [Matched(guess, unlikeness(level, guess, similarity)) for guess in turned]
    tried.sort(key=lambda each: each.unlikeness)
    body: Freedom = RigidBody()
    followed = [*still, *(each.motion for each in tried[:FOLLOWED])]
    ends = [match_pose(level, guess, body, similarity, ENOUGH) for guess in followed]
    # Of those that are as good, the first: what looks the same after a turn has not been turned.
    best = min(each.unlikeness for each in ends)
    if best == float("inf"):
        raise ValueError("moving must overlap with fixed, got an image beside it")
    return next(each.motion for each in ends if each.unlikeness <= best + AS_GOOD)


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
