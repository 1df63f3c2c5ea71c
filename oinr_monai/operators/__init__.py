"""An operator maps a field to the signal."""

from .calderon_zygmund import CZOINR
from .ckconv import CKConvOINR
from .conv import ConvOINR
from .flat_calderon_zygmund import FlatCZOINR
from .integral import KernelIntegral
from .jet import JetOINR
from .kernels import SIREN, KernelNetwork, MLPNet, RFNet
from .multiplicative_kernels import FourierNet, GaborNet, MAGNet
from .operator import LatticeOperator, LocalOperator, Operator
from .sequence import SequenceOINR
from .sine import Sine

__all__ = [
    "CZOINR",
    "SIREN",
    "CKConvOINR",
    "ConvOINR",
    "FlatCZOINR",
    "FourierNet",
    "GaborNet",
    "JetOINR",
    "KernelIntegral",
    "KernelNetwork",
    "LatticeOperator",
    "LocalOperator",
    "MAGNet",
    "MLPNet",
    "Operator",
    "RFNet",
    "SequenceOINR",
    "Sine",
]
