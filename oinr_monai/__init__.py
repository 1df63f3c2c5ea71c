"""Continuous, operator-based representations of medical volumes, at home in MONAI."""

from __future__ import annotations

from oinr_monai.analysis.isosurface import isosurface
from oinr_monai.analysis.mesh import Surface
from oinr_monai.analysis.occupancy import OccupancyConfig, fit_occupancy, label_map, label_surface
from oinr_monai.analysis.regions import region_features
from oinr_monai.analysis.weight_vectors import WeightVectors, weight_vector
from oinr_monai.fields.coordinates import CoordinateField
from oinr_monai.fields.family import FamilyField
from oinr_monai.fields.field import Field
from oinr_monai.fields.fourier import DyadicEncoding, FourierEncoding
from oinr_monai.fields.joint import JointField
from oinr_monai.fields.noise import NoiseField
from oinr_monai.fields.spline import SplineField
from oinr_monai.fitting.cohort import fit_many
from oinr_monai.fitting.family import fit_family
from oinr_monai.fitting.learned_start import learn_start
from oinr_monai.fitting.modulation import modulate
from oinr_monai.fitting.presets import FitConfig
from oinr_monai.fitting.shared_operator import OperatorConfig, learn_operator
from oinr_monai.fitting.single import fit
from oinr_monai.grids.grid import Grid
from oinr_monai.images.intensity import IntensityScale
from oinr_monai.images.stored import StoredImage, open_image
from oinr_monai.operators.calderon_zygmund import CZOINR
from oinr_monai.operators.ckconv import CKConvOINR
from oinr_monai.operators.conv import ConvOINR
from oinr_monai.operators.flat_calderon_zygmund import FlatCZOINR
from oinr_monai.operators.sequence import SequenceOINR
from oinr_monai.plugin.ask_transforms import (
    DeriveOINR,
    DeriveOINRd,
    EncodeGrid,
    EncodeGridd,
    FeaturesOINR,
    FeaturesOINRd,
    LabelsOINR,
    LabelsOINRd,
    SampleOINR,
    SampleOINRd,
)
from oinr_monai.plugin.fit_transforms import (
    FitOccupancyOINR,
    FitOccupancyOINRd,
    FitOINR,
    FitOINRd,
    RandFitOINR,
    RandFitOINRd,
)
from oinr_monai.plugin.inferers import OINRInferer
from oinr_monai.plugin.registration import register
from oinr_monai.plugin.restore_transforms import (
    DenoiseOINR,
    DenoiseOINRd,
    InterpolateOINR,
    InterpolateOINRd,
    SimulateThickSlices,
    SimulateThickSlicesd,
    SuperResolveOINR,
    SuperResolveOINRd,
)
from oinr_monai.representation.export import WorldSignal, export_signal
from oinr_monai.representation.family import Family
from oinr_monai.representation.neural_field import NeuralField
from oinr_monai.representation.representation import Representation
from oinr_monai.restoration.denoising import DenoiseConfig, add_photon_noise, denoise
from oinr_monai.restoration.fusion import fuse
from oinr_monai.restoration.interpolation import interpolate_slices
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
