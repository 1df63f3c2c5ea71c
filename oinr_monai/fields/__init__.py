"""A field gives every place a few numbers, from which an operator makes the signal."""

from .bsplines import BSplines
from .coordinates import CoordinateField
from .family import FamilyField
from .field import Field
from .fourier import DyadicEncoding, FourierEncoding
from .joint import JointField
from .noise import NoiseField
from .separable import SeparableField
from .spline import SplineField

__all__ = [
    "BSplines",
    "CoordinateField",
    "DyadicEncoding",
    "FamilyField",
    "Field",
    "FourierEncoding",
    "JointField",
    "NoiseField",
    "SeparableField",
    "SplineField",
]
