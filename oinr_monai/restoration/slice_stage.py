"""Slices at one resolution, and the volume that they make as their poses are."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from oinr_monai.grids.grid import Grid
from oinr_monai.scanner.forward_model import conjugate_gradients

from .drawn_errors import pooled_spread
from .fused_stacks import Curvature
from .moving_slices import Samples, Seen
from .slice_poses import bright_enough, refined_poses, weighed

__all__ = ["LAST_STEPS", "SliceStage", "rigid_between", "settled"]

# Steps of the conjugate gradients of a volume on the way and at last, and where they end.
STEPS, LAST_STEPS, LEFT = 8, 20, 1e-3

# Errors that are drawn of each stack left out, and steps for each.
DRAWS, DRAWN_STEPS = 4, 30

# How much a bias field is held at one, as a part of what tells it. Chosen by hand.
BIAS_HELD = 1e-3


class SliceStage:
    """The samples at one resolution, and the volume that they make."""

    def __init__(self, samples: Samples, grid: Grid, weight: float) -> None:
        self.samples, self.grid, self.weight = samples, grid, weight
        self.curvature = Curvature(grid)
        self.values = samples.values
        self.bright = bright_enough(samples)
        self.weights = self.bright[samples.slices].float()
        self.slice_weights = torch.ones(samples.count)
        self.noise = 0.0
        self.volume = torch.zeros(0)
        self._apart: dict[int, Tensor] = {}

    def follow(self, poses: Tensor, steps: int = STEPS) -> None:
        """The volume as the poses are, robust weights and bias fields by it."""
        self.seen = Seen(self.samples, self.grid, poses)
        if not self.volume.numel():
            self.volume = self._splat(self.weights)
        self.volume = self._solved(self.volume, self.weights, steps)
        found = self.seen.forward(self.volume[None])[0]
        self.values = self.samples.values / self._bias(found)
        fit = weighed(self.samples, self.values - found, self.seen.inside, self.bright)
        self.weights, self.slice_weights, self.noise = fit.weights, fit.slice_weights, fit.noise

    def without(self, stack: int) -> Tensor:
        """The volume of all stacks but one."""
        weights = self.weights * (self.samples.stacks != stack)
        start = self._apart.get(stack)
        start = self._splat(weights) if start is None else start
        self._apart[stack] = self._solved(start, weights, STEPS)
        return self._apart[stack]

    def refined(
        self, volume: Tensor, poses: Tensor, groups: Tensor, blur: float, steps: int
    ) -> Tensor:
        """Poses towards a volume."""
        return refined_poses(
            self.samples, self.values, volume, self.grid, poses, groups, steps, blur
        )

    def drawn(
        self, calm: Tensor, noise: float, generator: torch.Generator, weights: Tensor | None = None
    ) -> Tensor:
        """Errors (1, *shape) of the volume, as likely as they are where slices lie as they do."""
        weights = self.weights if weights is None else weights
        seen, rough = (
            torch.randn(each.shape, generator=generator)
            for each in (self.samples.values, self.volume[None])
        )
        return noise * self.perturbed(calm, seen, rough, weights)

    def perturbed(self, calm: Tensor, seen: Tensor, rough: Tensor, weights: Tensor) -> Tensor:
        """What noise of the samples and roughness (1, *shape) make of the volume (1, *shape)."""
        weights = weights * self.seen.inside

        def normal(x: Tensor) -> Tensor:
            found = self.seen.adjoint(weights * self.seen.forward(x)[0])
            return found[None] + self.weight * self.curvature(calm * self.curvature(x))

        wanted = self.seen.adjoint(weights.sqrt() * seen)[None]
        wanted = wanted + math.sqrt(self.weight) * self.curvature(calm.sqrt() * rough)
        return conjugate_gradients(normal, wanted, None, DRAWN_STEPS, LEFT)

    def likely_noise(self, calm: Tensor) -> float:
        """Standard deviation of the noise that makes the slices most likely, given the volume."""
        weights = self.weights * self.seen.inside
        wrong = self.values - self.seen.forward(self.volume[None])[0]
        rough = self.curvature(self.volume[None]).square()
        total = (weights * wrong.square()).double().sum() + self.weight * (calm * rough).sum()
        return math.sqrt(float(total) / max(float((weights > 0).sum()), 1.0))

    def scores(self, noise: float, generator: torch.Generator) -> Tensor:
        """How far each stack is from what the others make of it, over what is taken for likely."""
        found = []
        for stack in range(int(self.samples.stack_of.max()) + 1):
            kept = self.weights * (self.samples.stacks != stack)
            own = (self.samples.stacks == stack) & (self.weights * self.seen.inside > 0.5)
            others = self._solved(self._splat(kept), kept, LAST_STEPS)[None]
            wrong = (self.seen.forward(others)[0] - self.values)[own]
            calm = self.curvature.calm(others)
            each = [self.drawn(calm, noise, generator, kept) for _ in range(DRAWS)]
            spread = pooled_spread([self.seen.forward(e)[0][own][None] for e in each])[0]
            found.append(wrong.abs() / (spread.square() + noise**2).sqrt().clamp_min(1e-12))
        return torch.cat(found)

    def _splat(self, weights: Tensor) -> Tensor:
        total, count = (self.seen.adjoint(weights * each) for each in (self.values, torch.ones(())))
        mean = float((weights * self.values).sum() / weights.sum())
        return (total + 1e-2 * mean) / (count + 1e-2)

    def _solved(self, start: Tensor, weights: Tensor, steps: int) -> Tensor:
        weights = weights * self.seen.inside

        def normal(x: Tensor) -> Tensor:
            seen = self.seen.adjoint(weights * self.seen.forward(x)[0])
            return seen[None] + self.weight * self.curvature(self.curvature(x))

        wanted = self.seen.adjoint(weights * self.values)[None]
        return conjugate_gradients(normal, wanted, start[None], steps, LEFT)[0]

    def _bias(self, found: Tensor) -> Tensor:
        """By how much voxels are too bright, a polynomial of the place for each stack."""
        samples, count = self.samples, int(self.samples.stack_of.max()) + 1
        field = torch.ones_like(found)
        if count == 1:
            return field
        for stack in range(count):
            own = samples.stacks == stack
            rows = samples.powers[:, own] * found[own]
            weighted = rows * self.weights[own]
            matrix, wanted = weighted @ rows.T, weighted @ samples.values[own]
            held = BIAS_HELD * float(matrix[0, 0]) * torch.eye(len(matrix))
            wanted = wanted + held[:, 0]
            field[own] = torch.linalg.solve(matrix + held, wanted) @ samples.powers[:, own]
        return (field / field.mean()).clamp(0.3, 3)


def settled(samples: Samples, poses: Tensor) -> Tensor:
    """The poses less the motion that all of them have in common."""
    some = slice(None, None, max(len(samples.values) // 20_000, 1))
    there = samples.places[some].double()
    slices = samples.slices[some]
    moved = torch.einsum("kij,kj->ki", poses[slices][:, :3, :3], there) + poses[slices][:, :3, 3]
    return torch.linalg.inv(rigid_between(there, moved)) @ poses


def rigid_between(here: Tensor, there: Tensor) -> Tensor:
    """The rigid motion (4, 4) that best takes places (N, 3) to others."""
    a, b = here.mean(dim=0), there.mean(dim=0)
    u, _, v = torch.linalg.svd((there - b).T @ (here - a))
    mirror = torch.diag(torch.tensor([1.0, 1.0, float(torch.linalg.det(u @ v).sign())]).double())
    motion = torch.eye(4, dtype=torch.float64)
    motion[:3, :3] = u @ mirror @ v
    motion[:3, 3] = b - motion[:3, :3] @ a
    return motion
