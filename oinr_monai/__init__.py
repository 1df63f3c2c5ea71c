"""Continuous, operator-based representations of medical volumes, at home in MONAI."""

from __future__ import annotations

from .calderon_zygmund import CZOINR, FlatCZOINR
from .encodings import (
    CoordinateField,
    DyadicEncoding,
    FourierEncoding,
    NoiseField,
    SplineField,
)
from .exports import WorldSignal, export_signal
from .fields import Field, JointField
from .fitting import fit
from .grids import Grid
from .inferers import OINRInferer
from .networks import CKConvOINR, ConvOINR
from .neural_field import NeuralField
from .presets import FitConfig
from .registry import register
from .representation import IntensityScale, Representation
from .transforms import (
    DeriveOINR,
    DeriveOINRd,
    EncodeGrid,
    EncodeGridd,
    FeaturesOINR,
    FeaturesOINRd,
    FitOINR,
    FitOINRd,
    RandFitOINR,
    RandFitOINRd,
    SampleOINR,
    SampleOINRd,
)

__version__ = "0.1.0"

__all__ = [
    "CZOINR",
    "CKConvOINR",
    "ConvOINR",
    "CoordinateField",
    "DeriveOINR",
    "DeriveOINRd",
    "DyadicEncoding",
    "EncodeGrid",
    "EncodeGridd",
    "FeaturesOINR",
    "FeaturesOINRd",
    "Field",
    "FitConfig",
    "FitOINR",
    "FitOINRd",
    "FlatCZOINR",
    "FourierEncoding",
    "Grid",
    "IntensityScale",
    "JointField",
    "NeuralField",
    "NoiseField",
    "OINRInferer",
    "RandFitOINR",
    "RandFitOINRd",
    "Representation",
    "SampleOINR",
    "SampleOINRd",
    "SplineField",
    "WorldSignal",
    "export_signal",
    "fit",
    "register",
]

register()
