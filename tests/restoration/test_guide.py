"""Laws of a guide: that it helps, that a wrong one does no harm, and what it is built of."""

from __future__ import annotations

import math

import pytest
import torch
from monai.data import MetaTensor
from torch import Tensor

from oinr_monai import Grid, SuperResolveConfig, simulate_slices, super_resolve
from oinr_monai.images.metrics import psnr
from oinr_monai.restoration import guide as guides
from oinr_monai.restoration.guide import Answered, guidance, shares

AT_ONCE = SuperResolveConfig(steps=0, device="cpu")
SHAPE, THICK = (32, 28, 32), 4.0

FAR = torch.eye(4).double()
FAR[:3, 3] = 900


def tissues(generator: torch.Generator) -> Tensor:
    """Numbers of tissues, in blobs a few voxels wide."""
    places = torch.stack(torch.meshgrid(*[torch.arange(float(n)) for n in SHAPE], indexing="ij"))
    waves = torch.zeros(SHAPE)
    for _ in range(6):
        way = torch.randn(3, generator=generator)
        phase = 6 * torch.rand((), generator=generator)
        waves += torch.sin(0.45 * torch.einsum("d,dxyz->xyz", way, places) + phase)
    return torch.bucketize(waves, torch.tensor([-1.5, 0.0, 1.5]))


def contrast(labels: Tensor, values: list[float]) -> MetaTensor:
    return MetaTensor(torch.tensor(values)[labels][None], affine=torch.eye(4).double())


def gain(truth: MetaTensor, guide: MetaTensor | None) -> float:
    thick = simulate_slices(truth, THICK)
    found = super_resolve(thick, AT_ONCE, guide=guide)
    return psnr(found.sample(Grid.from_image(truth)).as_tensor(), truth.as_tensor())


def test_another_contrast_helps_and_another_object_does_no_harm(
    generator: torch.Generator,
) -> None:
    labels = tissues(generator)
    truth = contrast(labels, [10.0, 90.0, 40.0, 70.0])
    alone = gain(truth, None)
    assert gain(truth, contrast(labels, [300.0, 20.0, 250.0, 80.0])) > alone + 1.5
    other = contrast(tissues(generator), [300.0, 20.0, 250.0, 80.0])
    assert gain(truth, other) > alone - 0.05


def test_a_guide_may_lie_on_any_grid_and_have_any_unit(generator: torch.Generator) -> None:
    labels = tissues(generator)
    truth, guide = (contrast(labels, v) for v in ([10.0, 90, 40, 70], [300.0, 20, 250, 80]))
    thick = simulate_slices(truth, THICK)
    one = super_resolve(thick, AT_ONCE, guide=guide)
    flipped = MetaTensor(
        1e-3 * guide.as_tensor().flip(1).transpose(1, 3) + 5,
        affine=torch.tensor(
            [[0.0, 0, -1, SHAPE[0] - 1], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]]
        ).double(),
    )
    other = super_resolve(thick, AT_ONCE, guide=flipped)
    torch.testing.assert_close(
        one.sample().as_tensor(), other.sample().as_tensor(), rtol=0, atol=0.1
    )
    assert 0 < one.info["guided"] <= 1


def test_the_answer_still_keeps_the_slices(generator: torch.Generator) -> None:
    labels = tissues(generator)
    thick = simulate_slices(contrast(labels, [10.0, 90, 40, 70]), THICK)
    found = super_resolve(thick, AT_ONCE, guide=contrast(labels, [300.0, 20, 250, 80]))
    assert found.info["data_residual"] < 1e-3


@pytest.mark.parametrize(
    ("guide", "message"),
    [
        (torch.zeros(2, 9, 9, 9) + torch.arange(9), r"guide must have shape \(1, X, Y, Z\)"),
        (torch.full((1, 9, 9, 9), 5.0), "guide must vary, got the constant 5.0"),
        (torch.rand(1, 9, 9), r"guide must have shape \(1, X, Y, Z\)"),
        (
            MetaTensor(torch.rand(1, 9, 9, 9), affine=FAR),
            "guide must overlap the image",
        ),
    ],
)
def test_other_guides_are_refused(guide: Tensor, message: str) -> None:
    thick = Grid((16, 16, 5), torch.diag(torch.tensor([1.0, 1, 4, 1]))).to_image(
        torch.rand(1, 16, 16, 5)
    )
    with pytest.raises(ValueError, match=message):
        super_resolve(thick, AT_ONCE, guide=guide)


def test_no_guide_where_there_is_no_stack() -> None:
    with pytest.raises(ValueError, match="guide must be None for what is no stack"):
        super_resolve(torch.rand(1, 16, 16, 16), spacing=0.5, guide=torch.rand(1, 16, 16, 16))


def test_slopes_are_those_of_a_line(generator: torch.Generator) -> None:
    seen = torch.rand(1, 12, 11, 10, generator=generator)
    slope = guides.local_slope(3 - 2.5 * seen, seen, 2.0)
    torch.testing.assert_close(slope, torch.full_like(slope, -2.5), rtol=0, atol=0.02)


def test_shares_of_values_add_up(generator: torch.Generator) -> None:
    image, values = torch.randn(1, 9, 8, 7, generator=generator), torch.tensor([-1.0, 0.1, 0.5, 2])
    total = sum(guides._share(image, values, i) for i in range(len(values)))
    torch.testing.assert_close(total, torch.ones_like(image))
    place = sum(v * guides._share(image, values, i) for i, v in enumerate(values))
    torch.testing.assert_close(place, image.clamp(-1, 2))


@pytest.mark.parametrize("width", [8.0, math.inf])
def test_means_among_like_values_follow_any_curve(width: float, generator: torch.Generator) -> None:
    seen = torch.rand(1, 20, 20, 20, generator=generator)
    curve = guides._among_like(torch.sin(6 * seen), seen, seen, width)
    assert float((curve - torch.sin(6 * seen)).abs().mean()) < 0.05


def test_what_is_missed_by_a_multiple_of_one_way_is_believed_so_far(
    generator: torch.Generator,
) -> None:
    answered = Answered([None] * 3, lambda coarse: -0.5 * coarse)  # misses half of everything
    guide = torch.rand(1, 8, 8, 8, generator=generator)
    found, part = shares([(2 * guide, guide, answered)])
    ways = guidance(guide, guide, answered)
    explained = torch.einsum("k,kxyz->xyz", torch.tensor(found), ways)
    torch.testing.assert_close(explained[None], guide, rtol=0, atol=0.05)
    assert 0.99 < part <= 1 + 1e-9
