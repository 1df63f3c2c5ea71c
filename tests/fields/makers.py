"""Every kind of field, small, on one extent, with what the laws ask it at."""

from __future__ import annotations

from collections.abc import Callable

import torch

from oinr_monai import (
    CZOINR,
    ConvOINR,
    CoordinateField,
    DyadicEncoding,
    FamilyField,
    Field,
    FourierEncoding,
    JointField,
    NeuralField,
    NoiseField,
    SplineField,
)
from oinr_monai.grids.positions import Lattice
from oinr_monai.representation.held_samples import HeldSamples
from oinr_monai.representation.lattice_field import LatticeField
from oinr_monai.representation.sampled_field import SampledField
from oinr_monai.representation.smoothed_field import SmoothedField

__all__ = ["EXTENT", "MAKERS", "SPACING", "inner_lattice", "make"]

EXTENT, SPACING = (9.0, 7.0, 8.0), (1.0, 0.7, 2.0)

Sizes = tuple[float, ...]


def spline(extent: Sizes, spacing: Sizes) -> SplineField:
    return SplineField(extent, [2 * h for h in spacing], 3, margin=[3 * h for h in spacing])


def family(extent: Sizes, spacing: Sizes) -> FamilyField:
    """Three members that move by parts of a voxel."""
    knots = [2 * h for h in spacing]
    margin = [4 * h for h in spacing]
    field = FamilyField(extent, knots, 3, 3, [3 * h for h in spacing], margin, [0.5, 0.2, 0.3])
    for motion in field.motions:
        torch.nn.init.normal_(motion.coefficients, std=0.2 * min(spacing))
    return field


def signal(extent: Sizes, spacing: Sizes, kernel_size: int | tuple[int, ...] = 1) -> NeuralField:
    """An operator on splines, as a field."""
    operator = ConvOINR(len(extent), 3, 2, (6, 5), kernel_size, omega_0=3.0)
    return NeuralField(spline(extent, spacing), operator, spacing)


def lattice_signal(extent: Sizes, spacing: Sizes) -> LatticeField:
    """An operator of whole lattices on splines, as a field."""
    operator = CZOINR(len(extent), 3, 2, channels=2, levels=1, wave="haar")
    shape = [round(e / h) + 1 for e, h in zip(extent, spacing, strict=True)]
    return LatticeField(spline(extent, spacing), operator, spacing, shape)


def smoothed(extent: Sizes, spacing: Sizes) -> SmoothedField:
    shape = [round(e / h) + 1 for e, h in zip(extent, spacing, strict=True)]
    return SmoothedField(signal(extent, spacing), 0.9 * min(spacing), shape, spacing)


def sampled(extent: Sizes, spacing: Sizes) -> SampledField:
    """The spline through samples of two channels."""
    shape = [round(e / h) + 1 for e, h in zip(extent, spacing, strict=True)]
    return SampledField(HeldSamples.of(torch.randn(2, *shape)), spacing)


MAKERS: dict[str, Callable[[Sizes, Sizes], Field]] = {
    "CoordinateField": lambda extent, spacing: CoordinateField(extent),
    "DyadicEncoding": lambda extent, spacing: DyadicEncoding(extent, 3),
    "FamilyField": family,
    "FourierEncoding": lambda extent, spacing: FourierEncoding(extent, spacing, 3, shortest=2),
    "JointField": lambda extent, spacing: JointField(
        [CoordinateField(extent), spline(extent, spacing)]
    ),
    "JointField of a signal": lambda extent, spacing: JointField(
        [signal(extent, spacing), CoordinateField(extent)]
    ),
    "LatticeField": lattice_signal,
    "NeuralField": signal,
    "NeuralField, inner kernels": lambda extent, spacing: signal(extent, spacing, (1, 3, 1)),
    "NoiseField": NoiseField,
    "SampledField": sampled,
    "SmoothedField": smoothed,
    "SplineField": spline,
}


def make(name: str, dims: int) -> Field:
    torch.manual_seed(dims)
    return MAKERS[name](EXTENT[:dims], SPACING[:dims]).double()


def inner_lattice(dims: int, margin: float = 1.3) -> Lattice:
    """Places at least ``margin`` spacings from the border, at the fitted spacing."""
    axes = (
        (margin + torch.arange(3 + d, dtype=torch.float64)) * h
        for d, h in zip((0, 1, -1), SPACING, strict=True)
    )
    return Lattice(tuple(axes)[:dims])
