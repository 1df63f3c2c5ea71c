"""A motion says where each place of one image lies in another; registration finds it."""

from .affine import AffineMotion, rigid_about
from .displacement import Displacement
from .exchange import from_itk, from_voxels, load_motion, save_motion, to_itk, to_voxels
from .folding import MotionQuality, quality_of
from .frames import Realigned, realign
from .motion import Motion
from .registration import RegisterConfig, RegistrationNote, register
from .self_similarity import self_similarity
from .similarity import LocalCorrelation, MutualInformation, Similarity, SquaredDifferences
from .vector_spline import VectorSpline
from .velocity import Velocity
from .warp import warp_image, warp_labels
from .warped import Warped

__all__ = [
    "AffineMotion",
    "Displacement",
    "LocalCorrelation",
    "Motion",
    "MotionQuality",
    "MutualInformation",
    "Realigned",
    "RegisterConfig",
    "RegistrationNote",
    "Similarity",
    "SquaredDifferences",
    "VectorSpline",
    "Velocity",
    "Warped",
    "from_itk",
    "from_voxels",
    "load_motion",
    "quality_of",
    "realign",
    "register",
    "rigid_about",
    "save_motion",
    "self_similarity",
    "to_itk",
    "to_voxels",
    "warp_image",
    "warp_labels",
]
