"""Continuous, operator-based representations of medical volumes, at home in MONAI."""

from __future__ import annotations

from .calderon_zygmund import CZOINR, FlatCZOINR
from .cohort import fit_many
from .denoising import DenoiseConfig, add_photon_noise, denoise
from .encodings import (
    CoordinateField,
    DyadicEncoding,
    FourierEncoding,
    NoiseField,
    SplineField,
)
from .exports import WorldSignal, export_signal
from .families import Family, fit_family, interpolate_slices
from .family_field import FamilyField
from .fields import Field, JointField
from .fitting import fit
from .fusion import fuse
from .grids import Grid
from .inferers import OINRInferer
from .modulations import OperatorConfig, learn_operator, modulate
from .networks import CKConvOINR, ConvOINR
from .neural_field import NeuralField
from .noises import GaussianNoise, NoiseModel, PhotonNoise, RicianNoise
from .occupancy import OccupancyConfig, fit_occupancy, label_map, label_surface
from .presets import FitConfig
from .regions import region_features
from .registry import register
from .representation import IntensityScale, Representation
from .sequences import SequenceOINR
from .simulation import simulate_slices
from .starts import learn_start
from .stored import StoredImage, open_image
from .super_resolution import SuperResolveConfig, super_resolve
from .super_resolution_transforms import (
    SimulateThickSlices,
    SimulateThickSlicesd,
    SuperResolveOINR,
    SuperResolveOINRd,
)
from .surface import Surface, isosurface
from .transforms import (
    DenoiseOINR,
    DenoiseOINRd,
    DeriveOINR,
    DeriveOINRd,
    EncodeGrid,
    EncodeGridd,
    FeaturesOINR,
    FeaturesOINRd,
    FitOccupancyOINR,
    FitOccupancyOINRd,
    FitOINR,
    FitOINRd,
    InterpolateOINR,
    InterpolateOINRd,
    LabelsOINR,
    LabelsOINRd,
    RandFitOINR,
    RandFitOINRd,
    SampleOINR,
    SampleOINRd,
)
from .weight_space import WeightVectors, weight_vector

__version__ = "0.1.0"

__all__ = [
    "CZOINR",
    "CKConvOINR",
    "ConvOINR",
    "CoordinateField",
    "DenoiseConfig",
    "DenoiseOINR",
    "DenoiseOINRd",
    "DeriveOINR",
    "DeriveOINRd",
    "DyadicEncoding",
    "EncodeGrid",
    "EncodeGridd",
    "Family",
    "FamilyField",
    "FeaturesOINR",
    "FeaturesOINRd",
    "Field",
    "FitConfig",
    "FitOINR",
    "FitOINRd",
    "FitOccupancyOINR",
    "FitOccupancyOINRd",
    "FlatCZOINR",
    "FourierEncoding",
    "GaussianNoise",
    "Grid",
    "IntensityScale",
    "InterpolateOINR",
    "InterpolateOINRd",
    "JointField",
    "LabelsOINR",
    "LabelsOINRd",
    "NeuralField",
    "NoiseField",
    "NoiseModel",
    "OINRInferer",
    "OccupancyConfig",
    "OperatorConfig",
    "PhotonNoise",
    "RandFitOINR",
    "RandFitOINRd",
    "Representation",
    "RicianNoise",
    "SampleOINR",
    "SampleOINRd",
    "SequenceOINR",
    "SimulateThickSlices",
    "SimulateThickSlicesd",
    "SplineField",
    "StoredImage",
    "SuperResolveConfig",
    "SuperResolveOINR",
    "SuperResolveOINRd",
    "Surface",
    "WeightVectors",
    "WorldSignal",
    "add_photon_noise",
    "denoise",
    "export_signal",
    "fit",
    "fit_family",
    "fit_many",
    "fit_occupancy",
    "fuse",
    "interpolate_slices",
    "isosurface",
    "label_map",
    "label_surface",
    "learn_operator",
    "learn_start",
    "modulate",
    "open_image",
    "region_features",
    "register",
    "simulate_slices",
    "super_resolve",
    "weight_vector",
]

register()
