"""The ways to run a command that the tests of the commands have."""

from __future__ import annotations

from tests.cli.conftest import refused, run

__all__ = ["refused", "run"]
