"""Laws of every field: lattice and points agree, jets are derivatives, integrals are sums."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from oinr_monai.fields.field import Field
from oinr_monai.grids.jets import jet_size, second_order_pairs
from oinr_monai.grids.positions import Lattice, Positions, Scatter
from oinr_monai.representation.registry import rebuilt

from .law import Battery, agree, generator, in_precision, law, require

__all__ = [
    "answers_have_their_shape",
    "arguments_build_it_again",
    "field_laws",
    "finer_lattices_agree",
    "integrals_are_convolutions",
    "jets_are_derivatives",
    "jets_are_limits",
    "lattice_and_points_agree",
    "precision_and_device_are_kept",
    "single_precision_suffices",
]

# Central differences are wrong by h² f''' / 6, at a knot of a spline by h f''' / 4, and by rounding
# over h.
STEP, LIMIT = 1e-6, 1e-6


@law
def answers_have_their_shape(field: Field, lattice: Lattice) -> None:
    """A jet (J, E, *places) for each order, on lattices and at points."""
    dims = lattice.spatial_dims
    require(field.spatial_dims == dims, f"spatial_dims must be {dims}, got {field.spatial_dims}")
    for places in (lattice, lattice.points()):
        for order in (0, 1, 2):
            wanted = (jet_size(dims, order), field.channels, *places.shape)
            found = tuple(field(places, order).shape)
            require(found == wanted, f"jet of order {order} must have shape {wanted}, got {found}")


@law
def lattice_and_points_agree(field: Field, lattice: Lattice) -> None:
    """The places of a lattice have the answers that they have as points."""
    field = _double(field)
    for order in (0, 1, 2):
        on_lattice, at_points = field(lattice, order), field(lattice.points(), order)
        agree(f"jet of order {order}", on_lattice.flatten(2), at_points, within=1e-11)


@law
def jets_are_derivatives(field: Field, lattice: Lattice) -> None:
    """First and second derivatives are those of automatic differentiation; the value is kept."""
    field, points = _double(field), lattice.points()
    for order in (1, 2):
        jet = field(points, order)
        agree(f"jet of order {order}", jet, _autograd_jet(field, points, order), within=1e-10)
        agree("value beside its derivatives", jet[:1], field(points, 0), within=1e-14)


@law
def jets_are_limits(field: Field, lattice: Lattice) -> None:
    """Derivatives are limits of differences: of values the first, of the first the second."""
    field, points, dims = _double(field), lattice.points(), lattice.spatial_dims
    jet = field(points, 2)
    for axis in range(dims):
        move = [STEP * (d == axis) for d in range(dims)]
        after = field(points.shifted(move), 1)
        slope = (after - field(points.shifted([-m for m in move]), 1)) / (2 * STEP)
        agree(f"first derivative along axis {axis}", jet[1 + axis], slope[0], within=LIMIT)
        for k, pair in enumerate(second_order_pairs(dims)):
            if pair[0] == axis:
                found, expected = jet[1 + dims + k], slope[1 + pair[1]]
                agree(f"second derivative along axes {pair}", found, expected, within=LIMIT)


@law
def integrals_are_convolutions(field: Field, lattice: Lattice) -> None:
    """A kernel layer is the convolution of the field's values around each place."""
    field = _double(field)
    for width in (1, 3):
        weight = _weight(field, width)
        expected = _convolved(field, weight, lattice, order=2)
        for places in (lattice, lattice.points()):
            found = field.integrate(weight, places, _spacing(lattice), 2)
            what = f"integral of width {width} on {type(places).__name__}"
            agree(what, found.flatten(2), expected.flatten(2), within=1e-11)


@law
def single_precision_suffices(field: Field, lattice: Lattice) -> None:
    """In single precision a kernel layer is still right to five digits."""
    field = copy.deepcopy(field).float()
    weight = (_weight(field, width=3) / 3**lattice.spatial_dims).float()
    with in_precision(torch.float32):
        expected = _convolved(field, weight, lattice, order=0)
        found = field.integrate(weight, lattice, _spacing(lattice))
    require(found.dtype == torch.float32, f"integral must be float32, got {found.dtype}")
    agree("integral in single precision", found, expected, within=1e-5)


@law
def finer_lattices_agree(field: Field, lattice: Lattice) -> None:
    """A kernel layer whose nodes lie farther apart than the places answers shared places alike."""
    field, spacing = _double(field), _spacing(lattice)
    between = (
        x[0] + torch.arange(2 * len(x) - 1, dtype=x.dtype) * h / 2
        for x, h in zip(lattice.axes, spacing, strict=True)
    )
    shared = (slice(None), slice(None), *[slice(None, None, 2)] * lattice.spatial_dims)
    weight = _weight(field, width=3)
    finer = field.integrate(weight, Lattice(tuple(between)), spacing)[shared]
    coarse = field.integrate(weight, lattice, spacing)
    agree("integral on a finer lattice", finer, coarse, within=1e-11)


@law
def arguments_build_it_again(field: Field, lattice: Lattice) -> None:
    """Its arguments, as JSON, and its state make a field of the same answers."""
    field = _double(field)
    again = rebuilt(field).double()
    again.load_state_dict(field.state_dict())
    agree("answers of the field built again", again(lattice, 2), field(lattice, 2), within=0)
    require(repr(again) == repr(field), f"repr must be {field!r}, got {again!r}")


@law
def precision_and_device_are_kept(field: Field, lattice: Lattice) -> None:
    """Answers are of the precision and on the device that the field was moved to."""
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    for device in devices:
        places = Lattice(tuple(x.to(device) for x in lattice.axes))
        for dtype in (torch.float32, torch.float64):
            with in_precision(dtype):
                found = copy.deepcopy(field).to(device, dtype)(places, 2)
            of = (found.dtype, found.device.type)
            require(of == (dtype, device), f"jet must be {(dtype, device)}, got {of}")


field_laws = Battery(
    (
        answers_have_their_shape,
        lattice_and_points_agree,
        jets_are_derivatives,
        jets_are_limits,
        integrals_are_convolutions,
        single_precision_suffices,
        finer_lattices_agree,
        arguments_build_it_again,
        precision_and_device_are_kept,
    )
)
"""Laws of a field, given with a regular lattice, float64 and in mm, around which the field is known
one spacing farther to all sides."""


def _double(field: Field) -> Field:
    return copy.deepcopy(field).double()


def _spacing(lattice: Lattice) -> list[float]:
    return [float(x[1] - x[0]) for x in lattice.axes]


def _weight(field: Field, width: int) -> Tensor:
    shape = (4, field.channels, *[width] * field.spatial_dims)
    return torch.randn(shape, generator=generator(), dtype=torch.float64)


def _convolved(field: Field, weight: Tensor, lattice: Lattice, order: int) -> Tensor:
    dims = lattice.spatial_dims
    convolve: Callable[..., Tensor] = (F.conv1d, F.conv2d, F.conv3d)[dims - 1]
    radii = [width // 2 for width in weight.shape[2:]]
    return convolve(field(lattice.padded(radii, _spacing(lattice), (1,) * dims), order), weight)


def _autograd_jet(field: Callable[[Positions], Tensor], points: Scatter, order: int) -> Tensor:
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
    for value in field(Scatter(tuple(axes)))[0]:
        first = [slope(value, d) for d in range(len(axes))]
        second = [slope(first[i], j) for i, j in second_order_pairs(len(axes))]
        rows.append(torch.stack([value, *first, *second][: jet_size(len(axes), order)]))
    return torch.stack(rows, dim=1).detach()
