"""Continuous, operator-based representations of medical volumes, at home in MONAI."""

from __future__ import annotations

from .encodings import (
    CoordinateField,
    DyadicEncoding,
    FourierEncoding,
    NoiseField,
    SplineField,
)
from .fields import Field, JointField
from .fitting import fit
from .grids import Grid
from .networks import ConvOINR
from .neural_field import NeuralField
from .presets import FitConfig
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
