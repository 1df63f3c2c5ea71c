"""Thick slices in MONAI's pipelines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor
from monai.data.utils import no_collation
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, SaveImaged
from torch import Tensor

from oinr_monai import (
    DenoiseConfig,
    DenoiseOINRd,
    FitConfig,
    GaussianNoise,
    InterpolateOINR,
    SimulateThickSlices,
    SimulateThickSlicesd,
    SuperResolveConfig,
    SuperResolveOINR,
    SuperResolveOINRd,
    simulate_slices,
    super_resolve,
    super_resolve_trusted,
)
from oinr_monai.scanner.profiles import Gaussian

CONFIG = SuperResolveConfig(steps=3)


@pytest.fixture
def volume(oblique_affine: Tensor, generator: torch.Generator) -> MetaTensor:
    affine = oblique_affine.clone()
    affine[:3, :3] /= affine[:3, :3].norm(dim=0)
    return MetaTensor(torch.rand(1, 24, 24, 20, generator=generator), affine=affine)


def test_simulate_is_the_function(volume: MetaTensor) -> None:
    options: dict[str, Any] = {"profile": Gaussian(3.0), "noise": GaussianNoise(0.1), "seed": 7}
    wanted = simulate_slices(volume, 4.0, axis=1, **options)
    found = SimulateThickSlices(4.0, axis=1, **options)(volume)
    twin = SimulateThickSlicesd("a", 4.0, axis=1, output_keys="b", **options)({"a": volume})
    for each in (found, twin["b"]):
        assert torch.equal(each.as_tensor(), wanted.as_tensor())
        assert torch.equal(each.affine, wanted.affine)
    assert twin["a"] is volume


def test_super_resolve_is_the_function(volume: MetaTensor) -> None:
    thick = simulate_slices(volume, 4.0)
    wanted = super_resolve(thick, CONFIG, spacing=2.0, slice_thickness=3.0).sample()
    found = SuperResolveOINR(CONFIG, spacing=2.0, slice_thickness=3.0)(thick)
    twin = SuperResolveOINRd("a", CONFIG, spacing=2.0, slice_thickness=3.0)({"a": thick})
    for each in (found, twin["a"]):
        torch.testing.assert_close(each.as_tensor(), wanted.as_tensor(), rtol=0, atol=1e-6)
        assert torch.equal(each.affine, wanted.affine)


def test_maps_come_beside_the_answer(volume: MetaTensor) -> None:
    thick, config = simulate_slices(volume, 4.0), SuperResolveConfig(steps=0)
    twin = SuperResolveOINRd(
        "a", config, output_keys="b", error_keys="c", hidden_keys="e", share_keys="d"
    )
    found = twin({"a": thick})
    wanted = super_resolve_trusted(thick, config)
    assert torch.equal(found["c"], wanted.half_width())
    assert torch.equal(found["d"], wanted.share())
    assert torch.equal(found["e"], wanted.hidden())
    torch.testing.assert_close(found["b"], wanted.answer.sample(), rtol=0, atol=1e-6)
    assert found["a"] is thick
    noisy, quick = volume[..., 0], DenoiseConfig(GaussianNoise(0.3), steps=3)
    found = DenoiseOINRd("a", quick, error_keys="c")({"a": noisy})
    assert found["c"].shape == found["a"].shape
    assert set(DenoiseOINRd("a", quick)({"a": noisy})) == {"a"}
    twin = SuperResolveOINRd("a", config, guide="g", error_keys="c")
    with pytest.raises(ValueError, match="guide must be None with maps of trust"):
        twin({"a": thick, "g": volume})


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_from_file_to_file(volume: MetaTensor, tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(volume[0].numpy(), volume.affine.numpy()), tmp_path / "fine.nii.gz")
    steps = [
        LoadImaged("image"),
        EnsureChannelFirstd("image"),
        SimulateThickSlicesd("image", spacing=5.0),
        SuperResolveOINRd("image", CONFIG),
        SaveImaged(
            "image", output_dir=tmp_path, output_postfix="again", separate_folder=False,
            resample=False, print_log=False,
        ),
    ]  # fmt: skip
    data = [{"image": str(tmp_path / "fine.nii.gz")}]
    loader = DataLoader(Dataset(data, Compose(steps)), batch_size=1, collate_fn=no_collation)
    assert len(list(loader)) == 1
    fine, again = (nib.load(tmp_path / f"{name}.nii.gz") for name in ("fine", "fine_again"))
    assert again.shape == fine.shape
    np.testing.assert_allclose(again.affine, fine.affine, atol=1e-5)
    with torch.no_grad():
        assert SuperResolveOINR(CONFIG)(simulate_slices(volume, 5.0)).shape == volume.shape


def test_so_many_times_as_many_frames() -> None:
    frames = torch.rand(3, 9, 8, generator=torch.Generator().manual_seed(0))
    few = FitConfig(preset="fast", steps=2)
    assert [len(InterpolateOINR(factor=f, config=few)(frames)) for f in (1, 3)] == [3, 7]
    with pytest.raises(ValueError, match="factor must be 1 or more, got 0"):
        InterpolateOINR(factor=0)
