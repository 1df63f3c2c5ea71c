"""The scanner makes slices, samples and noise of what is continuous."""

from .blur import Blur, Decimation
from .forward_model import Composition, ForwardModel, Separable
from .noise import GaussianNoise, NoiseModel, PhotonNoise, RicianNoise
from .noise_level import noise_level, repeat_noise_level
from .profiles import Boxcar, Gaussian, SampledProfile, SliceProfile
from .resampling import Resampling
from .simulation import simulate_slices
from .slices import SliceStack

__all__ = [
    "Blur",
    "Boxcar",
    "Composition",
    "Decimation",
    "ForwardModel",
    "Gaussian",
    "GaussianNoise",
    "NoiseModel",
    "PhotonNoise",
    "Resampling",
    "RicianNoise",
    "SampledProfile",
    "Separable",
    "SliceProfile",
    "SliceStack",
    "noise_level",
    "repeat_noise_level",
    "simulate_slices",
]
