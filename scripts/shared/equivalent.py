"""Faults that change nothing, and why: what tests could not notice."""

from __future__ import annotations

__all__ = ["CHANGES_NOTHING"]

# By module, class and function, code, and what it becomes.
CHANGES_NOTHING: dict[tuple[str, str, str, str], str] = {}
