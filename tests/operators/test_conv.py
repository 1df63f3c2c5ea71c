"""Laws of every network: shapes, sizes, the dilation law, gradients, compilation, start."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from oinr_monai import ConvOINR
from oinr_monai.representation.registry import build, describe

KERNELS = [1, 3, (1, 1, 1), (3, 1, 1), (3, 3, 1), (1, 3, 5)]


def make(dims: int, kernel_size: object = 3, **kwargs: object) -> ConvOINR:
    torch.manual_seed(dims)
    settings = {"padding": "valid", **kwargs}
    return ConvOINR(dims, 4, 2, (6, 5), kernel_size, **settings).double()


def field(sizes: tuple[int, ...], generator: torch.Generator, batch: int = 2) -> Tensor:
    return torch.randn(batch, 4, *sizes, generator=generator, dtype=torch.float64)


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("kernel_size", KERNELS)
@pytest.mark.parametrize("sizes", [(12, 14, 10), (11, 13, 9)])
@pytest.mark.parametrize("dilation", [1, 2])
def test_shapes(
    dims: int,
    kernel_size: object,
    sizes: tuple[int, ...],
    dilation: int,
    generator: torch.Generator,
) -> None:
    sizes = tuple(n + 6 for n in sizes[:dims])
    u = field(sizes, generator)
    valid = make(dims, kernel_size)
    left = tuple(n - 2 * valid.radius * dilation for n in sizes)
    if min(left) > 0:
        assert valid(u, dilation).shape == (2, 2, *left)
    assert make(dims, kernel_size, padding="same")(u, dilation).shape == (2, 2, *sizes)


def test_radii() -> None:
    network = ConvOINR(2, 4, 2, (6, 5), (5, 1, 3))
    assert (network.radius, network.inner_radius) == (3, 1)
    assert network.first is network.layers[0]
    assert network.last is network.layers[2]


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_valid_is_the_inside_of_same(dims: int, generator: torch.Generator) -> None:
    valid, same = make(dims), make(dims, padding="same")
    same.load_state_dict(valid.state_dict())
    u, r = field((13, 12, 11)[:dims], generator), valid.radius
    inside = (slice(None), slice(None), *[slice(r, -r)] * dims)
    assert torch.allclose(same(u)[inside], valid(u), rtol=0, atol=1e-12)


def test_published_sizes() -> None:
    volume = ConvOINR(spatial_dims=3, in_channels=48, out_channels=1)
    assert volume.channels == (64, 128, 128, 64)
    assert parameters(volume) == 969_793
    image = ConvOINR(spatial_dims=2, in_channels=40, out_channels=3, bias=False)
    assert parameters(image) == 319_680


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("kernel_size", KERNELS)
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_every_parameter_gets_a_gradient(
    dims: int, kernel_size: object, padding: str, generator: torch.Generator
) -> None:
    network = make(dims, kernel_size, padding=padding)
    network(field((11,) * dims, generator)).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert bool((parameter.grad != 0).all()), name


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("kernel_size", [1, 3, (3, 1, 1)])
def test_torchscript_gives_the_same(
    dims: int, kernel_size: object, generator: torch.Generator
) -> None:
    network = make(dims, kernel_size).eval()
    scripted = torch.jit.script(network)
    for size, dilation in ((8, 1), (15, 2)):
        u = field((size,) * dims, generator)
        assert torch.allclose(scripted(u, dilation), network(u, dilation), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_export_serves_every_size(dims: int, padding: str, generator: torch.Generator) -> None:
    network = make(dims, padding=padding).eval()
    free = {2 + d: torch.export.Dim(f"size_{d}", min=8, max=64) for d in range(dims)}
    example = field((10, 11, 12)[:dims], generator)
    program = torch.export.export(network, (example,), dynamic_shapes=(free,))
    for size in (9, 14):
        u = field((size, size + 1, size + 3)[:dims], generator)
        assert torch.allclose(program.module()(u), network(u), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kernel_size", KERNELS)
def test_a_description_rebuilds_the_network(
    dims: int, bias: bool, kernel_size: object, generator: torch.Generator
) -> None:
    network = make(dims, kernel_size, bias=bias, omega_0=7, padding="same")
    again = build(describe(network)).double()
    again.load_state_dict(network.state_dict())
    u = field((8,) * dims, generator)
    assert torch.equal(again(u), network(u))
    assert describe(again) == describe(network)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("kernel_size", [1, 3])
@torch.no_grad()
def test_the_start_keeps_the_variance(
    dims: int, kernel_size: int, generator: torch.Generator
) -> None:
    torch.manual_seed(0)
    network = ConvOINR(dims, 32, 1, (64, 64, 64), kernel_size)
    h = torch.randn(1, 32, *((400, 24, 13)[dims - 1],) * dims, generator=generator)
    spreads = []
    for layer in network.layers[:-1]:
        phase = layer(h, [1] * dims, network.omega_0)
        h = torch.sin(phase)
        spreads.append((float(phase.std()), float(h.std())))
    for phase_spread, spread in spreads[1:]:
        assert 0.7 < phase_spread < 4
        assert spread == pytest.approx(0.7, abs=0.1)
    assert float(network.last(h, [1] * dims).std()) < 0.2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"spatial_dims": 4}, "spatial_dims must be 1, 2 or 3, got 4"),
        ({"spatial_dims": 0}, "spatial_dims must be 1, 2 or 3, got 0"),
        ({"kernel_size": 2}, "kernel_size must be odd, got 2"),
        ({"kernel_size": (3, 1, 4)}, "kernel_size must be odd"),
        ({"kernel_size": -1}, "kernel_size must be odd, got -1"),
        ({"kernel_size": (3, 1)}, r"kernel_size must be one number or one per layer \(3\)"),
        ({"padding": "reflect"}, "padding must be"),
    ],
)
def test_errors(arguments: dict[str, object], message: str) -> None:
    settings = {"spatial_dims": 2, "in_channels": 4, "out_channels": 1, "channels": (6, 5)}
    with pytest.raises(ValueError, match=message):
        ConvOINR(**{**settings, **arguments})
