"""Gauss-Newton on the pose of an image: rigid or affine, at one scale."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from .affine import AffineMotion
from .pose import Freedom, RigidBody
from .pyramid import Level
from .similarity import Pull, Similarity

__all__ = ["Matched", "match_pose", "unlikeness"]

# Steps at a scale, at most. Chosen by hand.
STEPS = 40

# What the damping starts from, and what it is multiplied and divided by, as Marquardt has it.
DAMPING, FACTOR, MOST_DAMPING = 1e-3, 10.0, 1e2

# Least part of the weight that must lie in the moving image: with less, any two images look alike.
OVERLAP = 0.25


@dataclass(frozen=True)
class Matched:
    """Where Gauss-Newton ended.

    Args:
        motion: from fixed to moving places.
        unlikeness: what is left.
    """

    motion: AffineMotion
    unlikeness: float


def unlikeness(level: Level, motion: AffineMotion, similarity: Similarity) -> float:
    """Unlikeness of the two images under a motion; infinite where they hardly overlap."""
    return Matching(level, RigidBody(), similarity).pull(motion)[0].unlikeness


def match_pose(
    level: Level, start: AffineMotion, freedom: Freedom, similarity: Similarity, enough: float
) -> Matched:
    r"""The motion by a matrix near ``start`` that makes the images most alike.

    .. math:: \Big(\sum_x c_x \, g_x g_x^T + \lambda D\Big) \, \delta = -\sum_x s_x \, g_x, \qquad
              g_x = \Big(\frac{\partial T(x)}{\partial \theta}\Big)^T \nabla m(T(x))

    with slope s and curvature c of the unlikeness, and D the matrix's own diagonal.

    References:
        Marquardt, "An algorithm for least-squares estimation of nonlinear parameters", SIAM J.
        Appl. Math. 11(2), 1963.

    Args:
        level: the images.
        start: where to begin.
        freedom: what may change.
        similarity: what makes images alike.
        enough: gain in unlikeness below which no other step is taken.
    """
    matching, motion, damping = Matching(level, freedom, similarity), start, DAMPING
    here, slopes = matching.pull(motion)
    for _ in range(STEPS):
        if math.isinf(here.unlikeness):
            break
        matrix = ((slopes * here.curvature.flatten()) @ slopes.T).cpu()
        force = (slopes @ here.slope.flatten().double()).cpu()
        tried, (after, onward), damping = matching.downhill(motion, here, matrix, force, damping)
        gain = here.unlikeness - after.unlikeness
        if gain > 0:
            motion, here, slopes = tried, after, onward
        if gain < enough:
            break
    return Matched(motion, here.unlikeness)


@dataclass(frozen=True, eq=False)
class Matching:
    """The images of a level, and what may change between them.

    Args:
        level: the images.
        freedom: what may change.
        similarity: what makes images alike.
    """

    level: Level
    freedom: Freedom
    similarity: Similarity

    @cached_property
    def _centre(self) -> Tensor:
        """Centre of the fixed places that count, in mm."""
        weight = self.level.weight.cpu().double().flatten()
        return weight @ self.level.grid.points().flatten(0, -2) / weight.sum()

    @cached_property
    def _reach(self) -> float:
        """Root of their mean squared distance from it, in mm."""
        weight = self.level.weight.cpu().double().flatten()
        about = self.level.grid.points().flatten(0, -2) - self._centre
        return max(float(weight @ about.square().sum(dim=1) / weight.sum()) ** 0.5, 1e-6)

    def downhill(
        self, motion: AffineMotion, here: Pull, matrix: Tensor, force: Tensor, damping: float
    ) -> tuple[AffineMotion, tuple[Pull, Tensor], float]:
        """A step that makes the images more alike if there is one, and the damping after it."""
        centre = motion.at(self._centre[None])[0]
        diagonal = matrix.diagonal()
        # Where the images tell nothing of a parameter, it stays.
        least = 1e-9 * diagonal.max() + 1e-30
        while True:
            damped = matrix + torch.diag(damping * diagonal + least)
            change = -torch.linalg.solve(damped, force)
            tried = self.freedom.moved(motion, change, centre, self._reach)
            found = self.pull(tried)
            if found[0].unlikeness < here.unlikeness:
                return tried, found, damping / FACTOR
            if damping > MOST_DAMPING:
                return tried, found, damping
            damping *= FACTOR

    def pull(self, motion: AffineMotion) -> tuple[Pull, Tensor]:
        """The pull, and how each value changes with the parameters (P, C * places)."""
        level, moving = self.level, self.level.moving.grid
        linear, shift = level.to_moving(motion.matrix)
        voxels = level.indices @ linear.T + shift
        weight = level.weight * level.moving.inside(voxels)
        if float(weight.sum()) < OVERLAP * float(level.weight.sum()):
            nothing = torch.zeros(0)
            return Pull(math.inf, nothing, nothing), nothing
        values, slopes = level.moving.jets(voxels)
        # About the centre before rounding to float32, as a scanner's origin may be far away.
        centre = moving.to_voxel(motion.at(self._centre[None]))[0]
        about = (voxels.double() - centre.to(voxels.device)) @ moving.matrix.T.to(voxels.device)
        tangents = self.freedom.tangents(about.float(), self._reach)
        per_mm = torch.einsum("dj,dc...->jc...", torch.linalg.inv(moving.matrix).to(slopes), slopes)
        found = torch.einsum("pj...,jc...->pc...", tangents, per_mm)
        return self.similarity.pull(level.fixed, values, weight), found.flatten(1).double()
