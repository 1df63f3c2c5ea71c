"""An image in closed form: the spline through its samples, wherever they are."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import Tensor

from oinr_monai import ConvOINR, FitConfig, Grid, JointField, NeuralField, SplineField, fit
from oinr_monai.grids.positions import Lattice, Scatter
from oinr_monai.images.stored import StoredImage
from oinr_monai.representation import sampled_field
from oinr_monai.representation.held_samples import HeldSamples
from oinr_monai.representation.registry import build, describe
from oinr_monai.representation.sampled_field import SampledField

if TYPE_CHECKING:
    from tests.phantoms import GaussianBlob

SHAPE, SPACING = (60, 50, 55), (0.9, 1.2, 2.0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator())


class Counted:
    """Samples that tell how many of them were read."""

    def __init__(self, values: Tensor) -> None:
        self.values, self.read_in_all, self.reads = values, 0, 0
        self.shape = tuple(values.shape)

    def read(self, start: Sequence[int], stop: Sequence[int]) -> Tensor:
        box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
        part = self.values[(slice(None), *box)]
        self.read_in_all, self.reads = self.read_in_all + part.numel(), self.reads + 1
        return part


def in_box(places: int, low: float, high: float) -> Scatter:
    """Random places, in parts of the extent."""
    parts = low + (high - low) * torch.rand(3, places, generator=generator(), dtype=torch.float64)
    extents = [(n - 1) * h for n, h in zip(SHAPE, SPACING, strict=True)]
    return Scatter(tuple(part * extent for part, extent in zip(parts, extents, strict=True)))


@pytest.mark.parametrize("degree", [3, 5])
@pytest.mark.parametrize("ends", [(0.0, 0.1), (0.45, 0.55), (0.9, 1.0)])
def test_a_box_alone_is_answered_as_in_the_whole(degree: int, ends: tuple[float, float]) -> None:
    image, places = noise(2, *SHAPE), in_box(40, *ends)
    whole = SampledField(HeldSamples.of(image), SPACING, degree=degree)
    whole.settle()
    samples = Counted(image)
    found = SampledField(samples, SPACING, degree=degree)(places, order=2)
    assert 0 < samples.read_in_all < image.numel()
    torch.testing.assert_close(found, whole(places, order=2), rtol=0, atol=2e-5)


def test_what_was_read_as_often_as_there_is_is_kept() -> None:
    samples = Counted(noise(1, *SHAPE))
    field, places = SampledField(samples, SPACING), in_box(10, 0.4, 0.6)
    for _ in range(30):
        field(places)
    assert samples.read_in_all <= 2 * math.prod(samples.shape)
    reads = samples.reads
    field(in_box(10, 0, 1))
    assert samples.reads == reads


@pytest.mark.parametrize("scattered", [False, True])
def test_places_far_apart_are_asked_in_parts(
    scattered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = noise(1, 150, 6, 7)
    rows = torch.tensor([140.3, 1.5, 100.0, 2.0, 149.0], dtype=torch.float64)
    axes = (rows, torch.linspace(0, 5, 5).double(), torch.linspace(6, 0, 5).double())
    places = Scatter(axes) if scattered else Lattice(axes)
    wanted = SampledField(HeldSamples.of(image), (1.0, 1.0, 1.0))(places, order=1)
    monkeypatch.setattr(sampled_field, "MOST_KEPT", 0)
    monkeypatch.setattr(sampled_field, "MOST_AT_ONCE", 50 * 42)
    samples = Counted(image)
    found = SampledField(samples, (1.0, 1.0, 1.0))(places, order=1)
    assert samples.reads > 1
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


def test_an_image_on_disk_is_the_function_of_the_one_in_memory() -> None:
    values = (1000 + 300 * noise(1, *SHAPE)).numpy().astype(np.int16)
    affine = np.diag([*SPACING, 1.0])
    stored, held = fit(StoredImage(values, affine)), fit(torch.from_numpy(values).float())
    assert isinstance(stored.field, SampledField)
    torch.testing.assert_close(
        stored.field(in_box(50, 0.2, 0.4)),
        SampledField(held.field.samples, SPACING, held.field.mean, held.field.std)(
            in_box(50, 0.2, 0.4)
        ),
        rtol=0,
        atol=2e-5,
    )
    whole = stored.sample().as_tensor()
    torch.testing.assert_close(whole, torch.from_numpy(values).float(), rtol=0, atol=2e-2)


@pytest.mark.parametrize(("degree", "powers"), [(3, (4, 3, 2)), (5, (6, 5, 4))])
def test_values_and_derivatives_converge(
    degree: int,
    powers: tuple[int, ...],
    oblique_affine: Tensor,
    gaussian_blob: Callable[..., GaussianBlob],
) -> None:
    blob, counts = gaussian_blob(), (14, 20, 28)
    errors: list[list[float]] = [[], [], []]
    for count in counts:
        affine = oblique_affine.clone()
        affine[:3, :3] *= 32 / affine[:3, :3].norm(dim=0) / (count - 1)
        affine[:3, 3] = -affine[:3, :3] @ torch.full((3,), (count - 1) / 2).double()
        grid = Grid((count,) * 3, affine)
        image = grid.to_image(blob.value(grid.points())[None])
        found = fit(image, FitConfig(degree=degree)).to(torch.float64)
        places = 8 * torch.rand(99, 3, generator=generator(), dtype=torch.float64)
        jet = found.jet_at(places)
        wanted = blob.value(places), blob.gradient(places), blob.hessian(places)
        for each, answer, truth in zip(errors, jet, wanted, strict=True):
            each.append(float((answer[0].movedim(-1, 0) - truth).norm() / truth.norm()))
    for each, power in zip(errors, powers, strict=True):
        slope = -np.polyfit(np.log(np.array(counts) - 1), np.log(each), 1)[0]
        assert slope > power - 0.5


@pytest.mark.parametrize("ringing", [1e3, -1e5])
def test_inside_a_mask_the_outside_is_not_seen(ringing: float) -> None:
    image, mask = noise(1, 24, 20), torch.zeros(24, 20, dtype=torch.bool)
    mask[5:17, 4:15] = True
    mask[9, 9] = False
    hard = torch.where(mask, image, ringing)
    one, other = (fit(each, mask=mask) for each in (image, hard))
    assert one.scale == other.scale
    finer = one.grid.refine(3)
    torch.testing.assert_close(other.sample(finer), one.sample(finer), rtol=0, atol=0)
    torch.testing.assert_close(one.sample()[:, mask], image[:, mask], rtol=0, atol=1e-5)


def test_copies_answer_alike_and_share_their_samples() -> None:
    field = SampledField(HeldSamples.of(noise(1, 9, 8, 7)), SPACING, [1.0], [2.0], 5)
    places = Lattice(tuple(torch.linspace(0, 5, 4).double() for _ in range(3)))
    wanted = field(places, order=1)
    again = copy.deepcopy(field)
    assert torch.equal(again(places, order=1), wanted)
    assert again.samples.values.data_ptr() == field.samples.values.data_ptr()
    assert torch.equal(pickle.loads(pickle.dumps(field))(places, order=1), wanted)
    double = again.to(torch.float64)(places, order=1)
    assert double.dtype == torch.float64
    assert field(places).dtype == torch.float32
    torch.testing.assert_close(double.float(), wanted, rtol=0, atol=1e-5)


def test_is_read_as_a_part_by_an_operator_and_built_again() -> None:
    image = noise(1, 9, 8)
    part = SampledField(HeldSamples.of(image), (1.0, 1.0))
    joint = JointField([part, SplineField((8.0, 7.0), (2.0, 2.0), 3)])
    signal = NeuralField(joint, ConvOINR(2, 4, 1, (8,), kernel_size=3), (1.0, 1.0))
    again = build(describe(signal))
    again.load_state_dict(signal.state_dict())
    places = Scatter((torch.rand(9, dtype=torch.float64), torch.rand(9, dtype=torch.float64)))
    assert torch.equal(again(places, order=2), signal(places, order=2))
    assert signal.signals() == [part]


def test_has_no_layers() -> None:
    found = fit(noise(1, 6, 5))
    with pytest.raises(ValueError, match="must have hidden layers for features, got an image in"):
        found.features()
    with pytest.raises(ValueError, match="layer must be None for an image in closed form"):
        found.field(Lattice((torch.zeros(1), torch.zeros(1))), layer=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"degree": 4}, "degree must be 3 or 5, got 4"),
        ({"spacing": (1.0, 0.0)}, "spacing must be 2 positive numbers"),
        ({"std": (-1.0,)}, "std must be 1 positive numbers"),
        ({"mean": (1.0, 2.0)}, "mean must be 1 numbers"),
    ],
)
def test_arguments_that_contradict(change: dict[str, object], message: str) -> None:
    arguments = {"samples": HeldSamples((1, 4, 5)), "spacing": (1.0, 1.0), **change}
    with pytest.raises(ValueError, match=message):
        SampledField(**arguments)


def test_far_outside_a_mask_the_image_goes_on() -> None:
    image, mask = noise(120, 9), torch.zeros(120, 9, dtype=torch.bool)
    mask[60:63, 2:7] = True
    found = fit(torch.where(mask, image, torch.nan)[None], mask=mask).sample().as_tensor()
    assert bool(torch.isfinite(found).all())
    torch.testing.assert_close(found[:, :36], found[:, 36:37].expand(1, 36, 9), rtol=0, atol=1e-5)
    torch.testing.assert_close(found[0, 0, 2:7], image[60, 2:7], rtol=0, atol=1e-5)


def test_a_spline_of_samples_has_no_layers_and_a_value_anywhere() -> None:
    field = fit(noise(2, 7, 6)).field
    assert isinstance(field, SampledField)
    assert field.anywhere is True
    assert field.hidden_channels == ()
    assert field.size == 2 * 7 * 6
    assert [field.numbers(order, scattered=True) for order in (0, 1, 2)] == [2, 6, 12]
