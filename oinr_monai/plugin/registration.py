"""Names that MONAI gets to know: networks, the sine activation, short names in configs."""

from __future__ import annotations

import warnings

import monai.networks.nets
import torch
from monai.bundle import ComponentLocator
from monai.networks.layers import Act
from monai.utils import TraceKeys
from torch import nn

from oinr_monai.operators.sine import Sine
from oinr_monai.representation.family import Family
from oinr_monai.representation.in_monai import revived
from oinr_monai.representation.registry import OPERATORS

__all__ = ["register_in_monai"]


def register_in_monai() -> None:
    """Make MONAI know our networks, the sine activation and our short names, in this process.

    Importing ``oinr_monai`` calls it; calling it again changes nothing. MONAI has no registry of
    networks: this sets ``monai.networks.nets.<Name>``, adds ``Act["sine"]``, and lets a config's
    ``"_target_": "ConvOINR"`` find the classes of this package as it finds MONAI's own. What is
    already taken by something else, or no longer there in MONAI, is left alone with a warning. And
    torch's loader learns the names of MONAI's history, and to read the bytes of our files, so that
    caches on disk can hold answers and representations.

    Example:
        >>> register_in_monai()
        >>> Act["sine"](omega_0=30.0)
        Sine(omega_0=30.0)
    """
    for name, operator in OPERATORS.items():
        _register_operator(name, operator)
    _register_sine()
    _register_short_names()
    # MONAI's PersistentDataset writes them, and then could not load them.
    torch.serialization.add_safe_globals([TraceKeys, revived, Family])


def _register_operator(name: str, operator: type[nn.Module]) -> None:
    if getattr(monai.networks.nets, name, operator) is not operator:
        _skip(f"monai.networks.nets.{name} is another class", f"oinr_monai.{name}")
    else:
        setattr(monai.networks.nets, name, operator)


def _register_sine() -> None:
    if "SINE" not in Act.names:
        Act.add_factory_class("sine", Sine)
    elif Act["sine"] is not Sine:
        _skip('Act["sine"] is another class', "oinr_monai.operators.Sine")


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
