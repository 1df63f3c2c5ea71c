r"""Slices that moved: what each of them saw of a volume, in a pose of its own.

.. math:: y_s(p) = \sum_q w_q \, V\big(T_s(p + z_q n_s)\big)

for the places p of slice s, its normal n and its pose T, with the weights w of its profile at the
distances z. The volume is looked at by straight lines between its voxels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from oinr_monai.grids.grid import Grid
from oinr_monai.scanner.profiles import SliceProfile

__all__ = ["Samples", "Seen", "samples_of"]

# Part of a slice's sensitivity beyond the last node on each side.
TAIL = 2e-3


@dataclass(frozen=True, eq=False)
class Samples:
    """Voxels of several stacks that count, in a row.

    Args:
        values: their intensities (K,).
        slices: the slice of each (K,), counted through all stacks.
        places: world places (K, 3) in mm about ``centre``, as the stacks say.
        stack_of: the stack of each slice (S,).
        number_of: the number of each slice in its stack (S,).
        normals: unit vectors across the slices (S, 3).
        distances: places of the nodes across a slice (S, Q), in mm.
        shares: weights of the nodes (S, Q), which add up to one.
        centre: a world place (3,).
    """

    values: Tensor
    slices: Tensor
    places: Tensor
    stack_of: Tensor
    number_of: Tensor
    normals: Tensor
    distances: Tensor
    shares: Tensor
    centre: Tensor

    @property
    def count(self) -> int:
        """Number of slices S."""
        return len(self.stack_of)

    @cached_property
    def stacks(self) -> Tensor:
        """The stack of each voxel (K,)."""
        return self.stack_of[self.slices]

    @cached_property
    def powers(self) -> Tensor:
        """Powers of the place (P, K) up to the second, which bias fields are sums of."""
        unit = self.places / self.places.abs().max().clamp_min(1e-6)
        x, y, z = unit.T
        one = torch.ones_like(x)
        return torch.stack([one, x, y, z, x * x, y * y, z * z, x * y, y * z, z * x])

    def summed(self, values: Tensor) -> Tensor:
        """Sums (..., S) over the voxels (..., K) of each slice."""
        sums = values.new_zeros(*values.shape[:-1], self.count)
        return sums.index_add_(-1, self.slices, values)


def samples_of(
    images: Sequence[Tensor],
    grids: Sequence[Grid],
    masks: Sequence[Tensor],
    axes: Sequence[int],
    profiles: Sequence[SliceProfile],
    step: float,
    centre: Tensor,
) -> Samples:
    """The voxels of stacks (*shape) that their masks hold, and nodes ``step`` mm apart."""
    nodes = [_nodes(profile, step) for profile in profiles]
    most = max(len(distances) for distances, _ in nodes)
    found: list[list[Tensor]] = []
    first = 0
    stacks = zip(images, grids, masks, axes, strict=True)
    for stack, (image, grid, mask, axis) in enumerate(stacks):
        count = grid.shape[axis]
        at = mask.nonzero()
        distances, shares = (F.pad(each, (0, most - len(each))) for each in nodes[stack])
        found.append(
            [
                image[mask].float(),
                at[:, axis] + first,
                (grid.to_world(at.double()) - centre).float(),
                torch.full((count,), stack),
                torch.arange(count),
                _normal(grid, axis).float().expand(count, 3),
                distances.expand(count, most),
                shares.expand(count, most),
            ]
        )
        first += count
    values, slices, places, stack_of, number_of, normals, distances, shares = (
        torch.cat(each) for each in zip(*found, strict=True)
    )
    return Samples(values, slices, places, stack_of, number_of, normals, distances, shares, centre)


def _nodes(profile: SliceProfile, step: float) -> tuple[Tensor, Tensor]:
    reach = 0
    while float(profile.cumulative(torch.tensor(-(reach + 0.5) * step))) > TAIL:
        reach += 1
    faces = (torch.arange(2 * reach + 2, dtype=torch.float64) - reach - 0.5) * step
    shares = profile.cumulative(faces).diff()
    return ((faces[1:] + faces[:-1]) / 2).float(), (shares / shares.sum()).float()


def _normal(grid: Grid, axis: int) -> Tensor:
    one, other = (grid.matrix[:, d] for d in range(3) if d != axis)
    normal = torch.linalg.cross(one, other)
    return normal / normal.norm() * (normal @ grid.matrix[:, axis]).sign()


class Seen:
    """What the slices see of volumes on a grid, in their poses.

    Args:
        samples: the voxels of the slices.
        grid: of the volumes.
        poses: a rigid motion for each slice (S, 4, 4), of places about the centre.
    """

    def __init__(self, samples: Samples, grid: Grid, poses: Tensor) -> None:
        self.samples, self.grid = samples, grid
        turns = poses[:, :3, :3].float()
        shifts = poses[:, :3, 3].float()
        slices = samples.slices
        self.moved = torch.einsum("kij,kj->ki", turns[slices], samples.places) + shifts[slices]
        normals = torch.einsum("sij,sj->si", turns, samples.normals)
        to_voxel = torch.linalg.inv(grid.matrix)
        origin = (to_voxel @ (grid.origin - samples.centre)).float()
        scale = 2 / torch.tensor([max(n - 1.0, 1.0) for n in grid.shape])
        voxels = self.moved @ to_voxel.T.float() - origin
        self.inside = ((voxels > -0.5) & (voxels < torch.tensor(grid.shape) - 0.5)).all(dim=1)
        self._at = voxels * scale - 1
        self._across = (normals @ to_voxel.T.float()) * scale

    def forward(self, volumes: Tensor) -> Tensor:
        """Values (C, K) of volumes (C, *shape)."""
        total = torch.zeros(len(volumes), len(self._at))
        for lookup, share in self._lookups():
            many = volumes.expand(len(lookup), *volumes.shape)
            found = F.grid_sample(many, lookup, padding_mode="border", align_corners=True)
            total += share * found.transpose(0, 1).flatten(1)[:, : len(share)]
        return total

    def adjoint(self, values: Tensor) -> Tensor:
        """The transpose of :meth:`forward`, (K,) to (*shape)."""
        total = torch.zeros(self.grid.shape)
        for lookup, share in self._lookups():
            spread = F.pad(share * values, (0, lookup.shape[:2].numel() - len(values)))
            still = total.expand(len(lookup), 1, *self.grid.shape)
            back, _ = torch.ops.aten.grid_sampler_3d_backward(
                spread.view(len(lookup), 1, -1, 1, 1), still, lookup, 0, 1, True, [True, False]
            )
            total = total + back.sum(dim=(0, 1))
        return total

    def _lookups(self) -> list[tuple[Tensor, Tensor]]:
        return [self._lookup(q) for q in range(self.samples.distances.shape[1])]

    def _lookup(self, node: int) -> tuple[Tensor, Tensor]:
        # One part for each thread, as the sampler shares out no more than that.
        slices = self.samples.slices
        away = self.samples.distances[:, node, None] * self._across
        places = (self._at + away[slices]).flip(-1)
        parts = min(torch.get_num_threads(), len(places))
        places = F.pad(places, (0, 0, 0, -len(places) % parts))
        return places.view(parts, -1, 1, 1, 3), self.samples.shares[:, node][slices]
