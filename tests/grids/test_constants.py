"""Constants are made once for each type and device, and can be trained through."""

from __future__ import annotations

import torch

from oinr_monai.grids.constants import constant, forget_constants, numbers
from oinr_monai.testing import StandIn


def test_a_constant_is_made_once_for_each_type_and_device() -> None:
    calls: list[float] = []

    def make(value: float) -> torch.Tensor:
        calls.append(value)
        return torch.tensor([value], dtype=torch.float64)

    forget_constants()
    cpu = torch.device("cpu")
    for dtype in (torch.float64, torch.float32, torch.float64):
        assert constant(make, 2.0, dtype=dtype, device=cpu).dtype == dtype
    assert calls == [2.0, 2.0]


def test_they_are_sent_once() -> None:
    with StandIn() as device:
        like = torch.zeros(2, device="meta")
        found = [(numbers((1.0, 2.0), like) + like).cpu().tolist() for _ in range(3)]
    assert found == 3 * [[1.0, 2.0]]
    assert device.count("to device") == 1


def test_one_made_without_gradients_is_trained_through_later() -> None:
    forget_constants()
    with torch.inference_mode():
        numbers((3.0,), torch.zeros(1))
    weight = torch.ones(1, requires_grad=True)
    (weight * numbers((3.0,), weight)).sum().backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [3.0]
