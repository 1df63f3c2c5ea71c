"""Lattices and scattered points: the same places, written in two ways."""

from __future__ import annotations

import pytest
import torch

from oinr_monai.grids.jets import jet_size, second_order_pairs
from oinr_monai.grids.positions import Lattice, Scatter

SPACING = (0.9, 1.1, 2.5)


def lattice(dims: int, sizes: tuple[int, ...] = (4, 5, 3), factor: int = 1) -> Lattice:
    axes = (
        0.3 + torch.arange(n, dtype=torch.float64) * h / factor
        for n, h in zip(sizes, SPACING, strict=True)
    )
    return Lattice(tuple(axes)[:dims])


def scattered(places: Lattice) -> Scatter:
    return Scatter(tuple(m.flatten() for m in torch.meshgrid(*places.axes, indexing="ij")))


def test_order_of_second_derivatives() -> None:
    assert second_order_pairs(1) == [(0, 0)]
    assert second_order_pairs(2) == [(0, 0), (0, 1), (1, 1)]
    assert second_order_pairs(3) == [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_jet_sizes(dims: int) -> None:
    sizes = [jet_size(dims, order) for order in (0, 1, 2)]
    assert sizes == [1, 1 + dims, 1 + dims + dims * (dims + 1) // 2]


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_shift_keeps_the_kind_and_moves_every_axis(dims: int) -> None:
    for places in (lattice(dims), scattered(lattice(dims))):
        moved = places.shifted([1.0, -2.0, 0.5][:dims])
        assert type(moved) is type(places)
        for x, y, offset in zip(places.axes, moved.axes, [1.0, -2.0, 0.5], strict=False):
            assert torch.equal(y, x + offset)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_spread_of_a_lattice_is_its_mesh(dims: int) -> None:
    places = lattice(dims)
    mesh = torch.meshgrid(*places.axes, indexing="ij")
    for d in range(dims):
        column = places.spread(places.axes[d][:, None], d)[..., 0]
        assert torch.equal(column.expand(places.shape), mesh[d])
        flat = scattered(places)
        assert torch.equal(flat.spread(flat.axes[d][:, None], d)[..., 0], mesh[d].flatten())


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("factor", [1, 2, 3])
def test_dilation_of_a_finer_lattice_is_its_factor(dims: int, factor: int) -> None:
    assert lattice(dims, factor=factor).dilation(SPACING[:dims]) == (factor,) * dims


def test_dilation_may_differ_between_axes_and_ignores_single_places() -> None:
    axes = (torch.arange(5).double() / 2, torch.tensor([0.7]).double(), torch.arange(4).double())
    assert Lattice(axes).dilation((1.0, 1.0, 1.0)) == (2, 1, 1)


@pytest.mark.parametrize(
    "axis",
    [
        torch.arange(5).double() * 2,
        torch.arange(5).double() * 0.7,
        torch.arange(5).double().flip(0),
        torch.tensor([0.0, 1.0, 2.5]),
        torch.tensor([0.0, 0.0, 1.0]),
    ],
    ids=["coarser", "not a divisor", "backwards", "irregular", "repeated"],
)
def test_no_dilation(axis: torch.Tensor) -> None:
    assert Lattice((torch.arange(3).double(), axis)).dilation((1.0, 1.0)) is None


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("factor", [1, 2])
def test_padding_adds_the_radius_on_both_ends(dims: int, factor: int) -> None:
    places, radius, spacing = lattice(dims, factor=factor), 2, SPACING[:dims]
    padded = places.padded((radius,) * dims, spacing, (factor,) * dims)
    halo = radius * factor
    assert padded.shape == tuple(n + 2 * halo for n in places.shape)
    assert padded.dilation(spacing) == (factor,) * dims
    for x, y, h in zip(places.axes, padded.axes, spacing, strict=True):
        assert torch.equal(y[halo:-halo], x)
        assert float(y[0]) == pytest.approx(float(x[0]) - radius * h, abs=1e-12)
        assert float(y[-1]) == pytest.approx(float(x[-1]) + radius * h, abs=1e-12)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_stencil_is_a_padded_lattice_around_each_point(dims: int) -> None:
    radius, spacing, points = 1, SPACING[:dims], scattered(lattice(dims))
    stencil = points.stencil((radius,) * dims, spacing)
    taps = 3**dims
    assert stencil.shape == (points.shape[0] * taps,)
    for i in (0, points.shape[0] - 1):
        alone = Lattice(tuple(x[i : i + 1] for x in points.axes))
        around = scattered(alone.padded((radius,) * dims, spacing, (1,) * dims))
        for x, y in zip(stencil.axes, around.axes, strict=True):
            assert torch.allclose(x[i * taps : (i + 1) * taps], y, rtol=0, atol=1e-12)


@pytest.mark.parametrize("step", [1.0, 0.5, 0.25, 0.3, 2.0])
@pytest.mark.parametrize("counts", [(4, 5), (1, 5)])
def test_steps_that_are_known_say_what_the_coordinates_say(
    step: float, counts: tuple[int, int]
) -> None:
    axes = tuple(0.7 + step * torch.arange(n, dtype=torch.float64) for n in counts)
    known = Lattice(axes, (step, step))
    assert known.dilation((1.0, 1.0)) == Lattice(axes).dilation((1.0, 1.0))
    assert known.shifted((0.1, 0.2)).steps == known.part((slice(1), slice(3))).steps == known.steps
