"""Laws of every input function: lattice and points agree, jets are derivatives, kernels sums."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from oinr_monai import (
    ConvOINR,
    CoordinateField,
    DyadicEncoding,
    FamilyField,
    Field,
    FourierEncoding,
    JointField,
    NoiseField,
    SplineField,
)
from oinr_monai.grids.jets import jet_size, second_order_pairs
from oinr_monai.grids.positions import Lattice, Positions, Scatter
from oinr_monai.representation.registry import FIELDS, build, describe

EXTENT, SPACING = (9.0, 7.0, 8.0), (1.0, 0.7, 2.0)


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    """Fields without parameters answer in the default type."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def spline(extent: tuple[float, ...], spacing: tuple[float, ...]) -> SplineField:
    return SplineField(extent, [2 * h for h in spacing], 3, margin=[3 * h for h in spacing])


def family(extent: tuple[float, ...], spacing: tuple[float, ...]) -> Field:
    """Three members that move by parts of a voxel."""
    knots = [2 * h for h in spacing]
    margin = [3 * h for h in spacing]
    field = FamilyField(extent, knots, 3, 3, [3 * h for h in spacing], margin, [0.5, 0.2, 0.3])
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


def make(name: str, dims: int) -> Field:
    torch.manual_seed(dims)
    return MAKERS[name](EXTENT[:dims], SPACING[:dims]).double()


every_field = [
    pytest.param(name, dims, id=f"{name}-{dims}d") for name in MAKERS for dims in (1, 2, 3)
]


def inner_lattice(dims: int, margin: float = 1.3) -> Lattice:
    """Places at least ``margin`` spacings from the border, at the fitted spacing."""
    axes = (
        (margin + torch.arange(3 + d, dtype=torch.float64)) * h
        for d, h in zip((0, 1, -1), SPACING, strict=True)
    )
    return Lattice(tuple(axes)[:dims])


def scattered(places: Lattice) -> Scatter:
    return Scatter(tuple(m.flatten() for m in torch.meshgrid(*places.axes, indexing="ij")))


def close(a: Tensor, b: Tensor, atol: float = 1e-11) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, rtol=0, atol=atol)


def autograd_jet(call: Callable[[Positions], Tensor], points: Scatter, order: int) -> Tensor:
    """The jet (J, E, N) that automatic differentiation finds."""
    axes = [x.clone().requires_grad_() for x in points.axes]

    def slope(value: Tensor, axis: int) -> Tensor:
        found = None
        if value.requires_grad:
            found = torch.autograd.grad(
                value.sum(), axes[axis], create_graph=True, allow_unused=True
            )[0]
        return torch.zeros_like(axes[axis]) if found is None else found

    rows = []
    for value in call(Scatter(tuple(axes)))[0]:
        first = [slope(value, d) for d in range(len(axes))]
        second = [slope(first[i], j) for i, j in second_order_pairs(len(axes))]
        rows.append(torch.stack([value, *first, *second][: jet_size(len(axes), order)]))
    return torch.stack(rows, dim=1).detach()


def test_every_field_is_tested() -> None:
    assert set(MAKERS) == set(FIELDS)


@pytest.mark.parametrize(("name", "dims"), every_field)
def test_lattice_equals_scattered(name: str, dims: int) -> None:
    field, places = make(name, dims), inner_lattice(dims)
    on_lattice, at_points = field(places, 2), field(scattered(places), 2)
    assert on_lattice.shape == (jet_size(dims, 2), field.channels, *places.shape)
    assert close(on_lattice.flatten(2), at_points)


@pytest.mark.parametrize(("name", "dims"), every_field)
@pytest.mark.parametrize("order", [1, 2])
def test_jets_are_derivatives(name: str, dims: int, order: int) -> None:
    field, points = make(name, dims), scattered(inner_lattice(dims))
    jet = field(points, order)
    assert close(jet, autograd_jet(field, points, order), 1e-10)
    assert torch.equal(jet[:1], field(points, 0))


@pytest.mark.parametrize(("name", "dims"), every_field)
@pytest.mark.parametrize("width", [1, 3])
def test_integral_equals_a_dense_convolution(
    name: str, dims: int, width: int, generator: torch.Generator
) -> None:
    field, places = make(name, dims), inner_lattice(dims)
    shape = (4, field.channels, *[width] * dims)
    weight = torch.randn(shape, generator=generator, dtype=torch.float64)
    spacing, convolve = SPACING[:dims], (F.conv1d, F.conv2d, F.conv3d)[dims - 1]
    dense = convolve(field(places.padded((width // 2,) * dims, spacing, (1,) * dims), 2), weight)
    on_lattice = field.integrate(weight, places, spacing, 2)
    at_points = field.integrate(weight, scattered(places), spacing, 2)
    assert close(on_lattice, dense, 1e-11)
    assert close(at_points, dense.flatten(2), 1e-11)


@pytest.mark.parametrize(("name", "dims"), every_field)
def test_cheap_first_layer_in_single_precision(
    name: str, dims: int, generator: torch.Generator
) -> None:
    field, places, spacing = make(name, dims).float(), inner_lattice(dims), SPACING[:dims]
    shape = (4, field.channels, *[3] * dims)
    weight = torch.randn(shape, generator=generator, dtype=torch.float32) / 3**dims
    convolve = (F.conv1d, F.conv2d, F.conv3d)[dims - 1]
    expected = convolve(field(places.padded((1,) * dims, spacing, (1,) * dims)).float(), weight)
    integral = field.integrate(weight, places, spacing)
    assert integral.dtype == torch.float32
    assert close(integral, expected, 1e-5)


@pytest.mark.parametrize(("name", "dims"), every_field)
def test_integral_over_a_lattice_finer_than_the_kernel(name: str, dims: int) -> None:
    field, spacing = make(name, dims), SPACING[:dims]
    coarse = inner_lattice(dims)
    fine = Lattice(
        tuple(
            x[0] + torch.arange(2 * len(x) - 1, dtype=torch.float64) * h / 2
            for x, h in zip(coarse.axes, spacing, strict=True)
        )
    )
    weight = torch.ones(1, field.channels, *[3] * dims, dtype=torch.float64)
    shared = (slice(None), slice(None), *[slice(None, None, 2)] * dims)
    refined = field.integrate(weight, fine, spacing)[shared]
    assert close(refined, field.integrate(weight, coarse, spacing))


@pytest.mark.parametrize(("name", "dims"), every_field)
def test_a_description_rebuilds_the_field(name: str, dims: int) -> None:
    field, places = make(name, dims), inner_lattice(dims)
    again = build(describe(field)).double()
    again.load_state_dict(field.state_dict())
    assert describe(again) == describe(field)
    assert torch.equal(again(places, 2), field(places, 2))
    assert repr(again) == repr(field)


def test_noise_is_rebuilt_from_its_seed_alone() -> None:
    field = NoiseField((9.0, 7.0), (1.0, 0.7), seed=3)
    again = build(describe(field))
    other = NoiseField((9.0, 7.0), (1.0, 0.7), seed=4)
    assert torch.equal(again.coefficients, field.coefficients)
    assert not torch.equal(other.coefficients, field.coefficients)
    assert not any(p.requires_grad for p in field.parameters())


@pytest.mark.parametrize(("name", "dims"), every_field)
def test_thin_axes_stay_finite(name: str, dims: int) -> None:
    extent = (0.0, *EXTENT[1:dims])
    field = MAKERS[name](extent, SPACING[:dims]).double()
    places = Lattice((torch.zeros(1, dtype=torch.float64), *inner_lattice(dims).axes[1:]))
    assert bool(torch.isfinite(field(places, 2)).all())


@pytest.mark.parametrize("bands", [None, 1, 2, 8])
@pytest.mark.parametrize("shortest", [2.0, 6.0])
def test_fourier_wavelengths_lie_between_domain_and_sampling(
    bands: int | None, shortest: float
) -> None:
    extent, spacing = (200.0, 90.0, 60.0), (0.8, 1.0, 3.0)
    field = FourierEncoding(extent, spacing, bands, shortest)
    for waves, length, step in zip(field.wavelengths, extent, spacing, strict=True):
        assert float(waves.max()) >= 2 * length
        if bands != 1:
            assert float(waves.min()) >= shortest * step - 1e-9
        if bands is not None and bands > 1:
            assert float(waves.min()) == pytest.approx(shortest * step)
        assert bool((waves.diff() < 0).all())
    if bands is not None:
        assert field.channels == 2 * 3 * bands


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("bands", [None, 1, 4])
def test_fourier_ends_differ_but_dyadic_ends_do_not(dims: int, bands: int | None) -> None:
    extent, spacing = EXTENT[:dims], SPACING[:dims]
    ends = Scatter(tuple(torch.tensor([0.0, e], dtype=torch.float64) for e in extent))
    fourier = FourierEncoding(extent, spacing, bands)(ends)[0]
    assert float((fourier[:, 0] - fourier[:, 1]).abs().max()) > 0.1
    dyadic = DyadicEncoding(extent, 4).double()(ends)[0]
    assert close(dyadic[:, 0], dyadic[:, 1], 1e-11)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"shortest": 1.5}, "shortest must be 2 voxels or more"), ({"bands": 0}, "bands must be 1")],
)
def test_bad_fourier_encodings(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FourierEncoding((9.0,), (1.0,), **arguments)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_dyadic_formula(dims: int) -> None:
    field, points = DyadicEncoding(EXTENT[:dims], 5), scattered(inner_lattice(dims))
    rows = []
    for x, length in zip(points.axes, EXTENT, strict=False):
        z = 2 * x.numpy() / length - 1
        octaves = [2**i * np.pi * z for i in range(5)]
        rows += [np.sin(o) for o in octaves] + [np.cos(o) for o in octaves]
    expected = torch.from_numpy(np.stack(rows))
    assert field.channels == 10 * dims
    assert close(field(points)[0], expected, 1e-11)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_coordinates_of_width_one_are_a_siren(dims: int) -> None:
    torch.manual_seed(0)
    field = CoordinateField(EXTENT[:dims])
    network = ConvOINR(dims, dims, 2, (6, 5), kernel_size=1, omega_0=30).double()
    points = scattered(inner_lattice(dims))
    h = torch.stack([2 * x / e - 1 for x, e in zip(points.axes, EXTENT, strict=False)], dim=1)
    for layer in network.layers[:-1]:
        h = torch.sin(30 * (h @ layer.weight.flatten(1).T + layer.bias))
    siren = h @ network.last.weight.flatten(1).T + network.last.bias
    answer = network(field(points).unflatten(2, (-1, *[1] * (dims - 1))))
    assert close(answer.flatten(2)[0].T, siren, 1e-12)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_spline_field_is_constant_beyond_its_margin(dims: int) -> None:
    field = make("NoiseField", dims)
    edge = Scatter(tuple(torch.tensor([0.0, e], dtype=torch.float64) for e in EXTENT[:dims]))
    beyond = Scatter(
        tuple(torch.tensor([-0.7, e + 0.9], dtype=torch.float64) for e in EXTENT[:dims])
    )
    # The last knot lies at or past the end of the domain; here the spacing divides the extent.
    jet = field(beyond, 2)
    assert close(jet[0], field(edge)[0], 1e-9)
    assert float(jet[1:].abs().max()) == 0
    assert float(field(edge, 2)[1:].abs().max()) > 1e-3


def test_spline_field_is_the_sum_of_its_basis() -> None:
    field = make("SplineField", 1)
    x = torch.linspace(0, 9, 37, dtype=torch.float64)

    def basis(u: Tensor) -> Tensor:
        a = u.abs()
        near, far = 2 / 3 - a**2 + a**3 / 2, (2 - a).clamp_min(0) ** 3 / 6
        return torch.where(a < 1, near, far)

    knots = torch.arange(field.coefficients.shape[1], dtype=torch.float64)
    place = (x + field.margin[0]) / field.knot_spacing[0] + 1
    expected = field.coefficients @ basis(place[None] - knots[:, None])
    assert close(field(Scatter((x,)))[0], expected, 1e-12)


def test_spline_field_costs_what_it_says() -> None:
    extent, spacing = (60.0, 30.0, 90.0), (3.0, 2.0, 5.0)
    field = SplineField(extent, spacing, 4)
    knots = math.prod(math.ceil(e / h) + 3 for e, h in zip(extent, spacing, strict=True))
    assert field.coefficients.numel() == 4 * knots


def test_spline_field_needs_positive_knot_spacing() -> None:
    with pytest.raises(ValueError, match="knot_spacing must be positive"):
        SplineField((9.0, 9.0), (3.0, 0.0), 2)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_joint_field_is_its_parts_side_by_side(dims: int) -> None:
    parts = [make(name, dims) for name in MAKERS if name != "JointField"]
    joint, places = JointField(parts), inner_lattice(dims)
    expected = torch.cat([part(places, 2) for part in parts], dim=1)
    assert joint.channels == sum(part.channels for part in parts)
    assert torch.equal(joint(places, 2), expected)


@pytest.mark.parametrize(
    "fields", [[], [CoordinateField((9.0,)), CoordinateField((9.0, 9.0))]], ids=["none", "mixed"]
)
def test_bad_joint_fields(fields: list[Field]) -> None:
    with pytest.raises(ValueError, match="fields must share their spatial dimensions"):
        JointField(fields)


def test_kernel_taps_reach_along_the_right_axes() -> None:
    # One tap of weight one at offset (1, -1) reads the field one spacing on and one back.
    field, places = make("SplineField", 2), inner_lattice(2)
    for index in product(range(3), repeat=2):
        weight = torch.zeros(1, 3, 3, 3, dtype=torch.float64)
        weight[0, 1, index[0], index[1]] = 1
        offset = [(i - 1) * h for i, h in zip(index, SPACING, strict=False)]
        expected = field(places.shifted(offset))[:, 1:2]
        assert close(field.integrate(weight, places, SPACING[:2]), expected, 1e-12)
