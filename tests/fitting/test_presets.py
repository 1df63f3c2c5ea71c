"""What a configuration asks for, and what it may not ask."""

from __future__ import annotations

import json
from functools import partial

import pytest
import torch

from oinr_monai import ConvOINR, CoordinateField, FitConfig, Grid, JointField, SplineField
from oinr_monai.fitting.presets import PRESETS, budget, places_of, preset_of
from oinr_monai.fitting.start import build_field


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("shape", [(50,), (40, 30), (20, 20, 20), (400, 400, 400), (9, 1, 9)])
def test_budgets_stay_within_the_preset(preset: str, shape: tuple[int, ...]) -> None:
    grid = Grid(shape, torch.eye(4))
    steps, seconds = budget(grid, FitConfig(preset=preset))
    low, high = PRESETS[preset].steps
    assert seconds is None
    assert low <= steps <= high


def test_a_given_budget_replaces_the_preset() -> None:
    grid = Grid((20, 20), torch.eye(4))
    assert budget(grid, FitConfig(steps=7)) == (7, None)
    assert budget(grid, FitConfig(seconds=7.0)) == (None, 7.0)
    assert budget(grid, FitConfig(steps=7, seconds=2.0)) == (7, 2.0)
    assert places_of(grid, FitConfig(places=77)) == 77


@pytest.mark.parametrize("kernel_size", [1, 3, (3, 1, 1), (1, 3, 3)])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_the_field_reaches_as_far_as_the_kernels(dims: int, kernel_size: object) -> None:
    grid = Grid((9, 8, 7)[:dims], torch.diag(torch.tensor([0.9, 1.1, 2.5, 1.0])))
    field = build_field(grid, 2, FitConfig(channels=(6, 5), kernel_size=kernel_size))
    encoding = field.encoding
    splines = list(encoding.fields) if isinstance(encoding, JointField) else [encoding]
    margin = [field.network.radius * h for h in grid.spacing.tolist()]
    for each in splines:
        assert isinstance(each, SplineField)
        assert each.margin == pytest.approx(margin)
    assert field.network.channels == (6, 5)
    assert field.network.out_channels == 2
    assert field.spacing == pytest.approx(tuple(grid.spacing.tolist()))


@pytest.mark.parametrize("shape", [(40, 30), (40, 1, 30)])
def test_a_plane_has_closer_knots_than_a_volume(shape: tuple[int, ...]) -> None:
    plane, volume = Grid(shape, torch.eye(4)), Grid((40, 30, 2), torch.eye(4))
    for preset in ("balanced", "best"):
        config = FitConfig(preset=preset)
        assert preset_of(volume, config) == PRESETS[preset]
        assert preset_of(plane, config).knot_spacing < PRESETS[preset].knot_spacing
    fast = FitConfig(preset="fast")
    assert preset_of(plane, fast) == preset_of(volume, fast) == PRESETS["fast"]


@pytest.mark.parametrize(
    ("shape", "images", "places"),
    [
        ((28, 28), 1, 1_024),
        ((64, 64), 1, 1_024),
        ((28, 28), 16, 3_136),
        ((32, 32, 32), 1, 8_192),
        ((64, 64, 64), 1, 12_288),
        ((96, 96, 96), 1, 13_824),
        ((176, 188, 144), 1, 74_448),
        ((512, 512, 512), 1, 131_072),
    ],
)
def test_places_are_many_enough_to_fill_a_step(
    shape: tuple[int, ...], images: int, places: int
) -> None:
    assert places_of(Grid(shape, torch.eye(4)), FitConfig(), images) == places


def test_presets_keep_fewer_numbers_than_voxels() -> None:
    """One number a voxel is what the spline itself has."""
    for preset in PRESETS.values():
        assert preset.field_channels / preset.knot_spacing**3 < 1
        assert sum(distance**-3 for distance in preset.pair or ()) < 1


def test_encoding_and_network_may_be_given() -> None:
    config = FitConfig(
        encoding=lambda grid: CoordinateField(grid.extent.tolist()),
        network=partial(ConvOINR, channels=(4,), kernel_size=1, omega_0=10.0),
    )
    field = build_field(Grid((9, 9), torch.eye(4)), 1, config)
    assert isinstance(field.encoding, CoordinateField)
    assert field.network.omega_0 == 10


def test_settings_are_json() -> None:
    config = FitConfig(channels=(8, 8), encoding=lambda grid: CoordinateField((9.0,)))
    settings = json.loads(json.dumps(config.settings()))
    assert settings["channels"] == [8, 8]
    assert settings["encoding"] == "given"
    assert settings["network"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"preset": "slow"}, "preset must be one of"),
        ({"steps": -1}, "steps must be 0 or more, got -1"),
        ({"places": -3}, "places must be positive"),
        ({"seconds": 0.0}, "seconds must be positive"),
        ({"seconds": float("nan")}, "seconds must be positive"),
        ({"learning_rate": -1.0}, "learning_rate must be positive"),
        ({"places": 0}, "places must be positive"),
    ],
)
def test_bad_configurations(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FitConfig(**arguments)
