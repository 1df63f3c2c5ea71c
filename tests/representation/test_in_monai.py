"""Representations in MONAI's caches and workers, and before its transforms of images."""

from __future__ import annotations

import copy
import pickle
import pickletools
import traceback
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor, PersistentDataset
from monai.transforms import (
    AsDiscreted,
    CenterSpatialCropd,
    Compose,
    Flipd,
    Lambdad,
    LoadImaged,
    Orientationd,
    RandAffined,
    Resized,
    Rotate90d,
    SaveImaged,
    Spacingd,
    SpatialPadd,
    ThresholdIntensityd,
    Transform,
)
from torch import Tensor

from oinr_monai import FitConfig, FitOINR, FitOINRd, Representation, fit_family

QUICK = FitConfig(preset="fast", steps=5)


@pytest.fixture
def image(oblique_affine: Tensor) -> MetaTensor:
    """Waves on an oblique grid of 12 x 11 x 6 voxels, read from ``case7.nii.gz``."""
    values = torch.rand(1, 12, 11, 6, generator=torch.Generator().manual_seed(0))
    meta = {"filename_or_obj": "/data/case7.nii.gz"}
    return MetaTensor(values.cumsum(1), affine=oblique_affine, meta=meta)


@pytest.fixture
def representation(image: MetaTensor) -> Representation:
    return FitOINR(QUICK)(image)


@pytest.fixture
def nifti(image: MetaTensor, tmp_path: Path) -> Path:
    path = tmp_path / "case7.nii.gz"
    nib.save(nib.Nifti1Image(image[0].numpy(), image.affine.numpy()), path)
    return path


@pytest.mark.parametrize("config", [QUICK, FitConfig("exact")], ids=["fast", "exact"])
def test_a_persistent_dataset_keeps_representations(
    nifti: Path, tmp_path: Path, config: FitConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    transforms = [LoadImaged("image", ensure_channel_first=True), FitOINRd("image", config=config)]
    cache = tmp_path / "cache"
    items = []
    for _ in range(2):
        dataset = PersistentDataset([{"image": str(nifti)}], Compose(transforms), cache_dir=cache)
        items.append(dataset[0]["image"])
        monkeypatch.setattr("oinr_monai.plugin.fit_transforms.fit", None)  # what is kept is read
    fitted, kept = items
    assert torch.equal(kept.sample(), fitted.sample())
    assert (kept.grid, kept.scale, kept.info) == (fitted.grid, fitted.scale, fitted.info)
    assert kept.sample().meta["filename_or_obj"] == str(nifti)
    assert len(kept.applied_operations) == len(fitted.applied_operations)


def test_what_is_kept_is_the_file_and_no_module(representation: Representation) -> None:
    content = pickle.dumps(representation)
    names = {str(value) for _, value, _ in pickletools.genops(content) if isinstance(value, str)}
    assert "oinr_monai.representation.in_monai" in names
    assert not any("oinr_monai" in name for name in names - {"oinr_monai.representation.in_monai"})
    with pytest.raises(ValueError, match="must be saved as it was fitted"):
        pickle.dumps(representation.smoothed(1.0))


def test_a_family_is_kept_as_its_representation_is(image: MetaTensor, tmp_path: Path) -> None:
    family = fit_family(
        [image[..., 2], image[..., 3]], FitConfig(preset="fast", steps=2), times=[0, 1]
    )
    torch.save(family, tmp_path / "family.pt")
    kept = torch.load(tmp_path / "family.pt", weights_only=True)
    assert torch.equal(kept.at_time(0.5).sample(), family.at_time(0.5).sample())


def test_a_copy_shares_nothing(representation: Representation) -> None:
    other = copy.deepcopy(representation)
    assert torch.equal(other.sample(), representation.sample())
    assert other.sample().meta["filename_or_obj"] == "/data/case7.nii.gz"
    for one, two in zip(other.field.parameters(), representation.field.parameters(), strict=True):
        assert one.data_ptr() != two.data_ptr()
    assert isinstance(copy.deepcopy(representation.smoothed(1.0)), Representation)


TAKE_IMAGES: list[Transform] = [
    Flipd("image", 0),
    Spacingd("image", (1.0, 1.0, 1.0)),
    Resized("image", (4, 4, 4)),
    Rotate90d("image"),
    Orientationd("image", "RAS", labels=None),
    RandAffined("image", prob=1.0),
    SpatialPadd("image", (30, 30, 30)),
    CenterSpatialCropd("image", (4, 4, 4)),
    AsDiscreted("image", threshold=0.5),
    ThresholdIntensityd("image", threshold=0.5),
    Lambdad("image", lambda image: 2 * image - 1),
]


@pytest.mark.parametrize("transform", TAKE_IMAGES, ids=lambda each: type(each).__name__)
def test_transforms_of_images_tell_to_sample_first(
    transform: Transform, representation: Representation
) -> None:
    with pytest.raises(RuntimeError) as raised:
        Compose([transform])({"image": representation})
    told = "".join(traceback.format_exception(raised.value))
    assert "sample it first (SampleOINRd)" in told


def test_writers_batches_and_tensors_tell_to_sample_first(
    representation: Representation, tmp_path: Path
) -> None:
    save = SaveImaged("image", output_dir=tmp_path, print_log=False)
    with pytest.raises(RuntimeError, match=r"sample it first \(SampleOINRd\)"):
        save({"image": representation})
    loader = DataLoader(Dataset([{"image": representation}] * 2), batch_size=2)
    with pytest.raises(TypeError, match=r"sample it first \(SampleOINRd\)"):
        next(iter(loader))
    for taken in (
        np.asarray,
        torch.flatten,
        lambda x: x + 1,
        lambda x: 1 - x,
        lambda x: x / 2,
        abs,
    ):
        with pytest.raises(TypeError, match=r"sample it first \(SampleOINRd\)"):
            taken(representation)  # type: ignore[operator]
    with pytest.raises(AttributeError, match=r"no attribute 'smaple'$"):
        representation.smaple  # type: ignore[attr-defined]  # noqa: B018
