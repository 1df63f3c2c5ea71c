"""What fits are given: images and masks, checked at the door."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from oinr_monai.images.scans import checked_scans


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.zeros(5, 4), "mask must hold at least one voxel, got none"),
        (torch.ones(4, 5), r"mask must have shape \(5, 4\), got \(4, 5\)"),
    ],
)
def test_masks_that_hold_nothing_or_do_not_fit_are_refused(mask: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        checked_scans([torch.rand(1, 5, 4)], mask)


def test_a_mask_may_have_a_channel_and_hides_what_is_not_finite() -> None:
    image = torch.rand(1, 5, 4)
    image[0, 0] = torch.nan
    mask = torch.ones(1, 5, 4)
    mask[0, 0] = 0
    (scan,) = checked_scans([image], mask)
    assert torch.equal(scan.counted, image[0][mask[0] > 0][None])
