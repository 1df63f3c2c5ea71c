"""The names of fitting, each from its module."""

from __future__ import annotations

from .cohort import fit_many
from .family import fit_family
from .learned_start import learn_start
from .modulation import modulate
from .presets import FitConfig
from .shared_operator import OperatorConfig, learn_operator
from .single import fit

__all__ = [
    "FitConfig",
    "OperatorConfig",
    "fit",
    "fit_family",
    "fit_many",
    "learn_operator",
    "learn_start",
    "modulate",
]
