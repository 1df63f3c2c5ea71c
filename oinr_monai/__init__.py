"""Continuous, operator-based representations of medical volumes, at home in MONAI."""

from __future__ import annotations

from oinr_monai.analysis.isosurface import Surface, isosurface
from oinr_monai.analysis.occupancy import OccupancyConfig, fit_occupancy, label_map, label_surface
from oinr_monai.analysis.regions import region_features
from oinr_monai.analysis.weight_vectors import WeightVectors, weight_vector
from oinr_monai.fields.family import FamilyField
from oinr_monai.fields.field import Field, JointField
from oinr_monai.fields.fourier import (
    CoordinateField,
    DyadicEncoding,
    FourierEncoding,
    NoiseField,
    SplineField,
)
from oinr_monai.fitting.cohort import fit_many
from oinr_monai.fitting.family import Family, fit_family, interpolate_slices
from oinr_monai.fitting.learned_start import learn_start
from oinr_monai.fitting.presets import FitConfig
from oinr_monai.fitting.shared_operator import OperatorConfig, learn_operator, modulate
from oinr_monai.fitting.single import fit
from oinr_monai.grids.grid import Grid
from oinr_monai.images.stored import StoredImage, open_image
from oinr_monai.operators.calderon_zygmund import CZOINR, FlatCZOINR
from oinr_monai.operators.conv import CKConvOINR, ConvOINR
from oinr_monai.operators.sequence import SequenceOINR
from oinr_monai.plugin.ask_transforms import (
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
from oinr_monai.plugin.inferers import OINRInferer
from oinr_monai.plugin.restore_transforms import (
    SimulateThickSlices,
    SimulateThickSlicesd,
    SuperResolveOINR,
    SuperResolveOINRd,
)
from oinr_monai.representation.export import WorldSignal, export_signal
from oinr_monai.representation.neural_field import NeuralField
from oinr_monai.representation.registry import register
from oinr_monai.representation.representation import IntensityScale, Representation
from oinr_monai.restoration.denoising import DenoiseConfig, add_photon_noise, denoise
from oinr_monai.restoration.fusion import fuse
from oinr_monai.restoration.super_resolution import SuperResolveConfig, super_resolve
from oinr_monai.scanner.noise import GaussianNoise, NoiseModel, PhotonNoise, RicianNoise
from oinr_monai.scanner.simulation import simulate_slices

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
