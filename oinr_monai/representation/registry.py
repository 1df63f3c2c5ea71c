"""Names of our classes: those that a file may be built from, and those that MONAI gets to know."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import partial
from typing import Any

import monai.networks.nets
from monai.bundle import ComponentLocator
from monai.networks.layers import Act
from torch import nn

from oinr_monai.fields.family import FamilyField
from oinr_monai.fields.field import JointField
from oinr_monai.fields.fourier import (
    CoordinateField,
    DyadicEncoding,
    FourierEncoding,
    NoiseField,
    SplineField,
)
from oinr_monai.operators.calderon_zygmund import CZOINR, FlatCZOINR
from oinr_monai.operators.conv import CKConvOINR, ConvOINR
from oinr_monai.operators.integral import Sine
from oinr_monai.operators.kernels import (
    SIREN,
    FourierNet,
    GaborNet,
    KernelNetwork,
    MAGNet,
    MLPNet,
    RFNet,
)
from oinr_monai.operators.sequence import SequenceOINR

__all__ = ["FIELDS", "KERNELS", "NETWORKS", "build", "describe", "register"]

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


def register() -> None:
    """Make MONAI know our networks, the sine activation and our short names, in this process.

    Importing ``oinr_monai`` calls it; calling it again changes nothing. MONAI has no registry of
    networks: this sets ``monai.networks.nets.<Name>``, adds ``Act["sine"]``, and lets a config's
    ``"_target_": "ConvOINR"`` find the classes of this package as it finds MONAI's own. What is
    already taken by something else, or no longer there in MONAI, is left alone with a warning.

    Example:
        >>> register()
        >>> Act["sine"](omega_0=30.0)
        Sine(omega_0=30.0)
    """
    for name, network in NETWORKS.items():
        _register_network(name, network)
    _register_sine()
    _register_short_names()


def _register_network(name: str, network: type[nn.Module]) -> None:
    if getattr(monai.networks.nets, name, network) is not network:
        _skip(f"monai.networks.nets.{name} is another class", f"oinr_monai.{name}")
    else:
        setattr(monai.networks.nets, name, network)


def _register_sine() -> None:
    if "SINE" not in Act.names:
        Act.add_factory_class("sine", Sine)
    elif Act["sine"] is not Sine:
        _skip('Act["sine"] is another class', "oinr_monai.operators.integral.Sine")


def _register_short_names() -> None:
    # MONAI looks names up in the loaded modules whose own name starts with MOD_START; the tuple
    # that str.startswith takes as well adds a package.
    package = __name__.partition(".")[0]
    starts = getattr(ComponentLocator, "MOD_START", None)
    if isinstance(starts, str):
        starts = (starts,)
    if not isinstance(starts, tuple):
        _skip("monai.bundle.ComponentLocator.MOD_START is no prefix", f"{package}.<Name>")
    elif package not in starts:
        ComponentLocator.MOD_START = (*starts, package)  # type: ignore[assignment]


def _skip(reason: str, path: str) -> None:
    warnings.warn(f"{reason}; in configs, name ours by its path, {path}", stacklevel=4)
