"""Frames of a series that moved as a rigid body, brought onto the first."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from monai.data import MetaTensor
from torch import Tensor

from oinr_monai.grids.grid import Grid
from oinr_monai.images.arrays import plain_tensor
from oinr_monai.images.meta import inherit
from oinr_monai.images.replacing import replacing

from .affine import AffineMotion, turn_of
from .registration import RegisterConfig, register
from .warp import warp_image

__all__ = ["Realigned", "realign"]

# Places at which displacements are looked at, at most.
PLACES = 4096


@dataclass(frozen=True, eq=False)
class Realigned:
    """Frames on the places of the first.

    Args:
        frames: (C, *spatial) each.
        motions: from places of the first frame to where they lie in each, rigid.
        displacements: root mean square over the places of how far each is from the first, in mm.
        steps: the same from the frame before, 0 for the first.
    """

    frames: tuple[MetaTensor, ...]
    motions: tuple[AffineMotion, ...]
    displacements: tuple[float, ...]
    steps: tuple[float, ...]

    def write(self, path: str | os.PathLike[str]) -> None:
        """A row for each frame: shift of the middle in mm, turn in degrees, displacement, step."""
        grid = Grid.from_image(self.frames[0])
        middle = grid.to_world((torch.tensor(grid.shape, dtype=torch.float64) - 1) / 2)
        axes, turns = "xyz"[: grid.spatial_dims], "xyz" if grid.spatial_dims == 3 else "z"
        head = ["frame", *axes, *(f"turn_{axis}" for axis in turns)]
        with replacing(path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([*head, "displacement_mm", "framewise_displacement_mm"])
            told = zip(self.motions, self.displacements, self.steps, strict=True)
            for i, (motion, *distances) in enumerate(told):
                shift = (motion.at(middle[None])[0] - middle).tolist()
                numbers = [*shift, *_degrees(motion), *distances]
                writer.writerow([i, *(f"{each:.6f}" for each in numbers)])


def realign(frames: Sequence[Tensor]) -> Realigned:
    r"""Bring frames onto the first, as rigid bodies: onto it, and once more onto their mean.

    .. math:: d_t = \sqrt{\operatorname{mean}_x |T_t(x) - x|^2}, \qquad
              s_t = \sqrt{\operatorname{mean}_x |T_t(x) - T_{t-1}(x)|^2}

    Each frame is sought from where the one before lies.

    Args:
        frames: images (C, *spatial) in two or three dimensions, on one grid.

    Raises:
        ValueError: if there are less than two, or they have not one shape.

    Example:
        >>> x = torch.linspace(-3, 3, 24)
        >>> blob = lambda a: torch.exp(-((x[:, None] - a) ** 2) - (x - a / 2) ** 2 / 3)[None]
        >>> found = realign([blob(0.0), blob(0.3), blob(0.5)])
        >>> bool((found.frames[2] - found.frames[0]).abs().mean() < 0.01)
        True
        >>> 1.0 < found.steps[1] < 1.6   # 0.3 and 0.15, in voxels of 6 / 23
        True
    """
    shapes = {tuple(frame.shape) for frame in frames}
    if len(frames) < 2 or len(shapes) > 1:
        raise ValueError(f"frames must be two or more of one shape, got {len(frames)} of {shapes}")
    grid = Grid.from_image(frames[0])
    motions = [AffineMotion.identity(grid.spatial_dims)]
    for frame in frames[1:]:
        motions.append(_rigid(frames[0], frame, motions[-1]))
    motions = _onto_the_mean(frames, motions, grid)
    places = _places(grid)
    there = [motion.at(places) for motion in motions]
    return Realigned(
        tuple(_moved(frames, motions, grid)),
        tuple(motions),
        tuple(_apart(each, places) for each in there),
        (0.0, *(_apart(a, b) for a, b in zip(there[1:], there, strict=False))),
    )


def _onto_the_mean(
    frames: Sequence[Tensor], motions: Sequence[AffineMotion], grid: Grid
) -> list[AffineMotion]:
    """Motions of frames towards their mean, which has less noise than one of them."""
    moved = _moved(frames, motions, grid)
    mean = grid.to_image(torch.stack([each.as_tensor() for each in moved]).mean(dim=0))
    seen = torch.stack([_inside(motion, grid) for motion in motions]).all(dim=0)
    mask = seen if bool(seen.any()) else None
    pairs = zip(frames, motions, strict=True)
    found = [_rigid(mean, frame, motion, mask) for frame, motion in pairs]
    back = torch.linalg.inv(found[0].matrix)
    return [AffineMotion(each.matrix @ back) for each in found]


def _inside(motion: AffineMotion, grid: Grid) -> Tensor:
    """Which voxels (*shape) a frame has seen."""
    voxels = grid.to_voxel(motion.on(grid))
    last = torch.tensor(grid.shape, dtype=torch.float64) - 1
    return ((voxels >= -0.5) & (voxels <= last + 0.5)).all(dim=-1)


def _rigid(
    fixed: Tensor, moving: Tensor, start: AffineMotion, mask: Tensor | None = None
) -> AffineMotion:
    found = register(fixed, moving, RegisterConfig("rigid"), mask=mask, start=start)
    if not isinstance(found, AffineMotion):
        raise TypeError(f"motion must be a pose, got {type(found).__name__}")
    return found


def _moved(
    frames: Sequence[Tensor], motions: Sequence[AffineMotion], grid: Grid
) -> list[MetaTensor]:
    # The first stays as it is to the last digit.
    rest = zip(frames[1:], motions[1:], strict=True)
    first = inherit(grid.to_image(plain_tensor(frames[0]).float()), frames[0])
    return [first, *(warp_image(each, motion, grid) for each, motion in rest)]


def _places(grid: Grid) -> Tensor:
    points = grid.points().flatten(0, -2)
    return points[:: max(len(points) // PLACES, 1)]


def _apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).square().sum(dim=1).mean().sqrt())


def _degrees(motion: AffineMotion) -> list[float]:
    linear = motion.linear
    if len(linear) == 2:
        return [math.degrees(math.atan2(float(linear[1, 0]), float(linear[0, 0])))]
    return torch.rad2deg(turn_of(linear)).tolist()
