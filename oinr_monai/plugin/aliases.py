"""The other names that MONAI gives to the dictionary versions of transforms."""

from .ask_transforms import (
    DeriveOINRD,
    DeriveOINRDict,
    EncodeGridD,
    EncodeGridDict,
    FeaturesOINRD,
    FeaturesOINRDict,
    LabelsOINRD,
    LabelsOINRDict,
    SampleOINRD,
    SampleOINRDict,
)
from .fit_transforms import (
    FitOccupancyOINRD,
    FitOccupancyOINRDict,
    FitOINRD,
    FitOINRDict,
    RandFitOINRD,
    RandFitOINRDict,
)
from .jet_transform import JetFeaturesD, JetFeaturesDict
from .reconstruct_transform import ReconstructOINRD, ReconstructOINRDict
from .register_transform import RegisterOINRD, RegisterOINRDict
from .restore_transforms import (
    DenoiseOINRD,
    DenoiseOINRDict,
    InterpolateOINRD,
    InterpolateOINRDict,
    SimulateThickSlicesD,
    SimulateThickSlicesDict,
    SuperResolveOINRD,
    SuperResolveOINRDict,
)
from .scan_files import SaveDICOMD, SaveDICOMDict

__all__ = [
    "DenoiseOINRD",
    "DenoiseOINRDict",
    "DeriveOINRD",
    "DeriveOINRDict",
    "EncodeGridD",
    "EncodeGridDict",
    "FeaturesOINRD",
    "FeaturesOINRDict",
    "FitOINRD",
    "FitOINRDict",
    "FitOccupancyOINRD",
    "FitOccupancyOINRDict",
    "InterpolateOINRD",
    "InterpolateOINRDict",
    "JetFeaturesD",
    "JetFeaturesDict",
    "LabelsOINRD",
    "LabelsOINRDict",
    "RandFitOINRD",
    "RandFitOINRDict",
    "ReconstructOINRD",
    "ReconstructOINRDict",
    "RegisterOINRD",
    "RegisterOINRDict",
    "SampleOINRD",
    "SampleOINRDict",
    "SaveDICOMD",
    "SaveDICOMDict",
    "SimulateThickSlicesD",
    "SimulateThickSlicesDict",
    "SuperResolveOINRD",
    "SuperResolveOINRDict",
]
