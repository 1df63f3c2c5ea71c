"""Each check lets good values through and names the argument, the rule and the bad value."""

from __future__ import annotations

import os
import re

import pytest
import torch

from oinr_monai.grids import checks


def test_one_of() -> None:
    checks.check_one_of("padding", "same", ("same", "valid"))
    with pytest.raises(ValueError, match=r"^padding must be one of 'same', 'valid', got None$"):
        checks.check_one_of("padding", None, ("same", "valid"))


def test_shape() -> None:
    checks.check_shape("mask", torch.zeros(1, 4), (1, 4))
    with pytest.raises(ValueError, match=re.escape("mask must have shape (1, 4), got (4,)")):
        checks.check_shape("mask", torch.zeros(4), (1, 4))


def test_room_is_that_of_all_channels() -> None:
    room = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4
    checks.check_room((room,))
    with pytest.raises(ValueError, match=r"must fit into memory, got shape .* and 2 channels"):
        checks.check_room((room,), 2)
