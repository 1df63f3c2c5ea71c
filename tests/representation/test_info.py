"""What is known of a fit: typed, and a dictionary of JSON values to whoever reads it."""

from __future__ import annotations

import copy
import json
import math
import pickle
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.data import MetaTensor

from oinr_monai import (
    DenoiseConfig,
    FitConfig,
    Grid,
    OccupancyConfig,
    OperatorConfig,
    Representation,
    SuperResolveConfig,
    denoise,
    fit,
    fit_family,
    fit_occupancy,
    fuse,
    learn_operator,
    learn_start,
    modulate,
    super_resolve,
)
from oinr_monai.coding.strict_json import strict_json
from oinr_monai.images.time_axis import TimeAxis
from oinr_monai.representation.exact import spline_representation
from oinr_monai.representation.info import Info, Occupancy, ShortDescent

FEW = FitConfig("fast", steps=1)

# Something of every item, none of it what it is by default.
ALL = Info(
    settings={"preset": "fast", "seed": 3},
    steps=7,
    seconds=1.5,
    interrupted=False,
    device="cpu",
    parameters=12,
    psnr_grid=math.inf,
    psnr_between=31.0,
    psnr_members=(1.0, 2.0),
    psnr_blends=3.0,
    psnr_pairs=4.0,
    risk=0.5,
    data_residual=math.nan,
    held_out=0.25,
    iou={"1": 0.5},
    dice={"1": 0.75},
    start="0123456789abcdef",
    image="fedcba9876543210",
    source_mark="8-1-2",
    fitted=("encoding.coefficients",),
    stored_dtype="uint16",
    stored_scaling=(0.5, -1024.0),
    time_axis=TimeAxis(2.0, 1.0, "sec"),
    times=(),
    weights=(0.5, 0.5),
    noise={"model": "GaussianNoise", "sigma": [1.0]},
    occupancy=Occupancy((2, 5), 3.5, "uint8"),
    factor=(1, 4),
    guided=0.3,
    profile="Boxcar(4.0)",
    stacks=3,
    weight=0.01,
    descent=ShortDescent(3, 0.5),
    rounds=9,
    images=8,
    labels=True,
    others={"of another version": [1, None]},
)


def test_every_item_is_in_the_law() -> None:
    assert all(getattr(ALL, each.name) is not None for each in fields(Info))


def test_json_is_its_form() -> None:
    again = Info.of(json.loads(json.dumps(ALL)))
    for each in fields(Info):
        found, wanted = getattr(again, each.name), getattr(ALL, each.name)
        assert found == wanted or (math.isnan(found) and math.isnan(wanted))
    assert again == ALL
    assert again["times"] is None
    assert again["data_residual"] is None
    assert again["occupancy"] == {"labels": [2, 5], "smoothing": 3.5, "stored_dtype": "uint8"}


@pytest.mark.parametrize("name", [each.name for each in fields(Info) if each.name != "others"])
def test_another_type_is_refused(name: str) -> None:
    for wrong in ([{}], {"no": "such"} if name not in ("settings", "noise") else 3):
        with pytest.raises(ValueError, match=f"^info {name} must "):
            Info.of({name: wrong})


@pytest.mark.parametrize("kind", ["U3", "O", "c8", "M8[s]", "V4", "i4,f4"])
def test_voxels_are_stored_as_numbers(kind: str) -> None:
    with pytest.raises(ValueError, match=r"^info stored_dtype must be a type of numbers"):
        Info.of({"stored_dtype": kind})
    for known in ("uint8", "i2", ">f4", "float64", "bool", ""):
        assert Info.of({"stored_dtype": known}).stored_dtype == known


@pytest.mark.parametrize("digest", ["", "0123", "0123456789abcdeg", "0123456789abcdef0"])
def test_images_are_known_by_a_digest(digest: str) -> None:
    with pytest.raises(ValueError, match=r"^info image must be a digest of 16 digits"):
        Info.of({"image": digest})


def _pickled(info: Info) -> Info:
    return pickle.loads(pickle.dumps(info))


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, _pickled])
def test_copies_are_info(copied: Callable[[Info], Info]) -> None:
    again = copied(ALL)
    assert isinstance(again, Info)
    assert again == ALL
    assert again.times == ()


@pytest.mark.parametrize(
    "change",
    [
        lambda info: info.update(steps=1),
        lambda info: info.__setitem__("steps", 1),
        lambda info: info.pop("steps"),
        lambda info: info.clear(),
        lambda info: info.setdefault("more", 1),
        lambda info: setattr(info, "steps", 1),
        lambda info: info.__delitem__("steps"),
    ],
)
def test_a_value_does_not_change(change: Callable[[Info], Any]) -> None:
    info = replace(ALL)
    with pytest.raises((TypeError, AttributeError)):
        change(info)
    assert info == ALL


def test_the_info_of_a_representation_is_replaced() -> None:
    grid = Grid((4, 4), torch.eye(4))
    rep = spline_representation(torch.rand(1, 4, 4), grid, {"made": "here", "steps": 2})
    before = rep.info
    rep.info |= {"steps": 3}
    assert (before.steps, rep.info.steps, rep.info["made"]) == (2, 3, "here")
    rep.info = {"rounds": 5}
    assert rep.info == {"rounds": 5}


WAVE = torch.sin(torch.linspace(0, 6, 24))[None, :, None] * torch.linspace(1, 2, 24)


def _thick() -> MetaTensor:
    return MetaTensor(torch.rand(1, 24, 24, 5), affine=torch.diag(torch.tensor([1.0, 1, 4, 1])))


def _modulated() -> Representation:
    return modulate([WAVE], learn_operator([WAVE], OperatorConfig(steps=1, batch=1)))[0]


MADE: dict[str, Callable[[], Representation]] = {
    "fit": lambda: fit(WAVE, FEW),
    "exact": lambda: fit(WAVE, FitConfig("exact")),
    "warm": lambda: fit(WAVE, FEW, start=fit(WAVE, FEW)),
    "blend": lambda: fit_family([WAVE, WAVE], FEW, times=[0, 1]).at_time(0.5),
    "group": lambda: fit_family([WAVE, WAVE], FEW).representation,
    "occupancy": lambda: fit_occupancy(WAVE > 0.5, OccupancyConfig(FEW)),
    "denoise": lambda: denoise(WAVE + 0.1 * torch.randn(1, 24, 24), DenoiseConfig(steps=1)),
    "super-resolve": lambda: super_resolve(_thick(), SuperResolveConfig(steps=1)),
    "fuse": lambda: fuse([_thick()]),
    "operator": lambda: learn_operator([WAVE], OperatorConfig(steps=1, batch=1)),
    "modulate": _modulated,
    "start": lambda: learn_start([WAVE], FEW, rounds=1),
}


@pytest.mark.parametrize("made_by", MADE)
def test_whatever_makes_it_states_its_items(made_by: str, tmp_path: Path) -> None:
    made = MADE[made_by]()
    assert not made.info.others
    made.save(tmp_path / "made.oinr")
    kept = Representation.load(tmp_path / "made.oinr").info
    left = {"seconds"}
    if made_by == "exact":  # of samples that the file holds to within 1e-5 of their range
        left |= {"psnr_grid", "psnr_between"}
    assert kept == {name: value for name, value in made.info.items() if name not in left}


def test_scores_of_labels_that_are_no_numbers_come_back_as_nan() -> None:
    info = Info.of(json.loads(strict_json(Info(dice={"2": math.inf, "5": 0.5}))))
    assert math.isnan(info.dice["2"])
    assert info.dice["5"] == 0.5
    assert json.loads(strict_json(info))["dice"] == {"2": None, "5": 0.5}
