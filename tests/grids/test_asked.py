"""The one way to ask for a grid, whoever asks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from monai.data import MetaTensor

from oinr_monai import (
    DeriveOINR,
    FeaturesOINR,
    FitConfig,
    FitOccupancyOINR,
    FitOINR,
    Grid,
    LabelsOINR,
    OccupancyConfig,
    SampleOINR,
)
from oinr_monai.grids.asked import AskedGrid

FITTED = Grid((6, 5), torch.diag(torch.tensor([1.0, 2.0, 1.0, 1.0])))
OTHER = Grid((3, 4), torch.eye(4))


@pytest.mark.parametrize(
    ("asked", "shape", "spacing"),
    [
        (AskedGrid(), (6, 5), [1.0, 2.0]),
        (AskedGrid(factor=2), (11, 9), [0.5, 1.0]),
        (AskedGrid(factor=(1, 4)), (6, 17), [1.0, 0.5]),
        (AskedGrid(spacing=0.5), (11, 17), [0.5, 0.5]),
        (AskedGrid(spacing=(1.0, 4.0)), (6, 3), [1.0, 4.0]),
        (AskedGrid(like=OTHER), (3, 4), [1.0, 1.0]),
    ],
)
def test_each_way(asked: AskedGrid, shape: tuple[int, ...], spacing: list[float]) -> None:
    grid = asked.on(FITTED)
    assert (grid.shape, grid.spacing.tolist()) == (shape, spacing)
    if asked.like is None:
        assert asked.steps(FITTED) == spacing


ASKS: dict[str, Callable[..., Any]] = {
    "sample": SampleOINR,
    "derive": DeriveOINR,
    "features": FeaturesOINR,
    "labels": LabelsOINR,
}


@pytest.fixture(scope="module")
def fitted() -> dict[str, Any]:
    labels = torch.zeros(1, 6, 5)
    labels[:, 2:4, 2:4] = 1
    few = FitConfig("fast", steps=1)
    plain = FitOINR(few)(torch.rand(1, 6, 5))
    return dict.fromkeys(ASKS, plain) | {
        "labels": FitOccupancyOINR(OccupancyConfig(few))(labels),
    }


@pytest.mark.parametrize("asks", ASKS)
@pytest.mark.parametrize(
    ("given", "like", "message"),
    [
        ({"factor": 2, "spacing": 1.0}, None, "factor and spacing must not be given together"),
        ({"factor": 2}, torch.rand(1, 4, 4), "factor and like must not be given together"),
        ({"spacing": 2.0}, torch.rand(1, 4, 4), "spacing and like must not be given together"),
        ({"factor": 1.5}, None, "factor must be whole, got 1.5"),
        ({"factor": 0}, None, "factor must be 1 or more, one number or 2, got 0"),
        ({"factor": (1, 2, 3)}, None, "factor must be 1 or more, one number or 2, got"),
        ({"spacing": -1.0}, None, "spacing must be positive, one number or 2, got -1.0"),
        ({"spacing": float("inf")}, None, "spacing must be positive, one number or 2, got inf"),
        ({"spacing": (1.0, 1.0, 1.0)}, None, "spacing must be positive, one number or 2, got"),
        ({}, MetaTensor(torch.rand(1, 4, 4, 4)), "grid must have 2 spatial dimensions as the"),
    ],
)
def test_all_refuse_alike(
    asks: str, given: dict[str, Any], like: Any, message: str, fitted: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        ASKS[asks](**given)(fitted[asks], like=like)
