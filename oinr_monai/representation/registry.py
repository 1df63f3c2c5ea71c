"""Names of the classes that a file may be built from: ours, and those of installed plug-ins."""

from __future__ import annotations

import json
from functools import partial
from inspect import isabstract
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from oinr_monai import fields, operators
from oinr_monai.fields.field import Field
from oinr_monai.operators.kernels import KernelNetwork
from oinr_monai.operators.operator import Operator

from .arguments import check_arguments, told
from .held_samples import HeldSamples
from .lattice_field import LatticeField
from .neural_field import NeuralField
from .plug_ins import PlugInError, group_of, plugged_in
from .sampled_field import SampledField
from .smoothed_field import SmoothedField

__all__ = [
    "FIELDS",
    "KERNELS",
    "OPERATORS",
    "build",
    "check_savable",
    "check_whole",
    "describe",
    "rebuilt",
]


def _offered(face: ModuleType, kind: type) -> dict[str, type[nn.Module]]:
    each = (getattr(face, name) for name in face.__all__)
    return {cls.__name__: cls for cls in each if issubclass(cls, kind) and not isabstract(cls)}


FIELDS = _offered(fields, Field)

OPERATORS = _offered(operators, Operator)

KERNELS = _offered(operators, KernelNetwork)

# Fields that are the signal of an operator on another field, or of samples.
SIGNALS = {cls.__name__: cls for cls in (LatticeField, NeuralField, SampledField, SmoothedField)}

OURS = {**FIELDS, **SIGNALS, **OPERATORS, **KERNELS, "HeldSamples": HeldSamples}


def describe(module: nn.Module) -> dict[str, Any]:
    """Class name and constructor arguments of a field, operator or kernel network, as JSON values.

    What it is made of, such as the members of a :class:`~oinr_monai.JointField`, is described too.

    Raises:
        ValueError: if a class is neither ours nor that of an installed plug-in.

    Example:
        >>> from oinr_monai import CoordinateField
        >>> describe(CoordinateField((9.0, 9.0)))
        {'class': 'CoordinateField', 'arguments': {'extent': [9.0, 9.0]}}
    """
    _check_known(type(module))
    arguments: dict[str, Any] = module.arguments()  # type: ignore[operator]
    return {"class": type(module).__name__, "arguments": _told(arguments)}


def build(description: dict[str, Any]) -> nn.Module:
    """The field or operator that :func:`describe` described, freshly initialised.

    Raises:
        ValueError: if a class is neither ours nor that of an installed plug-in, or does not take
            these arguments.

    Example:
        >>> build({"class": "CoordinateField", "arguments": {"extent": [9.0, 9.0]}}).channels
        2
    """
    cls, arguments = _parts(description)
    if issubclass(cls, KernelNetwork):
        raise ValueError(f"class must be a field or an operator, got {cls.__name__}")
    made = _made(arguments)
    check_arguments(cls, made)
    return cls(**made)


def rebuilt(module: nn.Module) -> nn.Module:
    """A field or operator as a file gives it back: its arguments by way of JSON, and its state.

    It is built without memory, on the meta device, and then takes the tensors of ``module``.

    Raises:
        ValueError: if its arguments are not those of its class, or build other tensors, or it keeps
            tensors that are neither parameters nor buffers of its state.
    """
    text = json.dumps(_told(module.arguments()))  # type: ignore[operator]
    with torch.device("meta"):
        made = _made(json.loads(text))
        check_arguments(type(module), made)
        again = type(module)(**made)
    odd = sorted({key for key, _ in _shapes(module) ^ _shapes(again)})
    if odd:
        raise ValueError(f"other shapes of {odd[0]}")
    again.load_state_dict(module.state_dict(), assign=True)
    check_whole(again)
    return again


def check_whole(module: nn.Module) -> None:
    """Raise ValueError if a tensor is left on the meta device, after all its state was loaded."""
    for name, part in module.named_modules():
        kept = {**vars(part), **dict(part.named_buffers(recurse=False))}
        for key, value in kept.items():
            each = value if isinstance(value, list | tuple) else [value]
            if any(isinstance(x, Tensor) and x.is_meta for x in each):
                raise ValueError(
                    f"{'.'.join(filter(None, (name, key)))} outside its state: make it a buffer, "
                    'or give it device="cpu"'
                )


def check_savable(module: nn.Module) -> None:
    """Refuse a field or operator that a file could not hold, before any work is put into it.

    Raises:
        ValueError: if it is of an unknown class, or its arguments do not build it again.
    """
    name = type(module).__name__
    remedy = f"let {name}.arguments() return all that its constructor needs, as JSON values"
    _check_known(type(module))
    try:
        rebuilt(module)
    except PlugInError:
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split()).removeprefix("ValueError: ")
        raise ValueError(
            f"{name} must be built from its arguments, got {reason}; {remedy}"
        ) from error


def _shapes(module: nn.Module) -> set[tuple[str, tuple[int, ...]]]:
    return {(name, tuple(tensor.shape)) for name, tensor in module.state_dict().items()}


def _told(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, nn.Module):
        return describe(value)
    if isinstance(value, dict):
        return {name: _told(each) for name, each in value.items()}
    return [_told(each) for each in value] if isinstance(value, list | tuple) else value


def _made(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, list):
        return [_made(each) for each in value]
    if not isinstance(value, dict):
        return value
    if set(value) != {"class", "arguments"}:
        return {name: _made(each) for name, each in value.items()}
    cls, arguments = _parts(value)
    if not issubclass(cls, KernelNetwork):
        return build(value)
    # A layer makes its own kernel network, and says how many values it needs.
    check_arguments(cls, {**arguments, "spatial_dims": 1, "out_channels": 1})
    return partial(cls, **arguments)


def _parts(description: dict[str, Any]) -> tuple[type[nn.Module], dict[str, Any]]:
    if set(description) != {"class", "arguments"}:
        raise ValueError(f"a description must have class and arguments, got {told(description)}")
    cls, arguments = _named(description["class"]), description["arguments"]
    if not isinstance(arguments, dict):
        raise ValueError(f"arguments of {cls.__name__} must be a mapping, got {told(arguments)}")
    return cls, arguments


def _named(name: object) -> type[nn.Module]:
    cls = OURS.get(str(name)) or plugged_in(str(name))
    if cls is None:
        raise PlugInError(
            "class must be one of oinr_monai or of an installed plug-in, got "
            f"{told(name)}; install the package that offers it"
        )
    return cls


def _check_known(cls: type[nn.Module]) -> None:
    name, place = cls.__name__, f"{cls.__module__}:{cls.__qualname__}"
    found = OURS.get(name) or plugged_in(name)
    if found is cls:
        return
    remedy = "a file holds fields, operators and kernel networks"
    if found is not None:
        remedy = f"{name} is the name of {found.__module__}:{found.__qualname__}, choose another"
    elif (group := group_of(cls)) is not None:
        remedy = f"offer it by the entry point {name} = {place} of the group {group}"
    raise PlugInError(f"module must be of a registered class to be saved, got {place}; {remedy}")
