"""Self-similarity: what it does not mind, and a deformation between kinds of images."""

from __future__ import annotations

import pytest
import torch

from oinr_monai import RegisterConfig, SquaredDifferences, register
from oinr_monai.motion import AffineMotion, self_similarity
from tests.motion.test_registration import TURN, miss, pair


def test_brightness_contrast_and_sign_do_not_count(generator: torch.Generator) -> None:
    image = torch.randn(2, 7, 8, 9, generator=generator)
    found = self_similarity(image)
    assert found.shape == (12, 7, 8, 9)
    torch.testing.assert_close(self_similarity(4 - 2 * image), found, rtol=0, atol=1e-4)
    assert float(found.amax(dim=0).min()) == 1


def test_it_moves_with_the_image(generator: torch.Generator) -> None:
    image = torch.randn(1, 12, 12, generator=generator)
    inner = (slice(None), slice(3, -3), slice(3, -3))
    moved = self_similarity(image.roll(1, dims=2))[inner]
    # Windows are bounded by the mean of the image, which the border changes a little.
    torch.testing.assert_close(moved, self_similarity(image).roll(1, dims=2)[inner])


def test_kinds_of_images_are_brought_together() -> None:
    fixed, moving = pair(TURN)
    other = moving.clone()
    other[:] = torch.cos(1.2 * moving)  # neither rises nor falls with the first kind
    config = RegisterConfig("rigid", SquaredDifferences())
    found = register(self_similarity(fixed), self_similarity(other), config)
    assert miss(found, TURN) < 0.3 * miss(AffineMotion.identity(3), TURN)


def test_a_radius_must_be_positive() -> None:
    with pytest.raises(ValueError, match="radius must be positive, got 0"):
        self_similarity(torch.rand(1, 4, 4), radius=0)
