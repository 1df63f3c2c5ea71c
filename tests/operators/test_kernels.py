"""Kernel networks: functions of one offset each, rebuilt from what describes them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch

from oinr_monai.operators.kernels import SIREN, KernelNetwork, MLPNet, RFNet
from oinr_monai.operators.multiplicative_kernels import FourierNet, GaborNet, MAGNet
from oinr_monai.representation.registry import KERNELS
from oinr_monai.testing import kernel_laws

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
@pytest.mark.parametrize("law", kernel_laws, ids=lambda law: law.__name__)
def test_laws(
    law: Callable[[KernelNetwork], None], maker: Callable[..., KernelNetwork], dims: int
) -> None:
    law(make(maker, dims))


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_kernels_vary_over_their_support(
    maker: Callable[..., KernelNetwork], dims: int, generator: torch.Generator
) -> None:
    values = make(maker, dims)(offsets(dims, generator)).detach()
    assert float(values.std(0).min()) > 1e-3 * float(values.abs().max())


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


def test_a_fresh_kernel_is_as_large_as_its_hidden_units() -> None:
    torch.manual_seed(0)
    kernel = SIREN(3, out_channels=4_000, hidden_channels=16)
    offsets = 2 * torch.rand(50, 3) - 1
    with torch.no_grad():
        ratio = kernel(offsets).square().mean() / kernel.hidden(offsets).square().mean()
    assert float(ratio) == pytest.approx(1, abs=0.1)
