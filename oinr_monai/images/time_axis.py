"""The times of an image's channels, as NIfTI tells them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = ["TIME_AXIS", "TimeAxis"]

# What the fourth axis of NIfTI may be counted in.
TimeUnit = Literal["sec", "msec", "usec", "hz", "ppm", "rads", "unknown"]

# Key in a MetaTensor's meta: the times of its channels, the dictionary of a TimeAxis.
TIME_AXIS = "time_axis"

_SECONDS = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}


@dataclass(frozen=True)
class TimeAxis:
    """Channels that follow each other in time, or along what else NIfTI's fourth axis may be.

    Args:
        step: from one channel to the next, in ``unit``; 0 where it is not known.
        start: of the first channel, in ``unit``.
        unit: sec, msec, usec, hz, ppm, rads or unknown.
    """

    step: float
    start: float = 0.0
    unit: TimeUnit = "unknown"

    @property
    def seconds(self) -> float:
        """One unit in seconds; 1 where the unit is not one of time."""
        return _SECONDS.get(self.unit, 1.0)

    @classmethod
    def of(cls, meta: Mapping[str, Any]) -> TimeAxis | None:
        """What the meta data of an image say of it; None if nothing."""
        known = meta.get(TIME_AXIS)
        return None if known is None else cls(**known)

    def meta(self) -> dict[str, Any]:
        """The item that keeps it in an image's meta data and in JSON."""
        return {TIME_AXIS: asdict(self)}
