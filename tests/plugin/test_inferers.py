"""The inferer in the hands of MONAI's evaluator, and by itself."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor, decollate_batch
from monai.engines import SupervisedEvaluator
from monai.transforms import Compose, LoadImaged, SaveImaged
from torch import Tensor, nn

from oinr_monai import (
    ConvOINR,
    DenoiseConfig,
    DeriveOINR,
    FeaturesOINR,
    FitConfig,
    Grid,
    OccupancyConfig,
    OINRInferer,
    Representation,
    SampleOINR,
    fit,
)
from oinr_monai.plugin import inferers

QUICK = FitConfig(preset="fast", steps=20)


@pytest.fixture
def volumes(oblique_affine: Tensor) -> list[MetaTensor]:
    """Two volumes of one shape at different places."""
    generator = torch.Generator().manual_seed(3)
    affines = [oblique_affine, oblique_affine @ torch.diag(torch.tensor([1.0, 2, 1, 1]).double())]
    return [
        MetaTensor(
            torch.rand(1, 8, 7, 6, generator=generator),
            affine=affine,
            meta={"filename_or_obj": f"/data/case{i}.nii.gz"},
        )
        for i, affine in enumerate(affines)
    ]


@pytest.fixture
def batch(volumes: list[MetaTensor]) -> MetaTensor:
    items = Dataset([{"image": volume} for volume in volumes])
    return next(iter(DataLoader(items, batch_size=2)))["image"]


@pytest.mark.parametrize(
    ("answer", "ask"),
    [
        (None, lambda r: r.sample()),
        (SampleOINR(factor=2), lambda r: r.sample(r.grid.refine(2))),
        (DeriveOINR("gradient"), lambda r: r.gradient()),
        (FeaturesOINR(), lambda r: r.features()),
        (Representation.hessian, lambda r: r.hessian()),
    ],
)
def test_each_volume_is_answered_by_its_own_fit(
    answer: Any, ask: Any, volumes: list[MetaTensor], batch: MetaTensor
) -> None:
    answers = OINRInferer(QUICK, answer)(inputs=batch, network=nn.Identity())
    for one, volume in zip(decollate_batch(answers), volumes, strict=True):
        expected = ask(fit(volume, QUICK))
        assert torch.equal(one.as_tensor(), expected.as_tensor())
        assert Grid.from_image(one) == Grid.from_image(expected)
        assert one.meta["filename_or_obj"] == volume.meta["filename_or_obj"]


def test_a_single_volume_without_a_loader(volumes: list[MetaTensor]) -> None:
    answer = OINRInferer(QUICK)(volumes[1][None], None)
    assert torch.equal(answer[0].as_tensor(), fit(volumes[1], QUICK).sample().as_tensor())
    assert torch.equal(answer[0].affine, volumes[1].affine)


def test_the_hosts_network_is_left_alone(batch: MetaTensor) -> None:
    network = ConvOINR(3, 4, 1, channels=(8,), kernel_size=1)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with torch.no_grad():
        OINRInferer(QUICK)(inputs=batch, network=network)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in network.parameters())


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_answers_where_gradients_are_off(mode: Any, batch: MetaTensor) -> None:
    expected = OINRInferer(QUICK)(batch)
    with mode():
        answers = OINRInferer(QUICK)(batch.clone())
    assert torch.equal(answers.as_tensor(), expected.as_tensor())
    assert not answers.requires_grad


def test_a_factory_makes_the_operator() -> None:
    made: list[ConvOINR] = []

    def make(**arguments: Any) -> ConvOINR:
        made.append(ConvOINR(channels=(6, 5), kernel_size=(3, 1, 1), **arguments))
        return made[-1]

    features = OINRInferer(QUICK, FeaturesOINR(layer=2), network=make)(torch.rand(2, 1, 8, 7))
    assert features.shape == (2, 5, 8, 7)
    assert len(made) == 2
    assert not torch.equal(made[0].last.weight, made[1].last.weight)


def test_a_factory_equals_the_settings_it_stands_for() -> None:
    image = torch.rand(1, 8, 7, generator=torch.Generator().manual_seed(1))
    make = partial(ConvOINR, channels=[6, 6], kernel_size=[3, 1, 1])
    one = fit(image, FitConfig("fast", steps=5, network=make))
    other = fit(image, FitConfig("fast", steps=5, channels=(6, 6), kernel_size=(3, 1, 1)))
    assert torch.equal(one.sample(), other.sample())
    assert one.info["settings"]["network"] == "given"
    assert other.info["settings"]["network"] is None


def test_what_is_no_batch_is_refused(volumes: list[MetaTensor], batch: MetaTensor) -> None:
    with pytest.raises(ValueError, match=r"inputs must have shape \(B, C, \*spatial\), got \(8,"):
        OINRInferer(QUICK)(torch.rand(8, 7))
    with pytest.raises(ValueError, match="answers must share one shape"):
        OINRInferer(QUICK, SampleOINR(spacing=1.0))(batch)


def test_an_evaluator_writes_what_the_inferer_answers(
    volumes: list[MetaTensor], tmp_path: Path
) -> None:
    paths = []
    for i, volume in enumerate(volumes):
        paths.append({"image": str(tmp_path / f"case{i}.nii.gz")})
        nib.save(nib.Nifti1Image(volume[0].numpy(), volume.affine.numpy()), paths[-1]["image"])
    dataset = Dataset(paths, LoadImaged("image", ensure_channel_first=True))
    save = SaveImaged("pred", output_dir=tmp_path, output_postfix="x2", separate_folder=False)
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(dataset, batch_size=2),
        network=nn.Identity(),
        inferer=OINRInferer(QUICK, SampleOINR(factor=2)),
        postprocessing=Compose([save]),
    )
    evaluator.run()
    for i, volume in enumerate(volumes):
        written = nib.load(tmp_path / f"case{i}_x2.nii.gz")
        grid = Grid.from_image(volume).refine(2)
        assert written.shape == grid.shape
        np.testing.assert_allclose(written.affine, grid.affine, atol=1e-4)


def test_the_kind_of_config_says_what_is_fitted(
    batch: MetaTensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, config in (("denoise", DenoiseConfig()), ("fit_occupancy", OccupancyConfig())):
        asked: list[object] = []

        def found(image: Tensor, config: object, asked: list[object] = asked) -> Representation:
            asked.append(config)
            return fit(image, FitConfig("exact"))

        monkeypatch.setattr(inferers, name, found)
        answer = OINRInferer(config)(batch)
        assert asked == [config, config]
        torch.testing.assert_close(answer.as_tensor(), batch.as_tensor(), rtol=0, atol=1e-4)
