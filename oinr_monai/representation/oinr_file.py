"""The .oinr file: a safetensors file with a JSON header."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

__all__ = ["FORMAT_VERSION", "MALFORMED", "read_oinr"]


FORMAT_VERSION = 1


# What building from a header that was tampered with may raise.
MALFORMED = (AttributeError, LookupError, RuntimeError, StopIteration, TypeError, ValueError)


def read_oinr(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors of a .oinr file, whose version is known."""
    remedy = "fit the image again with `oinr fit`"
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("oinr")
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        header = json.loads(text) if text else None
    except (SafetensorError, json.JSONDecodeError, OSError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} must be a whole .oinr file, got {reason}; {remedy}") from error
    if not isinstance(header, dict):
        raise ValueError(
            f"{path} must be an .oinr file, got safetensors without its header; {remedy}"
        )
    version = header.get("format_version")
    if version != FORMAT_VERSION:
        raise ValueError(
            f"{path} must have format version {FORMAT_VERSION}, got {version}; upgrade oinr-monai"
        )
    return header, state
