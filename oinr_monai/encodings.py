r"""Input functions f for the operator: fixed encodings of the coordinates, and learned fields.

Every field answers at any place, with exact first and second derivatives, and knows how to pass a
first kernel layer at any place without a lattice around it,

.. math:: (Ku)(x) = b + \sum_o W_o f(x + o \circ h), \qquad o \in \{-r..r\}^D.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from .positions import Lattice, Positions, jet_size, second_order_pairs
from .splines import evaluate

__all__ = [
    "CoordinateField",
    "DyadicEncoding",
    "Field",
    "FourierEncoding",
    "JointField",
    "NoiseField",
    "SplineField",
]


class Field(nn.Module, ABC):
    """A function of D coordinates (mm along the axes of the fitted grid) with E channels.

    A jet of order 0, 1 or 2 stacks the value, the D first and the D (D + 1) / 2 second derivatives
    along its first axis, in the order of :func:`~oinr_monai.positions.second_order_pairs`.
    """

    spatial_dims: int
    channels: int

    @abstractmethod
    def forward(self, positions: Positions, order: int = 0) -> Tensor:
        """Jet (J, E, *positions.shape), derivatives per mm."""

    @abstractmethod
    def arguments(self) -> dict[str, Any]:
        """Constructor arguments as JSON values, from which the field is built again."""

    def integrate(
        self, weight: Tensor, positions: Positions, spacing: Sequence[float], order: int = 0
    ) -> Tensor:
        """Kernel integral without bias of ``weight`` (C, E, *taps): jet (J, C, *positions.shape)."""
        taps = weight.shape[2:]
        if max(taps) == 1:
            return _mix(weight.flatten(1), self(positions, order))
        if isinstance(positions, Lattice):
            return self._integrate_lattice(weight, positions, spacing, order)
        total: Tensor | None = None
        for index in product(*(range(k) for k in taps)):
            offset = [(i - k // 2) * h for i, k, h in zip(index, taps, spacing, strict=True)]
            part = _mix(
                weight[(slice(None), slice(None), *index)], self(positions.shifted(offset), order)
            )
            total = part if total is None else total + part
        return total  # type: ignore[return-value]

    def _integrate_lattice(
        self, weight: Tensor, lattice: Lattice, spacing: Sequence[float], order: int
    ) -> Tensor:
        # The lattice at all shifts is itself a lattice: one evaluation serves every tap.
        taps, dims = weight.shape[2:], self.spatial_dims
        shifted = [
            torch.cat([x + (i - k // 2) * h for i in range(k)])
            for x, k, h in zip(lattice.axes, taps, spacing, strict=True)
        ]
        values = self(Lattice(tuple(shifted)), order)
        split = [n for pair in zip(taps, lattice.shape, strict=True) for n in pair]
        values = values.reshape(*values.shape[:2], *split)
        tap_axes = [2 + 2 * d for d in range(dims)]
        sites = [3 + 2 * d for d in range(dims)]
        columns = values.permute(0, *sites, 1, *tap_axes).flatten(1 + dims)
        return (columns @ weight.flatten(1).T).movedim(-1, 1)

    def extra_repr(self) -> str:
        """Constructor arguments, for ``print``."""
        return ", ".join(f"{name}={value}" for name, value in self.arguments().items())


def _mix(matrix: Tensor, jet: Tensor) -> Tensor:
    # (C, E) applied to (J, E, *shape); the result keeps its channels last in memory.
    return (jet.movedim(1, -1) @ matrix.T).movedim(-1, 1)


class SeparableField(Field):
    """A field whose every channel depends on one coordinate alone.

    Only D small tables are ever stored, and a kernel layer is D one-dimensional kernel layers and
    one broadcast sum: with n places per axis it costs O(n) channels instead of O(n^D).
    """

    @abstractmethod
    def table(self, axis: int, coordinates: Tensor, derivative: int) -> Tensor:
        """Derivative of the channels of one axis at ``coordinates`` (n,): (n, E_axis), float64."""

    @property
    @abstractmethod
    def channels_per_axis(self) -> tuple[int, ...]:
        """Channels that depend on each axis; together E, in the order of the axes."""

    def forward(self, positions: Positions, order: int = 0) -> Tensor:
        """Jet (J, E, *positions.shape), derivatives per mm."""
        dtype = _dtype(self)
        columns = []
        for d in range(self.spatial_dims):
            tables = [self.table(d, positions.axes[d], k).to(dtype) for k in range(order + 1)]
            columns.append(_axis_jet([positions.spread(t, d) for t in tables], d, positions))
        return torch.cat(columns, dim=-1).movedim(-1, 1)

    def integrate(
        self, weight: Tensor, positions: Positions, spacing: Sequence[float], order: int = 0
    ) -> Tensor:
        """Kernel integral without bias of ``weight`` (C, E, *taps): jet (J, C, *positions.shape)."""
        parts = weight.split(list(self.channels_per_axis), dim=1)
        total: Tensor | int = 0
        for d, part in enumerate(parts):
            if part.shape[1] == 0:
                continue
            others = [2 + other for other in range(self.spatial_dims) if other != d]
            kernel = part.sum(dim=others) if others else part
            spread = [
                positions.spread(self._filtered(kernel, d, positions.axes[d], spacing[d], k), d)
                for k in range(order + 1)
            ]
            # The value alone is left unexpanded: broadcasting it costs nothing.
            total = total + (_axis_jet(spread, d, positions) if order else spread[0][None])
        shape = (jet_size(self.spatial_dims, order), *positions.shape, weight.shape[0])
        return torch.as_tensor(total).expand(shape).movedim(-1, 1)

    def _filtered(
        self, kernel: Tensor, axis: int, coordinates: Tensor, step: float, derivative: int
    ) -> Tensor:
        taps = kernel.shape[-1]
        total: Tensor | int = 0
        for tap in range(taps):
            shifted = coordinates + (tap - taps // 2) * step
            total = (
                total + self.table(axis, shifted, derivative).to(kernel.dtype) @ kernel[:, :, tap].T
            )
        return torch.as_tensor(total)


def _axis_jet(parts: Sequence[Tensor], axis: int, positions: Positions) -> Tensor:
    # Derivatives across other axes vanish; those along ``axis`` are given by order.
    dims, shape = positions.spatial_dims, (*positions.shape, parts[0].shape[-1])
    jet = parts[0].new_zeros(jet_size(dims, len(parts) - 1), *shape)
    jet[0] = parts[0]
    if len(parts) > 1:
        jet[1 + axis] = parts[1]
    if len(parts) > 2:
        jet[1 + dims + second_order_pairs(dims).index((axis, axis))] = parts[2]
    return jet


def _dtype(module: nn.Module) -> torch.dtype:
    tensors = [*module.parameters(), *module.buffers()]
    return next((t.dtype for t in tensors if t.is_floating_point()), torch.get_default_dtype())


def _wave_table(coordinates: Tensor, rates: Tensor, derivative: int) -> Tensor:
    # sin and cos of rate * x and their derivatives: each one turns the phase by a quarter.
    phase = coordinates[:, None].double() * rates.double() + derivative * math.pi / 2
    factor = rates.double() ** derivative
    return torch.cat([factor * phase.sin(), factor * phase.cos()], dim=1)


class FourierEncoding(SeparableField):
    r"""Sines and cosines of each coordinate, in mm, from twice the domain to the sampling limit.

    .. math:: f(x) = \big(\sin(2\pi x_d / \lambda_{dk}), \cos(2\pi x_d / \lambda_{dk})\big)_{d,k}

    The longest wavelength is 2.1 times the extent of its axis, so that both ends of the domain
    differ; the shortest is ``shortest`` voxels. With ``bands`` given, wavelengths are spaced
    geometrically between the two (E = 2 D ``bands``); without, all harmonics are taken, which fits
    faster and costs no more after the first layer.

    Args:
        extent: distance from the first to the last voxel centre of each axis, in mm.
        spacing: voxel spacing of each axis, in mm.
        bands: wavelengths per axis, or None for every harmonic of the longest.
        shortest: shortest wavelength, in voxels; 2 is the sampling limit.

    Raises:
        ValueError: if ``shortest`` is below 2 or ``bands`` below 1.

    Example:
        >>> field = FourierEncoding(extent=(63.0, 63.0, 63.0), spacing=(1.0, 1.0, 1.0), bands=8)
        >>> axes = tuple(torch.arange(5.0) for _ in range(3))
        >>> field(Lattice(axes)).shape
        torch.Size([1, 48, 5, 5, 5])
    """

    def __init__(
        self,
        extent: Sequence[float],
        spacing: Sequence[float],
        bands: int | None = None,
        shortest: float = 6.0,
    ) -> None:
        super().__init__()
        if shortest < 2:
            raise ValueError(f"shortest must be 2 voxels or more, got {shortest}")
        if bands is not None and bands < 1:
            raise ValueError(f"bands must be 1 or more, got {bands}")
        self.spatial_dims = len(extent)
        self.bands, self.shortest = bands, shortest
        self.extent, self.spacing = tuple(map(float, extent)), tuple(map(float, spacing))
        self._rates = [
            self._axis_rates(e, h) for e, h in zip(self.extent, self.spacing, strict=True)
        ]
        self.channels = sum(self.channels_per_axis)

    def _axis_rates(self, extent: float, spacing: float) -> Tensor:
        longest = 2.1 * max(extent, spacing)
        most = max(longest / (self.shortest * spacing), 1.0)
        if self.bands is None:
            harmonics = torch.arange(1, int(most) + 1, dtype=torch.float64)
        else:
            harmonics = torch.logspace(0, math.log10(most), self.bands, dtype=torch.float64)
        return 2 * math.pi / longest * harmonics

    @property
    def wavelengths(self) -> tuple[Tensor, ...]:
        """Wavelengths of each axis, longest first, in mm."""
        return tuple(2 * math.pi / rates for rates in self._rates)

    @property
    def channels_per_axis(self) -> tuple[int, ...]:
        """A sine and a cosine for every wavelength of the axis."""
        return tuple(2 * len(rates) for rates in self._rates)

    def table(self, axis: int, coordinates: Tensor, derivative: int) -> Tensor:
        """Derivative of the channels of one axis at ``coordinates`` (n,): (n, E_axis), float64."""
        return _wave_table(coordinates, self._rates[axis].to(coordinates.device), derivative)

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments as JSON values."""
        return {
            "extent": list(self.extent),
            "spacing": list(self.spacing),
            "bands": self.bands,
            "shortest": self.shortest,
        }


class DyadicEncoding(SeparableField):
    r"""The published encoding: octaves of sines and cosines over [-1, 1].

    .. math:: f(x) = \big(\sin(2^i \pi z_d), \cos(2^i \pi z_d)\big), \qquad z_d = 2 x_d / L_d - 1

    Its period equals the domain, so that both ends get the same code, and its top octaves lie
    beyond the sampling limit of small grids: use :class:`FourierEncoding` unless reproducing.

    References:
        Pal et al., "Implicit Representations via Operator Learning", ICML 2024.

    Args:
        extent: distance from the first to the last voxel centre of each axis, in mm.
        octaves: number of octaves, 10 for images and 8 for volumes as published.

    Example:
        >>> DyadicEncoding(extent=(191.0, 191.0), octaves=10).channels
        40
    """

    def __init__(self, extent: Sequence[float], octaves: int = 10) -> None:
        super().__init__()
        self.spatial_dims, self.octaves = len(extent), octaves
        self.extent = tuple(map(float, extent))
        self.channels = sum(self.channels_per_axis)

    @property
    def channels_per_axis(self) -> tuple[int, ...]:
        """A sine and a cosine for every octave."""
        return (2 * self.octaves,) * self.spatial_dims

    def table(self, axis: int, coordinates: Tensor, derivative: int) -> Tensor:
        """Derivative of the channels of one axis at ``coordinates`` (n,): (n, E_axis), float64."""
        scale = 2 / self.extent[axis] if self.extent[axis] else 0.0
        rates = math.pi * 2.0 ** torch.arange(self.octaves, device=coordinates.device)
        return _wave_table(coordinates * scale - 1, rates, derivative) * scale**derivative

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments as JSON values."""
        return {"extent": list(self.extent), "octaves": self.octaves}


class CoordinateField(SeparableField):
    """Plain coordinates f(x) = x, scaled to [-1, 1]: with it a ConvOINR of width 1 is a SIREN.

    References:
        Sitzmann et al., "Implicit Neural Representations with Periodic Activation Functions",
        NeurIPS 2020.

    Args:
        extent: distance from the first to the last voxel centre of each axis, in mm.

    Example:
        >>> CoordinateField(extent=(10.0,))(Lattice((torch.tensor([0.0, 10.0]),))).tolist()
        [[[-1.0, 1.0]]]
    """

    def __init__(self, extent: Sequence[float]) -> None:
        super().__init__()
        self.spatial_dims = self.channels = len(extent)
        self.extent = tuple(map(float, extent))

    @property
    def channels_per_axis(self) -> tuple[int, ...]:
        """One channel for each axis."""
        return (1,) * self.spatial_dims

    def table(self, axis: int, coordinates: Tensor, derivative: int) -> Tensor:
        """Derivative of the channels of one axis at ``coordinates`` (n,): (n, 1), float64."""
        scale = 2 / self.extent[axis] if self.extent[axis] else 0.0
        x = coordinates[:, None].double()
        return (x * scale - 1, torch.full_like(x, scale), torch.zeros_like(x))[derivative]

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments as JSON values."""
        return {"extent": list(self.extent)}


class SplineField(Field):
    r"""A learned input function: cubic B-splines on coarse knots, twice differentiable.

    .. math:: f(x) = \sum_k c_k \beta^3(x / \kappa - k), \qquad \kappa \text{ the knot spacing in mm}

    The operator that reads it stays small, so that a step costs little however large the volume
    is; the coefficients hold the detail. They cost ``channels / knot_spacing^D`` numbers a voxel.

    Args:
        extent: distance from the first to the last voxel centre of each axis, in mm.
        knot_spacing: distance between knots along each axis, in mm.
        channels: channels E.
        margin: how far beyond the domain the field reaches, in mm per axis (a kernel's halo).

    Raises:
        ValueError: if a knot spacing is not positive.

    Example:
        >>> field = SplineField(extent=(9.0, 9.0), knot_spacing=(3.0, 3.0), channels=4)
        >>> field.coefficients.shape
        torch.Size([4, 6, 6])
        >>> field(Lattice((torch.rand(5), torch.rand(7))), order=1).shape
        torch.Size([3, 4, 5, 7])
    """

    def __init__(
        self,
        extent: Sequence[float],
        knot_spacing: Sequence[float],
        channels: int,
        margin: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if min(knot_spacing) <= 0:
            raise ValueError(f"knot_spacing must be positive, got {tuple(knot_spacing)}")
        self.spatial_dims, self.channels = len(extent), channels
        self.extent, self.knot_spacing = tuple(map(float, extent)), tuple(map(float, knot_spacing))
        self.margin = tuple(map(float, margin or [0.0] * len(extent)))
        reach = zip(self.extent, self.margin, self.knot_spacing, strict=True)
        knots = [max(math.ceil((e + 2 * m) / k - 1e-9), 1) + 3 for e, m, k in reach]
        self.coefficients = nn.Parameter(torch.empty(channels, *knots))
        nn.init.normal_(self.coefficients, std=0.3)

    def forward(self, positions: Positions, order: int = 0) -> Tensor:
        """Jet (J, E, *positions.shape), derivatives per mm; constant beyond the margin."""
        parts = []
        for derivatives in _derivatives(self.spatial_dims, order):
            scale = math.prod(k**-n for k, n in zip(self.knot_spacing, derivatives, strict=True))
            parts.append(
                evaluate(self.coefficients, self._in_knots(positions), derivatives) * scale
            )
        return torch.stack(parts)

    def _in_knots(self, positions: Positions) -> Positions:
        bounds = zip(self.margin, self.knot_spacing, self.coefficients.shape[1:], strict=True)
        axes = [
            ((x.double() + m) / k + 1).clamp(1, n - 2)
            for x, (m, k, n) in zip(positions.axes, bounds, strict=True)
        ]
        return type(positions)(tuple(axes))

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments as JSON values."""
        return {
            "extent": list(self.extent),
            "knot_spacing": list(self.knot_spacing),
            "channels": self.channels,
            "margin": list(self.margin),
        }


def _derivatives(dims: int, order: int) -> list[tuple[int, ...]]:
    # The multi-index of every entry of a jet, in its order.
    first = [(d,) for d in range(dims)] if order > 0 else []
    second = second_order_pairs(dims) if order > 1 else []
    return [tuple(axes.count(d) for d in range(dims)) for axes in [(), *first, *second]]


class NoiseField(SplineField):
    """The published noise channel: one normal sample at each voxel, fixed, smooth in between.

    Args:
        extent: distance from the first to the last voxel centre of each axis, in mm.
        spacing: voxel spacing of each axis, in mm.
        seed: seed of the noise.

    Example:
        >>> NoiseField(extent=(9.0, 9.0), spacing=(1.0, 1.0)).channels
        1
    """

    def __init__(self, extent: Sequence[float], spacing: Sequence[float], seed: int = 0) -> None:
        super().__init__(extent, spacing, channels=1)
        self.seed = seed
        generator = torch.Generator().manual_seed(seed)
        self.coefficients.data.normal_(generator=generator)
        self.coefficients.requires_grad_(False)

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments as JSON values."""
        return {"extent": list(self.extent), "spacing": list(self.knot_spacing), "seed": self.seed}


class JointField(Field):
    """Several fields side by side, channels in the order given.

    Args:
        fields: the fields, all of the same spatial dimensions.

    Raises:
        ValueError: if no field is given or their dimensions differ.

    Example:
        >>> field = JointField([CoordinateField((9.0,)), FourierEncoding((9.0,), (1.0,), bands=2)])
        >>> field.channels
        5
    """

    def __init__(self, fields: Sequence[Field]) -> None:
        super().__init__()
        if len({field.spatial_dims for field in fields}) != 1:
            raise ValueError(
                f"fields must share their spatial dimensions, got {len(fields)} fields"
            )
        self.fields = nn.ModuleList(fields)
        self.spatial_dims = fields[0].spatial_dims
        self.channels = sum(field.channels for field in fields)

    def forward(self, positions: Positions, order: int = 0) -> Tensor:
        """Jet (J, E, *positions.shape), derivatives per mm."""
        return torch.cat([field(positions, order) for field in self.fields], dim=1)

    def integrate(
        self, weight: Tensor, positions: Positions, spacing: Sequence[float], order: int = 0
    ) -> Tensor:
        """Kernel integral without bias of ``weight`` (C, E, *taps): jet (J, C, *positions.shape)."""
        parts = weight.split([field.channels for field in self.fields], dim=1)
        integrals = (
            field.integrate(part, positions, spacing, order)
            for field, part in zip(self.fields, parts, strict=True)
        )
        return sum(integrals, start=torch.zeros((), dtype=weight.dtype, device=weight.device))

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments: the fields themselves, described by the caller."""
        return {"fields": list(self.fields)}
