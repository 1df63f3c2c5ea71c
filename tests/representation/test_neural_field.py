"""One function, asked on lattices, at points, or by a dense convolution: the same answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from oinr_monai import (
    ConvOINR,
    CoordinateField,
    DyadicEncoding,
    FamilyField,
    Field,
    FourierEncoding,
    JointField,
    NeuralField,
    NoiseField,
    SplineField,
)
from oinr_monai.grids.jets import jet_size, second_order_pairs
from oinr_monai.grids.positions import Lattice, Scatter
from oinr_monai.representation.registry import FIELDS

EXTENT, SPACING = (9.0, 7.0, 8.0), (1.0, 0.7, 2.0)
KERNELS = [(1, 1, 1), (3, 1, 1), (3, 3, 1), (1, 3, 3)]


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def spline(extent: tuple[float, ...], spacing: tuple[float, ...]) -> SplineField:
    return SplineField(extent, [2 * h for h in spacing], 3, margin=[3 * h for h in spacing])


def family(extent: tuple[float, ...], spacing: tuple[float, ...]) -> Field:
    """Two members that move by parts of a voxel."""
    knots = [2 * h for h in spacing]
    margin = [4 * h for h in spacing]
    field = FamilyField(extent, knots, 3, 2, [3 * h for h in spacing], margin, [0.6, 0.4])
    for motion in field.motions:
        torch.nn.init.normal_(motion.coefficients, std=0.2 * min(spacing))
    return field


MAKERS: dict[str, Callable[[tuple[float, ...], tuple[float, ...]], Field]] = {
    "CoordinateField": lambda extent, spacing: CoordinateField(extent),
    "DyadicEncoding": lambda extent, spacing: DyadicEncoding(extent, 3),
    "FamilyField": family,
    "FourierEncoding": lambda extent, spacing: FourierEncoding(extent, spacing, 3, shortest=2),
    "JointField": lambda extent, spacing: JointField(
        [CoordinateField(extent), spline(extent, spacing)]
    ),
    "NoiseField": NoiseField,
    "SplineField": spline,
}

every_case = [
    pytest.param(name, dims, kernel, id=f"{name}-{dims}d-{'-'.join(map(str, kernel))}")
    for name in MAKERS
    for dims in (1, 2, 3)
    for kernel in KERNELS
]


def make(name: str, dims: int, kernel: tuple[int, ...]) -> NeuralField:
    torch.manual_seed(0)
    encoding = MAKERS[name](EXTENT[:dims], SPACING[:dims])
    network = ConvOINR(dims, encoding.channels, 2, (6, 5), kernel, omega_0=3.0)
    return NeuralField(encoding, network, SPACING[:dims])


def lattice(dims: int, factor: int = 1) -> Lattice:
    axes = (
        (0.6 + torch.arange((n - 1) * factor + 1) / factor) * h
        for n, h in zip((4, 3, 2), SPACING, strict=True)
    )
    return Lattice(tuple(axes)[:dims])


def scattered(places: Lattice) -> Scatter:
    return Scatter(tuple(m.flatten() for m in torch.meshgrid(*places.axes, indexing="ij")))


def close(a: Tensor, b: Tensor, atol: float = 1e-11) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, rtol=0, atol=atol)


def test_every_field_is_tested() -> None:
    assert set(MAKERS) == set(FIELDS)


@pytest.mark.parametrize(("name", "dims", "kernel"), every_case)
def test_lattice_equals_points(name: str, dims: int, kernel: tuple[int, ...]) -> None:
    field, places = make(name, dims, kernel), lattice(dims)
    on_lattice = field(places, 2)
    assert on_lattice.shape == (jet_size(dims, 2), 2, *places.shape)
    assert close(on_lattice.flatten(2), field(scattered(places), 2))


@pytest.mark.parametrize(("name", "dims", "kernel"), every_case)
def test_lattice_equals_the_dense_network(name: str, dims: int, kernel: tuple[int, ...]) -> None:
    field, places = make(name, dims, kernel), lattice(dims)
    haloed = places.padded(field.network.halo(), SPACING[:dims], (1,) * dims)
    assert close(field(places)[0], field.network(field.encoding(haloed))[0])


@pytest.mark.parametrize(("name", "dims", "kernel"), every_case)
def test_finer_lattices_agree_at_shared_places(
    name: str, dims: int, kernel: tuple[int, ...]
) -> None:
    field = make(name, dims, kernel)
    shared = (slice(None), slice(None), *[slice(None, None, 3)] * dims)
    assert close(field(lattice(dims, 3), 1)[shared], field(lattice(dims), 1))


@pytest.mark.parametrize(("name", "dims", "kernel"), every_case)
def test_jets_are_derivatives(name: str, dims: int, kernel: tuple[int, ...]) -> None:
    field, points = make(name, dims, kernel), scattered(lattice(dims))
    jet = field(points, 2)
    axes = [x.clone().requires_grad_() for x in points.axes]
    for channel, value in enumerate(field(Scatter(tuple(axes)))[0]):
        first = torch.autograd.grad(value.sum(), axes, create_graph=True)
        expected = list(first)
        for i, j in second_order_pairs(dims):
            second = torch.autograd.grad(
                first[i].sum(), axes[j], retain_graph=True, allow_unused=True
            )[0]
            expected.append(torch.zeros_like(axes[j]) if second is None else second)
        assert close(jet[1:, channel], torch.stack(expected), 1e-9)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_hidden_layers_are_the_sines_on_the_way(dims: int, kernel: tuple[int, ...]) -> None:
    field, places = make("SplineField", dims, kernel), lattice(dims)
    network = field.network
    for layer in (1, 2):
        radius = sum(k // 2 for k in kernel[:layer])
        h = field.encoding(places.padded((radius,) * dims, SPACING[:dims], (1,) * dims))
        for integral in network.layers[:layer]:
            h = torch.sin(integral(h, [1] * dims, network.omega_0))
        assert close(field(places, 0, layer), h)
        assert close(field(scattered(places), 0, layer), h.flatten(2))


def test_inner_kernels_need_a_regular_lattice() -> None:
    axes = (torch.tensor([1.0, 2.0, 3.5]), torch.arange(3.0))
    with pytest.raises(ValueError, match="positions must be a regular lattice or scattered"):
        make("SplineField", 2, (3, 3, 1))(Lattice(axes))
    closed = make("SplineField", 2, (3, 1, 1))
    places = Lattice(axes)
    assert close(closed(places).flatten(2), closed(scattered(places)))


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (ConvOINR(2, 5, 1, (4,)), "network must read 2 channels, got in_channels=5"),
        (ConvOINR(3, 2, 1, (4,)), "network must have 2 spatial dimensions, got 3"),
        (ConvOINR(2, 2, 1, (4,), padding="same"), "padding must be"),
    ],
)
def test_parts_must_fit(network: ConvOINR, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NeuralField(CoordinateField((9.0, 9.0)), network, (1.0, 1.0))


@pytest.mark.parametrize("kernel_size", [(3, 1), (1, 3), (1, 1)])
def test_stored_weights_keep_the_spacing_of_their_nodes(kernel_size: tuple[int, int]) -> None:
    encoding = FourierEncoding((9.0, 9.0), (1.0, 1.0), bands=2)
    network = ConvOINR(2, encoding.channels, 1, (5,), kernel_size)
    field = NeuralField(encoding, network, (1.0, 1.0))
    places = Scatter((torch.tensor([2.5, 4.0]), torch.tensor([3.0, 5.25])))
    assert torch.equal(field.with_spacing((0.5, 2.0))(places), field(places))
    assert torch.equal(field(places, spacing=(0.5, 2.0)), field(places))
