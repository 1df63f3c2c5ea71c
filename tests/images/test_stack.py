"""The one check of images that are taken together, by whatever takes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from monai.data import MetaTensor

from oinr_monai import (
    FitConfig,
    Grid,
    OperatorConfig,
    fit_family,
    fit_many,
    learn_operator,
    modulate,
)
from oinr_monai.images.scans import checked_scans

FEW = FitConfig("fast", steps=1)
LEARN = OperatorConfig(steps=1, batch=1)


def picture(seed: int = 0, size: int = 12, channels: int = 1, **affine: float) -> MetaTensor:
    generator = torch.Generator().manual_seed(seed)
    place = torch.eye(4, dtype=torch.float64)
    place[0, 0], place[0, 3] = affine.get("spacing", 1.0), affine.get("offset", 0.0)
    place[0, 1] = affine.get("shear", 0.0)
    return MetaTensor(torch.rand(channels, size, 12, generator=generator), affine=place)


def _modulate(images: list[MetaTensor]) -> Any:
    return modulate(images[1:], learn_operator(images[:1], LEARN))


TOGETHER: dict[str, Callable[[list[MetaTensor]], Any]] = {
    "fit_many": lambda images: fit_many(images, FEW),
    "fit_family": lambda images: fit_family(images, FEW, motion=False),
    "learn_operator": lambda images: learn_operator(images, LEARN),
    "modulate": _modulate,
}


@pytest.mark.parametrize("taken_by", TOGETHER)
@pytest.mark.parametrize(
    ("other", "message"),
    [
        (picture(1, size=13), r"one shape, \(1, 12, 12\) as .*, got \(1, 13, 12\) at"),
        (picture(1, channels=2), r"one shape, \(1, 12, 12\) as .*, got \(2, 12, 12\) at"),
        (picture(1, spacing=1.002), r"one (spacing|affine), .* as .*, got .*1\.002.*\] at [01];"),
    ],
)
def test_another_form_is_refused(taken_by: str, other: MetaTensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TOGETHER[taken_by]([picture(), other])


@pytest.mark.parametrize("taken_by", TOGETHER)
def test_what_headers_round_is_one_form(taken_by: str) -> None:
    TOGETHER[taken_by]([picture(), picture(1, spacing=1.0002, offset=0.002)])


@pytest.mark.parametrize("moved", [{"offset": 0.1}, {"shear": 0.002}])
def test_only_a_family_lies_in_one_place(moved: dict[str, float]) -> None:
    images = [picture(), picture(1, **moved)]
    with pytest.raises(ValueError, match="images must have one affine"):
        TOGETHER["fit_family"](images)
    assert len(fit_many(images, FEW)) == 2


@pytest.mark.parametrize("taken_by", ["fit_many", "fit_family", "learn_operator"])
def test_the_unfit_one_is_named(taken_by: str) -> None:
    with pytest.raises(ValueError, match=r"^images\[1\]: image must vary"):
        TOGETHER[taken_by]([picture(), torch.ones(1, 12, 12)])


def test_scans_lie_where_they_are_within_the_first() -> None:
    whole = Grid((9, 8), torch.diag(torch.tensor([2.0, 0.5, 1.0])))
    part = whole.crop((3, 2), (7, 8))
    images = [grid.to_image(torch.rand(1, *grid.shape)) for grid in (whole, part)]
    assert [scan.origin for scan in checked_scans(images, None)] == [(0.0, 0.0), (6.0, 1.0)]
