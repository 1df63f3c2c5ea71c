"""Files of operators that carry over: their sizes, and their weights."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from oinr_monai.coding.tensor_file import FileKind, check_finite, open_tensor_file

__all__ = ["read_carried"]

_Operator = TypeVar("_Operator", bound=nn.Module)


def read_carried(
    path: str | os.PathLike[str],
    kind: FileKind,
    most: Mapping[str, int],
    made: Callable[..., _Operator],
) -> _Operator:
    """Read an operator, from a file that may hold anything.

    Args:
        path: the file.
        kind: of such files.
        most: the largest that each size may be, by name.
        made: makes an operator of these sizes.

    Raises:
        OSError: if there is no such file.
        ValueError: if it holds no such operator, or is damaged.
    """
    with open_tensor_file(Path(path), kind) as file:
        if sorted(file.header) != sorted(most):
            raise ValueError(f"other items than {', '.join(most)}")
        for name, top in most.items():
            value = file.header[name]
            if type(value) is not int or not 1 <= value <= top:
                raise ValueError(f"{name} must be 1 to {top}")
        with torch.device("meta"):
            operator = made(**file.header)
        weights = file.tensors(operator.state_dict())
        for name, weight in weights.items():
            check_finite(name, weight)
    operator.load_state_dict(weights, assign=True)
    return operator.requires_grad_(False)
