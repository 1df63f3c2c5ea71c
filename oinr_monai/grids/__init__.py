"""A grid says where the voxels of an image lie in the world, in mm."""

from .grid import Grid
from .jets import Jet
from .positions import Lattice, Positions, Scatter
from .splines import CubicInterpolant

__all__ = [
    "CubicInterpolant",
    "Grid",
    "Jet",
    "Lattice",
    "Positions",
    "Scatter",
]
