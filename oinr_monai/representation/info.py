"""What is known of a fit: settings, scores, and what it was made of, each of its own type."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import cache
from types import MappingProxyType, NoneType
from typing import Any, NoReturn, get_args, get_origin, get_type_hints

import numpy as np

from oinr_monai.images.meta import STORED_DTYPE
from oinr_monai.images.time_axis import TimeAxis

from .arguments import check_names, fits, mapping_of, told

__all__ = ["WALL_TIMES", "Info", "Occupancy", "ShortDescent"]

# Items that a file does not keep: the same fit would be another file each time.
WALL_TIMES = ("seconds",)

# Numbers that must be finite; a score is infinite where there is no error.
FINITE = ("times", "weights", "stored_scaling")

# Settings that are read again.
SETTINGS = {"preset": str, "seed": int}

# Of an image, or of several.
DIGESTS = re.compile(r"[0-9a-f]{16}(\+[0-9a-f]{16})*")


@dataclass(frozen=True)
class Occupancy:
    """What the channels of a fit of labels stand for.

    Args:
        labels: the label of each channel, ascending.
        smoothing: sigma of the smooth indicator, in voxels.
        stored_dtype: type of the labels in their file.
    """

    labels: tuple[int, ...]
    smoothing: float | None = None
    stored_dtype: str | None = None


@dataclass(frozen=True)
class ShortDescent:
    """The few steps that take an operator's start to a signal.

    Args:
        steps: how many.
        rate: of each.
    """

    steps: int
    rate: float


@dataclass(frozen=True, eq=False, repr=False)
class Info(dict[str, Any]):
    """What is known of a fit: typed items, and a dictionary of their JSON values.

    ``info.times`` is a tuple, ``info["times"]`` the list that a file holds. The dictionary has the
    items that are known. It is read, not written: ``representation.info |= {...}`` makes another.
    In JSON, null stands for NaN, and for an empty tuple.

    Args:
        settings: of whatever made it, JSON values.
        steps: steps that were taken.
        seconds: seconds that they took.
        interrupted: whether an interrupt ended it.
        device: where it was computed.
        parameters: numbers that it has.
        psnr_grid: PSNR on the voxels, in dB.
        psnr_between: PSNR between them.
        psnr_members: PSNR of each member of a family.
        psnr_blends: PSNR of its blends.
        psnr_pairs: PSNR of what super-resolution learned, on pairs held out.
        risk: mean squared error of a denoised image over the variance of the noise, estimated.
        data_residual: root mean square of what a scanner would have seen less what it saw; NaN
            where it does not say.
        held_out: root mean square error of a fused volume at voxels held out.
        iou: overlap of each label.
        dice: Dice's coefficient of each label.
        start: digest of what the fit began with.
        image: digest of what it was made of.
        source_mark: what tells the file of the image from others.
        fitted: parameters that it moved, if not all.
        stored_dtype: type of the voxels in the file of the image.
        stored_scaling: slope and intercept that made intensities of them, where they did.
        time_axis: of the image's channels.
        times: of the members of a family; empty where they have no order.
        weights: of the members in a blend.
        noise: model of the noise that was taken away, and its size.
        occupancy: what the channels stand for, of a fit of labels.
        factor: fine voxels in a coarse one, along each axis.
        guided: part of what super-resolution misses on pairs that a guide gave.
        profile: sensitivity across a slice.
        stacks: stacks that were fused.
        weight: of smoothness, when they were.
        descent: how an operator that is shared takes signals.
        rounds: rounds in which a start was learned.
        images: images that an operator or a start was learned from.
        labels: whether an operator was learned with classes.
        others: items of other versions, or of others' making, as they are.
    """

    settings: dict[str, Any] | None = None
    steps: int | None = None
    seconds: float | None = None
    interrupted: bool | None = None
    device: str | None = None
    parameters: int | None = None
    psnr_grid: float | None = None
    psnr_between: float | None = None
    psnr_members: tuple[float, ...] | None = None
    psnr_blends: float | None = None
    psnr_pairs: float | None = None
    risk: float | None = None
    data_residual: float | None = None
    held_out: float | None = None
    iou: dict[str, float] | None = None
    dice: dict[str, float] | None = None
    start: str | None = None
    image: str | None = None
    source_mark: str | None = None
    fitted: tuple[str, ...] | None = None
    stored_dtype: str | None = None
    stored_scaling: tuple[float, ...] | None = None
    time_axis: TimeAxis | None = None
    times: tuple[float, ...] | None = None
    weights: tuple[float, ...] | None = None
    noise: dict[str, Any] | None = None
    occupancy: Occupancy | None = None
    factor: tuple[int, ...] | None = None
    guided: float | None = None
    profile: str | None = None
    stacks: int | None = None
    weight: float | None = None
    descent: ShortDescent | None = None
    rounds: int | None = None
    images: int | None = None
    labels: bool | None = None
    others: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        known = {each.name: getattr(self, each.name) for each in fields(self)}
        others = known.pop("others")
        written = {name: _written(value) for name, value in known.items() if value is not None}
        dict.update(self, {**written, **others})

    @classmethod
    def of(cls, items: Mapping[str, Any]) -> Info:
        """The info that these JSON values are.

        Raises:
            ValueError: if a known item is of another type.

        Example:
            >>> Info.of({"times": [0, 2.5], "made": "here"}).times
            (0, 2.5)
        """
        if isinstance(items, Info):
            return items
        hints = _types_of(cls)
        known = {name: _item(name, v, hints[name]) for name, v in items.items() if name in hints}
        _check_values(known)
        others = {name: value for name, value in items.items() if name not in hints}
        return cls(**known, others=MappingProxyType(others))

    def __or__(self, other: Mapping[str, Any]) -> Info:  # type: ignore[override]
        """The same with other items."""
        return Info.of({**self, **other})

    __ior__ = __or__  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Callable[..., Info], tuple[dict[str, Any]]]:
        return Info.of, (dict(self),)

    def _fixed(self, *args: object, **kwargs: object) -> NoReturn:
        raise TypeError("info must be replaced, not changed: representation.info |= {...}")

    __setitem__ = __delitem__ = update = pop = popitem = clear = setdefault = _fixed


def _check_values(known: Mapping[str, Any]) -> None:
    settings = known.get("settings") or {}
    for name in SETTINGS.keys() & settings.keys():
        _read(f"info settings {name}", settings[name], SETTINGS[name])
    if np.dtype(known.get(STORED_DTYPE) or "f4").kind not in "biuf":
        raise ValueError(f"info {STORED_DTYPE} must be a type of numbers, got another")
    image = known.get("image")
    if image is not None and not DIGESTS.fullmatch(image):
        raise ValueError(f"info image must be a digest of 16 digits, got {told(image)}")


@cache
def _types_of(cls: type) -> dict[str, Any]:
    # The type of each item where it is there.
    return {name: _core(hint) for name, hint in get_type_hints(cls).items() if name != "others"}


def _core(hint: Any) -> Any:  # noqa: ANN401
    parts = [part for part in get_args(hint) if part is not NoneType]
    return parts[0] if NoneType in get_args(hint) else hint


def _item(name: str, value: object, hint: Any) -> Any:  # noqa: ANN401
    """A JSON value as an item of info."""
    if value is None:
        return math.nan if hint is float else () if get_origin(hint) is tuple else None
    if is_dataclass(hint):
        return _parts(name, value, hint)
    return _read(f"info {name}", value, hint, finite=name in FINITE)


def _parts(name: str, value: object, cls: Any) -> Any:  # noqa: ANN401
    items, hints = mapping_of(f"info {name}", value), _types_of(cls)
    needed = {each.name for each in fields(cls) if each.default is MISSING}
    check_names(f"info {name}", items, needed, set(hints))
    return cls(**{n: _read(f"info {name} {n}", each, hints[n]) for n, each in items.items()})


def _read(name: str, value: object, hint: Any, finite: bool = True) -> Any:  # noqa: ANN401
    """A JSON value as one of the type, the numbers of which shall be finite or need not."""
    sequence = get_origin(hint) is tuple
    form = list[get_args(hint)[0]] if sequence else hint  # type: ignore[misc]
    plain = list(value) if isinstance(value, tuple) else value
    if not finite:
        plain = _with_nan(plain, form)
    if not fits(plain, form, finite):
        wanted = form.__name__ if isinstance(form, type) else str(form).replace("typing.", "")
        raise ValueError(f"{name} must be {wanted}, got {told(value)}")
    return tuple(plain) if sequence else plain  # type: ignore[arg-type]


def _with_nan(value: object, form: Any) -> object:  # noqa: ANN401
    # JSON has null where a number is none.
    if form == list[float] and isinstance(value, list):
        return [math.nan if each is None else each for each in value]
    if form == dict[str, float] and isinstance(value, dict):
        return {name: math.nan if each is None else each for name, each in value.items()}
    return value


def _written(value: object) -> Any:  # noqa: ANN401
    """A value as JSON has it."""
    if isinstance(value, tuple):
        return list(value) or None
    if isinstance(value, dict):
        return json.loads(json.dumps(value))
    if is_dataclass(value):
        parts = {each.name: getattr(value, each.name) for each in fields(value)}
        return {part: _written(each) for part, each in parts.items() if each is not None}
    return None if isinstance(value, float) and math.isnan(value) else value
