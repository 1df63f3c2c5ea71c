"""Images whose channels do not come first are refused, by whatever takes images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import EnsureChannelFirst, LoadImage

from oinr_monai import (
    DenoiseConfig,
    DenoiseOINR,
    EncodeGrid,
    FitConfig,
    FitOccupancyOINR,
    FitOINR,
    InterpolateOINR,
    OccupancyConfig,
    OINRInferer,
    OperatorConfig,
    RandFitOINR,
    SampleOINR,
    SimulateThickSlices,
    SuperResolveConfig,
    SuperResolveOINR,
    fit_many,
    fuse,
    learn_operator,
    region_features,
)

FEW = FitConfig("fast", steps=1)
SHAPE = (18, 16, 14)

TAKE: dict[str, Callable[[MetaTensor], Any]] = {
    "fit": FitOINR(FEW),
    "fit exactly": FitOINR(FitConfig("exact")),
    "fit from a random start": RandFitOINR(FEW),
    "fit labels": lambda image: FitOccupancyOINR(OccupancyConfig(FEW))(_labels(image)),
    "denoise": DenoiseOINR(DenoiseConfig(steps=1)),
    "super-resolve": SuperResolveOINR(SuperResolveConfig(steps=1), spacing=0.5),
    "simulate": SimulateThickSlices(2.0, axis=0),
    "interpolate frames": InterpolateOINR([0.5], config=FEW),
    "interpolate slices": InterpolateOINR(factor=2, axis=0, config=FEW),
    "encode": EncodeGrid(),
    "sample like": lambda image: SampleOINR()(_fitted(), like=image),
    "region": lambda image: region_features(_fitted(), _labels(image)),
    "fuse": lambda image: fuse([image]),
    "fit many": lambda image: fit_many([image], FEW),
    "learn": lambda image: learn_operator([image] * 2, OperatorConfig(steps=1, batch=1)),
    "infer": lambda image: OINRInferer(FEW)(image[None]),
}


def _labels(image: MetaTensor) -> MetaTensor:
    return MetaTensor((image.as_tensor() > 0.5).float(), meta=image.meta)


def _fitted() -> Any:
    return FitOINR(FitConfig("exact"))(torch.rand(1, *SHAPE))


def _read(folder: Path, shape: tuple[int, ...]) -> MetaTensor:
    voxels = np.random.default_rng(0).random(shape).astype(np.float32)
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), folder / "scan.nii")
    return LoadImage()(folder / "scan.nii")


@pytest.mark.parametrize("taken", TAKE)
def test_a_volume_without_channels_is_refused(taken: str, tmp_path: Path) -> None:
    told = r"no channel axis; put EnsureChannelFirstd|labels must have shape \(1, \*spatial\)"
    with pytest.raises(ValueError, match=told):
        TAKE[taken](_read(tmp_path, SHAPE))


def test_channels_that_come_last_are_refused(tmp_path: Path) -> None:
    image = _read(tmp_path, (*SHAPE, 2))
    with pytest.raises(ValueError, match="along axis -1; put EnsureChannelFirstd"):
        FitOINR(FitConfig("exact"))(image)
    assert FitOINR(FitConfig("exact"))(EnsureChannelFirst()(image)).grid.shape == SHAPE


@pytest.mark.parametrize(
    "first", [EnsureChannelFirst(), lambda x: x[None], lambda x: x[..., 5][None], lambda x: x[:1]]
)
def test_channels_added_in_any_way_are_seen(first: Any, tmp_path: Path) -> None:
    image = first(_read(tmp_path, SHAPE))
    assert FitOINR(FitConfig("exact"))(image).grid.shape == tuple(image.shape[1:])
