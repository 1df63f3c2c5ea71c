"""Input functions to choose from, and a choice of settings with its name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from oinr_monai import CoordinateField, FitConfig, FourierEncoding, Grid, SplineField
from oinr_monai.fields.field import Field
from oinr_monai.fields.joint import JointField


@dataclass(frozen=True)
class Choice:
    """One row: what it is, and the settings that make it."""

    name: str
    config: FitConfig


def splines(knots: float, channels: int, halo: int = 0) -> Callable[[Grid], Field]:
    """Learned spline field with knots every ``knots`` voxels and a halo in voxels."""

    def make(grid: Grid) -> Field:
        spacing = grid.spacing
        margin = (spacing * halo).tolist()
        return SplineField(grid.extent.tolist(), (spacing * knots).tolist(), channels, margin)

    return make


def fourier(bands: int | None) -> Callable[[Grid], Field]:
    """Fourier encoding in mm, all harmonics or ``bands`` of them."""
    return lambda grid: FourierEncoding(grid.extent.tolist(), grid.spacing.tolist(), bands=bands)


def coordinates(grid: Grid) -> Field:
    """Plain coordinates: the network is a SIREN."""
    return CoordinateField(grid.extent.tolist())


def coordinates_and_fourier(grid: Grid) -> Field:
    """Plain coordinates beside all harmonics."""
    return JointField([coordinates(grid), fourier(None)(grid)])


def splines_and_fourier(grid: Grid) -> Field:
    """Learned splines beside eight bands of the Fourier encoding."""
    return JointField([splines(3, 4)(grid), fourier(8)(grid)])
