"""Kernel networks: functions of one offset each, rebuilt from what describes them."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial

import pytest
import torch

from oinr_monai.operators.kernels import SIREN, KernelNetwork, MLPNet, RFNet
from oinr_monai.operators.multiplicative_kernels import FourierNet, GaborNet, MAGNet
from oinr_monai.representation.registry import KERNELS, describe

MAKERS: dict[str, Callable[..., KernelNetwork]] = {
    "SIREN": SIREN,
    "SIREN, deep": partial(SIREN, hidden_channels=5, hidden_layers=3, omega_0=30.0),
    "MLPNet": MLPNet,
    "RFNet": RFNet,
    "RFNet, deep": partial(RFNet, hidden_layers=3),
    "FourierNet": FourierNet,
    "GaborNet": partial(GaborNet, hidden_layers=2),
    "MAGNet": MAGNet,
    "MAGNet, steerable": partial(MAGNet, steerable=True, hidden_layers=2),
}


@pytest.fixture(params=MAKERS, name="maker")
def _maker(request: pytest.FixtureRequest) -> Callable[..., KernelNetwork]:
    return MAKERS[request.param]


def make(maker: Callable[..., KernelNetwork], dims: int) -> KernelNetwork:
    torch.manual_seed(1)
    return maker(spatial_dims=dims, out_channels=6).double()


def offsets(dims: int, generator: torch.Generator) -> torch.Tensor:
    return 2 * torch.rand(40, dims, generator=generator, dtype=torch.float64) - 1


def test_every_kernel_is_tested() -> None:
    assert {name.partition(",")[0] for name in MAKERS} == set(KERNELS)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_an_offset_is_answered_alone(
    maker: Callable[..., KernelNetwork], dims: int, generator: torch.Generator
) -> None:
    kernel, places = make(maker, dims), offsets(dims, generator)
    together = kernel(places)
    assert together.shape == (40, 6)
    alone = torch.cat([kernel(place[None]) for place in places])
    assert torch.allclose(together, alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_every_parameter_gets_a_gradient(
    maker: Callable[..., KernelNetwork], dims: int, generator: torch.Generator
) -> None:
    kernel = make(maker, dims)
    kernel(offsets(dims, generator)).pow(3).sum().backward()
    for name, parameter in kernel.named_parameters():
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().max()) > 0, name


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_kernels_vary_over_their_support(
    maker: Callable[..., KernelNetwork], dims: int, generator: torch.Generator
) -> None:
    values = make(maker, dims)(offsets(dims, generator)).detach()
    assert float(values.std(0).min()) > 1e-3 * float(values.abs().max())


def test_a_description_rebuilds_it(
    maker: Callable[..., KernelNetwork], generator: torch.Generator
) -> None:
    kernel = make(maker, 3)
    described = json.loads(json.dumps(describe(kernel)))
    again = KERNELS[described["class"]](spatial_dims=3, out_channels=6, **described["arguments"])
    again.double().load_state_dict(kernel.state_dict())
    places = offsets(3, generator)
    assert torch.equal(again(places), kernel(places))


@pytest.mark.parametrize("dims", [2, 3])
def test_steering_turns_the_windows(dims: int, generator: torch.Generator) -> None:
    plain, turned = make(MAGNet, dims), make(partial(MAGNet, steerable=True), dims)
    turned.load_state_dict({**turned.state_dict(), **plain.state_dict()})
    places = offsets(dims, generator)
    assert not torch.allclose(turned(places), plain(places))
    for window in turned.filters:
        window.turns.data.zero_()
    assert torch.allclose(turned(places), plain(places), rtol=0, atol=1e-12)
    # Half a turn about an axis leaves an ellipsoid where it was.
    for window in turned.filters:
        window.turns.data[:, 0] = torch.pi
    assert torch.allclose(turned(places), plain(places), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("maker", "arguments", "message"),
    [
        (SIREN, {"hidden_channels": 0}, "hidden_channels must be 1 or more, got 0"),
        (MLPNet, {"hidden_layers": 0}, "hidden_layers must be 1 or more, got 0"),
        (RFNet, {"hidden_channels": 5}, "hidden_channels must be even, got 5"),
    ],
)
def test_errors(maker: type[KernelNetwork], arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        maker(spatial_dims=2, out_channels=3, **arguments)
