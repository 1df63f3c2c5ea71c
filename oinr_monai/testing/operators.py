"""Laws of operators: what they read and answer, and that they can be trained and built again."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import TypeVar, cast

import torch
from torch import Tensor

from oinr_monai.fields.spline import SplineField
from oinr_monai.grids.positions import Lattice
from oinr_monai.operators.operator import LatticeOperator, LocalOperator
from oinr_monai.representation.neural_field import NeuralField
from oinr_monai.representation.registry import rebuilt

from .fields import jets_are_derivatives, lattice_and_points_agree
from .law import Battery, agree, generator, law, require

__all__ = ["lattice_operator_laws", "local_operator_laws"]

# Places along each axis of what a local operator is asked for.
ANSWER = (4, 3, 2)

# Distance of a continuous operator's nodes along each axis, in mm, and of how many places it is
# asked: with inner kernels each of them costs its whole neighbourhood.
SPACING, PLACES = (1.0, 0.8, 1.3), (2, 1, 1)


# ---- local operators ----------------------------------------------------------------------------


@law
def answers_shrink_by_the_halo(operator: LocalOperator) -> None:
    """A lattice s times finer than the nodes loses s halos at every border."""
    for dilation in (1, 2):
        found = tuple(_reading(operator)(_around(operator, dilation), dilation).shape)
        wanted = (2, operator.out_channels, *_answer(operator))
        require(found == wanted, f"signal must have shape {wanted}, got {found}")


@law
def places_are_answered_by_their_halo(operator: LocalOperator) -> None:
    """The answer at a place is that to its halo alone, wherever the place is."""
    operator = _reading(operator)
    u, halo = _around(operator), operator.halo()
    whole = operator(u)
    for corner in ([0] * len(halo), [n - 1 for n in whole.shape[2:]]):
        window = [slice(c, c + 2 * r + 1) for c, r in zip(corner, halo, strict=True)]
        alone = operator(u[(slice(None), slice(None), *window)])
        place = (slice(None), slice(None), *[slice(c, c + 1) for c in corner])
        agree(f"signal at {tuple(corner)}", alone, whole[place], within=1e-11)


@law
def finer_lattices_agree(operator: LocalOperator) -> None:
    """A finer lattice, with as much dilation, has the same answers at the shared places."""
    operator = _reading(operator)
    for factor in (2, 3):
        coarse = _around(operator).shape[2:]
        fine = _random(1, operator.in_channels, *[factor * (n - 1) + 1 for n in coarse])
        shared = (slice(None), slice(None), *[slice(None, None, factor)] * operator.spatial_dims)
        found, expected = operator(fine, factor)[shared], operator(fine[shared].contiguous())
        agree(f"signal on a lattice {factor} times finer", found, expected, within=1e-11)


@law
def padding_changes_nothing_inside(operator: LocalOperator) -> None:
    """Zeros beyond the border change no answer farther from it than the halo."""
    u, halo = _around(operator), operator.halo()
    whole, reading = _double(operator)(u), _reading(operator)(u)
    if whole.shape != reading.shape:
        inside = [slice(r, n - r) for r, n in zip(halo, u.shape[2:], strict=True)]
        whole = whole[(slice(None), slice(None), *inside)]
    agree("signal inside", whole, reading, within=1e-11)


@law
def continuous_answers_are_its_own(operator: LocalOperator) -> None:
    """As a continuous function it answers a lattice as the operator does, and points alike."""
    field, lattice = _continuous(operator)
    haloed = lattice.padded(field.network.halo(), field.spacing, (1,) * operator.spatial_dims)
    expected = field.network(field.encoding(haloed))
    agree("signal on a lattice", field(lattice), expected, within=1e-11)
    lattice_and_points_agree(field, lattice)


@law
def propagated_jets_are_derivatives(operator: LocalOperator) -> None:
    """What it does to jets is what it does to a field, differentiated."""
    jets_are_derivatives(*_continuous(operator))


@law
def spacings_share_parameters(operator: LocalOperator) -> None:
    """With nodes at another spacing it is another quadrature of the same parameters."""
    for spacing in (1.0, 0.5):
        other = operator.with_spacing([spacing] * operator.spatial_dims)
        shared = all(a is b for a, b in zip(other.parameters(), operator.parameters(), strict=True))
        require(shared, f"parameters must be shared at spacing {spacing}, got copies")


@law
def local_operator_can_be_trained(operator: LocalOperator) -> None:
    """Every parameter has a gradient and one leverage; items of a batch do not mix."""
    _check_training(_double(operator), _around(operator))


@law
def local_operator_is_built_again(operator: LocalOperator) -> None:
    """Its arguments, as JSON, and its state make an operator of the same answers."""
    _check_rebuilt(_double(operator), _around(operator))


# ---- operators of whole lattices ----------------------------------------------------------------


@law
def answers_keep_the_lattice(operator: LatticeOperator, shape: Sequence[int]) -> None:
    """Signal and last activations lie on the lattice of the field."""
    operator = _double(operator)
    u = _random(2, operator.in_channels, *shape)
    for what, found, channels in (
        ("signal", operator(u), operator.out_channels),
        ("last activations", operator.hidden(u), operator.channels),
    ):
        wanted = (2, channels, *shape)
        got = tuple(found.shape)
        require(got == wanted, f"{what} must have shape {wanted}, got {got}")


@law
def signals_are_projected_activations(operator: LatticeOperator, shape: Sequence[int]) -> None:
    """The signal is a matrix times the last activations, place by place."""
    operator = _double(operator)
    u = _random(1, operator.in_channels, *shape)
    hidden = operator.hidden(u)
    agree("signal", operator(u), operator.project(hidden), within=1e-11)
    one = (slice(None), slice(None), *[slice(0, 1)] * operator.spatial_dims)
    agree("signal of a place", operator.project(hidden[one]), operator(u)[one], within=1e-11)


@law
def lattice_operator_can_be_trained(operator: LatticeOperator, shape: Sequence[int]) -> None:
    """Every parameter has a gradient and one leverage; items of a batch do not mix."""
    _check_training(_double(operator), _random(2, operator.in_channels, *shape))


@law
def lattice_operator_is_built_again(operator: LatticeOperator, shape: Sequence[int]) -> None:
    """Its arguments, as JSON, and its state make an operator of the same answers."""
    _check_rebuilt(_double(operator), _random(2, operator.in_channels, *shape))


local_operator_laws = Battery(
    (
        answers_shrink_by_the_halo,
        places_are_answered_by_their_halo,
        finer_lattices_agree,
        padding_changes_nothing_inside,
        continuous_answers_are_its_own,
        propagated_jets_are_derivatives,
        spacings_share_parameters,
        local_operator_can_be_trained,
        local_operator_is_built_again,
    )
)
"""Laws of a local operator, given alone, however it continues a lattice by itself."""


lattice_operator_laws = Battery(
    (
        answers_keep_the_lattice,
        signals_are_projected_activations,
        lattice_operator_can_be_trained,
        lattice_operator_is_built_again,
    )
)
"""Laws of an operator of whole lattices, given with the shape of one that it takes."""


# ---- what they share ----------------------------------------------------------------------------

Either = LocalOperator | LatticeOperator
Kind = TypeVar("Kind", LocalOperator, LatticeOperator)


def _check_training(operator: Either, u: Tensor) -> None:
    signal = operator(u)
    alone = torch.cat([operator(each[None]) for each in u])
    agree("signals of a batch", signal, alone, within=1e-11)
    signal.square().sum().backward()
    for name, parameter in operator.named_parameters():
        moved = parameter.grad is not None and bool((parameter.grad != 0).all())
        require(moved, f"{name} must have a gradient, got none of some of its numbers")
    counted = [id(p) for parameters, _ in operator.leverages() for p in parameters]
    wanted = sorted(id(p) for p in operator.parameters())
    require(sorted(counted) == wanted, "leverages() must name every parameter once")
    gains = [gain for _, gain in operator.leverages()]
    require(all(0 < gain < math.inf for gain in gains), f"leverages must be positive, got {gains}")


def _check_rebuilt(operator: Either, u: Tensor) -> None:
    again = cast("Either", rebuilt(operator)).double()
    again.load_state_dict(operator.state_dict())
    agree("signal of the operator built again", again(u), operator(u), within=0)
    require(type(again) is type(operator), f"class must be {type(operator)}, got {type(again)}")


def _double(operator: Kind) -> Kind:
    return copy.deepcopy(operator).double()


def _reading(operator: LocalOperator) -> LocalOperator:
    """What reads a field that is known beyond the lattice."""
    return _double(operator).unpadded()


def _random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator(), dtype=torch.float64)


def _answer(operator: LocalOperator) -> tuple[int, ...]:
    return ANSWER[: operator.spatial_dims]


def _around(operator: LocalOperator, dilation: int = 1) -> Tensor:
    """A random field on the lattice whose answer has ``ANSWER`` places along each axis."""
    pairs = zip(_answer(operator), operator.halo(), strict=True)
    sizes = [n + 2 * r * dilation for n, r in pairs]
    return _random(2, operator.in_channels, *sizes)


def _continuous(operator: LocalOperator) -> tuple[NeuralField, Lattice]:
    """The operator on random splines, and a lattice far enough from their borders."""
    spacing = SPACING[: operator.spatial_dims]
    operator = copy.deepcopy(operator).with_spacing(spacing)
    nodes = list(zip(PLACES, operator.halo(), spacing, strict=False))
    field = SplineField(
        [(n + 2 * r + 2) * h for n, r, h in nodes], [1.7 * h for h in spacing], operator.in_channels
    )
    with torch.no_grad():
        field.coefficients.normal_(std=0.3)
    axes = [(1.3 + r + torch.arange(n, dtype=torch.float64)) * h for n, r, h in nodes]
    return NeuralField(field, operator, spacing).double(), Lattice(tuple(axes))
