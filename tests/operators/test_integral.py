"""Kernel integrals against torch's convolutions, and jets against automatic differentiation."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from oinr_monai.grids.jets import second_order_pairs
from oinr_monai.operators.integral import KernelIntegral
from oinr_monai.operators.sine import Sine, sine_jet

CONVOLVE = (F.conv1d, F.conv2d, F.conv3d)
SIZES = (7, 8, 9)


def layer(dims: int, width: int, **kwargs: bool) -> KernelIntegral:
    torch.manual_seed(0)
    return KernelIntegral(dims, 3, 4, width, **kwargs).double()


def field(dims: int, generator: torch.Generator, channels: int = 3) -> Tensor:
    return torch.randn(2, channels, *SIZES[:dims], generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dilation", [1, 2])
def test_is_a_convolution(
    dims: int, width: int, bias: bool, dilation: int, generator: torch.Generator
) -> None:
    integral, u = layer(dims, width, bias=bias), field(dims, generator)
    expected = CONVOLVE[dims - 1](u, integral.weight, integral.bias, dilation=dilation)
    result = integral(u, [dilation] * dims)
    assert torch.allclose(result, expected, rtol=0, atol=1e-12)
    assert torch.allclose(integral(u, [dilation] * dims, 2.5), 2.5 * expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("dilation", [1, 2])
def test_same_padding_is_that_of_torch(
    dims: int, width: int, dilation: int, generator: torch.Generator
) -> None:
    integral, u = layer(dims, width, same=True), field(dims, generator)
    expected = CONVOLVE[dims - 1](
        u, integral.weight, integral.bias, padding="same", dilation=dilation
    )
    assert torch.allclose(integral(u, [dilation] * dims), expected, rtol=0, atol=1e-12)


def test_dilation_may_differ_between_axes(generator: torch.Generator) -> None:
    integral, u = layer(3, 3), field(3, generator)
    expected = F.conv3d(u, integral.weight, integral.bias, dilation=(1, 2, 3))
    assert torch.allclose(integral(u, [1, 2, 3]), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("order", [0, 1, 2])
def test_a_jet_passes_linearly(dims: int, order: int, generator: torch.Generator) -> None:
    integral = layer(dims, 3)
    size = (1, 1 + dims, 1 + dims + len(second_order_pairs(dims)))[order]
    jet = torch.stack([field(dims, generator) for _ in range(size)])
    result = integral.jet(jet, (1,) * dims, 1.5)
    linear = [CONVOLVE[dims - 1](u, 1.5 * integral.weight) for u in jet]
    linear[0] = linear[0] + 1.5 * integral.bias.view(-1, *[1] * dims)
    assert torch.allclose(result, torch.stack(linear), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_without_bias_no_value_moves(dims: int, generator: torch.Generator) -> None:
    jet = field(dims, generator)[None]
    assert layer(dims, 3, bias=False).shift_value(jet) is jet


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_sine_of_jets_is_the_chain_rule(dims: int, generator: torch.Generator) -> None:
    # u is a random quadratic polynomial, whose jet is known at every place.
    linear = torch.randn(dims, generator=generator, dtype=torch.float64)
    curved = torch.randn(dims, dims, generator=generator, dtype=torch.float64)
    curved = curved + curved.T

    def u(x: Tensor) -> Tensor:
        return x @ linear + 0.5 * x @ curved @ x

    pairs = second_order_pairs(dims)
    for x in torch.randn(5, dims, generator=generator, dtype=torch.float64):
        second = [curved[i, j] for i, j in pairs]
        jet = torch.stack([u(x), *(linear + curved @ x), *second])

        def signal(y: Tensor) -> Tensor:
            return torch.sin(u(y))

        gradient = torch.autograd.functional.jacobian(signal, x)
        hessian = torch.autograd.functional.hessian(signal, x)
        expected = torch.stack([signal(x), *gradient, *(hessian[i, j] for i, j in pairs)])
        for size in (1, 1 + dims, len(jet)):
            result = sine_jet(jet[:size, None, None], dims)[:, 0, 0]
            assert torch.allclose(result, expected[:size], rtol=0, atol=1e-12)


def test_sine() -> None:
    u = torch.linspace(-1, 1, 9, dtype=torch.float64)
    assert torch.equal(Sine(30.0)(u), torch.sin(30 * u))
    assert "omega_0=30.0" in repr(Sine(30.0))


def test_start_stays_within_its_bounds() -> None:
    integral = layer(2, 3)
    integral.start(0.25, phase=0.5)
    assert 0.2 < float(integral.weight.detach().abs().max()) <= 0.25
    assert float(integral.bias.detach().abs().max()) <= 0.5
    assert "kernel_size=3" in repr(integral)
