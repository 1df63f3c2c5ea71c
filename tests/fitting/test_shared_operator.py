from __future__ import annotations

from pathlib import Path

import pytest
import torch
from monai.data import MetaTensor
from torch import Tensor

from oinr_monai import Representation
from oinr_monai.fitting.modulation import answers, modulate
from oinr_monai.fitting.shared_operator import OperatorConfig, learn_operator
from oinr_monai.grids.positions import Lattice
from oinr_monai.representation.lineage import digest

QUICK = OperatorConfig(steps=30, batch=8, channels=(8, 8), field_channels=4)


def blobs(count: int, dims: int = 2, size: int = 12, seed: int = 0) -> list[Tensor]:
    """Gaussian blobs at random places, (1, *spatial) each."""
    generator = torch.Generator().manual_seed(seed)
    axes = torch.meshgrid(*[torch.arange(float(size))] * dims, indexing="ij")
    places = torch.stack(axes, -1)
    centres = 3 + torch.rand(count, dims, generator=generator) * (size - 7)
    return [torch.exp(-((places - c) ** 2).sum(-1) / 8)[None] for c in centres]


@pytest.fixture(scope="module")
def operator() -> Representation:
    return learn_operator(blobs(32), QUICK)


def test_many_input_functions_at_once_are_each_answered_as_alone(operator: Representation) -> None:
    field = operator.field
    coefficients = torch.randn(3, *field.encoding.coefficients.shape)
    lattice = Lattice((torch.arange(5.0).double() + 0.3, torch.arange(4.0).double() + 2.6))
    with torch.no_grad():
        together = answers(field, coefficients, lattice)
    found = modulate(blobs(1), operator)[0].field
    for each, signal in zip(coefficients, together, strict=True):
        found.encoding.coefficients.data = each
        torch.testing.assert_close(signal, found(lattice)[0], atol=2e-5, rtol=1e-5)


def test_learning_makes_the_descent_better_on_unseen_signals() -> None:
    unseen = blobs(8, seed=1)
    scores = []
    for steps in (1, 300):
        learned = learn_operator(blobs(32), OperatorConfig(**(vars(QUICK) | {"steps": steps})))
        found = modulate(unseen, learned)
        scores.append(sum(each.info["psnr_grid"] for each in found) / 8)
    assert scores[1] > scores[0] + 6


def test_more_steps_of_descent_represent_a_signal_better(operator: Representation) -> None:
    few, many = (modulate(blobs(1, seed=1), operator, steps=n)[0] for n in (1, 20))
    assert many.info["psnr_grid"] > few.info["psnr_grid"]
    assert many.info["steps"] == 20


def test_noted_psnr_is_that_of_the_samples(operator: Representation) -> None:
    image = 5 + 3 * blobs(1, seed=3)[0]
    found = modulate([image], operator)[0]
    mse = (found.sample().as_tensor() - image).double().square().mean()
    psnr = 20 * torch.log10(image.max() - image.min()) - 10 * torch.log10(mse)
    assert found.info["psnr_grid"] == pytest.approx(float(psnr), abs=1e-3)


def test_a_signal_is_represented_the_same_alone_as_among_others(operator: Representation) -> None:
    images = blobs(5, seed=4)
    alone, among = modulate(images[3:4], operator)[0], modulate(images, operator)[3]
    theirs = among.field.encoding.coefficients
    torch.testing.assert_close(alone.field.encoding.coefficients, theirs, atol=1e-5, rtol=1e-4)


def test_result_is_kept_in_a_file_and_knows_its_start(
    operator: Representation, tmp_path: Path
) -> None:
    image = MetaTensor(blobs(1)[0], affine=torch.diag(torch.tensor([1.0, 1.0, 1.0, 1.0])))
    operator.save(tmp_path / "operator.oinr")
    again = Representation.load(tmp_path / "operator.oinr")
    found = modulate([image], again)[0]
    found.save(tmp_path / "found.oinr")
    kept = Representation.load(tmp_path / "found.oinr")
    assert torch.equal(kept.sample(), found.sample())
    assert kept.info["start"] == digest(operator)
    assert not operator.info["labels"]


def test_a_descent_of_many_steps_does_not_diverge_however_strong_the_operator_becomes() -> None:
    generator = torch.Generator().manual_seed(0)
    images = [torch.randn(1, 14, 13, generator=generator).cumsum(1) for _ in range(6)]
    shape = {"channels": (8, 8), "field_channels": 4, "batch": 2, "descent": 6}
    operator = learn_operator(images, OperatorConfig(steps=60, **shape))
    for image, found in zip(images, modulate(images, operator), strict=True):
        spread = image.std() / (image.max() - image.min())
        assert found.info["psnr_grid"] > -20 * float(spread.log10())  # that of the mean


def test_volumes_of_two_channels() -> None:
    images = [torch.cat([a, 2 - a]) for a in blobs(8, dims=3, size=8)]
    config = OperatorConfig(steps=3, batch=4, channels=(4,), field_channels=2, kernel_size=(1, 3))
    found = modulate(images[:2], learn_operator(images, config))
    assert found[0].sample().shape == (2, 8, 8, 8)
    assert found[0].gradient_at(torch.full((1, 3), 3.2)).shape == (1, 2, 3)


def test_labels_move_classes_apart_in_the_coefficients() -> None:
    """Two classes whose images differ by noise of the same size as their difference."""
    generator = torch.Generator().manual_seed(0)
    labels = [i % 2 for i in range(32)]
    bars = torch.zeros(2, 1, 12, 12)
    bars[0, :, 5:7], bars[1, :, :, 5:7] = 1.0, 1.0
    images = [bars[k] + 0.5 * torch.randn(1, 12, 12, generator=generator) for k in labels]
    ratios = []
    for given in (None, labels):
        config = OperatorConfig(**(vars(QUICK) | {"steps": 120, "supervision": 3.0}))
        learned = learn_operator(images, config, labels=given)
        assert learned.info["labels"] is (given is not None)
        found = modulate(images, learned)
        vectors = torch.stack([each.field.encoding.coefficients.flatten() for each in found])
        means = torch.stack([vectors[k::2].mean(0) for k in (0, 1)])
        within = torch.stack([vectors[k::2] - means[k] for k in (0, 1)]).norm(dim=2).mean()
        ratios.append(float((means[0] - means[1]).norm() / within))
    assert ratios[1] > 1.2 * ratios[0]


def test_bad_input(operator: Representation) -> None:
    images = blobs(4)
    with pytest.raises(ValueError, match="steps must be positive, got 0"):
        OperatorConfig(steps=0)
    with pytest.raises(ValueError, match="knot_spacing must be at least 1 voxel"):
        OperatorConfig(knot_spacing=0.5)
    with pytest.raises(ValueError, match="labels must be 4 whole numbers"):
        learn_operator(images, QUICK, labels=[0, 1])
    with pytest.raises(ValueError, match=r"images must have one shape, \(1, 12, 12\)"):
        learn_operator([*images, torch.rand(1, 9, 9)], QUICK)
    with pytest.raises(ValueError, match="images must have one spacing"):
        modulate([MetaTensor(images[0], affine=torch.diag(torch.tensor([2.0, 2, 1, 1])))], operator)
    with pytest.raises(ValueError, match="images must hold at least one"):
        modulate([], operator)
    found = modulate(images[:1], operator)[0]
    with pytest.raises(ValueError, match="operator must be what learn_operator returned"):
        modulate(images, found)
    with pytest.raises(ValueError, match="learning_rate must be lower"):
        learn_operator(images, OperatorConfig(**(vars(QUICK) | {"learning_rate": 1e6})))
