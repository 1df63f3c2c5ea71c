"""The stand-in answers what the CPU answers, refuses what a GPU refuses, and counts."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from oinr_monai.testing import StandIn


def trained(device: str) -> list[Tensor]:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Tanh(), nn.Conv2d(3, 1, 1)).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    image = torch.rand(1, 2, 8, 8).to(device)
    for _ in range(3):
        optimizer.zero_grad()
        network(image).square().mean().backward()
        optimizer.step()
    return [p.detach().to("cpu") for p in network.parameters()]


def test_training_on_it_is_that_on_the_cpu_to_the_last_bit() -> None:
    expected = trained("cpu")
    with StandIn():
        found = trained("meta")
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(),
        lambda x: bool(x.sum() > 1),
        lambda x: x.nonzero(),
        lambda x: x[x > 0.5],
        lambda x: x.unique(),
        lambda x: torch.equal(x, x),
    ],
)
def test_what_the_host_waits_for_is_told(wait) -> None:  # type: ignore[no-untyped-def]
    with StandIn() as device:
        there = torch.rand(5).to("meta")
        assert device.count("waits") == 0
        wait(there)
    assert device.count("waits") == 1


@pytest.mark.parametrize(
    "send",
    [
        lambda like: torch.ones(3).to("meta"),
        lambda like: torch.tensor([1.0, 2.0, 3.0], device="meta"),
        lambda like: torch.as_tensor([1.0, 2.0, 3.0], device="meta"),
        lambda like: like.new_tensor([1.0, 2.0, 3.0]),
        lambda like: torch.ones(3).to(like),
        lambda like: like.copy_(torch.ones(3)),
        lambda like: like[torch.tensor([0, 1])],
    ],
)
def test_what_is_sent_is_told(send) -> None:  # type: ignore[no-untyped-def]
    with StandIn() as device:
        like = torch.zeros(3, device="meta")
        assert device.transfers == []
        found = send(like)
    assert [each.kind for each in device.transfers] == ["to device"]
    assert found.device.type == "meta"


def test_numbers_come_back_by_a_copy() -> None:
    with StandIn() as device:
        there = torch.arange(3.0, device="meta")
        assert there.cpu().tolist() == there.to("cpu", torch.float64).tolist() == [0, 1, 2]
        torch.zeros(3).copy_(there)
    assert device.count("to host") == 3
    assert device.count("waits") == 0


def test_tensors_of_both_devices_do_not_mix_but_for_single_numbers() -> None:
    with StandIn():
        there = torch.zeros(3, device="meta")
        assert (there + torch.tensor(2.0)).cpu().tolist() == [2, 2, 2]
        with pytest.raises(RuntimeError, match="tensors must be on one device"):
            there + torch.ones(3)


def test_what_is_changed_in_place_stays_itself_and_views_see_it() -> None:
    with StandIn():
        there = torch.zeros(2, 2, device="meta")
        row = there[0]
        assert there.add_(1) is there
        row.mul_(3)
        assert there.cpu().tolist() == [[3, 3], [1, 1]]


def test_random_numbers_are_those_of_the_seed() -> None:
    expected = torch.rand(3, generator=torch.Generator().manual_seed(1))
    with StandIn():
        found = torch.rand(3, generator=torch.Generator().manual_seed(1)).to("meta").cpu()
    assert torch.equal(found, expected)


def test_kernels_are_operations_other_than_views() -> None:
    with StandIn() as device:
        there = torch.ones(4, device="meta")
        before = device.kernels
        (there.view(2, 2).T + 1).sum()
    assert device.kernels - before == 2


def test_functions_that_ask_are_named() -> None:
    from oinr_monai import FitConfig, fit

    image = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(0))
    with StandIn() as device:
        fit(image, FitConfig("fast", steps=2, device="meta"))
    assert device.count("to device", within="fit") == device.count("to device") > 0
    assert device.count("to device", within="fit", beside=["ImageFit.__init__"]) < device.count(
        "to device"
    )


def test_the_device_is_no_device_outside_of_its_block() -> None:
    with StandIn():
        there = torch.ones(2).to("meta")
    with pytest.raises(RuntimeError, match="outside of its block"):
        there + 1
