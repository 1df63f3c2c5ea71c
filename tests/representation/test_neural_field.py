"""One function, asked on lattices, at points, or by a dense convolution: the same answer."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch

from oinr_monai import (
    CKConvOINR,
    ConvOINR,
    CoordinateField,
    FourierEncoding,
    NeuralField,
)
from oinr_monai.grids.positions import Lattice, Scatter
from oinr_monai.operators.operator import LocalOperator
from oinr_monai.representation.registry import FIELDS, describe
from oinr_monai.testing.fields import jets_are_derivatives, lattice_and_points_agree
from oinr_monai.testing.law import agree, law
from tests.fields.makers import SPACING, make

KERNELS = [(1, 1, 1), (3, 1, 1), (3, 3, 1), (1, 3, 3)]

every_case = pytest.mark.parametrize(
    ("name", "dims", "kernel"),
    [
        pytest.param(name, dims, kernel, id=f"{name}-{dims}d-{'-'.join(map(str, kernel))}")
        for name in FIELDS
        for dims in (1, 2, 3)
        for kernel in KERNELS
    ],
)


def signal(name: str, dims: int, kernel: tuple[int, ...]) -> NeuralField:
    field = make(name, dims)
    operator = ConvOINR(dims, field.channels, 2, (6, 5), kernel, omega_0=3.0)
    return NeuralField(field, operator, SPACING[:dims]).double()


def lattice(dims: int, factor: int = 1) -> Lattice:
    axes = (
        (0.6 + torch.arange((n - 1) * factor + 1, dtype=torch.float64) / factor) * h
        for n, h in zip((4, 3, 2), SPACING, strict=True)
    )
    return Lattice(tuple(axes)[:dims])


@law
def lattices_equal_the_dense_operator(field: NeuralField, places: Lattice) -> None:
    haloed = places.padded(field.network.halo(), field.spacing, (1,) * field.spatial_dims)
    agree("signal", field(places), field.network(field.encoding(haloed)), within=1e-11)


@law
def finer_lattices_agree_at_shared_places(field: NeuralField, places: Lattice) -> None:
    dims = field.spatial_dims
    shared = (slice(None), slice(None), *[slice(None, None, 3)] * dims)
    agree("jet", field(lattice(dims, 3), 1)[shared], field(places, 1), within=1e-11)


@every_case
@pytest.mark.parametrize(
    "law",
    [
        lattice_and_points_agree,
        jets_are_derivatives,
        lattices_equal_the_dense_operator,
        finer_lattices_agree_at_shared_places,
    ],
    ids=lambda law: law.__name__,
)
def test_laws_on_every_field(
    law: Callable[[NeuralField, Lattice], None], name: str, dims: int, kernel: tuple[int, ...]
) -> None:
    law(signal(name, dims, kernel), lattice(dims))


@pytest.mark.parametrize("kernel", [(1, 1, 1), (3, 1, 1)])
@pytest.mark.parametrize("name", ["SplineField", "FourierEncoding"])
@torch.no_grad()
def test_the_first_layer_is_in_full_precision(name: str, kernel: tuple[int, ...]) -> None:
    exact, places = signal(name, 2, kernel), lattice(2)
    single = copy.deepcopy(exact).float()
    for each in (places, places.points()):
        found, truth = single(each, 1), exact(each, 1)
        assert float((found - truth).abs().max()) < 1e-4 * float(truth.abs().max())
        waves = single(each, 0, 1)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(single(each, 0, 1), waves)
            assert not torch.equal(single(each), found[:1])


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_hidden_layers_are_the_sines_on_the_way(dims: int, kernel: tuple[int, ...]) -> None:
    field, places = signal("SplineField", dims, kernel), lattice(dims)
    network = field.network
    for layer in (1, 2):
        radius = sum(k // 2 for k in kernel[:layer])
        h = field.encoding(places.padded((radius,) * dims, SPACING[:dims], (1,) * dims))
        for integral in network.layers[:layer]:
            h = torch.sin(integral(h, [1] * dims, network.omega_0))
        torch.testing.assert_close(field(places, 0, layer), h, rtol=0, atol=1e-11)
        at_points = field(places.points(), 0, layer)
        torch.testing.assert_close(at_points, h.flatten(2), rtol=0, atol=1e-11)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("layer", [None, 1, 2])
def test_an_irregular_lattice_is_answered_point_by_point(
    kernel: tuple[int, ...], layer: int | None
) -> None:
    field = signal("SplineField", 2, kernel)
    axes = torch.tensor([[1.0, 2.0, 3.5], [2.0, 1.5, 4.0]], dtype=torch.float64)
    places = Lattice(tuple(axes))
    found, expected = field(places, 2, layer), field(places.points(), 2, layer)
    assert found.shape[2:] == (3, 3)
    torch.testing.assert_close(found.flatten(2), expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (ConvOINR(2, 5, 1, (4,)), "network must read 2 channels, got in_channels=5"),
        (ConvOINR(3, 2, 1, (4,)), "network must have 2 spatial dimensions, got 3"),
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


@pytest.mark.parametrize("operator", [ConvOINR, CKConvOINR])
def test_the_field_is_read_where_the_operator_alone_pads(operator: type[LocalOperator]) -> None:
    networks = {
        padding: operator(2, 8, 1, (5,), padding=padding).double() for padding in ("same", "valid")
    }
    networks["valid"].load_state_dict(networks["same"].state_dict())
    encoding = FourierEncoding((9.0, 9.0), (1.0, 1.0), bands=2)
    same, valid = (NeuralField(encoding, each, (1.0, 1.0)) for each in networks.values())
    places = Lattice((torch.arange(4.0).double(), torch.arange(5.0).double()))
    assert torch.equal(same(places, 2), valid(places, 2))
    assert torch.equal(same(places.points(), 1), valid(places.points(), 1))
    assert describe(same.network) == describe(valid.network)
    assert networks["same"].padding == "same"
    given = {id(p) for p in networks["same"].parameters()}
    assert given == {id(p) for p in same.network.parameters()}
