"""Restoration undoes what the scanner did to an image, and what noise did."""

from .denoising import DenoiseConfig, add_photon_noise, denoise
from .fusion import fuse
from .interpolation import interpolate_slices
from .super_resolution import SuperResolveConfig, super_resolve

__all__ = [
    "DenoiseConfig",
    "SuperResolveConfig",
    "add_photon_noise",
    "denoise",
    "fuse",
    "interpolate_slices",
    "super_resolve",
]
