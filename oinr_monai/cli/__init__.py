"""The command line, ``oinr``."""

from oinr_monai.cli.app import main

__all__ = ["main"]
