"""Learned input functions of a family of signals, which one operator shares, and their blends."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from oinr_monai.grids.jets import second_order_pairs
from oinr_monai.grids.positions import Positions, Scatter

from .field import Field
from .spline import SplineField

__all__ = ["FamilyField", "displaced"]


class FamilyField(Field):
    r"""A blend of the input functions of N signals, each moved to where the blend is.

    .. math:: f_w(x) = \sum_i w_i f_i\big(x + u_i(x) - \bar u(x)\big), \qquad
              \bar u = \sum_i w_i u_i, \quad \sum_i w_i = 1

    Every member has a field of splines f_i and a motion u_i in mm. Motions have no absolute value:
    only how one member lies to another counts, so that at w = e_i the blend is f_i itself. Without
    motions, or where they agree, it is the plain average; with them, what two members show at two
    places appears in between, and does not fade out here and in there.

    Args:
        extent: distance from the first to the last voxel centre of each axis, in mm.
        knot_spacing: distance between the knots of the members along each axis, in mm.
        channels: channels E of every member.
        members: number of members N.
        motion_spacing: distance between the knots of the motions, in mm; no motions if None.
        margin: how far beyond the domain the field reaches, in mm per axis (a kernel's halo).
        weights: weights of the blend (N,), with sum 1; all the same if None.

    Raises:
        ValueError: if there is no member, or the weights are not N numbers with sum 1.

    Example:
        >>> family = FamilyField((9.0, 9.0), (3.0, 3.0), channels=4, members=3)
        >>> family.blend([0.0, 0.5, 0.5])(Scatter((torch.rand(5), torch.rand(5))), order=1).shape
        torch.Size([3, 4, 5])
        >>> type(family.blend([0.0, 1.0, 0.0])).__name__
        'SplineField'
    """

    def __init__(
        self,
        extent: Sequence[float],
        knot_spacing: Sequence[float],
        channels: int,
        members: int,
        motion_spacing: Sequence[float] | None = None,
        margin: Sequence[float] | None = None,
        weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if members < 1:
            raise ValueError(f"members must be 1 or more, got {members}")
        first = SplineField(extent, knot_spacing, channels, margin)
        # All start the same, so that what they become can be compared and blended.
        self.members = nn.ModuleList(copy.deepcopy(first) for _ in range(members))
        self.motion_spacing = None if motion_spacing is None else tuple(map(float, motion_spacing))
        motions: list[SplineField] = []
        if self.motion_spacing is not None:
            motion = SplineField(extent, self.motion_spacing, len(first.extent))
            motions = [copy.deepcopy(_at_rest(motion)) for _ in range(members)]
        self.motions = nn.ModuleList(motions)
        self.spatial_dims, self.channels = first.spatial_dims, channels
        self.weights = self._checked(weights or [1 / members] * members)

    def _checked(self, weights: Sequence[float]) -> tuple[float, ...]:
        checked = tuple(map(float, weights))
        if len(checked) != len(self.members):
            raise ValueError(
                f"weights must be {len(self.members)}, one for each member, got {len(checked)}"
            )
        if not math.isclose(sum(checked), 1.0, abs_tol=1e-6):
            raise ValueError(f"weights must have sum 1, got {checked} with sum {sum(checked):.6g}")
        return checked

    def blend(self, weights: Sequence[float]) -> Field:
        """The field of other weights (N,), of the members that take part; it shares their splines.

        Where one member alone takes part, this is its own spline field.
        """
        taking = [i for i, w in enumerate(self._checked(weights)) if w != 0]
        if len(taking) == 1:
            return cast("Field", self.members[taking[0]])
        other = copy.copy(self)
        other._modules = {
            "members": nn.ModuleList(self.members[i] for i in taking),
            "motions": nn.ModuleList(self.motions[i] for i in taking if len(self.motions)),
        }
        other.weights = tuple(float(weights[i]) for i in taking)
        return other

    def forward(self, positions: Positions, order: int = 0) -> Tensor:
        """Jet (J, E, *positions.shape), derivatives per mm."""
        parts = zip(self.weights, self.members, self.displacements(positions, order), strict=True)
        total: Tensor | int = 0
        for weight, member, displacement in parts:
            total = total + weight * _moved(cast("Field", member), positions, displacement, order)
        return torch.as_tensor(total)

    def displacements(self, positions: Positions, order: int = 0) -> list[Tensor | None]:
        """For each member the jet (J, D, *positions.shape) of u_i less the blend's, in mm."""
        if not len(self.motions):
            return [None] * len(self.members)
        motions = [motion(positions, order) for motion in self.motions]
        mean = sum(w * motion for w, motion in zip(self.weights, motions, strict=True))
        return [motion - mean for motion in motions]

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments as JSON values."""
        member = cast("SplineField", self.members[0]).arguments()
        return {
            **{name: member[name] for name in ("extent", "knot_spacing", "channels", "margin")},
            "members": len(self.members),
            "motion_spacing": None if self.motion_spacing is None else list(self.motion_spacing),
            "weights": list(self.weights),
        }


def _at_rest(motion: SplineField) -> SplineField:
    nn.init.zeros_(motion.coefficients)
    motion.coefficients.requires_grad_(False)
    return motion


def displaced(positions: Positions, displacement: Tensor) -> Scatter:
    """The places moved by a displacement (D, *positions.shape), one after the other."""
    axes = [
        (positions.spread(x[:, None], d)[..., 0] + s).flatten()
        for d, (x, s) in enumerate(zip(positions.axes, displacement, strict=True))
    ]
    return Scatter(tuple(axes))


def _moved(field: Field, positions: Positions, displacement: Tensor | None, order: int) -> Tensor:
    if displacement is None:
        return field(positions, order)
    jet = field(displaced(positions, displacement[0]), order)
    return _chain(jet.unflatten(2, positions.shape), displacement)


def _chain(jet: Tensor, displacement: Tensor) -> Tensor:
    # Jet of f(x + s(x)) from that of f (J, E, *shape), at the moved places, and of s (J, D, *shape)
    dims = displacement.shape[1]
    if len(jet) == 1:
        return jet
    slope = displacement[1 : 1 + dims].to(jet)  # slope[a, k] = ds_k / dx_a
    identity = torch.eye(dims).to(jet).view(dims, dims, *[1] * (jet.ndim - 2))
    turn = slope + identity
    first = torch.einsum("ke...,ak...->ae...", jet[1 : 1 + dims], turn)
    parts = [jet[:1], first]
    if len(jet) > 1 + dims:
        pairs = second_order_pairs(dims)
        rows = [[pairs.index((min(i, j), max(i, j))) for j in range(dims)] for i in range(dims)]
        hessian = jet[1 + dims :][torch.tensor(rows)]
        turned = torch.einsum("kle...,ak...,bl...->abe...", hessian, turn, turn)
        bent = torch.einsum(
            "ke...,pk...->pe...", jet[1 : 1 + dims], displacement[1 + dims :].to(jet)
        )
        parts.append(torch.stack([turned[i, j] for i, j in pairs]) + bent)
    return torch.cat(parts)
