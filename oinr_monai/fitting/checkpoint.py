"""Checkpoints: the state of a descent in a file, from which it goes on where it was."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from oinr_monai.coding.tensor_file import (
    FileKind,
    OtherFileError,
    TensorFile,
    check_finite,
    open_tensor_file,
    short_path,
    write_tensor_file,
)

__all__ = ["MOMENTS", "fingerprint", "read_checkpoint", "write_checkpoint"]

REMEDY = "remove it, or repeat the image and settings it is of"

CHECKPOINT = FileKind(
    "checkpoint", f"checkpoint must be whole, got the damaged {{path}} ({{reason}}); {REMEDY}"
)

# Least and greatest value of each number of a state; scores may be minus infinity, never NaN.
RANGES = {"step": (0, 2.0**53), "elapsed": (0, 1e12), "best/due": (0, 1), "share": (0, 1)}

# What Adam keeps of each parameter beside its step; a group of another kind says what it keeps.
MOMENTS = ("exp_avg", "exp_avg_sq")


def fingerprint(*tensors: Tensor | None) -> str:
    """Sixteen digits that tell these tensors, some of which may be missing, from any others.

    Example:
        >>> fingerprint(torch.arange(3)) == fingerprint(torch.arange(3).flip(0))
        False
    """
    every = hashlib.sha256()
    for tensor in tensors:
        if tensor is not None:
            plain = tensor.detach().cpu().contiguous()
            every.update(repr((tuple(plain.shape), plain.dtype)).encode())
            every.update(plain.numpy().tobytes())
        every.update(b";")
    return every.hexdigest()[:16]


def write_checkpoint(path: str | os.PathLike[str], state: Mapping[str, Any]) -> None:
    """Write the state of a descent, complete or not at all; equal states give equal bytes.

    Args:
        path: the file.
        state: nested mappings of tensors, numbers and words: ``of``, which tells the image and the
            settings; the state dicts ``network`` and ``optimizer``; ``step`` and ``elapsed``;
            ``best``, if the best weights are kept: ``score``, ``weights`` and ``due``; and what
            else the descent needs.

    Raises:
        OSError: if the file cannot be written.

    Example:
        >>> import tempfile
        >>> network = torch.nn.Linear(2, 1)
        >>> optimizer = torch.optim.Adam(network.parameters())
        >>> state = {"of": "this image", "step": 0, "elapsed": 0.5,
        ...          "network": network.state_dict(), "optimizer": optimizer.state_dict()}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_checkpoint(f"{folder}/a.checkpoint", state)
        ...     read_checkpoint(f"{folder}/a.checkpoint", state, optimizer)["elapsed"]
        0.5
    """
    # The groups are the settings' business: what a step changes in them is set before every step.
    leaves = dict(_leaves({**state, "optimizer": state["optimizer"]["state"]}))
    tensors = {name: value for name, value in leaves.items() if isinstance(value, Tensor)}
    header = {name: _written(value) for name, value in leaves.items() if name not in tensors}
    write_tensor_file(path, CHECKPOINT.key, header, tensors)


def read_checkpoint(
    path: str | os.PathLike[str], like: Mapping[str, Any], optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """The state in a checkpoint of the same descent, every part of which fits it.

    Args:
        path: the file.
        like: the state of the descent as it stands, such as before its first step.
        optimizer: its optimizer, whose parameters the moments must have the shapes of; a group that
            keeps others than Adam's names them as its ``moments``. The groups, with their rates,
            are those that it has.

    Raises:
        ValueError: if the file is damaged, or of another image or other settings.
    """
    path, plain = Path(path), {name: v for name, v in like.items() if name != "optimizer"}
    known = {name: v for name, v in _leaves(plain) if not isinstance(v, Tensor)}
    with open_tensor_file(path, CHECKPOINT) as file:
        header = {name: _read(value, known.get(name)) for name, value in file.header.items()}
        _check_numbers(path, header, known)
        tensors = file.tensors(_expected(file, like, optimizer))
        _check_values(tensors, {**header, **tensors})
    device = next((t.device for t in like["network"].values()), torch.device("cpu"))
    tensors = {name: tensor.to(device) for name, tensor in tensors.items()}
    state = _filled(plain, {**header, **tensors})
    moments = {
        i: _filled({}, tensors, f"optimizer/{i}/") for i in range(len(_parameters(optimizer)))
    }
    groups = optimizer.state_dict()["param_groups"]
    kept = {i: entry for i, entry in moments.items() if entry}
    return {**state, "optimizer": {"state": kept, "param_groups": groups}}


def _written(value: object) -> object:
    # JSON cannot say a score of infinity but in words.
    return str(value) if isinstance(value, float) and math.isinf(value) else value


def _read(value: object, known: object) -> object:
    return float(value) if value in ("inf", "-inf") and isinstance(known, float) else value


def _leaves(value: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, each in value.items():
        if isinstance(each, Mapping):
            yield from _leaves(each, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}", each


def _filled(like: Mapping[str, Any], leaves: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    # A mapping of tensors takes all that is there for it: of some, nothing is known before a step.
    if all(isinstance(each, Tensor) for each in like.values()):
        return {n.removeprefix(prefix): v for n, v in leaves.items() if n.startswith(prefix)}
    return {
        name: _filled(each, leaves, f"{prefix}{name}/")
        if isinstance(each, Mapping)
        else leaves[f"{prefix}{name}"]
        for name, each in like.items()
    }


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    # In the order in which a state dict counts them.
    return [p for group in optimizer.param_groups for p in group["params"]]


def _check_numbers(path: Path, header: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    if sorted(header) != sorted(known):
        raise ValueError(f"other items than {', '.join(sorted(known))}")
    if header["of"] != known["of"]:
        raise OtherFileError(
            "checkpoint must be of the same image and the same settings, got "
            f"{short_path(path)}; {REMEDY}"
        )
    for name, value in header.items():
        low, high = RANGES.get(name, (-math.inf, math.inf))
        fitting = (int, float) if isinstance(known[name], float) else (type(known[name]),)
        if type(value) not in fitting or not (name == "of" or low <= value <= high):
            raise ValueError(f"{name} out of its range")


def _expected(
    file: TensorFile, like: Mapping[str, Any], optimizer: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """What the tensors must be like, as far as each is there: some come with the first steps."""
    network, names = like["network"], file.names
    expected = {name: each for name, each in _leaves(_further(like)) if isinstance(each, Tensor)}
    expected |= {f"network/{name}": tensor for name, tensor in network.items()}
    if any(name.startswith("best/weights/") for name in names):
        best = like["best"]["weights"] or network
        expected |= {f"best/weights/{name}": tensor for name, tensor in best.items()}
    for i, (parameter, moments) in enumerate(_moments(optimizer)):
        if any(name.startswith(f"optimizer/{i}/") for name in names):
            expected |= {f"optimizer/{i}/{name}": parameter for name in moments}
            expected[f"optimizer/{i}/step"] = torch.zeros((), device="meta")
    if isinstance(like.get("best", {}).get("score"), Tensor):
        expected["best/score"] = _score_like(file, network)
    return expected


def _further(like: Mapping[str, Any]) -> dict[str, Any]:
    return {name: v for name, v in like.items() if name not in ("network", "optimizer", "best")}


def _moments(optimizer: torch.optim.Optimizer) -> list[tuple[Tensor, Sequence[str]]]:
    groups = optimizer.param_groups
    return [(p, group.get("moments", MOMENTS)) for group in groups for p in group["params"]]


def _score_like(file: TensorFile, network: Mapping[str, Tensor]) -> Tensor:
    # One score for each network of a stack, or one in all before the first.
    dtype, shape = file.kind("best/score")
    stacked = tuple(next(iter(network.values())).shape[:1])
    if dtype is None or not dtype.is_floating_point or shape not in ((), stacked):
        raise ValueError(f"best/score must have shape {stacked}, got {shape}")
    return torch.empty(shape, dtype=dtype, device="meta")


def _check_values(tensors: Mapping[str, Tensor], leaves: Mapping[str, Any]) -> None:
    for name, tensor in tensors.items():
        if name != "best/score":
            check_finite(name, tensor)
        if name.endswith(f"/{MOMENTS[1]}") and bool((tensor < 0).any()):
            raise ValueError(f"{name} must not be negative")
    _check_steps([float(t) for n, t in tensors.items() if _is_step(n)], leaves["step"])
    score = torch.as_tensor(leaves.get("best/score", -math.inf))
    if bool(score.isnan().any()):
        raise ValueError("best/score must be a number, got NaN")
    if bool((score > -math.inf).any()) and not any(n.startswith("best/weights/") for n in tensors):
        raise ValueError("best/score must have weights, got none")


def _is_step(name: str) -> bool:
    return name.startswith("optimizer/") and name.endswith("/step")


def _check_steps(moments: Sequence[float], step: int) -> None:
    # What a step does not see keeps fewer; something is moved by every step.
    if max(moments, default=0) != step or any(x < 0 or x != round(x) for x in moments):
        raise ValueError(f"moments must be of {step} steps, got others")
