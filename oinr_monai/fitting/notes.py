"""What a fit says on its way that is no error."""

from __future__ import annotations

__all__ = ["CheckpointNote"]


class CheckpointNote(UserWarning):
    """A state that could not be saved; what is fitted goes on, and cannot be resumed from there."""
