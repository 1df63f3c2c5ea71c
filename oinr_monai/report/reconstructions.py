"""Reports on a volume that was reconstructed of stacks of slices: how far each had moved."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from monai.data import MetaTensor
from torch import Tensor

from oinr_monai.grids.grid import Grid
from oinr_monai.restoration.reconstruction import Reconstruction, SlicePose

from .answers import report_of_answer
from .page import Page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["report_of_reconstruction"]


def report_of_reconstruction(
    found: Reconstruction, stacks: Sequence[MetaTensor], title: str = "Reconstructed"
) -> Page:
    """A page on a volume of moved slices: beside its first stack, and how far each slice had moved.

    Args:
        found: the volume and the poses of its slices.
        stacks: images (1, *spatial) that it was made of.
        title: title of the page.

    Example:
        >>> from oinr_monai import fit
        >>> stack = MetaTensor(torch.rand(1, 6, 7, 8), affine=torch.eye(4))
        >>> pose = SlicePose(0, 0, torch.eye(4, dtype=torch.float64), 1.0)
        >>> page = report_of_reconstruction(Reconstruction(fit(stack), (pose,), 0.1), [stack])
        >>> "How far the slices had moved" in page.html()
        True
    """
    outliers = [pose for pose in found.poses if pose.outlier]
    facts = {"stacks": len(stacks), "slices": len(found.poses), "noise": found.noise}
    warnings = []
    if outliers:
        warnings.append(
            f"{len(outliers)} of {len(found.poses)} slices fit badly to the others and count less"
            " than half: they moved while they were taken, or hold another thing."
        )
    page = report_of_answer(found.volume, stacks[0], title, facts, warnings=warnings)
    page.figure(
        "How far the slices had moved", _moves(found), "A cross is a slice that counts little."
    )
    return page


def _moves(found: Reconstruction) -> Figure:
    """Shift and turn of each slice, stack by stack."""
    from matplotlib.figure import Figure as Drawn

    middle = _middle(found.volume.grid)
    figure = Drawn(figsize=(11, 5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    for stack, poses in _by_stack(found.poses).items():
        places = [pose.slice for pose in poses]
        shifts = [float(_shift(pose, middle)) for pose in poses]
        turns = [math.degrees(float(pose.turn.norm())) for pose in poses]
        for axis, values in ((upper, shifts), (lower, turns)):
            (line,) = axis.plot(places, values, ".-", label=f"stack {stack}")
            bad = [i for i, pose in enumerate(poses) if pose.outlier]
            axis.plot(
                [places[i] for i in bad], [values[i] for i in bad], "x", color=line.get_color()
            )
    upper.set(ylabel="shift of the middle, mm")
    lower.set(ylabel="turn, degrees", xlabel="slice")
    upper.legend()
    return figure


def _by_stack(poses: Sequence[SlicePose]) -> dict[int, list[SlicePose]]:
    found: dict[int, list[SlicePose]] = defaultdict(list)
    for pose in sorted(poses, key=lambda pose: (pose.stack, pose.slice)):
        found[pose.stack].append(pose)
    return found


def _middle(grid: Grid) -> Tensor:
    ends = torch.tensor([[(n - 1) / 2 for n in grid.shape]], dtype=torch.float64)
    return grid.to_world(ends)[0]


def _shift(pose: SlicePose, point: Tensor) -> Tensor:
    """How far the motion takes a world point (3,), in mm."""
    matrix = pose.matrix.double()
    return (matrix[:3, :3] @ point + matrix[:3, 3] - point).norm()
