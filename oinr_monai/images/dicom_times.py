"""Frames of DICOM that show the same places again and again: one volume after the other in time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .notes import note
from .time_axis import TimeAxis

if TYPE_CHECKING:
    from .dicom_planes import Plane

__all__ = ["volumes_in_time"]

# Places that differ by less, in mm, are the same.
_SAME_PLACE = 1e-3

# Part of a step by which volumes may come too early or too late without a word.
_EVEN = 0.02


def volumes_in_time(path: Path, planes: Sequence[Plane]) -> tuple[list[list[int]], TimeAxis | None]:
    """The frames of each volume, at the same places in the same order, and when they were.

    One volume of all frames, and no times, where they do not repeat regularly: as often at each
    place, at other times, and of one echo and b-value.
    """
    whole = [list(range(len(planes)))]
    at = _by_place(planes)
    often = {len(frames) for frames in at}
    if often in ({1}, set()) or len(often) > 1 or len({plane.kind for plane in planes}) > 1:
        return whole, None
    for times in zip(*(plane.times for plane in planes), strict=True):
        told = [[times[i] for i in frames] for frames in at]
        if all(None not in each and len(set(each)) == len(each) for each in told):
            sorted_at = [sorted(frames, key=times.__getitem__) for frames in at]
            volumes = [list(each) for each in zip(*sorted_at, strict=True)]
            return volumes, _axis(path, [[times[i] for i in each] for each in volumes])
    return whole, None


def _by_place(planes: Sequence[Plane]) -> list[list[int]]:
    found: dict[Any, list[int]] = {}
    for i, plane in enumerate(planes):
        if plane.position is None:
            return []
        found.setdefault(tuple(np.round(plane.position / _SAME_PLACE)), []).append(i)
    return list(found.values())


def _axis(path: Path, times: Sequence[Sequence[float]]) -> TimeAxis:
    # A slice is looked at some time after the volume begins, in each volume alike.
    steps = np.diff(np.mean(times, axis=1))
    if np.ptp(steps) > _EVEN * steps.mean():
        note(
            path,
            f"the volumes are {steps.min():.4g} to {steps.max():.4g} s apart; taken for even",
        )
    return TimeAxis(round(float(steps.mean()), 6), unit="sec")
