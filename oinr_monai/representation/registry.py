"""Names of our classes: those that a file may be built from, and those that MONAI gets to know."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import nn

from oinr_monai.fields.coordinates import CoordinateField
from oinr_monai.fields.family import FamilyField
from oinr_monai.fields.fourier import DyadicEncoding, FourierEncoding
from oinr_monai.fields.joint import JointField
from oinr_monai.fields.noise import NoiseField
from oinr_monai.fields.spline import SplineField
from oinr_monai.operators.calderon_zygmund import CZOINR
from oinr_monai.operators.ckconv import CKConvOINR
from oinr_monai.operators.conv import ConvOINR
from oinr_monai.operators.flat_calderon_zygmund import FlatCZOINR
from oinr_monai.operators.kernels import SIREN, KernelNetwork, MLPNet, RFNet
from oinr_monai.operators.multiplicative_kernels import FourierNet, GaborNet, MAGNet
from oinr_monai.operators.sequence import SequenceOINR

__all__ = ["FIELDS", "KERNELS", "NETWORKS", "build", "describe"]


NETWORKS: dict[str, type[nn.Module]] = {
    cls.__name__: cls
    for cls in (
        CKConvOINR,
        ConvOINR,
        CZOINR,
        FlatCZOINR,
        SequenceOINR,
    )
}


KERNELS: dict[str, type[KernelNetwork]] = {
    cls.__name__: cls
    for cls in (
        FourierNet,
        GaborNet,
        MAGNet,
        MLPNet,
        RFNet,
        SIREN,
    )
}


FIELDS: dict[str, type[nn.Module]] = {
    cls.__name__: cls
    for cls in (
        CoordinateField,
        DyadicEncoding,
        FamilyField,
        FourierEncoding,
        JointField,
        NoiseField,
        SplineField,
    )
}


def describe(module: nn.Module) -> dict[str, Any]:
    """Class name and constructor arguments of a field or network, as JSON values.

    Raises:
        ValueError: if the class is not one that :func:`build` would accept.
    """
    name = type(module).__name__
    if {**NETWORKS, **FIELDS, **KERNELS}.get(name) is not type(module):
        raise ValueError(f"module must be of a registered class to be saved, got {type(module)}")
    arguments = dict(module.arguments())  # type: ignore[operator]
    if "fields" in arguments:
        arguments["fields"] = [describe(field) for field in arguments["fields"]]
    if "kernel" in arguments:
        arguments["kernel"] = describe(arguments["kernel"])
    return {"class": name, "arguments": arguments}


def build(description: dict[str, Any]) -> nn.Module:
    """The field or network that :func:`describe` described, freshly initialised.

    Raises:
        ValueError: if the class is not registered.

    Example:
        >>> build({"class": "CoordinateField", "arguments": {"extent": [9.0, 9.0]}}).channels
        2
    """
    arguments = dict(description["arguments"])
    if "fields" in arguments:
        arguments["fields"] = [build(field) for field in arguments["fields"]]
    if "kernel" in arguments:
        # A layer makes its own kernel network, and says how many values it needs.
        kernel = arguments["kernel"]
        arguments["kernel"] = partial(_known(kernel, KERNELS), **kernel["arguments"])
    return _known(description, {**NETWORKS, **FIELDS})(**arguments)


def _known(description: dict[str, Any], classes: Mapping[str, type[nn.Module]]) -> type[nn.Module]:
    name = str(description.get("class"))
    if name not in classes:
        raise ValueError(f"class must be one of {sorted(classes)}, got {name!r}")
    return classes[name]
