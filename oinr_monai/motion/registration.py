"""Registration: the motion that takes places of one image to where they lie in another."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from oinr_monai.grids.checks import check_one_of, check_positive
from oinr_monai.grids.device import chosen_device
from oinr_monai.grids.precision import full_precision

from .affine import AffineMotion
from .flowing import Flow
from .matching import match_pose, unlikeness
from .mesh import Mesh, mesh_over
from .motion import Motion
from .pair import ImagePair
from .pose import AnyMatrix, Freedom, RigidBody
from .pyramid import Level, ViewScale
from .similarity import LocalCorrelation, MutualInformation, Similarity
from .start import best_start
from .velocity import Velocity

__all__ = ["RegisterConfig", "RegistrationNote", "register"]

MODELS = ("rigid", "affine", "deformable")

# Places along the shortest axis at the coarsest level of a pose and of a flow. Chosen by hand; a
# dozen cost twenty pairs of hippocampi .008 of Dice by flows.
POSE_COARSEST, FLOW_COARSEST = 12, 20

# Places that are looked at closely, at most, by a pose and by a flow. Chosen by hand.
POSE_PLACES, FLOW_PLACES = 200_000, 1_000_000

# Smoothing of a level, in spacings of its places; the last one has none.
SMOOTH = 1.0

# Windows of the local correlation for a pose, in places; a pose is rigid and needs fewer details.
WIDE = 4

# Gains of a step in unlikeness that end a pose, before another level and at last.
ROUGHLY, CLOSELY = 1e-4, 1e-11

# Distance between knots, in places. Chosen on ten pairs of hippocampi that no table scores: 2 and 4
# gave no higher Dice.
KNOTS = 3.0

# Steps of a flow at a level, and the gain of one that ends them.
FLOW_STEPS, FLOW_ENOUGH = 15, 3e-5

# Unlikeness of the aligned images above which they do not seem to belong together: windows of
# unrelated noise have less than this in common. Chosen by hand.
UNRELATED = 0.85


class RegistrationNote(UserWarning):
    """Something about a registration that its user should look at; one line."""


@dataclass(frozen=True)
class RegisterConfig:
    """How to register.

    Args:
        model: "rigid", "affine", or "deformable" for an affine motion after a flow.
        similarity: what makes images alike; the local correlation if None, which minds neither
            brightness nor contrast, nor which of two tissues is the brighter one. For poses of
            images of different kinds, :class:`MutualInformation` is another.
        knots: distance between the knots of the flow in mm; three places if None.
        stiffness: weight of the flow's bending energy against the unlikeness, in mm²; the square of
            the distance between places if None, so that an answer does not depend on the unit.
        device: where images are compared: "auto", "cpu" or "cuda". The motion is on the CPU.

    Raises:
        ValueError: if the model is another, or a number is not positive.

    Example:
        >>> RegisterConfig("rigid").model
        'rigid'
    """

    model: Literal["rigid", "affine", "deformable"] = "deformable"
    similarity: Similarity | None = None
    knots: float | None = None
    stiffness: float | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        check_one_of("model", self.model, MODELS)
        check_positive(self, "knots", "stiffness")
        if self.model == "deformable" and isinstance(self.similarity, MutualInformation):
            raise ValueError(
                "similarity must be other than MutualInformation for a deformable model, whose many"
                ' parameters it does not hold; choose model "rigid" or "affine"'
            )


@full_precision()
@torch.no_grad()
def register(
    fixed: Tensor | np.ndarray,
    moving: Tensor | np.ndarray,
    config: RegisterConfig | None = None,
    *,
    mask: Tensor | np.ndarray | None = None,
    start: AffineMotion | None = None,
) -> Motion:
    """Find the motion from places of ``fixed`` to where they lie in ``moving``.

    First a pose, from the best of several guesses, coarse to fine by Gauss-Newton; then, for
    ``deformable``, the velocity of a flow before it, coarse to fine in its knots too. Affines may
    be oblique or flipped: the answer is in world mm and does not depend on how voxels are stored.

    Args:
        fixed: image (C, *spatial) in two or three dimensions, a MetaTensor for its affine.
        moving: image (C, *spatial) of the same object or of one like it.
        config: how.
        mask: voxels of ``fixed`` that count (*spatial); all if None.
        start: motion to begin with, in place of the best guess.

    Returns:
        The motion T; ``moving`` at T(x) looks like ``fixed`` at x.

    Raises:
        TypeError: if an image is neither a tensor nor an array.
        ValueError: if an image is unfit, the two do not go together, the mask is empty, or
            ``start`` leaves one image beside the other.

    Warns:
        RegistrationNote: if the images have little in common even so.

    Example:
        >>> x = torch.linspace(-3, 3, 24)
        >>> blob = lambda a, b: torch.exp(-((x[:, None] - a) ** 2) - (x - b) ** 2 / 3)[None]
        >>> motion = register(blob(0.0, 0.2), blob(0.5, 0.0), RegisterConfig("rigid"))
        >>> moved = motion.at(torch.tensor([[11.5, 12.27]]))   # (0, 0.2) in voxels
        >>> bool((moved - torch.tensor([[13.42, 11.5]])).norm() < 0.1)
        True
    """
    config = config or RegisterConfig()
    pair = ImagePair.of(fixed, moving, mask)
    pose = _pose(pair, config, start)
    if config.model != "deformable":
        return pose
    flow = _flow(pair, pose, config)
    return pose @ flow


def _pose(pair: ImagePair, config: RegisterConfig, start: AffineMotion | None) -> AffineMotion:
    similarity = config.similarity or LocalCorrelation(WIDE)
    freedom: Freedom = RigidBody() if config.model == "rigid" else AnyMatrix()
    scales, device = _pose_scales(pair, config), chosen_device(config.device)
    level = Level.of(pair, scales[0]).to(device)
    motion = best_start(pair, level, similarity) if start is None else start
    if math.isinf(unlikeness(level, motion, similarity)):
        raise ValueError(
            "start must bring fixed onto moving, got one that leaves them beside each other"
        )
    for scale in scales:
        level = Level.of(pair, scale).to(device)
        motion = match_pose(level, motion, freedom, similarity, ROUGHLY).motion
    if config.model != "deformable":
        motion = match_pose(level, motion, freedom, similarity, CLOSELY).motion
    _warn(unlikeness(level, motion, LocalCorrelation(WIDE)))
    return motion


def _pose_scales(pair: ImagePair, config: RegisterConfig) -> list[ViewScale]:
    """A pose that a flow follows ends smoothed; another is worth a last look as the images are."""
    finest = _finest(pair, POSE_PLACES)
    last = [] if config.model == "deformable" else [ViewScale(0.0, finest)]
    return [*_smoothed_scales(pair, finest, POSE_COARSEST), *last]


def _smoothed_scales(pair: ImagePair, finest: float, coarsest: int) -> list[ViewScale]:
    """From where the images are so many places wide to the finest, each half the one before."""
    widths = [e for e in pair.fixed_grid.extent.tolist() if e > 0]
    halvings = max(int(math.log2(max(min(widths) / coarsest / finest, 1.0))), 0)
    return [ViewScale(SMOOTH * finest * 2**k, finest * 2**k) for k in range(halvings, -1, -1)]


def _finest(pair: ImagePair, places: int) -> float:
    """Spacing in mm of the places, that of the fixed voxels unless those are too many."""
    grid = pair.fixed_grid
    widths = [n * h for n, h in zip(grid.shape, grid.spacing.tolist(), strict=True) if n > 1]
    return max(float(grid.spacing.min()), (math.prod(widths) / places) ** (1 / len(widths)))


def _flow(pair: ImagePair, pose: AffineMotion, config: RegisterConfig) -> Velocity:
    """Coarse to fine in what is looked at and in the knots, which end at their own distance."""
    similarity = config.similarity or LocalCorrelation()
    finest = _finest(pair, FLOW_PLACES)
    knots, stiffness = config.knots or KNOTS * finest, config.stiffness or finest**2
    device = chosen_device(config.device)
    scales = _smoothed_scales(pair, finest, FLOW_COARSEST)
    mesh = mesh_over(pair.fixed_grid, knots * 2 ** len(scales), pair.fixed_grid)
    coefficients = torch.zeros(mesh.dims, *mesh.knots.shape)

    def solved(scale: ViewScale) -> Tensor:
        level = Level.of(pair, scale).to(device)
        flow = Flow(level, Mesh(mesh.knots, level.grid), pose, similarity, stiffness)
        return flow.solve(coefficients.to(device), FLOW_STEPS, FLOW_ENOUGH).cpu()

    for scale in scales:
        mesh, coefficients = mesh.refined(solved(scale))
    return Velocity(mesh.spline(solved(ViewScale(0.0, finest))))


def _warn(left: float) -> None:
    if not left < UNRELATED:
        warnings.warn(
            RegistrationNote(
                f"fixed and moving have little in common: {left:.2f} of the local variance is left"
                f" unexplained, where {UNRELATED} is much; look at the result"
            ),
            stacklevel=4,
        )
