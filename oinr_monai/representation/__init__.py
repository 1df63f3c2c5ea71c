"""A representation is a field and an operator on a grid: an image as a continuous function."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .names import *  # noqa: F403 (the public names)
    from .names import __all__ as __all__
else:  # a module of the folder loads what it uses, not the whole folder

    def __getattr__(name: str) -> object:
        return getattr(import_module(f"{__name__}.names"), name)
