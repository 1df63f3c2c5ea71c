"""Continuous, operator-based representations of medical volumes, at home in MONAI."""

from __future__ import annotations

from .encodings import (
    CoordinateField,
    DyadicEncoding,
    Field,
    FourierEncoding,
    JointField,
    NoiseField,
    SplineField,
)
from .fitting import FitConfig, fit
from .grids import Grid
from .networks import ConvOINR
from .neural_field import NeuralField
from .representation import IntensityScale, Representation

__version__ = "0.1.0"

__all__ = [
    "ConvOINR",
    "CoordinateField",
    "DyadicEncoding",
    "Field",
    "FitConfig",
    "FourierEncoding",
    "Grid",
    "IntensityScale",
    "JointField",
    "NeuralField",
    "NoiseField",
    "Representation",
    "SplineField",
    "fit",
]
