"""The plug-in for MONAI: registered networks, transforms, inferers, and training in bundles."""

from .ask_transforms import (
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
from .dictionary import DictionaryTwin
from .fit_transforms import (
    FitOccupancyOINR,
    FitOccupancyOINRd,
    FitOINR,
    FitOINRd,
    RandFitOINR,
    RandFitOINRd,
)
from .inferers import EachInferer, OINRInferer
from .jet_transform import JetFeatures, JetFeaturesd
from .reconstruct_transform import ReconstructOINR, ReconstructOINRd
from .register_transform import RegisterOINRd
from .registration import register_in_monai
from .restore_transforms import (
    DenoiseOINR,
    DenoiseOINRd,
    InterpolateOINR,
    InterpolateOINRd,
    SimulateThickSlices,
    SimulateThickSlicesd,
    SuperResolveOINR,
    SuperResolveOINRd,
)
from .scan_files import SaveDICOM, SaveDICOMd, ScanReader
from .slice_training import MissingDetail, RandomSlices, detail_and_truth
from .training import RandomLattices, TrainedInferer

__all__ = [
    "DenoiseOINR",
    "DenoiseOINRd",
    "DeriveOINR",
    "DeriveOINRd",
    "DictionaryTwin",
    "EachInferer",
    "EncodeGrid",
    "EncodeGridd",
    "FeaturesOINR",
    "FeaturesOINRd",
    "FitOINR",
    "FitOINRd",
    "FitOccupancyOINR",
    "FitOccupancyOINRd",
    "InterpolateOINR",
    "InterpolateOINRd",
    "JetFeatures",
    "JetFeaturesd",
    "LabelsOINR",
    "LabelsOINRd",
    "MissingDetail",
    "OINRInferer",
    "RandFitOINR",
    "RandFitOINRd",
    "RandomLattices",
    "RandomSlices",
    "ReconstructOINR",
    "ReconstructOINRd",
    "RegisterOINRd",
    "SampleOINR",
    "SampleOINRd",
    "SaveDICOM",
    "SaveDICOMd",
    "ScanReader",
    "SimulateThickSlices",
    "SimulateThickSlicesd",
    "SuperResolveOINR",
    "SuperResolveOINRd",
    "TrainedInferer",
    "detail_and_truth",
    "register_in_monai",
]
