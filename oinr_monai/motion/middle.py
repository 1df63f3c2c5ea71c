"""Motions that bring the images of a group to their middle; none of them is the reference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from oinr_monai.grids.grid import Grid
from oinr_monai.grids.precision import full_precision
from oinr_monai.scanner.forward_model import along_axes

from .affine import AffineMotion
from .flowing import Flow, exponential
from .mesh import Mesh, mesh_over
from .pyramid import Level, Looked, ViewScale, lattice_of
from .separable import gaussian_rows
from .similarity import LocalCorrelation

__all__ = ["to_middle"]

# Places at which images are compared, at most. Chosen by hand.
PLACES = 65_536

# Distance between knots and weight of the bending energy, in places. The weight, the similarity and
# the rounds were chosen on slices of a T1, a label map, MNI152, MR_Gd and CT_AVM.
KNOTS, STIFFNESS = 4.0, 6.0

# Smoothing and distance of what is looked at, in places: one level after the other, and those that
# come before for what has moved far. Chosen by hand.
NEAR = (ViewScale(2.0, 2.0), ViewScale(1.0, 1.0), ViewScale(0.5, 1.0))
FAR = (ViewScale(8.0, 4.0), ViewScale(4.0, 2.0))

AS_IT_IS = ViewScale(0.0, 1.0)

# Rounds at a level, and the longest step, in voxels, that ends them.
ROUNDS, SMALL = 4, 0.05

# Part of the disagreement that may be left without looking farther, and what is far better. Chosen
# by hand.
WELL, FAR_BETTER = 0.01, 0.5

# Distance, in voxels, and disagreement below which images are taken to agree, for taking back.
# Chosen by hand.
AROUND, NOTHING = 4.0, 1e-6


@full_precision()
@torch.no_grad()
def to_middle(images: Tensor) -> Tensor:
    r"""Displacements u_m under which the images of a group agree in their middle.

    .. math:: \min_v \sum_m E(\bar h, h_m \circ \exp v_m) + \lambda \, \mathrm{bending}(v_m), \qquad
              \sum_m v_m = 0, \quad \bar h = \frac1M \sum_m h_m \circ \exp v_m

    with the unlikeness E by local correlation. Each round takes a step of Gauss and Newton for each
    image towards the middle as it is then: for two images alike in their slopes, that is the step
    of both at once. No image is the reference, so their order does not matter. It begins with
    little smoothing, which keeps small things apart, and with much only if the images then agree
    far better.

    In the end a motion is taken back where it explains little: it is scaled by (d - e) / (d + e),
    where d and e are how much the images disagree around a place as they are, and as moved. So
    noise, and what appears out of nothing, does not move things about.

    References:
        Penney et al., "Registration-based interpolation", IEEE TMI 23(7), 2004.

    Args:
        images: (M, C, *spatial), two or more, on one grid; of about unit spread, as that is what
            windows are called empty by.

    Returns:
        Displacements (M, D, *spatial) in voxels, with mean 0.

    Example:
        >>> x = torch.linspace(-1, 1, 24)
        >>> bump = lambda c: torch.exp(-10 * ((x[:, None] - c) ** 2 + x**2))
        >>> _, moved = to_middle(torch.stack([bump(-0.1), bump(0.1)])[:, None])
        >>> bool(1.0 < moved[0, 11, 11] < 1.3)   # half of the 2.3 voxels between them
        True
    """
    lifted = images if images.ndim > 3 else images[..., None]  # a line is a narrow plane
    group = _Group(lifted.float())
    moved = group.moved(NEAR)
    left = group.left(moved)
    if left > WELL * group.left(torch.zeros_like(moved)):
        others = group.moved((*FAR, *NEAR))
        moved = others if group.left(others) < FAR_BETTER * left else moved
    moved = moved * group.explained(moved)
    moved = moved - moved.mean(dim=0)
    return moved[:, : images.ndim - 2].view(len(images), -1, *images.shape[2:])


@dataclass(frozen=True, eq=False)
class _Group:
    """Images (M, C, *shape) of one group, in two or three dimensions; lengths in voxels."""

    images: Tensor

    @cached_property
    def grid(self) -> Grid:
        shape = tuple(self.images.shape[2:])
        return Grid(shape, torch.eye(len(shape) + 1, dtype=torch.float64))

    @cached_property
    def _place(self) -> float:
        """Distance between places, in voxels, at which there are not too many."""
        sparse = (math.prod(self.grid.shape) / PLACES) ** (1 / self.grid.spatial_dims)
        return max(1.0, sparse)

    @cached_property
    def _mesh(self) -> Mesh:
        return mesh_over(self.grid, KNOTS * self._place, self.grid)

    def moved(self, scales: Sequence[ViewScale]) -> Tensor:
        """Displacements (M, D, *shape), found from coarse to fine."""
        knots, narrow = self._mesh.knots, min(n for n in self.grid.shape if n > 1)
        velocities = torch.zeros(len(self.images), self._mesh.dims, *knots.shape)
        for scale in scales:
            if scale.sigma <= narrow / 4:
                seen = ViewScale(scale.sigma * self._place, scale.spacing * self._place)
                flows = [self._flow(image, seen) for image in self.images]
                velocities = _together(flows, velocities)
        return torch.stack([exponential(self._mesh.dense(each)) for each in velocities])

    def _flow(self, image: Tensor, scale: ViewScale) -> Flow:
        places, dims = lattice_of(self.grid, scale.spacing), self.grid.spatial_dims
        looked = Looked(image, self.grid, scale)
        level = Level(places, image, torch.ones(places.shape), looked)
        mesh, still = Mesh(self._mesh.knots, places), AffineMotion.identity(dims)
        return Flow(level, mesh, still, LocalCorrelation(), STIFFNESS * self._place**2)

    def left(self, moved: Tensor) -> float:
        """How much the images disagree as displacements (M, D, *shape) move them, on average."""
        return float(self._disagreement(moved).mean())

    def explained(self, moved: Tensor) -> Tensor:
        """Part (*shape) of the disagreement around each place that displacements explain."""
        rows = [gaussian_rows(n, AROUND if n > 1 else 0.0) for n in self.grid.shape]
        before = along_axes(self._disagreement(torch.zeros_like(moved)), rows)
        after = along_axes(self._disagreement(moved), rows)
        return ((before - after) / (before + after + NOTHING)).clamp(0, 1)

    def _disagreement(self, moved: Tensor) -> Tensor:
        # Variance (*shape) over the images, summed over channels.
        pairs = zip(self.images, moved, strict=True)
        shown = [self._flow(image, AS_IT_IS).shown(each) for image, each in pairs]
        return torch.stack(shown).var(dim=0, correction=0).sum(dim=0)


def _together(flows: Sequence[Flow], velocities: Tensor) -> Tensor:
    """Velocities (M, D, *knots) after rounds of a step each towards the middle, with mean 0."""
    for _ in range(ROUNDS):
        pairs = list(zip(flows, velocities, strict=True))
        shown = torch.stack([flow.shown(flow.moved(each)) for flow, each in pairs])
        middle = shown.mean(dim=0)
        onward = [_towards(flow, middle).solve(each, 1, 0.0) for flow, each in pairs]
        before, velocities = velocities, torch.stack(onward)
        velocities = velocities - velocities.mean(dim=0)
        if float((velocities - before).abs().max()) < SMALL:
            break
    return velocities


def _towards(flow: Flow, middle: Tensor) -> Flow:
    return replace(flow, level=replace(flow.level, fixed=middle))
