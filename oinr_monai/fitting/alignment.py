"""Motions that bring images of a group onto each other, without any of them as the reference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from monai.networks.layers import GaussianFilter
from torch import Tensor, nn

from oinr_monai.fields.spline import SplineField
from oinr_monai.grids.positions import Lattice

__all__ = ["Alignment"]

# Places at which images are compared, at most; blurred ones need fewer. These five are chosen by
# hand.
PLACES = 65_536

# Part of the disagreement that may be left without looking farther, and what is far better.
WELL, FAR_BETTER = 0.1, 0.5

# Distance, in voxels, and disagreement below which images are taken to agree, for taking back.
AROUND, NOTHING = 4.0, 1e-6


@dataclass(frozen=True)
class Alignment:
    r"""Finds smooth motions u_m under which the images of a group agree in their middle.

    .. math:: \min_u \int \sum_m \big(h_m(x + u_m(x)) - \bar h(x)\big)^2 + \lambda |\nabla u_m|^2,
              \qquad \sum_m u_m = 0, \quad \bar h = \frac1M \sum_m h_m(x + u_m(x))

    From coarse to fine: the images are blurred less and less. It begins with little blur, which
    keeps small things apart, and with much only if the images then agree far better. No image is
    the reference, so the order of a group does not matter. Intensities are compared in units of the
    group's standard deviation; places, and the motion's slope, in voxels.

    In the end a motion is taken back where it explains little: it is scaled by (d - e) / (d + e),
    where d and e are how much the images disagree around a place as they are, and as moved. So
    noise, and what appears out of nothing, does not move things about.

    References:
        Penney et al., "Registration-based interpolation", IEEE TMI 23(7), 2004.

    Args:
        smoothness: the weight lambda of the motions' slope.
        knots: distance between the knots of the motions, in voxels.
        blurs: standard deviations of the blur, in voxels, one level after the other.
        far: those that come before for what has moved far.
        steps: steps of Adam at each level.

    Example:
        >>> x = torch.linspace(-1, 1, 24)
        >>> bump = lambda c: torch.exp(-10 * ((x[:, None] - c) ** 2 + x**2))
        >>> group = torch.stack([bump(-0.1), bump(0.1)])[None, :, None]
        >>> motions = Alignment().motions(group, spacing=(1.0, 1.0))
        >>> moved = motions[0][1](Lattice((torch.tensor([11.5]),) * 2))[0, :, 0, 0]
        >>> bool(0.8 < moved[0] < 1.5)   # half of the 2.3 mm between them
        True
    """

    smoothness: float = 0.8
    knots: float = 4.0
    blurs: tuple[float, ...] = (2.0, 1.0, 0.5)
    far: tuple[float, ...] = (8.0, 4.0)
    steps: int = 60

    def motions(self, groups: Tensor, spacing: Sequence[float]) -> list[list[SplineField]]:
        """Motions in mm of each image of each group.

        Args:
            groups: images (G, M, C, *spatial), M of them in each of G groups.
            spacing: voxel spacing (D,), in mm.
        """
        groups = groups / groups.std().clamp_min(1e-12)
        return [self._group(group, spacing) for group in groups]

    def _group(self, group: Tensor, spacing: Sequence[float]) -> list[SplineField]:
        motions = self._descent(group, self.blurs)
        left = _left(group, motions)
        if left > WELL * float(_disagreement(group).mean()):
            others = self._descent(group, (*self.far, *self.blurs))
            motions = others if _left(group, others) < FAR_BETTER * left else motions
        self._take_back(group, motions)
        return [_in_mm(motion, spacing) for motion in motions]

    def _descent(self, group: Tensor, blurs: Sequence[float]) -> list[SplineField]:
        shape = group.shape[2:]
        extent = [float(n - 1) for n in shape]
        motions = [
            SplineField(extent, [self.knots] * len(shape), len(shape)).to(group.device)
            for _ in group
        ]
        for motion in motions:
            nn.init.zeros_(motion.coefficients)
        optimizer = torch.optim.Adam([m.coefficients for m in motions], lr=0.1)
        for blur in blurs:
            if blur <= min(n for n in shape if n > 1) / 4:
                self._level(group, motions, optimizer, blur)
        _centre(motions)
        return motions

    def _level(
        self,
        group: Tensor,
        motions: Sequence[SplineField],
        optimizer: torch.optim.Optimizer,
        blur: float,
    ) -> None:
        shape = group.shape[2:]
        # A blurred image is looked at as sparsely as it allows.
        blurred = GaussianFilter(len(shape), blur).to(group.device)(group)
        sparse = (math.prod(shape) / PLACES) ** (1 / len(shape))
        step = max(1.0, blur / 2, sparse)
        lattice = Lattice(tuple(_every(n, step, group.device) for n in shape))
        for _ in range(self.steps):
            moved = torch.stack([motion(lattice)[0] for motion in motions])
            moved = moved - moved.mean(dim=0)
            images = warp(blurred, lattice, moved)
            misfit = (images - images.mean(dim=0)).square().mean(dim=(1, 2)).sum()
            loss = misfit + self.smoothness * sum(self._roughness(m) for m in motions)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

    @torch.no_grad()
    def _take_back(self, group: Tensor, motions: Sequence[SplineField]) -> None:
        shape, images = group.shape[2:], _moved(group, motions)
        around = GaussianFilter(len(shape), AROUND).to(group.device)
        before, after = (around(_disagreement(each)[None, None])[0] for each in (group, images))
        trust = ((before - after) / (before + after + NOTHING)).clamp(0, 1)
        for motion in motions:
            knots = motion.coefficients.shape[1:]
            places = [
                ((torch.arange(k, device=group.device).double() - 1) * self.knots).clamp(0, n - 1)
                for k, n in zip(knots, shape, strict=True)
            ]
            still = torch.zeros(1, len(shape), *knots, device=group.device)
            share = warp(trust[None], Lattice(tuple(places)), still)
            motion.coefficients.mul_(share.view(1, *knots))

    def _roughness(self, motion: SplineField) -> Tensor:
        c = motion.coefficients / self.knots
        slopes = [c.diff(dim=d).square().mean() for d in range(1, c.ndim)]
        return cast("Tensor", sum(slopes)) * c.shape[0]


def warp(images: Tensor, lattice: Lattice, displacement: Tensor) -> Tensor:
    """Images (M, C, *spatial) at the places of a lattice moved by (M, D, *lattice.shape).

    Linear between voxels, the border's value beyond; all in voxels. Returns (M, C, places).
    """
    shape = images.shape[2:]
    places = []
    for d, (x, n) in enumerate(zip(lattice.axes, shape, strict=True)):
        at = lattice.spread(x[:, None].to(images), d)[..., 0] + displacement[:, d]
        places.append(at.flatten(1) * (2 / max(n - 1, 1)) - 1)
    # grid_sample knows two and three dimensions, and counts their axes from the last.
    if len(shape) == 1:
        images, places = images[:, :, None], [torch.zeros_like(places[0]), *places]
    points = torch.stack(places[::-1], dim=-1)
    grid = points.view(len(images), *[1] * (len(places) - 1), -1, len(places))
    answer = F.grid_sample(images, grid, padding_mode="border", align_corners=True)
    return answer.flatten(2)


def _every(size: int, step: float, device: torch.device) -> Tensor:
    count = max(math.ceil((size - 1) / step), 1) + 1 if size > 1 else 1
    return torch.linspace(0, size - 1, count, dtype=torch.float64, device=device)


@torch.no_grad()
def _moved(group: Tensor, motions: Sequence[SplineField]) -> Tensor:
    shape = group.shape[2:]
    lattice = Lattice(tuple(torch.arange(n, device=group.device).double() for n in shape))
    displacement = torch.stack([motion(lattice)[0] for motion in motions])
    return warp(group, lattice, displacement).unflatten(2, shape)


def _left(group: Tensor, motions: Sequence[SplineField]) -> float:
    return float(_disagreement(_moved(group, motions)).mean())


def _disagreement(images: Tensor) -> Tensor:
    # Variance over the images (M, C, *spatial) of a group, summed over channels.
    return images.var(dim=0, correction=0).sum(dim=0)


@torch.no_grad()
def _centre(motions: Sequence[SplineField]) -> None:
    mean = torch.stack([motion.coefficients for motion in motions]).mean(dim=0)
    for motion in motions:
        motion.coefficients.sub_(mean)


@torch.no_grad()
def _in_mm(motion: SplineField, spacing: Sequence[float]) -> SplineField:
    extent = [e * h for e, h in zip(motion.extent, spacing, strict=True)]
    knots = [k * h for k, h in zip(motion.knot_spacing, spacing, strict=True)]
    scaled = SplineField(extent, knots, len(extent))
    scale = torch.tensor(spacing).view(-1, *[1] * len(extent))
    scaled.coefficients.copy_(motion.coefficients.cpu() * scale)
    return scaled
