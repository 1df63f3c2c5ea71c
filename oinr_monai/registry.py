"""Names of the classes a saved representation may be built from."""

from __future__ import annotations

from typing import Any

from torch import nn

from . import encodings, fields, networks

__all__ = ["FIELDS", "NETWORKS", "build", "describe"]

NETWORKS: dict[str, type[nn.Module]] = {"ConvOINR": networks.ConvOINR}

FIELDS: dict[str, type[nn.Module]] = {
    cls.__name__: cls
    for cls in (
        encodings.CoordinateField,
        encodings.DyadicEncoding,
        encodings.FourierEncoding,
        fields.JointField,
        encodings.NoiseField,
        encodings.SplineField,
    )
}


def describe(module: nn.Module) -> dict[str, Any]:
    """Class name and constructor arguments of a field or network, as JSON values.

    Raises:
        ValueError: if the class is not one that :func:`build` would accept.
    """
    name = type(module).__name__
    if {**NETWORKS, **FIELDS}.get(name) is not type(module):
        raise ValueError(f"module must be of a registered class to be saved, got {type(module)}")
    arguments = dict(module.arguments())  # type: ignore[operator]
    if "fields" in arguments:
        arguments["fields"] = [describe(field) for field in arguments["fields"]]
    return {"class": name, "arguments": arguments}


def build(description: dict[str, Any]) -> nn.Module:
    """The field or network that :func:`describe` described, freshly initialised.

    Raises:
        ValueError: if the class is not registered.

    Example:
        >>> build({"class": "CoordinateField", "arguments": {"extent": [9.0, 9.0]}}).channels
        2
    """
    known = {**NETWORKS, **FIELDS}
    name = description.get("class")
    if name not in known:
        raise ValueError(f"class must be one of {sorted(known)}, got {name!r}")
    arguments = dict(description["arguments"])
    if "fields" in arguments:
        arguments["fields"] = [build(field) for field in arguments["fields"]]
    return known[name](**arguments)
