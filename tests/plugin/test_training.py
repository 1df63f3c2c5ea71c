"""The pieces of a fit as MONAI training."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import DataLoader, MetaTensor
from torch import Tensor

from oinr_monai import ConvOINR, DeriveOINR, Grid, Representation
from oinr_monai.fitting.samplers import LatticeSampler
from oinr_monai.plugin.training import RandomLattices, TrainedInferer, represent


@pytest.fixture
def volume(oblique_affine: Tensor, generator: torch.Generator) -> MetaTensor:
    values = 100 + 50 * torch.rand(1, 9, 8, 7, generator=generator)
    return MetaTensor(values, affine=oblique_affine, meta={"filename_or_obj": "case.nii.gz"})


def network(kernel_size: int = 1, bands: int = 3) -> ConvOINR:
    return ConvOINR(3, 6 * bands, 1, channels=(8, 8), kernel_size=kernel_size, padding="valid")


def lattices(volume: Tensor, **kwargs: Any) -> RandomLattices:
    return RandomLattices([{"image": volume}], bands=3, **kwargs)


@pytest.mark.parametrize("kernel_size", [1, 3])
def test_a_network_on_a_lattice_is_its_representation_there(
    kernel_size: int, volume: MetaTensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Any] = []
    draw = LatticeSampler.draw

    def note(sampler: LatticeSampler) -> dict[str, object]:
        drawn.append(draw(sampler))
        return drawn[-1]

    monkeypatch.setattr(LatticeSampler, "draw", note)
    operator = network(kernel_size)
    dataset = lattices(volume, halo=operator.radius, places=100)
    representation = dataset.representation(operator)
    for item in islice(dataset, 4):
        with torch.no_grad():
            signal = operator(item["image"][None])[0]
            expected = representation.field(drawn[-1]["image"])[0]
        assert signal.shape == item["label"].shape
        torch.testing.assert_close(signal, expected, atol=1e-5, rtol=1e-5)


def test_labels_are_the_standardised_volume(volume: MetaTensor) -> None:
    # On places at voxel centres, which one lattice in four has, the spline passes the samples.
    z = (volume - volume.mean()) / volume.std(correction=0)
    labels = torch.cat([item["label"].flatten() for item in lattices(volume, length=30)])
    assert float(labels.mean()) == pytest.approx(0, abs=0.2)
    dataset = lattices(volume)
    assert dataset.span == pytest.approx(float(z.max() - z.min()))


def test_a_length_repeats_and_seeds_differ(volume: MetaTensor) -> None:
    dataset = lattices(volume, length=3)
    first, again = list(dataset), list(dataset)
    other = list(lattices(volume, length=3, seed=1))
    assert len(first) == 3
    assert all(torch.equal(a["label"], b["label"]) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0]["image"], other[0]["image"])


def test_the_seed_tells_what_workers_look_at(volume: MetaTensor) -> None:
    def seen(seed: int) -> Tensor:
        loader = DataLoader(lattices(volume, length=1, seed=seed), batch_size=1, num_workers=1)
        return next(iter(loader))["image"]

    torch.testing.assert_close(seen(3), seen(3), rtol=0, atol=0)
    assert seen(3).shape != seen(4).shape or not torch.equal(seen(3), seen(4))


def test_workers_look_at_places_of_their_own(volume: MetaTensor) -> None:
    loader = DataLoader(lattices(volume, length=1), batch_size=1, num_workers=2)
    one, two = (batch["image"] for batch in loader)
    assert not torch.equal(one, two)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "one item, got 0"),
        ([{"image": torch.rand(1, 4, 4)}] * 2, "one item, got 2"),
        ([{"image": torch.ones(1, 4, 4)}], "span 0.0"),
        ([{"image": torch.full((1, 4, 4), torch.nan)}], "span nan"),
    ],
)
def test_data_that_cannot_be_fitted(data: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RandomLattices(data)


@pytest.mark.parametrize("given", ["network", ".oinr", ".pt"])
@pytest.mark.parametrize("answer", [None, DeriveOINR("gradient")])
def test_answers_come_from_the_fit_given(
    given: str, answer: Any, volume: MetaTensor, tmp_path: Path
) -> None:
    trained, fitted = network(), None
    representation = represent(trained, volume, bands=3)
    if given == ".oinr":
        representation.save(fitted := tmp_path / "fit.oinr")
    if given == ".pt":
        torch.save(trained.state_dict(), fitted := tmp_path / "model.pt")
    handed = trained if given == "network" else network()
    (batch,) = DataLoader([{"image": volume}], batch_size=1)
    found = TrainedInferer(answer, bands=3, fitted=fitted)(batch["image"], handed)[0]
    expected = (answer or Representation.sample)(representation)
    assert torch.equal(found.as_tensor(), expected.as_tensor())
    assert Grid.from_image(found) == Grid.from_image(volume)


def test_the_trained_network_is_left_as_it_is(volume: MetaTensor) -> None:
    trained = network()
    represent(trained, volume, bands=3)
    assert trained.training
    assert all(parameter.requires_grad for parameter in trained.parameters())


def test_a_network_that_was_trained_with_zeros_is_no_representation() -> None:
    image = torch.rand(1, 8, 8)
    with pytest.raises(ValueError, match='padding must be "valid" for kernels wider than a voxel'):
        represent(ConvOINR(2, 32, 1, channels=(8,)), image)
    assert represent(ConvOINR(2, 32, 1, channels=(8,), kernel_size=1), image).grid.shape == (8, 8)


def test_lattices_are_drawn_of_arrays_as_numpy_and_nibabel_give_them() -> None:
    wave = np.random.default_rng(0).random((1, 16, 12)).astype(np.float32)
    wanted = next(iter(RandomLattices([{"image": torch.from_numpy(wave.copy())}], places=64)))
    for given in (wave[:, ::-1][:, ::-1], wave.astype(">f4"), wave[:, ::-1].copy()[:, ::-1]):
        found = next(iter(RandomLattices([{"image": given}], places=64)))
        torch.testing.assert_close(found["label"], wanted["label"])
    with pytest.raises(ValueError, match="image must hold real numbers, got complex64"):
        RandomLattices([{"image": wave.astype(np.complex64)}])
