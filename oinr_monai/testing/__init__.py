"""Laws that every part of a kind must pass: ours, and those of other packages.

Each battery can be called, to try all laws at once, or iterated over, so that each is a test:

>>> import torch
>>> from oinr_monai import SplineField
>>> from oinr_monai.grids import Lattice
>>> lattice = Lattice((2.3 + torch.arange(4.0).double(), 3.1 + torch.arange(3.0).double()))
>>> field_laws(SplineField((9.0, 9.0), (2.0, 2.0), channels=3), lattice)
>>> [law.__name__ for law in field_laws][:2]
['answers_have_their_shape', 'lattice_and_points_agree']
"""

from .fields import field_laws
from .forward_models import forward_model_laws
from .kernels import kernel_laws
from .law import Battery
from .noises import noise_laws
from .operators import lattice_operator_laws, local_operator_laws
from .stand_in import StandIn

__all__ = [
    "Battery",
    "StandIn",
    "field_laws",
    "forward_model_laws",
    "kernel_laws",
    "lattice_operator_laws",
    "local_operator_laws",
    "noise_laws",
]
