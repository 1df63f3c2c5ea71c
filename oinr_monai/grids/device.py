"""The device that something runs on."""

from __future__ import annotations

import torch

__all__ = ["chosen_device"]


def chosen_device(name: str) -> torch.device:
    """The device that "auto", "cpu" or "cuda" means here.

    Raises:
        ValueError: if it is CUDA where there is none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f'device must be "auto" or "cpu" on a machine without CUDA, got {name!r}')
    return torch.device(name)
