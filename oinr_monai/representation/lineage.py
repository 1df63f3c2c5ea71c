"""Where a representation came from: its start, what its fit moved, a digest of it."""

from __future__ import annotations

import hashlib
from typing import Any

from .representation import Representation

__all__ = ["FITTED", "IMAGE", "START", "digest", "fitted_names", "origin"]


# Items of ``info``: the parameters that a fit moved where it moved not all of them, the digest of
# the image that it saw, and the fingerprint of what it started from.
FITTED, IMAGE, START = "fitted", "image", "start"


def fitted_names(representation: Representation) -> list[str]:
    """Names of the parameters that its fit moved: all, unless its ``info`` names some of them.

    They stand in the order of the field's state: those of the input function come first, then those
    of the operator's layers.
    """
    known = [name for name, _ in representation.field.named_parameters()]
    chosen = representation.info.get(FITTED, known)
    missing = sorted(set(chosen) - set(known))
    if missing:
        raise ValueError(f'info["{FITTED}"] must name parameters of the field, got {missing}')
    return [name for name in known if name in chosen]


def origin(representation: Representation) -> tuple[str, Any]:
    """What a fit started from, as far as its info tells."""
    info = representation.info
    if info.get(START) is not None:
        return "start", info[START]
    return "seed", info.get("settings", {}).get("seed")


def digest(start: Representation) -> str:
    """Sixteen digits that tell the weights of one start from those of any other."""
    every = hashlib.sha256()
    for tensor in start.field.state_dict().values():
        every.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return every.hexdigest()[:16]
