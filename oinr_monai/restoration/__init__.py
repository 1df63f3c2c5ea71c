"""Restoration undoes what the scanner did to an image, and what noise did."""

from .carried_denoiser import CarriedDenoiser
from .carried_operator import CarriedOperator
from .denoiser_learning import learn_denoising
from .denoising import DenoiseConfig, add_photon_noise, denoise, denoise_trusted
from .fusion import fuse, fuse_trusted
from .interpolation import interpolate_slices
from .operator_learning import learn_super_resolution
from .reconstruction import ReconstructConfig, Reconstruction, SlicePose, reconstruct
from .restored import Restored
from .scan_learning import LearningConfig
from .super_resolution import SuperResolveConfig, super_resolve, super_resolve_trusted

__all__ = [
    "CarriedDenoiser",
    "CarriedOperator",
    "DenoiseConfig",
    "LearningConfig",
    "ReconstructConfig",
    "Reconstruction",
    "Restored",
    "SlicePose",
    "SuperResolveConfig",
    "add_photon_noise",
    "denoise",
    "denoise_trusted",
    "fuse",
    "fuse_trusted",
    "interpolate_slices",
    "learn_denoising",
    "learn_super_resolution",
    "reconstruct",
    "super_resolve",
    "super_resolve_trusted",
]
