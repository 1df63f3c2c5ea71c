"""Continuous, operator-based representations of medical volumes, at home in MONAI."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

from .cli.leaving import is_program, leave_when_asked

__version__ = "0.1.0"

if TYPE_CHECKING or not is_program(sys.orig_argv):
    from .names import *  # noqa: F403 (the public names)
    from .names import __all__ as __all__
    from .names import register_in_monai
    from .plugin.aliases import *  # noqa: F403 (names that MONAI users know)

    register_in_monai()
else:  # a command imports what it uses: most of a second's wait is for names that it does not
    leave_when_asked()

    def __getattr__(name: str) -> object:
        return getattr(import_module("oinr_monai.names"), name)
