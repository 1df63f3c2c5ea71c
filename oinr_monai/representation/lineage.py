"""Where a representation came from: its start, what its fit moved, a digest of it."""

from __future__ import annotations

import hashlib
from typing import Any

from .operator_field import OperatorField
from .representation import Representation

__all__ = ["digest", "fitted_names", "origin", "trained_field"]


def trained_field(representation: Representation, name: str = "representation") -> OperatorField:
    """The field of a fit, with weights that were trained.

    Raises:
        ValueError: if it has none, with what the argument is called.
    """
    field = representation.field
    if not isinstance(field, OperatorField):
        raise ValueError(
            f"{name} must be a fit that was trained, got a {type(field).__name__}; fit it with "
            'preset="fast", "balanced" or "best"'
        )
    return field


def fitted_names(representation: Representation) -> list[str]:
    """Names of the parameters that its fit moved: all, unless its ``info`` names some of them.

    They stand in the order of the field's state: those of the input function come first, then those
    of the operator's layers.
    """
    known = [name for name, _ in trained_field(representation).named_parameters()]
    fitted = representation.info.fitted
    chosen = known if fitted is None else fitted
    missing = sorted(set(chosen) - set(known))
    if missing:
        raise ValueError(f'info["fitted"] must name parameters of the field, got {missing}')
    return [name for name in known if name in chosen]


def origin(representation: Representation) -> tuple[str, Any]:
    """What a fit started from, as far as its info tells."""
    info = representation.info
    if info.start is not None:
        return "start", info.start
    return "seed", (info.settings or {}).get("seed")


def digest(start: Representation) -> str:
    """Sixteen digits that tell the weights of one start from those of any other."""
    every = hashlib.sha256()
    for tensor in start.field.state_dict().values():
        every.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return every.hexdigest()[:16]
