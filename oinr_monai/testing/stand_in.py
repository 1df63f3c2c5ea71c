"""A device that stands in for an accelerator: its numbers lie on the CPU, and it counts.

Code that is right on the CPU may still be wrong, or slow, on a GPU: it mixes tensors of two
devices, or lets one wait for the other. A machine without a GPU shows neither. The stand-in does:
its tensors say that they are on ``meta``, hold numbers all the same, refuse to be mixed with those
of the host, and each transfer between the two is told.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any, final

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from oinr_monai.grids.constants import forget_constants

__all__ = ["StandIn", "Transfer"]

DEVICE = torch.device("meta")
HOST = torch.device("cpu")

_aten = torch.ops.aten

# What has a result that the host reads, or a shape that it has to know.
WAITS = (
    _aten._local_scalar_dense.default,
    _aten._unique2.default,
    _aten.equal.default,
    _aten.is_nonzero.default,
    _aten.masked_select.default,
    _aten.nonzero.default,
    _aten.unique_consecutive.default,
    _aten.unique_dim.default,
)

# What makes a tensor of Python's numbers, without an operation that a mode would see.
MAKERS = (torch.tensor, torch.as_tensor, torch.Tensor.new_tensor)


@dataclass(frozen=True)
class Transfer:
    """Something that goes from one device to the other.

    Args:
        kind: "waits" where the host waits for a number or a shape, "to host" or "to device" for a
            copy.
        within: names of the functions that asked for it, the innermost first.
        line: file and line of the innermost.
    """

    kind: str
    within: tuple[str, ...]
    line: str


@final
class StandIn(AbstractContextManager["StandIn"]):
    """A block within which ``meta`` is a device that holds numbers; it tells what they cost.

    Args:
        package: name of the package whose functions are told; innermost lines are its own.

    Example:
        >>> with StandIn() as device:
        ...     there = torch.arange(3.0).to("meta")
        ...     total = float((2 * there).sum())
        >>> total, [each.kind for each in device.transfers], device.kernels
        (6.0, ['to device', 'waits'], 2)
        >>> with StandIn():
        ...     there + torch.ones(3)
        Traceback (most recent call last):
        RuntimeError: tensors must be on one device for aten.add.Tensor, got some on each
    """

    def __init__(self, package: str = "oinr_monai") -> None:
        self.package = package
        self.transfers: list[Transfer] = []
        self.kernels = 0
        self._modes = ExitStack()

    def __enter__(self) -> StandIn:
        forget_constants()
        self._modes.enter_context(_Functions())
        self._modes.enter_context(_Operations(self))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._modes.close()
        forget_constants()

    def count(self, kind: str, within: str = "", beside: Sequence[str] = ()) -> int:
        """How many transfers of a kind a function asked for, itself or through others.

        Args:
            kind: as :class:`Transfer` has it.
            within: qualified name of the function; all transfers if empty.
            beside: names of functions whose transfers do not count.
        """
        return sum(
            each.kind == kind
            and (not within or within in each.within)
            and not any(name in each.within for name in beside)
            for each in self.transfers
        )

    def _transfer(self, kind: str) -> Transfer:
        """A transfer, and by whom it is asked for."""
        within, line = [], ""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            code = frame.f_code
            if f"/{self.package}/" in code.co_filename and code.co_filename != __file__:
                line = line or f"{code.co_filename.rsplit('/', 1)[1]}:{frame.f_lineno}"
                within.append(code.co_qualname)
            frame = frame.f_back
        return Transfer(kind, tuple(within), line)

    def answer(
        self, operation: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]
    ) -> Any:  # noqa: ANN401
        """What an operation answers, on the device where its tensors are."""
        given = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
        if operation is _aten.copy_.default:
            return self._copied(*args, **kwargs)
        away = any(isinstance(each, _Away) for each in given)
        asked = None if kwargs.get("device") is None else torch.device(kwargs["device"])
        crosses = operation is _aten._to_copy.default and asked not in (None, given[0].device)
        if crosses:
            self.transfers.append(self._transfer("to device" if asked == DEVICE else "to host"))
        elif away:
            self._check(operation, args, given)
        if not away and asked != DEVICE:
            return operation(*args, **kwargs)
        if asked == DEVICE:
            kwargs = {**kwargs, "device": HOST}
        found = operation(*tree_map(_here, args), **tree_map(_here, kwargs))
        self.kernels += not (crosses or operation in NO_KERNELS or operation.is_view)  # type: ignore[attr-defined]
        return found if asked == HOST else _there(found, given)

    def _check(
        self, operation: Callable[..., Any], args: Sequence[Any], given: Sequence[Tensor]
    ) -> None:
        # Single numbers may be the host's, and places to look at, which are then sent.
        foreign = [each for each in given if not isinstance(each, _Away) and each.ndim]
        if operation in INDEXING:
            self.transfers += [self._transfer("to device") for _ in foreign]
            if any(each.dtype == torch.bool for each in tree_leaves(args[1]) if each is not None):
                self.transfers.append(self._transfer("waits"))
        elif foreign:
            raise RuntimeError(f"tensors must be on one device for {operation}, got some on each")
        elif operation in WAITS:
            self.transfers.append(self._transfer("waits"))

    def _copied(self, to: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
        away = isinstance(to, _Away)
        if away != isinstance(source, _Away):
            self.transfers.append(self._transfer("to device" if away else "to host"))
        _here(to).copy_(_here(source))
        self.kernels += away and isinstance(source, _Away)
        return to


# Numbers that are read, and places without any.
NO_KERNELS = (_aten._local_scalar_dense.default, _aten.empty.memory_format)

INDEXING = (_aten.index.Tensor, _aten.index_put.default, _aten.index_put_.default)


class _Away(Tensor):
    """A tensor of the stand-in: ``here`` are its numbers."""

    here: Tensor

    @staticmethod
    def __new__(cls: type[_Away], here: Tensor) -> _Away:
        made: _Away = torch.Tensor._make_wrapper_subclass(
            cls,
            here.shape,
            strides=here.stride(),
            storage_offset=here.storage_offset(),
            dtype=here.dtype,
            device=DEVICE,
            requires_grad=here.requires_grad,
        )
        made.here = here
        return made

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"on the stand-in: {self.here}"

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, operation: Callable[..., Any], types: object, args: object = (), kwargs: object = None
    ) -> None:
        raise RuntimeError(f"device must be in use for {operation}, got it outside of its block")


class _Operations(TorchDispatchMode):
    def __init__(self, device: StandIn) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.device = device

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        return self.device.answer(func, args, kwargs or {})


class _Functions(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        kwargs = dict(kwargs or {})
        if func is Tensor.tolist and isinstance(args[0], _Away):
            return args[0].cpu().tolist()
        if func not in MAKERS:
            return func(*args, **kwargs)
        given = args[0]
        device = torch.device(
            kwargs.pop("device", None) or (given.device if isinstance(given, Tensor) else HOST)
        )
        if func is torch.Tensor.new_tensor:
            func, args = torch.tensor, args[1:]
            kwargs.setdefault("dtype", given.dtype)
        elif isinstance(given, Tensor):
            return given.to(device, kwargs.get("dtype", given.dtype))
        return func(*args, **kwargs).to(device)


def _here(value: Any) -> Any:  # noqa: ANN401
    return value.here if isinstance(value, _Away) else value


def _there(found: Any, given: Sequence[Tensor]) -> Any:  # noqa: ANN401
    # What was changed in place stays the tensor that it was.
    known = {id(each.here): each for each in given if isinstance(each, _Away)}

    def wrapped(value: Any) -> Any:  # noqa: ANN401
        if not isinstance(value, Tensor):
            return value
        return known[id(value)] if id(value) in known else _Away(value)

    return tree_map(wrapped, found)
