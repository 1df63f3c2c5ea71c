"""What tests of single fields share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from oinr_monai.testing.law import in_precision


@pytest.fixture
def double() -> Iterator[None]:
    """Fields without parameters answer in the default type."""
    with in_precision(torch.float64):
        yield
