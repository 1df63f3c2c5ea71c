"""Operators of every kind from a shell, from a MONAI config, and of several images."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from monai.bundle import ConfigParser
from monai.transforms import LoadImage

from oinr_monai import Representation
from tests.cli.scans import FAST, SHAPE, blob, oblique_affine, save_nifti

NETWORKS = ["ConvOINR", "CKConvOINR", "CZOINR"]


@pytest.mark.parametrize("network", NETWORKS)
def test_every_operator_fits_samples_and_derives(
    run: Callable[..., dict[str, Any]], scan: Path, tmp_path: Path, network: str
) -> None:
    output = tmp_path / "fit.oinr"
    run("fit", scan, "-o", output, "--network", network, *FAST, "--steps", 30)
    assert run("info", output)["classes"]["network"] == network
    run("sample", output, "-o", tmp_path / "fine.nii.gz", "--factor", 2)
    assert nib.load(tmp_path / "fine.nii.gz").shape == tuple(2 * n - 1 for n in SHAPE)
    run("derive", output, "-o", tmp_path / "maps", "--maps", "gradient")
    assert nib.load(tmp_path / "maps/gradient.nii.gz").shape == (*SHAPE, 3)
    run("features", output, "-o", tmp_path / "features.npz")
    assert run("evaluate", output, "--image", scan)["psnr"] > 10


def test_an_image_too_small_for_wavelets_is_refused(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    thin = save_nifti(tmp_path / "thin.nii.gz", blob((18, 16, 3)))
    said = refused("fit", thin, "-o", "thin.oinr", "--network", "CZOINR")
    assert "levels must be at most 0 for shape (18, 16, 3)" in said


@pytest.mark.parametrize("network", NETWORKS[:2])
def test_several_resolutions_make_one_representation(
    run: Callable[..., dict[str, Any]], scan: Path, tmp_path: Path, network: str
) -> None:
    half = oblique_affine()
    half[:3, 3] += half[:3, :2].sum(1) / 2
    half[:3, :2] *= 2
    means = blob(SHAPE).reshape(9, 2, 8, 2, 9).mean((1, 3))
    coarse = save_nifti(tmp_path / "coarse.nii.gz", means, half)
    output = tmp_path / "both.oinr"
    run("fit", scan, coarse, "-o", output, "--network", network, *FAST, "--steps", 20)
    assert Representation.load(output).grid.shape == SHAPE


def test_another_operator_does_not_resume(scan: Path, tmp_path: Path) -> None:
    from oinr_monai import FitConfig, fit

    image = LoadImage(image_only=True, ensure_channel_first=True)(scan)
    checkpoint = tmp_path / "fit.checkpoint"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("oinr_monai.fitting.handlers.Checkpoint.every", 0.0, raising=False)
        patch.setattr("oinr_monai.fitting.handlers.Checkpoint._maybe", lambda self, _: self.save())
        fit(image, FitConfig(preset="fast", steps=2), checkpoint=checkpoint)
    kept = tmp_path / "kept"
    shutil.copy(checkpoint, kept)
    wider = FitConfig(preset="fast", steps=2, network=_wide)
    with pytest.raises(ValueError, match="checkpoint must be of the same image"):
        fit(image, wider, checkpoint=kept, resume=True)


def _wide(**settings: Any) -> Any:
    from oinr_monai import ConvOINR

    return ConvOINR(**settings, channels=(20, 20), kernel_size=1)


CONFIG = {
    "fit": {
        "_target_": "FitOINR",
        "config": {"_target_": "FitConfig", "steps": 3, "network": None},
    }
}


@pytest.mark.parametrize(
    "network",
    [
        {
            "_target_": "CKConvOINR",
            "_mode_": "callable",
            "channels": [8, 8],
            "support": [1.2, 0, 0],
            "kernel": {
                "_target_": "oinr_monai.operators.MAGNet",
                "_mode_": "callable",
            },
        },
        {"_target_": "CZOINR", "_mode_": "callable", "channels": 4, "levels": 1},
    ],
)
def test_a_monai_config_names_the_operator(scan: Path, network: dict[str, Any]) -> None:
    parser = ConfigParser(CONFIG)
    parser["fit#config#network"] = network
    image = LoadImage(image_only=True, ensure_channel_first=True)(scan)
    representation = parser.get_parsed_content("fit")(image)
    assert type(representation.field.network).__name__ == network["_target_"]
    assert np.isfinite(representation.info["psnr_grid"])


def test_where_it_goes_is_found_out_before_the_work(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch, scan: Path
) -> None:
    monkeypatch.setattr("oinr_monai.cli.fit._opened", lambda *_: pytest.fail("it was read"))
    assert "must end in .oinr" in refused("fit", scan, "-o", "a.nii.gz")
    assert "--memory must go with one image" in refused(
        "fit", scan, "-o", "a.oinr", "--memory", "8", "--labels"
    )
