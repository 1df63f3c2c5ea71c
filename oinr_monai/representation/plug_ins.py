"""Classes of other packages that a file may name: those that their entry points offer.

A package offers a field by an entry point of the group ``oinr_monai.fields``, an operator by one of
``oinr_monai.operators`` and a kernel network by one of ``oinr_monai.kernels``, named as the class::

    [project.entry-points."oinr_monai.fields"]
    HarmonicField = "my_package.fields:HarmonicField"

Installing the package is what makes its classes known. A file only names them, so that no file can
make anything else run.

A file is read by building its classes on torch's meta device, without memory, and giving them its
tensors. So a constructor makes parameters and buffers; what else it keeps is plain numbers, or made
with ``device="cpu"``. Types that its annotations tell are checked before it is called.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from inspect import isabstract
from typing import Any

from torch import nn

from oinr_monai.fields.field import Field
from oinr_monai.operators.kernels import KernelNetwork
from oinr_monai.operators.operator import LatticeOperator, LocalOperator

__all__ = ["GROUPS", "PlugInError", "group_of", "plugged_in"]


GROUPS: dict[str, tuple[type[nn.Module], ...]] = {
    "oinr_monai.fields": (Field,),
    "oinr_monai.operators": (LocalOperator, LatticeOperator),
    "oinr_monai.kernels": (KernelNetwork,),
}


class PlugInError(ValueError):
    """A class is not there, or not as it should be, for a reason that lies with its package."""


def group_of(cls: type[nn.Module]) -> str | None:
    """The group of entry points that offers classes of this kind; None for any other class.

    Example:
        >>> from oinr_monai import SplineField
        >>> group_of(SplineField)
        'oinr_monai.fields'
    """
    return next((group for group, kinds in GROUPS.items() if issubclass(cls, kinds)), None)


def plugged_in(name: str) -> type[nn.Module] | None:
    """The class that an installed package offers under ``name``, loaded now; None if none does.

    Raises:
        PlugInError: if several packages offer it, it does not load, or it is no class of its group.
    """
    points = _offered().get(name, [])
    if len(points) > 1:
        packages = " and ".join(sorted({_package(point) for point in points}))
        raise PlugInError(f"{name} must be offered once, got it from {packages}; uninstall one")
    return _loaded(points[0]) if points else None


@lru_cache(maxsize=1)
def _offered() -> dict[str, list[EntryPoint]]:
    found: dict[str, list[EntryPoint]] = {}
    for group in GROUPS:
        for point in entry_points(group=group):
            found.setdefault(point.name, []).append(point)
    return found


def _loaded(point: EntryPoint) -> type[nn.Module]:
    try:
        found: Any = point.load()
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise PlugInError(
            f"plug-in {point.name} of {_package(point)} must load, got {reason}; mend or "
            "uninstall the package"
        ) from error
    kinds = GROUPS[point.group]
    fits = isinstance(found, type) and issubclass(found, kinds) and not isabstract(found)
    if not fits or found.__name__ != point.name:
        wanted = " or ".join(kind.__name__ for kind in kinds)
        raise PlugInError(
            f"plug-in {point.name} of {_package(point)} must be a concrete {wanted} of that name, "
            f"got {found!r}; mend or uninstall the package"
        )
    return found


def _package(point: EntryPoint) -> str:
    return "an unknown package" if point.dist is None else str(point.dist.name)
