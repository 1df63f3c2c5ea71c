"""Noise is known by its seed."""

from __future__ import annotations

import torch

from oinr_monai import NoiseField
from oinr_monai.representation.registry import build, describe


def test_noise_is_rebuilt_from_its_seed_alone() -> None:
    field = NoiseField((9.0, 7.0), (1.0, 0.7), seed=3)
    again = build(describe(field))
    other = NoiseField((9.0, 7.0), (1.0, 0.7), seed=4)
    assert torch.equal(again.coefficients, field.coefficients)
    assert not torch.equal(other.coefficients, field.coefficients)
    assert not any(p.requires_grad for p in field.parameters())
