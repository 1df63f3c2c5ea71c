"""Each check lets good values through and names the argument, the rule and the bad value."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch

from oinr_monai import checks


@pytest.mark.parametrize("value", [1, 0.5, 1e-300, np.float32(2), torch.tensor(3.0)])
def test_positive_numbers_pass(value: float) -> None:
    checks.check_positive("spacing", value)


@pytest.mark.parametrize("value", [0, -1, -0.0, math.nan, math.inf])
def test_other_numbers_do_not(value: float) -> None:
    with pytest.raises(ValueError, match=f"^spacing must be positive and finite, got {value}$"):
        checks.check_positive("spacing", value)


@pytest.mark.parametrize("value", ["1", None, True, [1.0]])
def test_what_is_no_number_is_a_type_error(value: object) -> None:
    message = re.escape(f"spacing must be a number, got {value!r}")
    with pytest.raises(TypeError, match=f"^{message}$"):
        checks.check_positive("spacing", value)  # type: ignore[arg-type]


def test_one_of() -> None:
    checks.check_one_of("padding", "same", ("same", "valid"))
    with pytest.raises(ValueError, match=r"^padding must be one of 'same', 'valid', got None$"):
        checks.check_one_of("padding", None, ("same", "valid"))


def test_finite() -> None:
    checks.check_finite("signal", torch.zeros(3))
    checks.check_finite("signal", torch.zeros(3, dtype=torch.int64))
    values = torch.tensor([math.nan, math.inf, -math.inf, 0.0])
    with pytest.raises(ValueError, match=r"^signal must be finite, got 1 NaN and 2 infinite"):
        checks.check_finite("signal", values)


def test_shape() -> None:
    checks.check_shape("mask", torch.zeros(1, 4), (1, 4))
    with pytest.raises(ValueError, match=re.escape("mask must have shape (1, 4), got (4,)")):
        checks.check_shape("mask", torch.zeros(4), (1, 4))


@pytest.mark.parametrize("spatial_dims", [1, 2, 3])
def test_spatial_dims_of_space_pass(spatial_dims: int) -> None:
    checks.check_spatial_dims(spatial_dims)


@pytest.mark.parametrize("spatial_dims", [0, 4, -1, 2.5])
def test_other_spatial_dims_do_not(spatial_dims: int) -> None:
    with pytest.raises(ValueError, match=r"^spatial_dims must be 1, 2 or 3, got"):
        checks.check_spatial_dims(spatial_dims)


@pytest.mark.parametrize(
    ("shape", "spatial_dims", "expected"),
    [
        ((1, 5, 8, 8, 8), 3, "(B, 12, X, Y, Z)"),
        ((1, 12, 8, 8), 3, "(B, 12, X, Y, Z)"),
        ((12, 8, 8), 2, "(B, 12, X, Y)"),
        ((1, 12), 1, "(B, 12, X)"),
    ],
)
def test_field(shape: tuple[int, ...], spatial_dims: int, expected: str) -> None:
    checks.check_field(torch.zeros(2, 12, *(4,) * spatial_dims), 12, spatial_dims)
    message = re.escape(f"field must have shape {expected}, got {shape}")
    with pytest.raises(ValueError, match=f"^{message}$"):
        checks.check_field(torch.zeros(shape), 12, spatial_dims)
