"""JSON values against the types that a constructor's annotations tell."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import pytest
from torch import nn

from oinr_monai import ConvOINR, CoordinateField, Field, JointField
from oinr_monai.representation.arguments import check_arguments, fits, told

FITTING: list[tuple[object, object]] = [
    (3, int),
    (-(1 << 63), int),
    (3, float),
    (2.5, float),
    (True, bool),
    ("valid", str),
    (None, None),
    (None, int | None),
    (3, int | None),
    ([], Sequence[int]),
    ([1, 2], Sequence[int]),
    ([1, 2.5], tuple[float, ...]),
    (["elu", {}], tuple[str, dict[str, Any]]),
    ("elu", str | tuple[str, dict[str, Any]]),
    ("same", Literal["valid", "same"]),
    ({"a": 1.5}, dict[str, float]),
    ([[1.0], [2.0]], list[list[float]]),
    (CoordinateField((1.0,)), Field),
    ([CoordinateField((1.0,))], Sequence[Field]),
    (object(), Callable[..., int]),
    (object(), Any),
]

UNFIT: list[tuple[object, object]] = [
    (True, int),
    (1, bool),
    (3.0, int),
    (1 << 63, int),
    ("3", int),
    (None, int),
    (True, float),
    (math.nan, float),
    (math.inf, float),
    (10**400, float),
    ("2.5", float),
    (0, None),
    ([1, 2.5], Sequence[int]),
    ([1, None], Sequence[float]),
    ("12", Sequence[str]),
    ({"a": 1}, Sequence[int]),
    (["elu"], tuple[str, dict[str, Any]]),
    (["elu", {}, 1], tuple[str, dict[str, Any]]),
    (["elu", 1], tuple[str, dict[str, Any]]),
    ("full", Literal["valid", "same"]),
    (1, Literal[True]),
    ({"a": "b"}, dict[str, float]),
    ([("a", 1)], dict[str, float]),
    ("a", dict[str, float]),
    (nn.Linear(1, 1), Field),
    ([nn.Linear(1, 1)], Sequence[Field]),
]


@pytest.mark.parametrize(("value", "hint"), FITTING)
def test_what_fits(value: object, hint: object) -> None:
    assert fits(value, hint)


@pytest.mark.parametrize(("value", "hint"), UNFIT)
def test_what_does_not(value: object, hint: object) -> None:
    assert not fits(value, hint)


def test_scores_may_be_infinite() -> None:
    assert fits([math.inf, math.nan], list[float], finite=False)
    assert not fits([10**400], list[float], finite=False)


class Late:
    """A class whose annotation is known to type checkers alone."""

    def __init__(self, size: Elsewhere) -> None:  # type: ignore[name-defined] # noqa: F821
        self.size = size


def test_unknown_annotations_are_left_to_the_class() -> None:
    check_arguments(Late, {"size": [1, "a"]})
    with pytest.raises(ValueError, match="arguments of Late must be its own: missing"):
        check_arguments(Late, {})


@pytest.mark.parametrize(
    ("cls", "arguments", "message"),
    [
        (ConvOINR, {"x": 1}, "arguments of ConvOINR must be its own: .*'spatial_dims'"),
        (CoordinateField, {"extent": [1.0], "more": 2}, "its own: .*unexpected.*'more'"),
        (CoordinateField, {"extent": 9.0}, r"extent of CoordinateField must be Sequence\[float\]"),
        (JointField, {"fields": [1]}, r"fields of JointField must be Sequence\[Field\], got \[1\]"),
    ],
)
def test_wrong_arguments_are_named(cls: type, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_arguments(cls, arguments)


def test_long_values_are_told_in_short() -> None:
    assert len(told(["x"] * 10**5)) == 60
    assert told(3) == "3"
