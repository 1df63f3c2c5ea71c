"""Images that are registered: of zero mean and unit spread, whatever the few say; and the door."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from oinr_monai.motion import pair
from oinr_monai.motion.pair import ImagePair

SHAPE = (10, 20, 5)


def shuffled(generator: torch.Generator, channels: int = 2) -> Tensor:
    """0 to 999 in any order, in each channel another."""
    orders = [torch.randperm(1000, generator=generator) for _ in range(channels)]
    return torch.stack(orders).view(channels, *SHAPE).double()


def standard(values: Tensor, counted: Tensor) -> Tensor:
    """Values in units of what counts, of which a thousandth at either end is cut off."""
    ends = counted.sort().values
    last = len(ends) - 1
    low, high = ends[round(0.001 * last)], ends[round(0.999 * last)]
    kept = counted.clamp(low, high)
    return ((values.clamp(low, high) - kept.mean()) / kept.std()).float()


def test_the_scale_is_that_of_what_counts(generator: torch.Generator) -> None:
    fixed, moving = shuffled(generator), 7 - 3 * shuffled(generator)
    fixed[:, 0, 0, 0], moving[:, -1, -1, -1] = 1e6, -1e6  # a clip, and a void
    mask = torch.rand(SHAPE, generator=generator) > 0.3
    found = ImagePair.of(fixed, moving, mask)
    assert found.mask is not None
    assert torch.equal(found.mask, mask)
    for image, given, counted in (
        (found.fixed, fixed, fixed[:, mask]),
        (found.moving, moving, moving.flatten(1)),
    ):
        expected = [standard(*each) for each in zip(given, counted, strict=True)]
        torch.testing.assert_close(image, torch.stack(expected))
        assert float(image.abs().max()) < 2


def test_of_many_voxels_some_tell_the_scale(
    generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pair, "SEEN", 200)
    image = shuffled(generator)
    expected = [standard(each, each.flatten()[::5]) for each in image]
    torch.testing.assert_close(ImagePair.of(image, image).fixed, torch.stack(expected))


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_lone_voxel_stands_out_where_there_is_nothing_else(sign: float) -> None:
    image = torch.zeros(1, *SHAPE)
    image[0, 3, 7, 2] = sign
    found = ImagePair.of(image, image).moving
    assert float(found.mean()) == pytest.approx(0, abs=1e-6)
    assert float(found.std()) == pytest.approx(1, rel=1e-6)


def test_what_does_not_go_together_is_named(generator: torch.Generator) -> None:
    image = torch.rand(1, 6, 6, 6, generator=generator)
    broken = image.clone()
    broken[0, 0, 0, 0] = torch.nan
    cases: list[tuple[Tensor, Tensor, Tensor | None, str]] = [
        (image[:, 0, 0], image[:, 0, 0], None, "fixed must have 2 or 3 spatial dimensions, got 1"),
        (image, image[:, 0], None, "moving must have 1 channels in 3 dimensions as fixed, got 1 a"),
        (image, image.repeat(2, 1, 1, 1), None, "moving must have 1 channels in 3 dim.* got 2 and"),
        (broken, image, None, "^fixed must be finite"),
        (image, broken, None, "^moving must be finite"),
        (image, image, torch.ones(5, 6, 6), "^mask must have shape"),
    ]
    for fixed, moving, mask, reason in cases:
        with pytest.raises(ValueError, match=reason):
            ImagePair.of(fixed, moving, mask)
    with pytest.raises(TypeError, match=r"^moving must be"):
        ImagePair.of(image, "an image")  # type: ignore[arg-type]
