"""The .oinr file: weights, and a header that says what they are the weights of."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from oinr_monai.coding.tensor_file import (
    LONGEST_MESSAGE,
    FileKind,
    OtherFileError,
    check_finite,
    one_line,
    open_tensor_file,
    short_path,
    write_tensor_file,
)
from oinr_monai.fields.family import FamilyField
from oinr_monai.fields.field import Field
from oinr_monai.grids.grid import Grid
from oinr_monai.images.intensity import IntensityScale
from oinr_monai.operators.continuous_integral import ContinuousKernelIntegral
from oinr_monai.operators.operator import LatticeOperator, LocalOperator

from .arguments import told
from .continuous_field import ContinuousField
from .header import FORMAT_VERSION, Header
from .info import Info
from .neural_field import field_of
from .operator_field import OperatorField
from .plug_ins import PlugInError
from .registry import build, check_whole, describe
from .smoothed_field import SmoothedField

__all__ = ["Contents", "check_labels", "format_version", "read_oinr", "write_oinr"]

OINR = FileKind("oinr", "{path} must be a whole .oinr file: {reason}; fit the image again")

# Calls of torch that building takes, in all and for each tensor: several times what ours take.
CALLS, CALLS_A_TENSOR = 2_000, 200

# Nodes of a kernel: a cube of a hundred an axis.
MOST_NODES = 1 << 20

FILLED = (Tensor.normal_, Tensor.uniform_, Tensor.zero_, Tensor.fill_, Tensor.mul_)

# How much smaller or larger than a voxel a scale may be.
SCALES = 1e3

# Part of an extent by which it may differ from that of the grid.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Contents:
    """What a file holds: the arguments of a :class:`~oinr_monai.Representation`.

    Args:
        field: the standardised signal over mm along the axes of ``grid``.
        grid: grid of the image that was fitted.
        scale: intensity scale of the image.
        info: settings and scores of the fit.
    """

    field: ContinuousField
    grid: Grid
    scale: IntensityScale
    info: Info


def write_oinr(path: str | os.PathLike[str], contents: Contents) -> None:
    """Write a file, complete or not at all; the same contents give the same bytes.

    Wall times of ``info`` are left out.

    Raises:
        ValueError: if it would not be read again: a number is not finite, or parts disagree.
        OSError: if it cannot be written.
    """
    field = contents.field
    if not isinstance(field, OperatorField):
        raise ValueError(
            f"representation must be of an operator to be saved so, got {type(field).__name__}"
        )
    header = Header(
        describe(field.encoding),
        describe(field.network),
        contents.grid,
        field.spacing,
        contents.scale,
        contents.info,
    )
    items = header.items()
    _check_parts(field, header)
    _check_values(field)
    write_tensor_file(path, OINR.key, items, field.state_dict())


def format_version(path: str | os.PathLike[str]) -> object:
    """The format version that a file says it has.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, or not an .oinr file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{short_path(path)} must be an existing .oinr file; write one with `oinr fit`"
        )
    with open_tensor_file(path, OINR) as file:
        return file.header.get("format_version")


def read_oinr(path: str | os.PathLike[str]) -> Contents:
    """Read a file, which may come from anywhere.

    Everything that the header says is checked before a tensor is read: the classes are built
    without memory, on the meta device, and their weights compared with those in the file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, of a newer format, or not an .oinr file.
    """
    path = Path(path)
    with open_tensor_file(path, OINR) as file:
        _check_version(path, file.header)
        header = Header.of(file.header)
        field = _built(path, header, len(file.names)).to(file.floating)
        _check_parts(field, header)
        field.load_state_dict(file.tensors(field.state_dict()), assign=True)
        check_whole(field)
        _check_values(field)
    return Contents(field, header.grid, header.scale, header.info)


def _check_version(path: Path, items: Mapping[str, Any]) -> None:
    version = items.get("format_version")
    if type(version) is not int or version != FORMAT_VERSION:
        raise OtherFileError(
            f"{short_path(path)} must have format version {FORMAT_VERSION}, got {told(version)}; "
            "upgrade oinr-monai"
        )


class _Few(TorchFunctionMode):
    """Lets torch be called so many times: to build what a file holds takes few calls a tensor."""

    def __init__(self, tensors: int) -> None:
        super().__init__()
        self.left = CALLS + CALLS_A_TENSOR * tensors

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        self.left -= 1
        if self.left < 0:
            raise ValueError("header must be of what the file holds, got far more parts")
        # There are no numbers to draw or fill, and to find that out takes milliseconds.
        return args[0] if func in FILLED else func(*args, **(kwargs or {}))


def _built(path: Path, header: Header, tensors: int) -> OperatorField:
    """The field without memory, on the meta device."""
    with torch.device("meta"), _Few(tensors):
        try:
            field, operator = build(header.encoding), build(header.network)
        except PlugInError as error:
            reason = f"{short_path(path)} must be of known classes: {error}"
            raise OtherFileError(one_line(reason, LONGEST_MESSAGE)) from error
        if not isinstance(field, Field):
            raise ValueError(f"encoding must be a field, got {type(field).__name__}")
        if not isinstance(operator, LocalOperator | LatticeOperator):
            raise ValueError(f"network must be an operator, got {type(operator).__name__}")
        return field_of(field, operator, header.spacing, header.grid.shape)


# ---- parts that must agree ----------------------------------------------------------------------


def _check_parts(field: OperatorField, header: Header) -> None:
    """Raise ValueError where field, grid, scale and info contradict each other."""
    operator, dims = field.network, header.grid.spatial_dims
    if operator.spatial_dims != dims:
        raise ValueError(
            f"network must have {dims} dimensions as the grid, got {operator.spatial_dims}"
        )
    if operator.out_channels != len(header.scale.mean):
        raise ValueError(
            f"scale must be of {operator.out_channels} channels, got {len(header.scale.mean)}"
        )
    for part in _own_fields(field.encoding):
        _check_extent(part, header.grid)
    for module in field.modules():
        if isinstance(module, ContinuousKernelIntegral) and module.taps > MOST_NODES:
            raise ValueError(f"kernels must have at most {MOST_NODES} nodes, got {module.taps}")
        if isinstance(module, SmoothedField):
            _check_sigma(module)
    _check_info(field, header)


def _check_sigma(field: SmoothedField) -> None:
    if not all(1 / SCALES <= field.sigma / h <= SCALES for h in field.voxels):
        raise ValueError(
            f"sigma must lie within {SCALES:g} times the spacing, {told(field.voxels)} mm, got "
            f"{field.sigma}"
        )


def _own_fields(field: nn.Module) -> Iterator[nn.Module]:
    # A signal of another operator that is read as a field may have a grid of its own.
    if not isinstance(field, ContinuousField):
        yield field
        for part in field.children():
            yield from _own_fields(part)


def _check_values(field: ContinuousField) -> None:
    """Raise ValueError if a weight is not finite, or a window has closed for good."""
    for name, tensor in field.state_dict().items():
        check_finite(name, tensor)
        if name.rpartition(".")[2] == "window" and bool((tensor == 0).any()):
            raise ValueError(f"{name} must not be 0, got one that is")


def _check_extent(field: nn.Module, grid: Grid) -> None:
    found = getattr(field, "extent", None)
    if found is None:
        return
    wanted = grid.extent.tolist()
    near = [
        abs(a - b) <= TOLERANCE * max(b, h)
        for a, b, h in zip(found, wanted, grid.spacing.tolist(), strict=True)
    ]
    if not all(near):
        raise ValueError(f"extent must be that of the grid, {told(wanted)} mm, got {told(found)}")


def _check_info(field: OperatorField, header: Header) -> None:
    info, channels = header.info, len(header.scale.mean)
    parameters = sum(p.numel() for p in field.parameters())
    # Blends tell those of their family, and signals read as fields may have shared some.
    whole = info.weights is None and not field.signals()
    if whole and info.parameters not in (None, parameters):
        raise ValueError(f"info parameters must be {parameters}, got {info.parameters}")
    names = {name for name, _ in field.named_parameters()}
    if not set(info.fitted or ()) <= names:
        raise ValueError(f"info fitted must name parameters, got {told(info.fitted)}")
    if info.occupancy is not None:
        check_labels(info.occupancy.labels, channels)
    if isinstance(field.encoding, FamilyField) and info.times:
        _check_times(info.times, len(field.encoding.members))


def check_labels(labels: tuple[int, ...], channels: int) -> None:
    """Raise ValueError if labels are not those of so many channels, ascending."""
    if len(labels) != channels or list(labels) != sorted(set(labels)):
        raise ValueError(
            f"info occupancy must have labels of {channels} channels, got {told(labels)}"
        )


def _check_times(times: tuple[float, ...], members: int) -> None:
    if len(times) != members or list(times) != sorted(set(times)):
        raise ValueError(f"info times must be {members}, rising, got {told(times)}")
