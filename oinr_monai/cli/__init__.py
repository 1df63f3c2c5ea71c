"""The command line, ``oinr``."""

from .app import main

__all__ = ["main"]
