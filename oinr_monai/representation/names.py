"""The names of representations, each from its module."""

from __future__ import annotations

from .continuous_field import ContinuousField
from .exact import spline_representation
from .export import WorldSignal, export_signal
from .family import Family
from .info import Info
from .lattice_field import LatticeField
from .neural_field import NeuralField
from .representation import Representation

__all__ = [
    "ContinuousField",
    "Family",
    "Info",
    "LatticeField",
    "NeuralField",
    "Representation",
    "WorldSignal",
    "export_signal",
    "spline_representation",
]
